//! What one home computes: a vector of its documents and a round's parameters.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use rand::CryptoRng;

use super::data::{Design, Document, Row, Source};
use super::layout::{Layout, MAX_LOSS, Values, shape_of, vectors, weights};
use super::perceptron::Network;
use super::predict::{cells_of, side_of, validation};
pub use super::scores::State;
use super::scores::{inputs, logistic, matrix, mean, nearest, scores, softmax};
use super::{Family, Task, Training};
use dispers_base::{encoding, id::QueryId, labels};
use dispers_circuit::VectorRow;
use dispers_query::local::LocalQuery;

/// Whether a home is held out of a session to validate with. Nobody can choose: it follows from the home's
/// own key and the session.
pub fn is_held_out(training: &Training, query: QueryId, key: &[u8; 32]) -> bool {
    let hash = encoding::hash(labels::HASH_HELD_OUT, &[&query.0, key]);
    let place = u64::from_le_bytes(hash[..8].try_into().expect("a hash has 32 bytes"));
    place % 1000 < training.held_out.into()
}

/// What a home contributes to a round; `None` where it has nothing to say: no document with all values, held
/// out of what the round is for, or parameters that are not of this model.
pub fn vector(
    training: &Training,
    local: &LocalQuery,
    task: Task,
    state: &State,
    held_out: bool,
    documents: &[Document],
    rng: &mut impl CryptoRng,
) -> Option<VectorRow> {
    let design = Design::of(training, local);
    let rows = design.rows(documents, most_documents(training, &design));
    if rows.is_empty() || !state.holds(design.columns()) {
        return None;
    }
    let values = values(training, &design, task, state, &rows, rng)?;
    // Only now: how long it takes does not tell whether a home is held out.
    if held_out != (task == Task::Validate) {
        return None;
    }
    let layout = Layout::of(training, &design, task);
    let fits = values.len() == layout.sections.len()
        && values
            .iter()
            .zip(&layout.sections)
            .all(|(values, section)| {
                let length = values.as_ref().map(Vec::len);
                length.is_none_or(|length| length == section.len())
            });
    fits.then(|| layout.levels(&values, rng))
}

/// Most documents of a home that are looked at: what they take in memory and time is bounded.
fn most_documents(training: &Training, design: &Design) -> usize {
    const CELLS: usize = 1 << 22;
    const STEPS: usize = 1 << 30;
    let columns = design.columns() + 1;
    let steps = match &training.family {
        Family::Mlp { hidden, epochs, .. } => {
            let widths = shape_of(hidden, design.columns(), design.classes());
            // There and back, and the gradient.
            3 * usize::from(*epochs) * weights(&widths)
        }
        Family::Linear | Family::Logistic { newton: true } => columns * columns,
        Family::KMeans { candidates, .. } => usize::from(*candidates) * columns,
        _ => design.classes().max(1) * columns,
    };
    (CELLS / columns).min(STEPS / steps.max(1)).max(1)
}

