//! The outer SELECT: columns, HAVING and ORDER BY as expressions over aggregates and group keys.

use sqlparser::ast::{
    Expr as Ast, Ident, OrderBySort, SelectItem, Value as Literal, ValueWithSpan,
};

use super::aggregates::aggregate;
use super::bound::Bound;
use super::error::SqlError;
use super::expression::{bind, bind_condition};
use super::functions::{Call, as_call};
use super::grouping::{BoundKey, bind_key};
use super::measures::Measures;
use super::names::Names;
use super::parse::Selected;
use super::walk::position_of;
use crate::decode::{Column, Order, Selection, Source};
use dispers_query::local::{Category, Expr, Kind, Node, Typed};

/// Measures and output columns of the outer SELECT.
pub(crate) struct Outputs {
    pub(crate) measures: Measures,
    pub(crate) selection: Selection,
}

/// Binds the outer SELECT. `keys` are those of GROUP BY and of HISTOGRAM.
pub(crate) fn bind_outputs(
    selected: &Selected,
    keys: &[BoundKey],
    names: &mut dyn Names,
) -> Result<Outputs, SqlError> {
    let first = Cells::new(keys, names, Measures::default()).bind(selected)?;
    // The SELECT is bound twice so that COUNT(x) finds the measure of clamp(x, …) wherever the two stand.
    // Otherwise x would be measured twice.
    let measures = first.measures.gridded();
    Cells::new(keys, names, measures).bind(selected)
}

/// Returns the expression of a SELECT item, and its alias if it has one.
pub(super) fn named(item: &SelectItem) -> Result<(&Ast, Option<&str>), SqlError> {
    match item {
        SelectItem::UnnamedExpr(expr) => Ok((expr, None)),
        SelectItem::ExprWithAlias { expr, alias } => Ok((expr, Some(&alias.value))),
        _ => Err(SqlError::new(
            None,
            "SELECT * is not supported: nothing about one home is ever released",
            "write aggregates, such as COUNT(*) or AVG(clamp(x, lo, hi))",
        )),
    }
}

/// Cells that the outer expressions refer to as columns.
struct Cells<'k, 'n> {
    names: &'n mut dyn Names,
    keys: &'k [BoundKey],
    measures: Measures,
    sources: Vec<Source>,
    /// Columns of SELECT by name. They are filled in only for ORDER BY, which may use them.
    aliases: Vec<(String, Bound)>,
}

impl<'k, 'n> Cells<'k, 'n> {
    fn new(keys: &'k [BoundKey], names: &'n mut dyn Names, measures: Measures) -> Self {
        Self {
            names,
            keys,
            measures,
            sources: Vec::new(),
            aliases: Vec::new(),
        }
    }

    fn bind(mut self, selected: &Selected) -> Result<Outputs, SqlError> {
        let items = &selected.select.projection;
        if items.is_empty() {
            return Err(SqlError::new(
                None,
                "SELECT has no columns",
                "write aggregates, such as COUNT(*) or AVG(clamp(x, lo, hi))",
            ));
        }
        let mut bound: Vec<(String, Bound)> = Vec::new();
        for item in items {
            let (expr, alias) = named(item)?;
            match as_call(expr).transpose()? {
                Some(call) if call.name == "histogram" => {
                    bound.extend(self.histogram(alias.unwrap_or("histogram"))?);
                }
                Some(call) if call.name == "clamp" => return Err(call.unsupported()),
                _ => {
                    let name = alias.map_or_else(|| expr.to_string(), str::to_owned);
                    bound.push((name, bind(expr, &mut self)?));
                }
            }
        }
        let having = selected.select.having.as_ref();
        let having = having.map(|condition| bind_condition(condition, &mut self));
        let having = having.transpose()?.map(|bound| bound.expr);
        // From here on aliases resolve. HAVING was bound before: SQL gives it no access to them.
        self.aliases = bound.clone();
        let mut order = Vec::new();
        for item in &selected.order {
            if item.with_fill.is_some() || matches!(item.options.sort, Some(OrderBySort::Using(_)))
            {
                return Err(SqlError::new(
                    position_of(&item.expr),
                    "ORDER BY of this form is not supported",
                    "write ORDER BY x [DESC] [NULLS FIRST]",
                ));
            }
            let descending = item.options.sort == Some(OrderBySort::Desc);
            order.push(Order {
                expr: self.ordered(&item.expr)?,
                descending,
                // PostgreSQL's default: NULL counts as larger than any value.
                nulls_first: item.options.nulls_first.unwrap_or(descending),
            });
        }
        let columns = bound.into_iter().map(|(name, bound)| Column {
            name,
            kind: bound.typed.kind,
            expr: bound.expr,
        });
        Ok(Outputs {
            selection: Selection {
                columns: columns.collect(),
                sources: self.sources,
                having,
                order,
                offset: selected.offset,
                limit: selected.limit,
                model: None,
            },
            measures: self.measures,
        })
    }

