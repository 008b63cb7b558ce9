//! Values that a home measures, and sums over them. Equal values and equal sums are kept once.

use sqlparser::ast::Expr as Ast;

use super::bound::Bound;
use super::error::{Position, SqlError};
use super::expression::{bind, bind_condition};
use super::functions::{Call, as_call};
use super::grouping::bind_key;
use super::names::Names;
use super::walk::position_of;
use crate::decode::Value;
use dispers_circuit::{MAX_BINS, Moment};
use dispers_query::{
    local::{Arithmetic, Category, Comparison, Expr, Function, Kind, MAX_MEASURES, Measure, Node},
    quantise::{InvalidGrid, Quantiser, Step},
};

/// Number of bins of the histogram that a quantile is read from, where the query gives no step.
const BINS: u64 = 100;

/// Measures and moments of a query while it is bound.
#[derive(Default)]
pub(crate) struct Measures {
    /// Measured values, one per variable of the circuit.
    pub(crate) measures: Vec<Measure>,
    /// For each measure, its position and its text in the query.
    pub(crate) written: Vec<(Option<Position>, String)>,
    moments: Vec<Moment>,
}

impl Measures {
    /// Keeps only the measures that have a grid, so that the same query can be bound once more. A count of
    /// values then finds the measure of the same value, wherever the two stand in the query.
    pub(super) fn gridded(self) -> Self {
        let all = self.measures.into_iter().zip(self.written);
        let gridded = all.filter(|(measure, _)| measure.quantiser.is_some());
        let (measures, written) = gridded.unzip();
        Self {
            measures,
            written,
            moments: Vec::new(),
        }
    }

