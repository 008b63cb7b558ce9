//! SELECT: group keys, and aggregates as sums of bounded values.

use sqlparser::ast::{Expr as Ast, SelectItem};

use super::error::{Position, SqlError};
use super::expression::bind;
use super::functions::{Call, as_call};
use super::grouping::{BoundKey, bind_key};
use super::names::Names;
use super::walk::position_of;
use crate::decode::{Column, Source};
use crate::local::{MAX_MEASURES, Measure};
use crate::quantise::{InvalidGrid, Quantiser, Step};

/// What the outer SELECT measures and shows.
pub(crate) struct Outputs {
    /// One per variable of the circuit.
    pub(crate) measures: Vec<Measure>,
    /// For each measure, where and how its clamp was written.
    pub(crate) written: Vec<(Option<Position>, String)>,
    /// One per column of the result.
    pub(crate) columns: Vec<Column>,
}

/// Binds the items of the outer SELECT.
pub(crate) fn bind_outputs(
    items: &[SelectItem],
    keys: &[BoundKey],
    names: &mut dyn Names,
) -> Result<Outputs, SqlError> {
    let mut binder = Binder {
        names,
        keys,
        measures: Vec::new(),
        written: Vec::new(),
    };
    let mut named = Vec::new();
    for item in items {
        named.push(match item {
            SelectItem::UnnamedExpr(expr) => (expr, None),
            SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias.value.clone())),
            _ => {
                return Err(SqlError::new(
                    None,
                    "SELECT * is not supported: nothing about one home is ever released",
                    "write aggregates, such as COUNT(*) or AVG(clamp(x, lo, hi))",
                ));
            }
        });
    }
    if named.is_empty() {
        return Err(SqlError::new(
            None,
            "SELECT has no columns",
            "write aggregates, such as COUNT(*) or AVG(clamp(x, lo, hi))",
        ));
    }
    // Clamped values first: COUNT(x) then counts the NULLs of a clamp of x, whichever stands first.
    let mut sources = vec![None; named.len()];
    for (source, (expr, _)) in sources.iter_mut().zip(&named) {
        *source = binder.moment_or_key(expr)?;
    }
    let mut columns = Vec::new();
    for (source, (expr, alias)) in sources.into_iter().zip(named) {
        let source = match source {
            Some(source) => source,
            None => binder.count(expr)?,
        };
        let name = alias.unwrap_or_else(|| expr.to_string());
        columns.push(Column { name, source });
    }
    if binder.measures.len() > MAX_MEASURES {
        return Err(SqlError::new(
            None,
            format!("the query measures {} values", binder.measures.len()),
            format!("write at most {MAX_MEASURES} different clamps in one query"),
        ));
    }
    Ok(Outputs {
        measures: binder.measures,
        written: binder.written,
        columns,
    })
}

struct Binder<'n, 'k> {
    names: &'n mut dyn Names,
    keys: &'k [BoundKey],
    measures: Vec<Measure>,
    written: Vec<(Option<Position>, String)>,
}

impl Binder<'_, '_> {
    /// What a SELECT item shows, or `None` for a COUNT, which is bound later.
    fn moment_or_key(&mut self, ast: &Ast) -> Result<Option<Source>, SqlError> {
        match as_call(ast).transpose()? {
            Some(call) if call.name == "count" => Ok(None),
            Some(call) if call.is_moment() => self.moment(&call).map(Some),
            Some(call) if call.is_aggregate() => Err(SqlError::new(
                call.position,
                format!("{} over homes is not a sum", call.shown()),
                "count homes per range instead: GROUP BY CASE WHEN x < 10 THEN … END; an inner \
                 SELECT may take MIN or MAX of a home's own documents",
            )),
            Some(call) if call.name == "clamp" => Err(call.unsupported()),
            _ => self.key(ast).map(Some),
        }
    }

    fn key(&mut self, ast: &Ast) -> Result<Source, SqlError> {
        let key = match bind_key(ast, self.names) {
            Ok(key) => key,
            // A column by itself is best told that it must be grouped or aggregated.
            Err(error) => match bind(ast, self.names) {
                Ok(_) => return Err(self.ungrouped(ast)),
                Err(_) => return Err(error),
            },
        };
        let position = self.keys.iter().position(|known| known.key == key);
        position.map(Source::Key).ok_or_else(|| self.ungrouped(ast))
    }

    fn ungrouped(&self, ast: &Ast) -> SqlError {
        SqlError::new(
            position_of(ast),
            format!("{ast} is neither in GROUP BY nor inside an aggregate"),
            format!("write AVG(clamp({ast}, lo, hi)), or GROUP BY domain({ast}, 'a', 'b')"),
        )
    }

    /// SUM, AVG, VARIANCE, STDDEV and their kin.
    fn moment(&mut self, call: &Call<'_>) -> Result<Source, SqlError> {
        let aggregate = call.name.to_uppercase();
        let usage = format!("{aggregate}(clamp(x, lo, hi))");
        let [argument] = call.exactly(&usage)?;
        let clamp = as_call(argument).transpose()?.filter(|c| c.name == "clamp");
        let Some(clamp) = clamp else {
            return Err(self.unclamped(&aggregate, argument)?);
        };
        let variable = self.clamped(&clamp)?;
        let squared = !matches!(call.name.as_str(), "sum" | "avg");
        self.measures[variable].squared |= squared;
        Ok(match call.name.as_str() {
            "sum" => Source::Sum(variable),
            "avg" => Source::Mean(variable),
            name => Source::Variance {
                variable,
                sample: !name.ends_with("_pop"),
                root: name.starts_with("stddev"),
            },
        })
    }

