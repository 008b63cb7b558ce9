//! What is read off counted levels: quantiles, extremes, the mode.

use std::ops::RangeInclusive;

use super::{Value, cell::Cell};
use dispers_query::quantise::Quantiser;

/// Neighbouring levels that were counted together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) levels: RangeInclusive<u64>,
    /// Below zero only by noise.
    pub(super) count: i128,
}

impl Run {
    /// The middle of its values, and how far the true value may be.
    fn middle(&self, grid: &Quantiser) -> (f64, f64) {
        let (low, high) = (
            grid.value(*self.levels.start()),
            grid.value(*self.levels.end()),
        );
        (
            low + (high - low) / 2.0,
            (high - low) / 2.0 + grid.width() / 2.0,
        )
    }

    /// The value of the person at `rank`, counted from 0, if the run's people lie evenly.
    fn at(&self, rank: f64, grid: &Quantiser) -> f64 {
        let (low, high) = (
            grid.value(*self.levels.start()),
            grid.value(*self.levels.end()),
        );
        low + (high - low) * ((rank + 0.5) / self.count as f64).clamp(0.0, 1.0)
    }
}

/// PERCENTILE_CONT: linear between the two values around the wanted rank.
pub(super) fn quantile(runs: &[Run], grid: &Quantiser, fraction: f64) -> Cell {
    let people: i128 = runs.iter().map(|run| run.count.max(0)).sum();
    if people == 0 {
        return Value::Null.into();
    }
    let rank = fraction * (people - 1) as f64;
    let (below, above) = (at(runs, grid, rank.floor()), at(runs, grid, rank.ceil()));
    let (Some((low, one)), Some((high, other))) = (below, above) else {
        return Value::Null.into();
    };
    Cell {
        value: Value::Real(low + (high - low) * rank.fract()),
        resolution: Some(one.max(other)),
    }
}

/// The value of the person at `rank`, and how far from the true one it may be.
fn at(runs: &[Run], grid: &Quantiser, rank: f64) -> Option<(f64, f64)> {
    let mut before = 0.0;
    for run in runs {
        let count = run.count.max(0) as f64;
        if rank < before + count {
            let value = run.at(rank - before, grid);
            let (low, high) = (
                grid.value(*run.levels.start()),
                grid.value(*run.levels.end()),
            );
            let spread = (value - low).max(high - value);
            return Some((value, spread + grid.width() / 2.0));
        }
        before += count;
    }
    None
}

/// The level at which the first, or the last, run reaches the minimum cohort.
pub(super) fn extreme(runs: &[Run], grid: &Quantiser, largest: bool) -> Cell {
    // Of a single run it is not known where it was reached.
    let run = match runs {
        [first, .., last] => Some(if largest { last } else { first }),
        [only] if only.levels.start() == only.levels.end() => Some(only),
        _ => None,
    };
    let level = run.map(|run| match largest {
        true => *run.levels.start(),
        false => *run.levels.end(),
    });
    match level {
        None => Value::Null.into(),
        Some(level) => Cell {
            value: Value::Real(grid.value(level)),
            resolution: Some(grid.width() / 2.0),
        },
    }
}

/// The level with the most people; of several the first.
pub(super) fn mode(runs: &[Run], grid: &Quantiser, labels: &[Value]) -> Cell {
    let per_level = |run: &Run| {
        let levels = run.levels.end() - run.levels.start() + 1;
        run.count.max(0) as f64 / levels as f64
    };
    let most = |best: &Run, run: &Run| per_level(run) > per_level(best);
    let mut runs = runs.iter();
    let Some(mut best) = runs.next() else {
        return Value::Null.into();
    };
    for run in runs {
        if most(best, run) {
            best = run;
        }
    }
    let label = labels.get(*best.levels.start() as usize);
    match label {
        Some(label) => label.clone().into(),
        None => {
            let (value, resolution) = best.middle(grid);
            Cell {
                value: Value::Real(value),
                resolution: Some(resolution),
            }
        }
    }
}