fn values(
    training: &Training,
    design: &Design,
    task: Task,
    state: &State,
    rows: &[Row],
    rng: &mut impl CryptoRng,
) -> Option<Values> {
    let columns = design.columns();
    let first = |values| Some(vec![Some(values)]);
    let classes = design.classes();
    let guarded = training.guarded && classes > 0;
    // Returns the first section, and `count` counts of homes, of which this home is in `which`.
    let counted = |first: Vec<f64>, which: &[usize], count: usize| {
        let mut sections: Values = vec![Some(first)];
        sections.extend((0..count).map(|place| which.contains(&place).then(Vec::new)));
        Some(sections)
    };
    match (task, &training.family) {
        (Task::Scale, _) => {
            let scaled = design.scaled();
            let values = scaled.iter().flat_map(|&column| {
                let of = |power| mean(rows.iter().map(|row| row.columns[column].powi(power)));
                [of(1), of(2)]
            });
            let mut values: Vec<f64> = values.collect();
            let of_label = |value: &dyn Fn(f64) -> f64| mean(rows.iter().map(|r| value(r.label)));
            if guarded {
                if values.is_empty() {
                    values.push(0.0);
                }
                // Only a home whose documents all have one class is counted for it.
                let class = rows.first().map(|row| row.label);
                let class = class.filter(|class| rows.iter().all(|row| row.label == *class));
                let class: Vec<usize> = class.map(|class| class as usize).into_iter().collect();
                return counted(values, &class, classes);
            }
            match training.label.map(|label| label.classes) {
                None => {}
                Some(0) => values.extend([of_label(&|y| y), of_label(&|y| y * y)]),
                Some(classes) => values.extend(
                    (0..classes)
                        .map(|class| of_label(&|y| f64::from(u8::from(y == f64::from(class))))),
                ),
            }
            first(values)
        }
        (Task::Update, Family::Linear) => first(moments(rows)),
        (Task::Update, Family::Logistic { newton: true }) => {
            let fits = state.weights.len() == columns + 1;
            first(fits.then(|| curvature(rows, &state.weights))?)
        }
        (Task::Update, Family::Logistic { .. } | Family::Svm) => {
            let inputs = inputs(state, columns, rows);
            let count = vectors(design.classes());
            let weights = matrix(&state.weights, count, columns + 1)?;
            let svm = matches!(training.family, Family::Svm);
            first(gradient(training.clip, svm, &inputs, weights, rows))
        }
        (
            Task::Update,
            Family::Mlp {
                hidden,
                epochs,
                rate,
            },
        ) => {
            let shape = shape_of(hidden, columns, design.classes());
            let inputs = inputs(state, columns, rows);
            let mut network = Network::of(&shape, &state.weights)?;
            let labels: Vec<f64> = rows.iter().map(|row| row.label).collect();
            let loss = network.loss(&inputs, &labels);
            for _ in 0..*epochs {
                network.step(&inputs, &labels, *rate);
            }
            let after = network.weights();
            let delta = after
                .iter()
                .zip(&state.weights)
                .map(|(after, before)| after - before);
            let mut values = clipped(delta.collect(), training.clip);
            values.push(loss.min(MAX_LOSS));
            first(values)
        }
        (Task::Update, Family::Bayes) => {
            let mut sections = statistics(design, rows);
            shorten(sections.iter_mut().flatten().flatten(), training.clip);
            Some(sections)
        }
        (Task::Candidates, Family::KMeans { candidates, .. }) => {
            let points = matrix(&state.weights, usize::from(*candidates), columns)?;
            let inputs = inputs(state, columns, rows);
            let nearest = nearest(&inputs, points);
            let share = 1.0 / rows.len() as f64;
            let mut sections: Values = vec![Some(Vec::new())];
            sections.extend((0..points.nrows()).map(|point| {
                let count = nearest.iter().filter(|(at, _)| *at == point).count();
                (count > 0).then(|| vec![count as f64 * share])
            }));
            Some(sections)
        }
        (Task::Update, Family::KMeans { clusters, .. }) => {
            let points = matrix(&state.weights, usize::from(*clusters), columns)?;
            let inputs = inputs(state, columns, rows);
            let nearest = nearest(&inputs, points);
            let share = 1.0 / rows.len() as f64;
            let distance = mean(nearest.iter().map(|(_, distance)| *distance));
            let mut sections: Values = vec![Some(vec![distance.min(MAX_LOSS)])];
            sections.extend((0..points.nrows()).map(|point| {
                let of = rows
                    .iter()
                    .zip(&nearest)
                    .filter(|(_, (at, _))| *at == point);
                let mut values = vec![0.0; 1 + columns];
                for (row, _) in of {
                    values[0] += share;
                    for (sum, column) in values[1..].iter_mut().zip(&row.columns) {
                        *sum += column * share;
                    }
                }
                (values[0] > 0.0).then_some(values)
            }));
            Some(sections)
        }
        (Task::Validate, _) if guarded => {
            let (loss, cells) = cells_of(training, design, state, rows)?;
            // A home is in one cell only, so one of its documents decides. It is drawn, so that shares are right on
            // average.
            let drawn = rng.next_u64() % cells.len().max(1) as u64;
            let mut which: Vec<usize> = cells.get(drawn as usize).copied().into_iter().collect();
            if let ([cell], 2) = (which.as_slice(), classes) {
                which.push(side_of(*cell));
            }
            counted(vec![loss], &which, Layout::cells(classes))
        }
        (Task::Validate, _) => first(validation(training, design, state, rows)?),
        (Task::Candidates, _) => None,
    }
}

/// Scales a vector down to a length.
fn clipped(mut vector: Vec<f64>, longest: f64) -> Vec<f64> {
    shorten(vector.iter_mut(), longest);
    vector
}

/// Scales what a vector consists of down to a length. One that has none, since a value is no finite number or the
/// squares are beyond all numbers, is all zeros: whoever sends parameters must not reach past the clip with it.
fn shorten<'a>(values: impl Iterator<Item = &'a mut f64>, longest: f64) {
    let values: Vec<&mut f64> = values.collect();
    let length = values.iter().map(|value| **value * **value).sum::<f64>();
    let length = length.sqrt();
    if length <= longest {
        return;
    }
    for value in values {
        *value = match length.is_finite() {
            true => *value * (longest / length),
            false => 0.0,
        };
    }
}