    fn unclamped(&mut self, aggregate: &str, argument: &Ast) -> Result<SqlError, SqlError> {
        let bound = bind(argument, self.names)?;
        let range = match self.names.range(&bound.expr) {
            Some((lo, hi, true)) => format!("{lo}, {hi}, 1"),
            Some((lo, hi, false)) => format!("{lo}, {hi}"),
            None => "lo, hi".to_owned(),
        };
        Ok(SqlError::new(
            bound.position,
            format!(
                "{aggregate}({argument}) needs bounds, so that no home weighs more than others"
            ),
            format!("write {aggregate}(clamp({argument}, {range}))"),
        ))
    }

    /// The variable of `clamp(x, lo, hi [, step])`; equal ones share one.
    fn clamped(&mut self, call: &Call<'_>) -> Result<usize, SqlError> {
        let usage = "clamp(x, lo, hi) or clamp(x, lo, hi, step)";
        let (value, bounds) = match call.arguments.as_slice() {
            [value, bounds @ ..] if bounds.len() == 2 || bounds.len() == 3 => (*value, bounds),
            _ => return Err(call.misused(usage)),
        };
        let mut numbers = Vec::new();
        for bound in bounds {
            numbers.push(self.number(bound, usage)?);
        }
        let step = numbers
            .get(2)
            .map_or(Step::Levels4096, |step| Step::Exact(*step));
        let (lo, hi) = (numbers[0], numbers[1]);
        let quantiser = Quantiser::new(lo, hi, step).map_err(|e| {
            let instead = match e {
                InvalidGrid::NotFinite => usage.to_owned(),
                InvalidGrid::Empty if lo == hi => {
                    format!("write clamp({value}, {lo}, hi) with hi above")
                }
                InvalidGrid::Empty => format!("write clamp({value}, {hi}, {lo})"),
                InvalidGrid::Step => "write a step such as 1, or none".to_owned(),
                InvalidGrid::OffGrid { below, above } if below > lo => {
                    format!("write {below} or {above} instead of {hi}, or another step")
                }
                InvalidGrid::OffGrid { above, .. } => {
                    format!("write {above} instead of {hi}, or a smaller step")
                }
                InvalidGrid::TooManyLevels => {
                    format!(
                        "write a step of at least {}",
                        nice_step(lo, hi, u64::from(u32::MAX))
                    )
                }
            };
            let position = position_of(bounds[0]).or(call.position);
            SqlError::new(position, format!("clamp of {value}: {e}"), instead)
        })?;
        let bound = bind(value, self.names)?;
        if !bound.typed.kind.is_numeric() {
            return Err(SqlError::new(
                bound.position,
                format!(
                    "clamp takes a number, and {value} is {}",
                    bound.typed.kind.name()
                ),
                "write COUNT(*) with GROUP BY domain(x, 'a', 'b') to count texts",
            ));
        }
        let same = |m: &Measure| m.expr == bound.expr && m.quantiser == Some(quantiser);
        if let Some(variable) = self.measures.iter().position(same) {
            return Ok(variable);
        }
        self.measures.push(Measure {
            expr: bound.expr,
            quantiser: Some(quantiser),
            nullable: bound.typed.nullable,
            squared: false,
        });
        self.written.push((call.position, value.to_string()));
        Ok(self.measures.len() - 1)
    }

    fn number(&mut self, ast: &Ast, usage: &str) -> Result<f64, SqlError> {
        use crate::local::Node;
        let bound = bind(ast, self.names)?;
        match bound.expr.nodes() {
            [Node::Integer(value)] => Ok(*value as f64),
            [Node::Real(value)] => Ok(*value),
            _ => Err(SqlError::new(
                bound.position,
                format!("{ast} is not a number: the bounds of clamp are public"),
                format!("write {usage} with numbers"),
            )),
        }
    }

    /// COUNT(*) and COUNT(x).
    fn count(&mut self, ast: &Ast) -> Result<Source, SqlError> {
        let call = as_call(ast)
            .transpose()?
            .expect("only a call to COUNT is left for later");
        if call.star {
            return Ok(Source::Rows);
        }
        let [mut argument] = call.exactly("COUNT(*) or COUNT(x)")?;
        if let Some(clamp) = as_call(argument).transpose()?.filter(|c| c.name == "clamp") {
            argument = clamp
                .arguments
                .first()
                .ok_or_else(|| clamp.misused("COUNT(x)"))?;
        }
        let bound = bind(argument, self.names)?;
        if !bound.typed.nullable {
            return Ok(Source::Rows);
        }
        let same = |m: &Measure| m.expr == bound.expr;
        let variable = match self.measures.iter().position(same) {
            Some(variable) => variable,
            None => {
                self.measures.push(Measure {
                    expr: bound.expr,
                    quantiser: None,
                    nullable: true,
                    squared: false,
                });
                self.written.push((call.position, argument.to_string()));
                self.measures.len() - 1
            }
        };
        Ok(Source::Present(variable))
    }
}

/// The smallest short step that divides hi - lo into at most `max` parts.
pub(crate) fn nice_step(lo: f64, hi: f64, max: u64) -> f64 {
    let least = (hi - lo) / max as f64;
    let power = least.log10().floor() as i32;
    let divides = |step: &f64| {
        let whole = ((hi - lo) / step).round();
        *step >= least && whole >= 1.0 && Quantiser::new(lo, hi, Step::Exact(*step)).is_ok()
    };
    let candidates =
        (power..=power + 4).flat_map(|p| [1.0, 2.0, 2.5, 5.0].map(|digit| decimal(digit, p)));
    candidates
        .into_iter()
        .find(divides)
        .unwrap_or((hi - lo) / (max as f64 / 2.0).max(1.0).floor())
}

/// digit·10^power, as it is read from text.
fn decimal(digit: f64, power: i32) -> f64 {
    format!("{digit}e{power}").parse().unwrap_or(f64::NAN)
}