    /// Returns the moments in the circuit's order: by variable, counts before sums.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        let mut moments = self.moments.clone();
        moments.sort_by_key(|moment| match moment {
            Moment::Product { present, factors } => {
                let first = present.iter().chain(factors).min().copied();
                (first, 0, present.clone(), factors.len(), factors.clone())
            }
            Moment::Levels { variable, .. } => (Some(*variable), 1, Vec::new(), 0, Vec::new()),
        });
        moments
    }

    /// Returns those of `variables` that may be NULL, in increasing order, each once.
    pub(super) fn nullable(&self, variables: &[u16]) -> Vec<u16> {
        let mut nullable: Vec<u16> = variables.to_vec();
        nullable.retain(|v| self.measures[usize::from(*v)].nullable);
        nullable.sort_unstable();
        nullable.dedup();
        nullable
    }

    /// Adds the sum of the product of `factors` over rows where none of `present` is NULL, and the count of
    /// these rows.
    pub(super) fn sum(&mut self, present: &[u16], factors: &[u16]) {
        let present = present.to_vec();
        let mut factors = factors.to_vec();
        factors.sort_unstable();
        // The count guards the sum (protocol.md §9), and means need it.
        if !present.is_empty() {
            self.need(Moment::count(present.clone()));
        }
        if !factors.is_empty() {
            self.need(Moment::Product { present, factors });
        }
    }

    /// Adds the counts of rows at each level of `variable`; if `merged`, in runs that reach the minimum
    /// cohort.
    pub(super) fn levels(&mut self, variable: u16, merged: bool) {
        // With single levels and runs of one variable, differences would reveal the counts that either
        // withholds.
        if self.moments.contains(&Moment::Levels {
            variable,
            merged: true,
        }) {
            return;
        }
        let single = Moment::Levels {
            variable,
            merged: false,
        };
        self.moments.retain(|moment| *moment != single);
        self.need(Moment::Levels { variable, merged });
    }

    fn need(&mut self, moment: Moment) {
        if !self.moments.contains(&moment) {
            self.moments.push(moment);
        }
    }

    /// Returns the variable of a value, which is added on first use. Equal values share one variable.
    fn variable(
        &mut self,
        bound: Bound,
        quantiser: Option<Quantiser>,
        one_hot: bool,
        written: String,
    ) -> Result<u16, SqlError> {
        let mut measures = self.measures.iter();
        let variable = match measures.position(|m| m.expr == bound.expr && m.quantiser == quantiser)
        {
            Some(variable) => variable,
            None => {
                self.measures.push(Measure {
                    expr: bound.expr,
                    quantiser,
                    nullable: bound.typed.nullable,
                    one_hot,
                });
                self.written.push((bound.position, written));
                self.measures.len() - 1
            }
        };
        // One-hot encoding serves every use of the variable, so one use that needs it decides for all.
        self.measures[variable].one_hot |= one_hot;
        if self.measures.len() > MAX_MEASURES {
            return Err(SqlError::new(
                None,
                format!("the query measures more than {MAX_MEASURES} values"),
                format!("write at most {MAX_MEASURES} different clamps in one query"),
            ));
        }
        Ok(variable as u16)
    }

    /// Returns the variable of `clamp(x, lo, hi [, step])`, which is NULL in rows where `filter` does not
    /// hold.
    pub(super) fn clamped(
        &mut self,
        aggregate: &str,
        argument: &Ast,
        filter: Option<&Ast>,
        names: &mut dyn Names,
    ) -> Result<u16, SqlError> {
        let clamp = as_call(argument).transpose()?.filter(|c| c.name == "clamp");
        let Some(clamp) = clamp else {
            return Err(unclamped(aggregate, argument, names)?);
        };
        let (value, numbers) = arguments(&clamp, names)?;
        let step = numbers.get(2).map_or(Step::Levels4096, |s| Step::Exact(*s));
        let quantiser = grid(&clamp, value, &numbers, step)?;
        let bound = filtered(numeric(value, names)?, filter, names)?;
        self.variable(bound, Some(quantiser), false, value.to_string())
    }

    /// Returns the one-hot variable of a clamped value whose levels are counted.
    pub(super) fn counted(
        &mut self,
        aggregate: &str,
        argument: &Ast,
        filter: Option<&Ast>,
        names: &mut dyn Names,
    ) -> Result<u16, SqlError> {
        let clamp = as_call(argument).transpose()?.filter(|c| c.name == "clamp");
        let Some(clamp) = clamp else {
            return Err(unclamped(aggregate, argument, names)?);
        };
        let (value, numbers) = arguments(&clamp, names)?;
        let (lo, hi) = (numbers[0], numbers[1]);
        let bound = numeric(value, names)?;
        // A step of 1 keeps integers exact, if there are not too many levels.
        let whole = bound.typed.kind == Kind::Integer && lo.fract() == 0.0 && hi.fract() == 0.0;
        let step = match numbers.get(2) {
            Some(step) => *step,
            None if whole && hi - lo <= BINS as f64 => 1.0,
            None if lo < hi => nice_step(lo, hi, BINS),
            None => 1.0,
        };
        let quantiser = grid(&clamp, value, &numbers, Step::Exact(step))?;
        // Every counted level is an output of the circuit, hence the bound (protocol.md §7).
        if quantiser.max() >= MAX_BINS {
            let least = nice_step(lo, hi, MAX_BINS - 1);
            return Err(SqlError::new(
                clamp.position,
                format!(
                    "{aggregate} over {} levels is too fine",
                    quantiser.max() + 1
                ),
                format!("write a step of at least {least}: clamp({value}, {lo}, {hi}, {least})"),
            ));
        }
        let bound = filtered(bound, filter, names)?;
        self.variable(bound, Some(quantiser), true, value.to_string())
    }

    /// Returns the one-hot variable of `domain(x, 'a', 'b')`, and the value of each level.
    pub(super) fn category(
        &mut self,
        argument: &Ast,
        filter: Option<&Ast>,
        names: &mut dyn Names,
    ) -> Result<(u16, Vec<Value>), SqlError> {
        let key = bind_key(argument, names)?;
        let position = position_of(argument);
        let mut parts = Vec::new();
        for (level, category) in (0i64..).zip(&key.categories) {
            parts.push(super::regression::comparison(
                category, &key.expr, position,
            )?);
            parts.push(Bound::literal(Node::Integer(level), position)?);
        }
        let last = key.categories.len() as f64 - 1.0;
        let quantiser = Quantiser::new(0.0, last, Step::Exact(1.0)).map_err(|_| {
            SqlError::new(
                position,
                "the MODE of a single value is that value",
                "list at least two values: domain(x, 'a', 'b')",
            )
        })?;
        if quantiser.max() >= MAX_BINS {
            return Err(SqlError::new(
                position,
                format!("MODE over {} values is too much", key.categories.len()),
                format!("list at most {MAX_BINS}"),
            ));
        }
        let node = Node::Case {
            whens: key.categories.len() as u16,
            otherwise: false,
        };
        let bound = filtered(Bound::apply(node, parts)?, filter, names)?;
        let variable = self.variable(bound, Some(quantiser), true, argument.to_string())?;
        Ok((variable, key.categories.iter().map(Value::from).collect()))
    }

    /// Returns the variable of a text.
    pub(super) fn text(&mut self, bound: Bound, written: String) -> Result<u16, SqlError> {
        self.variable(bound, None, false, written)
    }

    /// Returns the variable of a number that is 0 or 1.
    pub(super) fn bit(&mut self, bound: Bound, written: String) -> Result<u16, SqlError> {
        let grid = Quantiser::new(0.0, 1.0, Step::Exact(1.0)).expect("0 and 1 are a grid");
        self.variable(bound, Some(grid), false, written)
    }

    /// Returns the variable of a value for which the catalogue gives a range, as [`Names::range`] returns it.
    pub(super) fn ranged(
        &mut self,
        bound: Bound,
        (lo, hi, whole): (f64, f64, bool),
        written: String,
    ) -> Result<u16, SqlError> {
        let step = if whole {
            Step::Exact(1.0)
        } else {
            Step::Levels4096
        };
        let grid = Quantiser::new(lo, hi, step).map_err(|e| {
            let what = format!("the catalogue's range of {written}: {e}");
            SqlError::new(
                bound.position,
                what,
                format!("write clamp({written}, lo, hi)"),
            )
        })?;
        self.variable(bound, Some(grid), false, written)
    }

    /// Returns the variables that must not be NULL for `argument` not to be NULL. The list is empty if
    /// `argument` never is.
    pub(super) fn present(
        &mut self,
        argument: &Ast,
        filter: Option<&Ast>,
        names: &mut dyn Names,
    ) -> Result<Vec<u16>, SqlError> {
        let clamp = as_call(argument).transpose()?.filter(|c| c.name == "clamp");
        // A clamp is NULL exactly where its value is, so COUNT(clamp(x, …)) counts x.
        let value = match &clamp {
            Some(clamp) => *clamp
                .arguments
                .first()
                .ok_or_else(|| clamp.misused("COUNT(x)"))?,
            None => argument,
        };
        let bound = filtered(bind(value, names)?, filter, names)?;
        self.count(bound, value.to_string())
    }

    /// Returns the variables that must not be NULL for a condition to be true. If `known`, for the condition
    /// to be true or false.
    pub(super) fn condition(
        &mut self,
        condition: &Ast,
        known: bool,
        filter: Option<&Ast>,
        names: &mut dyn Names,
    ) -> Result<Vec<u16>, SqlError> {
        let mut bound = bind_condition(condition, names)?;
        // A count can only test for NULL, so a condition that is not true becomes NULL.
        if !known {
            let position = bound.position;
            let yes = Bound::literal(Node::Boolean(true), position)?;
            let node = Node::Case {
                whens: 1,
                otherwise: false,
            };
            bound = Bound::apply(node, vec![bound, yes])?;
        }
        let bound = filtered(bound, filter, names)?;
        self.count(bound, condition.to_string())
    }

    fn count(&mut self, bound: Bound, written: String) -> Result<Vec<u16>, SqlError> {
        if !bound.typed.nullable {
            return Ok(Vec::new());
        }
        let known = self.measures.iter().position(|m| m.expr == bound.expr);
        let variable = match known {
            Some(variable) => variable as u16,
            None => self.variable(bound, None, false, written)?,
        };
        self.sum(&[variable], &[]);
        Ok(vec![variable])
    }
}