    /// Returns the expression that an ORDER BY item sorts by: the column that it numbers, or the item itself.
    fn ordered(&mut self, ast: &Ast) -> Result<Expr, SqlError> {
        let Ast::Value(ValueWithSpan {
            value: Literal::Number(text, _),
            ..
        }) = ast
        else {
            return Ok(bind(ast, self)?.expr);
        };
        let place = text.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
        let column = place.and_then(|place| self.aliases.get(place));
        column.map(|(_, bound)| bound.expr.clone()).ok_or_else(|| {
            SqlError::new(
                position_of(ast),
                format!("there is no column {text} in SELECT"),
                format!("write a number from 1 to {}, or a name", self.aliases.len()),
            )
        })
    }

    /// Returns three columns: lower edge of the bin, upper edge, and number of rows in the bin.
    fn histogram(&mut self, name: &str) -> Result<[(String, Bound); 3], SqlError> {
        let key = self
            .keys
            .iter()
            .position(|key| key.edges.is_some())
            .unwrap_or_default();
        let real = Typed::new(Kind::Real, false);
        let from = self.leaf(Source::Edge { key, upper: false }, real)?;
        let to = self.leaf(Source::Edge { key, upper: true }, real)?;
        Ok([
            (format!("{name}_from"), from),
            (format!("{name}_to"), to),
            (
                name.to_owned(),
                self.leaf(Source::Count(Vec::new()), Typed::new(Kind::Integer, false))?,
            ),
        ])
    }

    /// Returns the cell of a source. Equal sources share one cell.
    fn leaf(&mut self, source: Source, typed: Typed) -> Result<Bound, SqlError> {
        let known = self.sources.iter().position(|s| *s == source);
        let cell = known.unwrap_or_else(|| {
            self.sources.push(source);
            self.sources.len() - 1
        });
        let cell = u16::try_from(cell)
            .map_err(|_| SqlError::new(None, "too many aggregates", "write fewer"))?;
        Bound::leaf(Node::Column(cell), typed, None)
    }

    /// Returns the output column of this name.
    fn aliased(&self, name: &str) -> Option<&Bound> {
        let mut aliases = self.aliases.iter();
        let column = aliases.find(|(alias, _)| alias.eq_ignore_ascii_case(name));
        column.map(|(_, bound)| bound)
    }

    fn ungrouped(&self, name: &str, ast: &[Ident]) -> SqlError {
        SqlError::new(
            super::names::position_of(ast),
            format!("{name} is neither in GROUP BY nor inside an aggregate"),
            format!("write AVG(clamp({name}, lo, hi)), or GROUP BY domain({name}, 'a', 'b')"),
        )
    }
}

impl Names for Cells<'_, '_> {
    fn column(&mut self, parts: &[Ident]) -> Result<Bound, SqlError> {
        let name = super::names::dotted(parts);
        if let Some(bound) = self.aliased(&name) {
            return Ok(bound.clone());
        }
        // A name that does not exist at all gets that error first, since GROUP BY could not fix it.
        self.names.column(parts)?;
        Err(self.ungrouped(&name, parts))
    }

    fn has(&self, name: &str) -> bool {
        self.names.has(name)
    }

    fn whole(&mut self, ast: &Ast) -> Option<Result<Bound, SqlError>> {
        // The binder removes parentheses and asks again for the inner expression.
        if matches!(ast, Ast::Nested(_)) {
            return None;
        }
        if let Ast::Identifier(name) = ast {
            // As in PostgreSQL, a name in ORDER BY first means an output column of that name.
            if let Some(bound) = self.aliased(&name.value) {
                return Some(Ok(bound.clone()));
            }
        }
        let domain = match as_call(ast) {
            Some(Ok(call)) if call.name == "domain" => Some(call),
            Some(Ok(call)) if call.is_aggregate() => return None,
            _ => None,
        };
        let found = match bind_key(ast, self.names) {
            Ok(key) => self.keys.iter().position(|bound| bound.key == key),
            // Most expressions are not keys; only a domain, which can be nothing else, turns that into an
            // error.
            Err(error) => return domain.map(|_| Err(error)),
        };
        match found {
            Some(place) => {
                let key = &self.keys[place].key;
                let kind = key.categories.first().map_or(Kind::Text, Category::kind);
                let typed = Typed::new(kind, key.nullable);
                Some(self.leaf(Source::Key(place), typed))
            }
            None => domain.map(|_| {
                Err(SqlError::new(
                    position_of(ast),
                    format!("{ast} is not in GROUP BY"),
                    format!("write GROUP BY {ast} too"),
                ))
            }),
        }
    }

    fn aggregate(&mut self, call: &Call<'_>) -> Result<Bound, SqlError> {
        let aggregated = aggregate(call, &mut self.measures, self.names)?;
        let mut leaf = self.leaf(aggregated.source, aggregated.typed)?;
        leaf.position = call.position;
        Ok(leaf)
    }

    fn narrow(&mut self, _: &std::collections::BTreeSet<u16>) {}

    fn range(&self, _: &Expr) -> Option<(f64, f64, bool)> {
        None
    }
}
