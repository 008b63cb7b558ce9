//! From SQL to what each party needs: profile, local query, circuit, decoder (protocol.md §6).

use crate::catalogue::Catalogue;
use crate::circuit::Shape;
use crate::decode::{Decoder, GroupColumn};
use crate::local::{LocalQuery, MAX_GROUPS};
use crate::profile::Profile;
use crate::quantise::Quantiser;
use crate::sql::{self, Outputs, SqlError};

/// Modulus of Field64, below which every sum must stay: 2^64 - 2^32 + 1.
pub const FIELD_MODULUS: u64 = 0xFFFF_FFFF_0000_0001;

/// What a network allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanLimits {
    /// Number of homes that may answer: sums over so many must not overflow.
    pub max_homes: u64,
    /// Number of groups, at most [`MAX_GROUPS`].
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

/// A query, planned.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Who is asked. Its atoms are concepts by name, a secret of the querier's.
    pub profile: Profile<String>,
    /// What a home computes.
    pub local: LocalQuery,
    /// What its contribution may be.
    pub shape: Shape,
    /// What the released sums mean.
    pub decoder: Decoder,
}

impl Plan {
    /// Plans `sql` over what `catalogue` lists.
    ///
    /// # Errors
    /// [`SqlError`] with the place where known, and what to write instead.
    pub fn new(sql: &str, catalogue: &Catalogue, limits: &PlanLimits) -> Result<Self, SqlError> {
        let select = sql::parse(sql)?;
        let mut source = sql::bind_source(&select.from, catalogue)?;
        let (profile, conditions) = sql::split_where(select.selection.as_ref(), catalogue)?;
        let filter = sql::bind_filter(&conditions, source.names())?;
        let max_groups = limits.max_groups.min(MAX_GROUPS);
        let items = &select.projection;
        let keys = sql::bind_keys(&select.group_by, items, source.names(), max_groups)?;
        let outputs = sql::bind_outputs(items, &keys, source.names())?;
        check_sums(&outputs, limits.max_homes)?;

        let Outputs {
            measures, columns, ..
        } = outputs;
        let group_columns = keys
            .iter()
            .enumerate()
            .map(|(index, bound)| GroupColumn::new(index, &bound.text, &bound.key, &columns))
            .collect();
        let doctype = source.doctype.name.clone();
        let (fields, inner) = source.finish();
        let local = LocalQuery {
            doctype,
            fields,
            inner,
            filter,
            keys: keys.into_iter().map(|bound| bound.key).collect(),
            measures,
        };
        local.validate(catalogue).map_err(|e| {
            let what = format!("the query cannot be run: {e}");
            SqlError::new(None, what, "write a smaller query")
        })?;
        Ok(Self {
            profile,
            shape: local.shape(),
            decoder: Decoder::new(&local, columns, group_columns),
            local,
        })
    }
}

/// Sums of levels, and of their squares, over all homes must stay below the field's modulus.
fn check_sums(outputs: &Outputs, max_homes: u64) -> Result<(), SqlError> {
    for (measure, (position, written)) in outputs.measures.iter().zip(&outputs.written) {
        let Some(quantiser) = measure.quantiser else {
            continue;
        };
        let power = if measure.squared { 2 } else { 1 };
        let fits = |max: u64| {
            u128::from(max)
                .pow(power)
                .checked_mul(u128::from(max_homes))
                .is_some_and(|sum| sum < u128::from(FIELD_MODULUS))
        };
        if fits(quantiser.max()) {
            continue;
        }
        let of = if measure.squared { "squares" } else { "values" };
        let what = format!("the sum of {of} of {written} over {max_homes} homes would overflow");
        return Err(SqlError::new(
            *position,
            what,
            coarser(&quantiser, written, fits),
        ));
    }
    Ok(())
}

/// The clamp to write so that sums fit.
fn coarser(quantiser: &Quantiser, written: &str, fits: impl Fn(u64) -> bool) -> String {
    // The largest number of levels that fits, bit by bit.
    let most = (0..32).rev().fold(0u64, |most, bit| {
        let more = most | 1 << bit;
        if fits(more) { more } else { most }
    });
    if most == 0 {
        return "ask fewer homes".to_owned();
    }
    let (lo, hi) = (quantiser.lo(), quantiser.hi());
    let step = sql::nice_step(lo, hi, most);
    format!("write a step of at least {step}: clamp({written}, {lo}, {hi}, {step})")
}

#[cfg(test)]
mod tests;
