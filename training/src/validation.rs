//! The validating round: loss, hits, confusion and scores at held-out homes.

use std::ops::Range;

use ndarray::Array1;
use rand::CryptoRng;

use super::data::{Design, Row};
use super::layout::{Layout, MAX_LOSS, Section, Values};
use super::model::Kind;
use super::scores::{State, argmax, mean};
use super::{SCORE_BINS, Training};

/// Most classes for which each class is counted by each predicted class.
pub(crate) const MAX_CONFUSED: usize = 16;

/// Returns the layout of the validating round.
pub(crate) fn layout(training: &Training, design: &Design) -> Layout {
    let classes = design.classes();
    let loss = Section::default().centred(1, 0.0, MAX_LOSS);
    if training.guarded && classes > 0 {
        let (count, runs) = cells(classes);
        return Layout::full(loss).with_counts(count, runs);
    }
    match training.kind() {
        Kind::Cluster => Layout::full(loss),
        // Squared error, the label and its square. Predictions are cut off at −1 and 2, so the error is at most 4.
        Kind::Number => Layout::full(Section::default().centred(1, 0.0, 4.0).centred(2, 0.0, 1.0)),
        // Loss and share of right predictions, then confusion and scores by class.
        Kind::Class => {
            let confused = (classes <= MAX_CONFUSED).then_some(classes * classes);
            let scores = (classes == 2).then_some(2 * SCORE_BINS);
            let wholes: Vec<usize> = confused.into_iter().chain(scores).collect();
            let section = loss.centred(1, 0.0, 1.0).counted(wholes.iter().sum());
            // Confusion and scores are shares of one whole each.
            Layout::full_with(section, (wholes.len() as f64).sqrt())
        }
    }
}

/// Returns the number of counts of homes in a guarded session, and the sections that are released in runs.
///
/// For two classes these are the bins of scores of each class, then the right and the wrong predictions. For more
/// classes they are each class by each predicted class, and above `MAX_CONFUSED` only the right and the wrong
/// predictions.
fn cells(classes: usize) -> (usize, Vec<Range<usize>>) {
    match classes {
        2 => {
            // Section 0 has the loss.
            let bins = [0, 1].map(|class| 1 + class * SCORE_BINS..1 + (class + 1) * SCORE_BINS);
            (2 * SCORE_BINS + 2, bins.to_vec())
        }
        _ if classes <= MAX_CONFUSED => (classes * classes, Vec::new()),
        _ => (2, Vec::new()),
    }
}

/// Makes a home's values from its first section and `count` counts of homes. The home counts in those of `which`.
pub(crate) fn counted(first: Vec<f64>, which: &[usize], count: usize) -> Values {
    let mut sections: Values = vec![Some(first)];
    sections.extend((0..count).map(|place| which.contains(&place).then(Vec::new)));
    sections
}

/// Returns a held-out home's values for the model in `state`; `None` if the state is not of this model.
pub(crate) fn values(
    training: &Training,
    design: &Design,
    state: &State,
    rows: &[Row],
    rng: &mut impl CryptoRng,
) -> Option<Values> {
    let predicted = training.family.algorithm().predict(design, state, rows)?;
    let classes = design.classes();
    if training.guarded && classes > 0 {
        let (loss, cells_of_rows) = cells_of(classes, rows, &predicted);
        // A home counts in one cell only, that of one of its documents. This document is drawn, so that shares are
        // right on average.
        let drawn = rng.next_u64() % cells_of_rows.len().max(1) as u64;
        let mut which: Vec<usize> = cells_of_rows
            .get(drawn as usize)
            .copied()
            .into_iter()
            .collect();
        if let ([cell], 2) = (which.as_slice(), classes) {
            // Right and wrong have counts of their own, so that an accuracy can be released without the scores.
            which.push(side_of(*cell));
        }
        return Some(counted(vec![loss], &which, cells(classes).0));
    }
    Some(vec![Some(match training.kind() {
        Kind::Cluster => {
            let distance = mean(predicted.iter().map(|one| one[1]));
            vec![distance.min(MAX_LOSS)]
        }
        Kind::Number => errors(rows, &predicted),
        Kind::Class => shares(classes, rows, &predicted),
    })])
}

/// Returns the mean squared error of a number, and the means of the label and its square.
fn errors(rows: &[Row], predicted: &[Array1<f64>]) -> Vec<f64> {
    let pairs = rows.iter().zip(predicted);
    // Cut off, or one absurd prediction would leave the range that is proved.
    let squares = pairs.map(|(row, one)| (one[0].clamp(-1.0, 2.0) - row.label).powi(2));
    vec![
        mean(squares),
        mean(rows.iter().map(|row| row.label)),
        mean(rows.iter().map(|row| row.label * row.label)),
    ]
}

/// Returns the mean loss, the share of right predictions, the shares of each class by predicted class, and the
/// histograms of scores.
fn shares(classes: usize, rows: &[Row], predicted: &[Array1<f64>]) -> Vec<f64> {
    let share = 1.0 / rows.len() as f64;
    let mut values = vec![0.0; 2];
    let is_confused = classes <= MAX_CONFUSED;
    let mut confused = vec![0.0; if is_confused { classes * classes } else { 0 }];
    let mut scores = vec![0.0; if classes == 2 { 2 * SCORE_BINS } else { 0 }];
    for (row, chances) in rows.iter().zip(predicted) {
        let class = row.label as usize;
        let best = argmax(chances);
        // A chance of 0 would make the loss infinite.
        values[0] -= share * chances[class].max(1e-12).ln();
        values[1] += share * f64::from(u8::from(best == class));
        if let Some(cell) = confused.get_mut(class * classes + best) {
            *cell += share;
        }
        if classes == 2 {
            scores[class * SCORE_BINS + score_bin(chances[1])] += share;
        }
    }
    values[0] = values[0].min(MAX_LOSS);
    values.extend(confused);
    values.extend(scores);
    values
}

/// Returns a home's mean loss and the cell of each of its documents, in a guarded session.
fn cells_of(classes: usize, rows: &[Row], predicted: &[Array1<f64>]) -> (f64, Vec<usize>) {
    let mut loss = 0.0;
    let mut cells = Vec::with_capacity(rows.len());
    for (row, chances) in rows.iter().zip(predicted) {
        let class = row.label as usize;
        let best = argmax(chances);
        loss -= chances[class].max(1e-12).ln() / rows.len() as f64;
        cells.push(match classes {
            2 => class * SCORE_BINS + score_bin(chances[1]),
            _ if classes <= MAX_CONFUSED => class * classes + best,
            _ => usize::from(best != class),
        });
    }
    (loss.min(MAX_LOSS), cells)
}

/// Returns the count of right or of wrong predictions that a cell of scores of two classes belongs to.
fn side_of(cell: usize) -> usize {
    let (class, bin) = (cell / SCORE_BINS, cell % SCORE_BINS);
    let taken = usize::from(bin >= SCORE_BINS / 2);
    2 * SCORE_BINS + usize::from(class != taken)
}

/// Returns the bin of a chance.
fn score_bin(chance: f64) -> usize {
    // Bins have equal widths of the logit. The chances of a rare label are all small, and would share one bin
    // otherwise.
    const WIDEST: f64 = 8.0;
    let logit = (chance / (1.0 - chance)).ln().clamp(-WIDEST, WIDEST);
    let bin = (logit + WIDEST) / (2.0 * WIDEST) * SCORE_BINS as f64;
    (bin as usize).min(SCORE_BINS - 1)
}
