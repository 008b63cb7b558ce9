//! What a model says of documents, and how good that is.

use ndarray::{Array1, ArrayView1, ArrayView2, Axis};

use super::data::{Design, Row, Source};
use super::layout::{MAX_CONFUSED, MAX_LOSS, shape_of, statistics, vectors};
use super::perceptron::Network;
use super::scores::{State, inputs, logistic, matrix, mean, nearest, scores, softmax};
use super::{Family, SCORE_BINS, Training};

/// What the session's model, from its weights, says of rows: a chance for each class, or a number.
pub(super) fn predict(
    training: &Training,
    design: &Design,
    state: &State,
    rows: &[Row],
) -> Option<Vec<Array1<f64>>> {
    let columns = design.columns();
    let classes = design.classes();
    let inputs = inputs(state, columns, rows);
    let each = inputs.axis_iter(Axis(0));
    let two = |chance: f64| Array1::from(vec![1.0 - chance, chance]);
    Some(match &training.family {
        Family::Linear => {
            let weights = matrix(&state.weights, 1, columns + 1)?;
            each.map(|input| scores(weights, input)).collect()
        }
        Family::Logistic { .. } | Family::Svm => {
            let weights = matrix(&state.weights, vectors(classes), columns + 1)?;
            let chances = |input| match classes {
                2 => two(logistic(scores(weights, input)[0])),
                _ => softmax(scores(weights, input)),
            };
            each.map(chances).collect()
        }
        Family::Mlp { hidden, .. } => {
            let network = Network::of(&shape_of(hidden, columns, classes), &state.weights)?;
            let outputs = network.forward(&inputs);
            let last = outputs.last()?;
            let output = |scores: ArrayView1<'_, f64>| match classes {
                0 => scores.to_owned(),
                _ => softmax(scores.to_owned()),
            };
            last.axis_iter(Axis(0)).map(output).collect()
        }
        Family::Bayes => {
            let weights = matrix(&state.weights, classes, bayes_weights(design))?;
            rows.iter()
                .map(|row| softmax(bayes(design, weights, row)))
                .collect()
        }
        Family::KMeans { clusters, .. } => {
            let points = matrix(&state.weights, usize::from(*clusters), columns)?;
            let of = |(point, distance): (usize, f64)| Array1::from(vec![point as f64, distance]);
            nearest(&inputs, points).into_iter().map(of).collect()
        }
    })
}

/// Weights of naive Bayes for a class: the logarithm of its share, then for each feature mean and variance of
/// a number, the logarithm of each value's share, or of each word's with and without.
pub(super) fn bayes_weights(design: &Design) -> usize {
    1 + design.sources.iter().map(statistics).sum::<usize>()
}

/// For each class the logarithm of its chance, but for a constant.
fn bayes(design: &Design, weights: ArrayView2<'_, f64>, row: &Row) -> Array1<f64> {
    let score = |weights: ArrayView1<'_, f64>| {
        let (mut score, mut place, mut column) = (weights[0], 1, 0);
        for source in &design.sources {
            let columns = &row.columns[column..column + source.columns()];
            match source {
                Source::Number { .. } => {
                    let (mean, variance) = (weights[place], weights[place + 1]);
                    let apart = columns[0] - mean;
                    score -= apart * apart / (2.0 * variance) + variance.ln() / 2.0;
                }
                Source::Category { .. } => {
                    let value = columns.iter().position(|one| *one > 0.5);
                    score += weights[place + value.map_or(0, |value| value + 1)];
                }
                Source::Words { .. } => {
                    for (bucket, count) in columns.iter().enumerate() {
                        score += count * weights[place + bucket];
                    }
                }
            }
            place += statistics(source);
            column += source.columns();
        }
        score
    };
    weights.axis_iter(Axis(0)).map(score).collect()
}

/// What a home that is held out says of a model: how good it is at its documents.
pub(super) fn validation(
    training: &Training,
    design: &Design,
    state: &State,
    rows: &[Row],
) -> Option<Vec<f64>> {
    let predicted = predict(training, design, state, rows)?;
    let share = 1.0 / rows.len() as f64;
    let classes = design.classes();
    if matches!(training.family, Family::KMeans { .. }) {
        let distance = mean(predicted.iter().map(|one| one[1]));
        return Some(vec![distance.min(MAX_LOSS)]);
    }
    let pairs = || rows.iter().zip(&predicted);
    if classes == 0 {
        let error =
            |(row, one): (&Row, &Array1<f64>)| (one[0].clamp(-1.0, 2.0) - row.label).powi(2);
        return Some(vec![
            mean(pairs().map(error)),
            mean(rows.iter().map(|row| row.label)),
            mean(rows.iter().map(|row| row.label * row.label)),
        ]);
    }
    let mut values = vec![0.0; 2];
    let mut confused = vec![
        0.0;
        if classes <= MAX_CONFUSED {
            classes * classes
        } else {
            0
        }
    ];
    let mut scores = vec![0.0; if classes == 2 { 2 * SCORE_BINS } else { 0 }];
    for (row, chances) in pairs() {
        let class = row.label as usize;
        let best = argmax(chances);
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
    Some(values)
}

/// Returns the mean loss of a held-out home of a guarded session, and the cell of each of its documents. Returns
/// `None` without a prediction.
pub(super) fn cells_of(
    training: &Training,
    design: &Design,
    state: &State,
    rows: &[Row],
) -> Option<(f64, Vec<usize>)> {
    let predicted = predict(training, design, state, rows)?;
    let classes = design.classes();
    let mut loss = 0.0;
    let mut cells = Vec::with_capacity(rows.len());
    for (row, chances) in rows.iter().zip(&predicted) {
        let class = row.label as usize;
        let best = argmax(chances);
        loss -= chances[class].max(1e-12).ln() / rows.len() as f64;
        cells.push(match classes {
            2 => class * SCORE_BINS + score_bin(chances[1]),
            _ if classes <= MAX_CONFUSED => class * classes + best,
            _ => usize::from(best != class),
        });
    }
    Some((loss.min(MAX_LOSS), cells))
}

/// Returns the section that counts the right, or the wrong, predictions of two classes, for a cell of scores.
pub(super) fn side_of(cell: usize) -> usize {
    let (class, bin) = (cell / SCORE_BINS, cell % SCORE_BINS);
    let taken = usize::from(bin >= SCORE_BINS / 2);
    2 * SCORE_BINS + usize::from(class != taken)
}

/// The bin of a chance: even in its logit, so that rare labels have bins too.
fn score_bin(chance: f64) -> usize {
    const WIDEST: f64 = 8.0;
    let logit = (chance / (1.0 - chance)).ln().clamp(-WIDEST, WIDEST);
    let bin = (logit + WIDEST) / (2.0 * WIDEST) * SCORE_BINS as f64;
    (bin as usize).min(SCORE_BINS - 1)
}

/// The most likely class.
pub(super) fn argmax(chances: &Array1<f64>) -> usize {
    let first = (0, f64::NEG_INFINITY);
    let best = chances.iter().copied().enumerate();
    best.fold(first, |best, one| if one.1 > best.1 { one } else { best })
        .0
}
