//! The scale round: mean and spread of each column, and distribution of the label.

use super::data::{Design, Row};
use super::fit::{FitError, Released};
use super::layout::{Layout, Section, Values};
use super::scores::{LEAST_SPREAD, mean};
use super::validation::counted;
use super::{Label, Training};

/// Returns the layout of the scale round.
pub(crate) fn layout(training: &Training, design: &Design) -> Layout {
    let scaled = 2 * design.scaled().len();
    let classes = design.classes();
    let section = Section::default();
    if training.guarded && classes > 0 {
        // A vector needs at least one coordinate: without scaled columns it has one that is always 0.
        let first = section
            .centred(scaled, 0.0, 1.0)
            .counted(usize::from(scaled == 0));
        return Layout::full(first).with_counts(classes, Vec::new());
    }
    let (label, shares) = match training.label.map(|label| label.classes) {
        Some(0) => (2, 0),
        classes => (0, classes.unwrap_or(0).into()),
    };
    let section = section.centred(scaled + label, 0.0, 1.0).counted(shares);
    // Each document has one class, so the shares of all classes are parts of one whole.
    Layout::full_with(section, 1.0)
}

/// Returns a home's values: mean and mean square of each scaled column, and the distribution of its label.
pub(crate) fn values(training: &Training, design: &Design, rows: &[Row]) -> Values {
    let scaled = design.scaled();
    let values = scaled.iter().flat_map(|&column| {
        [1, 2].map(|power| mean(rows.iter().map(|row| row.columns[column].powi(power))))
    });
    let mut values: Vec<f64> = values.collect();
    if training.guarded && design.classes() > 0 {
        if values.is_empty() {
            values.push(0.0);
        }
        // A home counts for a class only if all its documents have that class (protocol.md §18).
        let class = rows.first().map(|row| row.label);
        let class = class.filter(|class| rows.iter().all(|row| row.label == *class));
        let class: Vec<usize> = class.map(|class| class as usize).into_iter().collect();
        return counted(values, &class, design.classes());
    }
    match training.label.map(|label| label.classes) {
        None => {}
        Some(0) => values.extend([
            mean(rows.iter().map(|row| row.label)),
            mean(rows.iter().map(|row| row.label * row.label)),
        ]),
        Some(classes) => values.extend((0..classes).map(|class| share_of(class, rows))),
    }
    vec![Some(values)]
}

/// Returns the share of the rows whose label is this class.
fn share_of(class: u16, rows: &[Row]) -> f64 {
    let of_class = rows.iter().map(|row| row.label == f64::from(class));
    mean(of_class.map(|is_of_class| f64::from(u8::from(is_of_class))))
}

/// Scales of the columns, from what the round released.
pub(crate) struct Scales {
    /// Mean of each column.
    pub(crate) means: Vec<f64>,
    /// Spread of each column; 1 of columns that are not scaled.
    pub(crate) spreads: Vec<f64>,
}

impl Scales {
    /// Computes the scales. Columns that never vary are accepted if there is a penalty, `l2` above 0.
    ///
    /// # Errors
    /// [`FitError`] for a number that never varies without a penalty, and for a label that is the same everywhere.
    pub(crate) fn of(
        released: &Released<'_>,
        training: &Training,
        l2: f64,
    ) -> Result<Self, FitError> {
        let (sums, means, design) = (released.sums, released.means, released.design);
        let mut scales = Self {
            means: vec![0.0; design.columns()],
            spreads: vec![1.0; design.columns()],
        };
        // The variance is a mean of squares less the square of a mean, which is at most 1. Both means are rounded, so
        // the variance is off by up to three roundings.
        let low = 3.0 * sums.rounding(1.0, sums.homes);
        // With noise no column counts as constant, and no variance as less than one deviation. `low` is nine of them.
        let least = if sums.is_noisy() { low / 9.0 } else { low };
        let scaled = design.scaled();
        for (pair, &column) in means.chunks_exact(2).zip(&scaled) {
            let variance = pair[1] - pair[0] * pair[0];
            scales.means[column] = pair[0];
            // With noise nobody can tell whether a column varies.
            if variance < low && l2 == 0.0 && !sums.is_noisy() {
                if design.is_number(column) {
                    return Err(FitError::Degenerate(released.name(column)));
                }
                // A value of a category that nobody has: the column is 0 everywhere, and keeps the spread 1.
                continue;
            }
            scales.spreads[column] = variance.max(least).sqrt().max(LEAST_SPREAD);
        }
        let of_label = &means[2 * scaled.len()..];
        match sums.is_noisy() || varies(released, training, of_label, low) {
            true => Ok(scales),
            false => Err(FitError::ConstantLabel),
        }
    }
}

/// Returns whether the label varies. `of_label` has the released means of the label; a variance or a share up to `low`
/// may come from rounding.
fn varies(released: &Released<'_>, training: &Training, of_label: &[f64], low: f64) -> bool {
    match (training.label, of_label) {
        (None, _) => true,
        // The count of a class may be withheld, but never if all homes have that class.
        (Some(Label { classes: 1.., .. }), _) if training.guarded => {
            !released.sums.counts().contains(&Some(released.sums.homes))
        }
        (Some(Label { classes: 0, .. }), [mean, square]) => square - mean * mean > low,
        (Some(_), shares) => shares.iter().filter(|share| **share > low).count() > 1,
    }
}
