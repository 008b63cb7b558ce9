//! From SQL to a plan: profile, local query, circuit and decoder (protocol.md §6).

mod expected;
mod training;

pub use expected::{ExpectedError, ExpectedNoise, ExplainError, Explanation};
pub use training::{TrainingPlan, TrainingRequest};

use crate::{
    decode::{Decoder, GroupColumn, Selection},
    statement::{self, Measures, Outputs, SqlError},
};
use dispers_circuit::{Circuit, CircuitError, Moment, Shape};
use dispers_query::{
    catalogue::Catalogue,
    local::{LocalQuery, MAX_GROUPS},
    profile::Profile,
    quantise::Quantiser,
};

/// Modulus of Field64, 2^64 - 2^32 + 1. Every sum must stay below it.
pub const FIELD_MODULUS: u64 = 0xFFFF_FFFF_0000_0001;

/// Limits that a network sets for queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Largest number of homes that may answer. No sum over this many homes may overflow.
    pub max_homes: u64,
    /// Largest number of groups, at most [`MAX_GROUPS`].
    pub max_groups: usize,
}

impl Default for PlanLimits {
    fn default() -> Self {
        Self {
            max_homes: 1 << 32,
            max_groups: MAX_GROUPS,
        }
    }
}

/// A planned query.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Homes that are asked. The profile's atoms are names of concepts and a secret of the querier.
    pub profile: Profile<String>,
    /// Query that runs inside each home.
    pub local: LocalQuery,
    /// Shape of the circuit that a contribution must satisfy.
    pub shape: Shape,
    /// Decoder of the released sums.
    pub decoder: Decoder,
}

impl Plan {
    /// Plans `sql` over the doctypes and concepts of `catalogue`.
    ///
    /// # Errors
    /// [`SqlError`] with the position where it is known, and what to write instead.
    pub fn new(sql: &str, catalogue: &Catalogue, limits: &PlanLimits) -> Result<Self, SqlError> {
        let regression = statement::as_select(sql).transpose()?;
        let selected = statement::parse(regression.as_deref().unwrap_or(sql))?;
        let select = &selected.select;
        let mut source = statement::bind_source(&select.from, catalogue)?;
        // WHERE is bound before GROUP BY and SELECT, because its conditions may show that a column is not
        // NULL. Fewer groups and counts are then needed.
        let (profile, conditions) = statement::split_where(select.selection.as_ref(), catalogue)?;
        let filter = statement::bind_filter(&conditions, source.names())?;
        let max_groups = limits.max_groups.min(MAX_GROUPS);
        let items = &select.projection;
        let keys = statement::bind_keys(&select.group_by, items, source.names(), max_groups)?;
        let Outputs {
            measures,
            selection,
        } = match regression {
            None => statement::bind_outputs(&selected, &keys, source.names())?,
            Some(_) if !keys.is_empty() => {
                return Err(SqlError::new(
                    None,
                    "a regression takes no GROUP BY",
                    "write a group as one of its terms: domain(x, 'a', 'b')",
                ));
            }
            Some(_) => {
                let (measures, model) = statement::bind_regression(&selected, source.names())?;
                let model = Some(model);
                let selection = Selection {
                    model,
                    ..Selection::default()
                };
                Outputs {
                    measures,
                    selection,
                }
            }
        };
        let group_columns = keys
            .iter()
            .enumerate()
            .map(|(index, bound)| match &bound.edges {
                Some(edges) => GroupColumn::of_bins(&bound.text, edges.clone()),
                None => GroupColumn::new(index, &bound.text, &bound.key, &selection),
            })
            .collect();
        let doctype = source.doctype.name.clone();
        let (fields, inner) = source.finish();
        let local = LocalQuery {
            doctype,
            fields,
            inner,
            filter,
            keys: keys.into_iter().map(|bound| bound.key).collect(),
            moments: measures.moments(),
            measures: measures.measures.clone(),
        };
        local.validate(catalogue).map_err(|e| {
            let what = format!("the query cannot be run: {e}");
            SqlError::new(None, what, "write a smaller query")
        })?;
        let shape = local.shape();
        // Overflow is checked before compiling, since its error can name the clamp to change.
        check_sums(&shape, &measures, limits.max_homes)?;
        // The circuit is compiled only to refuse a query that has none. The manifest carries the shape.
        Circuit::compile(&shape).map_err(|e| too_large(&e))?;
        Ok(Self {
            profile,
            shape,
            decoder: Decoder::new(&local, selection, group_columns),
            local,
        })
    }
}

fn too_large(error: &CircuitError) -> SqlError {
    let text = error.to_string();
    let (what, instead) = text
        .split_once(": ")
        .unwrap_or((&text, "ask for less at once"));
    SqlError::new(None, what, instead)
}

/// Refuses a query if one of its sums over all homes could reach the field's modulus.
fn check_sums(shape: &Shape, measures: &Measures, max_homes: u64) -> Result<(), SqlError> {
    for moment in &shape.moments {
        // Counted levels are at most 1 per home and cannot overflow.
        let Moment::Product { factors, .. } = moment else {
            continue;
        };
        let maxima = factors
            .iter()
            .map(|factor| shape.variables[usize::from(*factor)].max);
        let maxima: Vec<u128> = maxima.map(u128::from).collect();
        if fits(maxima.iter().product(), max_homes) {
            continue;
        }
        // The advice is about the factor with the most levels: a coarser step helps most there.
        let Some((factor, max)) = factors
            .iter()
            .copied()
            .zip(&maxima)
            .max_by_key(|(_, max)| **max)
        else {
            continue;
        };
        let others: u128 = match factors.as_slice() {
            [a, b] if a != b => maxima.iter().product::<u128>() / max,
            _ => 1,
        };
        let power = if factors.len() == 2 && others == 1 {
            2
        } else {
            1
        };
        let (position, written) = &measures.written[usize::from(factor)];
        let summands = match (factors.len(), power) {
            (2, 2) => "squares",
            (2, _) => "products",
            _ => "values",
        };
        let what =
            format!("the sum of {summands} of {written} over {max_homes} homes would overflow");
        let Some(quantiser) = measures.measures[usize::from(factor)].quantiser else {
            continue;
        };
        let instead = coarser(&quantiser, written, |max| {
            fits(u128::from(max).pow(power).saturating_mul(others), max_homes)
        });
        return Err(SqlError::new(*position, what, instead));
    }
    Ok(())
}

/// Returns whether the sum of `max_homes` numbers of at most `largest` does not overflow.
fn fits(largest: u128, max_homes: u64) -> bool {
    largest
        .checked_mul(u128::from(max_homes))
        .is_some_and(|sum| sum < u128::from(FIELD_MODULUS))
}

/// Returns advice on which clamp to write so that sums fit.
fn coarser(quantiser: &Quantiser, written: &str, fits: impl Fn(u64) -> bool) -> String {
    // Finds the largest number of levels that fits, bit by bit.
    let most = (0..32).rev().fold(0u64, |most, bit| {
        let more = most | 1 << bit;
        if fits(more) { more } else { most }
    });
    if most == 0 {
        return "ask fewer homes".to_owned();
    }
    let (lo, hi) = (quantiser.lo(), quantiser.hi());
    let step = statement::nice_step(lo, hi, most);
    format!("write a step of at least {step}: clamp({written}, {lo}, {hi}, {step})")
}

#[cfg(test)]
mod tests;