/// Returns `value` where `filter` is true, else NULL.
fn filtered(value: Bound, filter: Option<&Ast>, names: &mut dyn Names) -> Result<Bound, SqlError> {
    let Some(filter) = filter else {
        return Ok(value);
    };
    let position = value.position;
    let condition = bind_condition(filter, names)?;
    let node = Node::Case {
        whens: 1,
        otherwise: false,
    };
    let mut bound = Bound::apply(node, vec![condition, value])?;
    bound.position = position;
    Ok(bound)
}

/// Returns the value of a clamp, and its two or three numbers.
fn arguments<'a>(clamp: &Call<'a>, names: &mut dyn Names) -> Result<(&'a Ast, Vec<f64>), SqlError> {
    clamp.plain()?;
    let usage = "clamp(x, lo, hi) or clamp(x, lo, hi, step)";
    let (value, bounds) = match clamp.arguments.as_slice() {
        [value, bounds @ ..] if bounds.len() == 2 || bounds.len() == 3 => (*value, bounds),
        _ => return Err(clamp.misused(usage)),
    };
    let mut numbers = Vec::new();
    for bound in bounds {
        let what = "the bounds of clamp are public";
        numbers.push(number(
            bound,
            what,
            &format!("write {usage} with numbers"),
            names,
        )?);
    }
    Ok((value, numbers))
}