/// The means of all values, and of all products of two, upper triangle row by row. The label is the last.
fn moments(rows: &[Row]) -> Vec<f64> {
    let value = |row: &Row, place: usize| row.columns.get(place).copied().unwrap_or(row.label);
    let count = rows.first().map_or(0, |row| row.columns.len()) + 1;
    let mut sums: Vec<f64> = (0..count)
        .map(|place| mean(rows.iter().map(|row| value(row, place))))
        .collect();
    for one in 0..count {
        for other in one..count {
            sums.push(mean(
                rows.iter().map(|row| value(row, one) * value(row, other)),
            ));
        }
    }
    sums
}

/// Gradient and second derivatives of the logistic loss over unscaled columns, the constant first.
fn curvature(rows: &[Row], weights: &[f64]) -> Vec<f64> {
    let count = weights.len();
    let mut gradient = vec![0.0; count];
    let mut second = vec![0.0; count * (count + 1) / 2];
    let mut loss = 0.0;
    let share = 1.0 / rows.len() as f64;
    for row in rows {
        let values: Vec<f64> = std::iter::once(&1.0).chain(&row.columns).copied().collect();
        let score: f64 = weights.iter().zip(&values).map(|(w, x)| w * x).sum();
        let chance = logistic(score);
        loss += share * log_loss(score, row.label);
        let mut products = second.iter_mut();
        for (place, value) in values.iter().enumerate() {
            gradient[place] += share * (chance - row.label) * value;
            let slope = share * chance * (1.0 - chance) * value;
            for (other, product) in values[place..].iter().zip(products.by_ref()) {
                *product += slope * other;
            }
        }
    }
    gradient.extend(second);
    gradient.push(loss.min(MAX_LOSS));
    gradient
}

/// −log of the chance that a score gives to a label of 0 or 1.
fn log_loss(score: f64, label: f64) -> f64 {
    let signed = if label > 0.5 { score } else { -score };
    // log(1 + e^−s), without overflow.
    (-signed).max(0.0) + (-signed.abs()).exp().ln_1p()
}

/// The mean gradient of a linear model's loss, clipped, and the loss. The constant's weight is the first.
fn gradient(
    clip: f64,
    svm: bool,
    inputs: &Array2<f64>,
    weights: ArrayView2<'_, f64>,
    rows: &[Row],
) -> Vec<f64> {
    let mut gradient = Array2::<f64>::zeros(weights.dim());
    let mut loss = 0.0;
    for (input, row) in inputs.axis_iter(Axis(0)).zip(rows) {
        let scores = scores(weights, input);
        let mut errors = Array1::zeros(scores.len());
        if svm {
            let sign = 2.0 * row.label - 1.0;
            let lack = (1.0 - sign * scores[0]).max(0.0);
            loss += lack * lack;
            errors[0] = -2.0 * sign * lack;
        } else if scores.len() == 1 {
            loss += log_loss(scores[0], row.label);
            errors[0] = logistic(scores[0]) - row.label;
        } else {
            let class = row.label as usize;
            errors = softmax(scores);
            loss -= errors[class].max(1e-12).ln();
            errors[class] -= 1.0;
        }
        for (error, mut of) in errors.iter().zip(gradient.axis_iter_mut(Axis(0))) {
            of[0] += error;
            of.split_at(Axis(0), 1).1.scaled_add(*error, &input);
        }
    }
    let share = 1.0 / rows.len() as f64;
    let mut values = clipped(gradient.iter().map(|value| value * share).collect(), clip);
    values.push((loss * share).min(MAX_LOSS));
    values
}

/// For each class that the home has documents of: their share, then what each feature sums to in them.
fn statistics(design: &Design, rows: &[Row]) -> Values {
    let share = 1.0 / rows.len() as f64;
    let mut sections: Values = vec![Some(Vec::new())];
    sections.extend((0..design.classes()).map(|class| {
        let mut values = vec![0.0];
        let of: Vec<&Row> = rows
            .iter()
            .filter(|row| row.label as usize == class)
            .collect();
        let mut first = 0;
        for source in &design.sources {
            let next = first + source.columns();
            let sum = |value: &dyn Fn(&[f64]) -> f64| -> f64 {
                of.iter()
                    .map(|row| share * value(&row.columns[first..next]))
                    .sum()
            };
            match source {
                Source::Number { .. } => {
                    values.push(sum(&|columns| columns[0]));
                    values.push(sum(&|columns| columns[0] * columns[0]));
                }
                Source::Category { .. } => {
                    values.push(sum(&|columns| 1.0 - columns.iter().sum::<f64>()));
                    values.extend((first..next).map(|at| sum(&|columns| columns[at - first])));
                }
                Source::Words { .. } => {
                    values.extend((first..next).map(|at| sum(&|columns| columns[at - first])));
                }
            }
            first = next;
        }
        values[0] = share * of.len() as f64;
        (!of.is_empty()).then_some(values)
    }));
    sections
}
