//! Values read off counted levels: quantiles, extremes, the mode.

use std::ops::RangeInclusive;

use super::{Value, cell::Cell};
use dispers_query::quantise::Quantiser;

/// Neighbouring levels that were counted together.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub(super) levels: RangeInclusive<u64>,
    /// Number of rows in the run. It can be negative, but only by noise.
    pub(super) count: i128,
}

impl Run {
    /// Returns the middle of the run's values, and the largest distance from it to a true value.
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

    /// Returns the value of the person at `rank`, counted from 0, if the people of the run are spread evenly
    /// over it.
    fn at(&self, rank: f64, grid: &Quantiser) -> f64 {
        let (low, high) = (
            grid.value(*self.levels.start()),
            grid.value(*self.levels.end()),
        );
        // The 0.5 places each person in the middle of an equal part of the run.
        low + (high - low) * ((rank + 0.5) / self.count as f64).clamp(0.0, 1.0)
    }
}

/// Returns PERCENTILE_CONT: a linear interpolation between the two values around the wanted rank.
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

/// Returns the value of the person at `rank`, and the largest distance from the true value.
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

/// Returns the level at which the first or the last run reaches the minimum cohort. It is never a single
/// person's value (protocol.md §7).
pub(super) fn extreme(runs: &[Run], grid: &Quantiser, largest: bool) -> Cell {
    // A single run over several levels does not show at which level the cohort was reached.
    let run = match runs {
        [first, .., last] => Some(if largest { last } else { first }),
        [only] if only.levels.start() == only.levels.end() => Some(only),
        _ => None,
    };
    // Runs are built from both ends inwards. So the first run ends, and the last begins, where the cohort is
    // reached.
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

/// Returns the level with the most people, and the first of several such levels.
pub(super) fn mode(runs: &[Run], grid: &Quantiser, labels: &[Value]) -> Cell {
    let mut runs = runs.iter();
    let Some(mut best) = runs.next() else {
        return Value::Null.into();
    };
    for run in runs {
        if per_level(run) > per_level(best) {
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

fn per_level(run: &Run) -> f64 {
    let levels = run.levels.end() - run.levels.start() + 1;
    run.count.max(0) as f64 / levels as f64
}
