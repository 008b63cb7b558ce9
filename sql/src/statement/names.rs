//! The columns that a query can name, and their types.

use std::collections::BTreeSet;

use sqlparser::ast::{Expr as Ast, Ident};

use super::bound::Bound;
use super::error::{Position, SqlError};
use super::functions::Call;
use super::near::did_you_mean;
use dispers_query::{
    catalogue::Doctype,
    local::{Aggregate, AggregateFunction, Column, Expr, Kind, Node, Typed},
};

/// Meaning of names at one place of a query.
pub(crate) trait Names {
    /// Returns the column of that name.
    fn column(&mut self, parts: &[Ident]) -> Result<Bound, SqlError>;

    /// Returns whether a column has that name.
    fn has(&self, name: &str) -> bool;

    /// Returns the meaning of an expression as a whole, or `None` if its parts are to be bound one by one.
    fn whole(&mut self, _: &Ast) -> Option<Result<Bound, SqlError>> {
        None
    }

    /// Binds an aggregate inside an expression. The default refuses it.
    fn aggregate(&mut self, call: &Call<'_>) -> Result<Bound, SqlError> {
        Err(SqlError::new(
            call.position,
            format!("{} cannot stand inside an expression here", call.shown()),
            "aggregates stand in SELECT, HAVING and ORDER BY, one not inside another",
        ))
    }

    /// Records columns that cannot be NULL from here on.
    fn narrow(&mut self, non_null: &BTreeSet<u16>);

    /// Returns the catalogue's range of `expr` as (lowest, highest, whether values are integers). Returns
    /// `None` if `expr` is not a single column with a range.
    fn range(&self, expr: &Expr) -> Option<(f64, f64, bool)>;
}

/// Fields of one doctype. Only fields that the query names are read.
pub(crate) struct Documents<'a> {
    doctype: &'a Doctype,
    qualifier: String,
    /// Positions in the doctype of the fields that are read. [`Node::Column`] is an index into this list.
    read: Vec<usize>,
    non_null: BTreeSet<u16>,
}

impl<'a> Documents<'a> {
    pub(super) fn new(doctype: &'a Doctype, alias: Option<&Ident>) -> Self {
        Self {
            doctype,
            qualifier: alias.map_or(doctype.name.clone(), |a| a.value.clone()),
            read: Vec::new(),
            non_null: BTreeSet::new(),
        }
    }

    /// Returns the fields that are read, in the order of [`Node::Column`].
    pub(crate) fn fields(&self) -> Vec<Column> {
        let fields = self.read.iter().map(|i| &self.doctype.fields[*i]);
        fields
            .map(|field| Column {
                name: field.name.clone(),
                kind: field.kind,
            })
            .collect()
    }

    pub(super) fn types(&self) -> Vec<Typed> {
        let numbered = self.read.iter().enumerate();
        numbered
            .map(|(column, field)| self.typed(column, *field))
            .collect()
    }

    fn typed(&self, column: usize, field: usize) -> Typed {
        let field = &self.doctype.fields[field];
        let known = u16::try_from(column).is_ok_and(|c| self.non_null.contains(&c));
        Typed::new(field.kind.into(), field.nullable && !known)
    }

    fn position(&self, name: &str) -> Option<usize> {
        let mut fields = self.doctype.fields.iter();
        fields.position(|f| f.name.eq_ignore_ascii_case(name))
    }
}

impl Names for Documents<'_> {
    fn column(&mut self, parts: &[Ident]) -> Result<Bound, SqlError> {
        let whole = dotted(parts);
        let found = match self.position(&whole) {
            // The whole name is tried first, because a field's own name may contain dots.
            Some(field) => Some(field),
            None => match unqualified(&whole, &[&self.qualifier, &self.doctype.name]) {
                Some(name) => self.position(name),
                None => None,
            },
        };
        let Some(field) = found else {
            let known = self.doctype.fields.iter().map(|f| f.name.as_str());
            return Err(unknown_column(
                parts,
                &format!("{} has no field {whole}", self.doctype.name),
                known,
            ));
        };
        let column = match self.read.iter().position(|f| *f == field) {
            Some(column) => column,
            None => {
                self.read.push(field);
                self.read.len() - 1
            }
        };
        let typed = self.typed(column, field);
        Bound::leaf(column_node(column)?, typed, position_of(parts))
    }

    fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    fn narrow(&mut self, non_null: &BTreeSet<u16>) {
        self.non_null.extend(non_null);
    }

    fn range(&self, expr: &Expr) -> Option<(f64, f64, bool)> {
        let field = self.read.get(single_column(expr)?)?;
        let field = &self.doctype.fields[*field];
        let (lo, hi) = field.range?;
        Some((lo, hi, Kind::from(field.kind) == Kind::Integer))
    }
}

/// Names inside an inner SELECT's items: aggregates of a home's documents.
pub(super) struct Aggregates<'a, 'b> {
    pub(super) documents: &'b mut Documents<'a>,
    pub(super) aggregates: Vec<Aggregate>,
}