/// Returns the value of a literal number.
///
/// # Errors
/// If `ast` is an expression of any other form. `what` says in the error why it must be public.
pub(super) fn number(
    ast: &Ast,
    what: &str,
    instead: &str,
    names: &mut dyn Names,
) -> Result<f64, SqlError> {
    let bound = bind(ast, names)?;
    match bound.expr.nodes() {
        [Node::Integer(value)] => Ok(*value as f64),
        [Node::Real(value)] => Ok(*value),
        _ => Err(SqlError::new(
            bound.position,
            format!("{ast} is not a number: {what}"),
            instead,
        )),
    }
}

fn grid(clamp: &Call<'_>, value: &Ast, numbers: &[f64], step: Step) -> Result<Quantiser, SqlError> {
    let (lo, hi) = (numbers[0], numbers[1]);
    Quantiser::new(lo, hi, step).map_err(|e| {
        let instead = match e {
            InvalidGrid::NotFinite => "clamp(x, lo, hi) or clamp(x, lo, hi, step)".to_owned(),
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
        let written = clamp.arguments.get(1).and_then(|ast| position_of(ast));
        let position = written.or(clamp.position);
        SqlError::new(position, format!("clamp of {value}: {e}"), instead)
    })
}

fn numeric(value: &Ast, names: &mut dyn Names) -> Result<Bound, SqlError> {
    let bound = bind(value, names)?;
    if bound.typed.kind.is_numeric() {
        return Ok(bound);
    }
    Err(SqlError::new(
        bound.position,
        format!(
            "clamp takes a number, and {value} is {}",
            bound.typed.kind.name()
        ),
        "write COUNT(*) with GROUP BY domain(x, 'a', 'b') to count texts, or SHARE(x = 'a')",
    ))
}

fn unclamped(aggregate: &str, argument: &Ast, names: &mut dyn Names) -> Result<SqlError, SqlError> {
    let bound = bind(argument, names)?;
    let range = match names.range(&bound.expr) {
        Some((lo, hi, true)) => format!("{lo}, {hi}, 1"),
        Some((lo, hi, false)) => format!("{lo}, {hi}"),
        None => "lo, hi".to_owned(),
    };
    Ok(SqlError::new(
        bound.position,
        format!("{aggregate}({argument}) needs bounds, so that no home weighs more than others"),
        format!("write {aggregate}(clamp({argument}, {range}))"),
    ))
}

/// Returns the key of the bins of `HISTOGRAM(clamp(x, lo, hi), bins)`, and the edges: the lower edge of each
/// bin, then the upper edge of the last.
pub(super) fn bins(
    call: &Call<'_>,
    names: &mut dyn Names,
    max_groups: usize,
) -> Result<(dispers_query::local::Key, Vec<f64>), SqlError> {
    let usage = "HISTOGRAM(clamp(x, lo, hi), bins)";
    let [argument, bins] = call.exactly(usage)?;
    let clamp = as_call(argument).transpose()?.filter(|c| c.name == "clamp");
    let Some(clamp) = clamp else {
        return Err(unclamped("HISTOGRAM", argument, names)?);
    };
    let (value, numbers) = arguments(&clamp, names)?;
    let (lo, hi) = (numbers[0], numbers[1]);
    // Only the check of the bounds matters here: bins are made by the key and not by a grid.
    grid(&clamp, value, &numbers, Step::Levels4096)?;
    let what = "the number of bins is public";
    let count = number(bins, what, &format!("write {usage} with a number"), names)?;
    if count.fract() != 0.0 || !(2.0..=max_groups as f64).contains(&count) {
        return Err(SqlError::new(
            position_of(bins),
            format!("{bins} is no number of bins"),
            format!("write a whole number from 2 to {max_groups}"),
        ));
    }
    let position = clamp.position;
    let x = numeric(value, names)?.to(Kind::Real)?;
    let apply = Bound::apply;
    // The multiplication comes before the division, so that edges that are short decimals are exact.
    let distance = arithmetic(Arithmetic::Subtract, x.clone(), real(lo, position)?)?;
    let scaled = arithmetic(Arithmetic::Multiply, distance, real(count, position)?)?;
    let place = arithmetic(Arithmetic::Divide, scaled, real(hi - lo, position)?)?;
    let place = apply(Node::Function(Function::Floor), vec![place])?;
    let place = apply(Node::ToInteger, vec![place])?;
    let below = apply(
        Node::Compare(Comparison::Less),
        vec![x.clone(), real(lo, position)?],
    )?;
    let above = apply(
        Node::Compare(Comparison::GreaterOrEqual),
        vec![x, real(hi, position)?],
    )?;
    let last = count as i64 - 1;
    let parts = vec![
        below,
        Bound::literal(Node::Integer(0), position)?,
        above,
        Bound::literal(Node::Integer(last), position)?,
        place,
    ];
    let node = Node::Case {
        whens: 2,
        otherwise: true,
    };
    let expr: Expr = apply(node, parts)?.expr;
    let key = dispers_query::local::Key {
        expr,
        categories: (0..=last).map(Category::Integer).collect(),
        // A row without a value is in no bin, so there is no bin for NULL.
        nullable: false,
    };
    let edges = (0..=last + 1).map(|bin| lo + (hi - lo) * bin as f64 / count);
    Ok((key, edges.collect()))
}

fn real(value: f64, position: Option<Position>) -> Result<Bound, SqlError> {
    Bound::literal(Node::Real(value), position)
}

fn arithmetic(operation: Arithmetic, a: Bound, b: Bound) -> Result<Bound, SqlError> {
    Bound::apply(Node::Arithmetic(operation), vec![a, b])
}

/// Returns the smallest short step that divides hi - lo into at most `max` parts.
pub(crate) fn nice_step(lo: f64, hi: f64, max: u64) -> f64 {
    let least = (hi - lo) / max as f64;
    let power = least.log10().floor() as i32;
    let candidates =
        (power..=power + 4).flat_map(|p| [1.0, 2.0, 2.5, 5.0].map(|digit| decimal(digit, p)));
    candidates
        .into_iter()
        .find(|step| {
            let whole = ((hi - lo) / step).round();
            *step >= least && whole >= 1.0 && Quantiser::new(lo, hi, Step::Exact(*step)).is_ok()
        })
        .unwrap_or((hi - lo) / (max as f64 / 2.0).max(1.0).floor())
}

/// Returns digit·10^power, rounded as the same number in a text would be.
fn decimal(digit: f64, power: i32) -> f64 {
    format!("{digit}e{power}").parse().unwrap_or(f64::NAN)
}