impl Names for Aggregates<'_, '_> {
    fn column(&mut self, parts: &[Ident]) -> Result<Bound, SqlError> {
        let name = dotted(parts);
        Err(SqlError::new(
            position_of(parts),
            format!("{name} has a value in every document of a home"),
            format!("write which one to take: AVG({name}), SUM, MIN, MAX or COUNT"),
        ))
    }

    fn has(&self, _: &str) -> bool {
        false
    }

    fn aggregate(&mut self, call: &Call<'_>) -> Result<Bound, SqlError> {
        let aggregate = call.inner_aggregate(self.documents)?;
        let typed = aggregate.typed(&self.documents.types()).map_err(|e| {
            SqlError::new(
                call.position,
                e.to_string(),
                "aggregate a field of that type",
            )
        })?;
        let column = match self.aggregates.iter().position(|a| *a == aggregate) {
            Some(column) => column,
            None => {
                self.aggregates.push(aggregate);
                self.aggregates.len() - 1
            }
        };
        Bound::leaf(column_node(column)?, typed, call.position)
    }

    fn narrow(&mut self, _: &BTreeSet<u16>) {}

    fn range(&self, _: &Expr) -> Option<(f64, f64, bool)> {
        None
    }
}

/// Columns that an inner SELECT defines.
pub(super) struct Derived<'a> {
    pub(super) documents: Documents<'a>,
    pub(super) qualifier: Option<String>,
    pub(super) aggregates: Vec<Aggregate>,
    pub(super) columns: Vec<(String, Expr)>,
    pub(super) types: Vec<Typed>,
}

impl Names for Derived<'_> {
    fn column(&mut self, parts: &[Ident]) -> Result<Bound, SqlError> {
        let whole = dotted(parts);
        let qualifier = self.qualifier.as_deref().unwrap_or_default();
        let name = unqualified(&whole, &[qualifier]).unwrap_or(&whole);
        let column = [whole.as_str(), name].into_iter().find_map(|wanted| {
            let mut columns = self.columns.iter();
            columns.find(|(name, _)| name.eq_ignore_ascii_case(wanted))
        });
        let Some((_, expr)) = column else {
            return Err(unknown_column(
                parts,
                &format!("the inner SELECT has no column {whole}"),
                self.columns.iter().map(|(name, _)| name.as_str()),
            ));
        };
        let typed = expr.typed(&self.types).expect("typed when it was selected");
        Ok(Bound {
            expr: expr.clone(),
            typed,
            position: position_of(parts),
        })
    }

    fn has(&self, name: &str) -> bool {
        self.columns
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn narrow(&mut self, non_null: &BTreeSet<u16>) {
        for column in non_null {
            if let Some(typed) = self.types.get_mut(usize::from(*column)) {
                typed.nullable = false;
            }
        }
    }

    fn range(&self, expr: &Expr) -> Option<(f64, f64, bool)> {
        let aggregate = self.aggregates.get(single_column(expr)?)?;
        let (lo, hi, whole) = self.documents.range(aggregate.argument.as_ref()?)?;
        match aggregate.function {
            // An average, minimum or maximum stays inside the range of its values. A sum depends on how many
            // documents a home has, which nothing bounds.
            AggregateFunction::Average => Some((lo, hi, false)),
            AggregateFunction::Minimum | AggregateFunction::Maximum => Some((lo, hi, whole)),
            AggregateFunction::Count | AggregateFunction::Sum => None,
        }
    }
}

/// Joins the parts of a name with dots.
pub(super) fn dotted(parts: &[Ident]) -> String {
    let names: Vec<&str> = parts.iter().map(|p| p.value.as_str()).collect();
    names.join(".")
}

/// Returns the position where a name starts.
pub(super) fn position_of(parts: &[Ident]) -> Option<Position> {
    Position::of(parts.first()?.span.start)
}

/// Returns `name` without one of `qualifiers` and the dot after it, or `None` if it starts with none of them.
fn unqualified<'n>(name: &'n str, qualifiers: &[&str]) -> Option<&'n str> {
    qualifiers.iter().find_map(|qualifier| {
        let (head, rest) = name.split_at_checked(qualifier.len())?;
        let rest = rest.strip_prefix('.')?;
        head.eq_ignore_ascii_case(qualifier).then_some(rest)
    })
}

fn unknown_column<'k>(
    parts: &[Ident],
    what: &str,
    known: impl Iterator<Item = &'k str>,
) -> SqlError {
    let name = parts.last().map_or("", |p| p.value.as_str());
    let mut instead = did_you_mean(name, known, "select something that it has");
    // A double-quoted word is a name in SQL, but many people write texts in double quotes.
    if parts.last().is_some_and(|p| p.quote_style == Some('"')) {
        instead += " (a text is written in 'single quotes')";
    }
    SqlError::new(position_of(parts), what, instead)
}

fn column_node(column: usize) -> Result<Node, SqlError> {
    u16::try_from(column)
        .map(Node::Column)
        .map_err(|_| SqlError::new(None, "too many columns", "name fewer"))
}

fn single_column(expr: &Expr) -> Option<usize> {
    match expr.nodes() {
        [Node::Column(column)] => Some(usize::from(*column)),
        _ => None,
    }
}
