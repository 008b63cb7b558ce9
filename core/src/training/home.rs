//! What one home computes: a vector of its documents and a round's parameters.

use borsh::{BorshDeserialize, BorshSerialize};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::CryptoRng;

use super::data::{Design, Document, Row, Source};
use super::layout::{Layout, MAX_CONFUSED, MAX_LOSS, Values, shape_of, vectors, weights};
use super::{Family, SCORE_BINS, Task, Training};
use crate::circuit::VectorRow;
use crate::encoding;
use crate::id::QueryId;
use crate::labels;
use crate::local::LocalQuery;
use crate::ticket::HomeKey;

/// Least spread of a column in 0 to 1 that it is scaled by.
pub(super) const LEAST_SPREAD: f64 = 1e-6;

/// What the querier sends before a round: how columns are scaled, and the model so far.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct State {
    /// Mean of each column; empty before they are known.
    pub means: Vec<f64>,
    /// Spread of each column; empty before they are known.
    pub spreads: Vec<f64>,
    /// The model's weights, or points.
    pub weights: Vec<f64>,
}

impl State {
    /// What the first round of any session is computed with: nothing is known.
    pub fn empty() -> Self {
        Self {
            means: Vec::new(),
            spreads: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Whether scales are of so many columns, all numbers are finite, and no spread is next to nothing.
    pub(super) fn holds(&self, columns: usize) -> bool {
        let lengths = [self.means.len(), self.spreads.len()];
        let finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        lengths
            .iter()
            .all(|length| *length == columns || *length == 0)
            && finite(&self.means)
            && finite(&self.weights)
            && self
                .spreads
                .iter()
                .all(|spread| spread.is_finite() && *spread >= LEAST_SPREAD)
    }
}

/// Whether a home is held out of a session to validate with. Nobody can choose: it follows from the home's
/// own key and the session.
pub fn is_held_out(training: &Training, query: QueryId, key: &HomeKey) -> bool {
    let hash = encoding::hash(labels::HASH_HELD_OUT, &[&query.0, key.as_bytes()]);
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
    let values = values(training, &design, task, state, &rows)?;
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
) -> Option<Values> {
    let columns = design.columns();
    let first = |values| Some(vec![Some(values)]);
    match (task, &training.family) {
        (Task::Scale, _) => {
            let scaled = design.scaled();
            let values = scaled.iter().flat_map(|&column| {
                let of = |power| mean(rows.iter().map(|row| row.columns[column].powi(power)));
                [of(1), of(2)]
            });
            let mut values: Vec<f64> = values.collect();
            let of_label = |value: &dyn Fn(f64) -> f64| mean(rows.iter().map(|r| value(r.label)));
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
        (Task::Validate, _) => first(validation(training, design, state, rows)?),
        (Task::Candidates, _) => None,
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
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

fn matrix(values: &[f64], rows: usize, columns: usize) -> Option<ArrayView2<'_, f64>> {
    // A view of fewer elements than there are is one too.
    let view = ArrayView2::from_shape((rows, columns), values).ok();
    view.filter(|view| view.len() == values.len())
}

/// Columns with mean 0 and spread 1, where those are known.
fn inputs(state: &State, columns: usize, rows: &[Row]) -> Array2<f64> {
    let mut inputs = Array2::zeros((rows.len(), columns));
    for (row, mut scaled) in rows.iter().zip(inputs.axis_iter_mut(Axis(0))) {
        for (column, value) in row.columns.iter().enumerate() {
            let mean = state.means.get(column).copied().unwrap_or(0.0);
            let spread = state.spreads.get(column).copied().unwrap_or(1.0);
            scaled[column] = (value - mean) / spread;
        }
    }
    inputs
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

pub(super) fn logistic(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// −log of the chance that a score gives to a label of 0 or 1.
fn log_loss(score: f64, label: f64) -> f64 {
    let signed = if label > 0.5 { score } else { -score };
    // log(1 + e^−s), without overflow.
    (-signed).max(0.0) + (-signed.abs()).exp().ln_1p()
}

/// The chances of classes from their scores.
pub(super) fn softmax(mut scores: Array1<f64>) -> Array1<f64> {
    let highest = scores.fold(f64::NEG_INFINITY, |a, b| a.max(*b));
    scores.mapv_inplace(|score| (score - highest).exp());
    let sum = scores.sum();
    scores / sum
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

/// What a linear model says of an input, one score for each weight vector.
fn scores(weights: ArrayView2<'_, f64>, input: ArrayView1<'_, f64>) -> Array1<f64> {
    let constants = weights.column(0).to_owned();
    constants + weights.split_at(Axis(1), 1).1.dot(&input)
}

/// For each row the nearest point, and the squared distance to it for each column.
fn nearest(inputs: &Array2<f64>, points: ArrayView2<'_, f64>) -> Vec<(usize, f64)> {
    let columns = points.ncols().max(1) as f64;
    let nearest = |input: ArrayView1<'_, f64>| {
        let distances = points.axis_iter(Axis(0)).map(|point| {
            let apart = &input - &point;
            apart.dot(&apart) / columns
        });
        let first = (0, f64::INFINITY);
        distances
            .enumerate()
            .fold(first, |best, one| if one.1 < best.1 { one } else { best })
    };
    inputs.axis_iter(Axis(0)).map(nearest).collect()
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
    1 + design
        .sources
        .iter()
        .map(super::layout::statistics)
        .sum::<usize>()
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
            place += super::layout::statistics(source);
            column += source.columns();
        }
        score
    };
    weights.axis_iter(Axis(0)).map(score).collect()
}

fn validation(
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

/// A perceptron: each layer's weights, outputs by inputs, the constant's first.
struct Network {
    layers: Vec<Array2<f64>>,
    classes: usize,
}

impl Network {
    fn of(widths: &[usize], weights: &[f64]) -> Option<Self> {
        let mut layers = Vec::with_capacity(widths.len() - 1);
        let mut rest = weights;
        for pair in widths.windows(2) {
            let (of, after) = rest.split_at_checked((pair[0] + 1) * pair[1])?;
            layers.push(Array2::from_shape_vec((pair[1], pair[0] + 1), of.to_vec()).ok()?);
            rest = after;
        }
        let outputs = widths.last().copied().unwrap_or(1);
        rest.is_empty().then_some(Self {
            layers,
            classes: if outputs == 1 { 0 } else { outputs },
        })
    }

    fn weights(&self) -> Vec<f64> {
        self.layers.iter().flatten().copied().collect()
    }

    /// What each layer gives, the inputs first; all but the last after the rectifier.
    fn forward(&self, inputs: &Array2<f64>) -> Vec<Array2<f64>> {
        let mut given = vec![inputs.clone()];
        for (number, layer) in self.layers.iter().enumerate() {
            let before = &given[number];
            let mut next = before.dot(&layer.view().split_at(Axis(1), 1).1.t()) + layer.column(0);
            if number + 1 < self.layers.len() {
                next.mapv_inplace(|value| value.max(0.0));
            }
            given.push(next);
        }
        given
    }

    /// The errors of the last layer: the derivatives of each row's loss; and the mean loss.
    fn errors(&self, last: &Array2<f64>, labels: &[f64]) -> (Array2<f64>, f64) {
        let mut errors = last.clone();
        let mut loss = 0.0;
        for (mut row, label) in errors.axis_iter_mut(Axis(0)).zip(labels) {
            if self.classes == 0 {
                row[0] -= label;
                loss += row[0] * row[0];
                continue;
            }
            let chances = softmax(row.to_owned());
            loss -= chances[*label as usize].max(1e-12).ln();
            row.assign(&chances);
            row[*label as usize] -= 1.0;
        }
        (errors, loss / labels.len() as f64)
    }

    fn loss(&self, inputs: &Array2<f64>, labels: &[f64]) -> f64 {
        let given = self.forward(inputs);
        given.last().map_or(0.0, |last| self.errors(last, labels).1)
    }

    /// One step down the gradient over all rows.
    fn step(&mut self, inputs: &Array2<f64>, labels: &[f64], rate: f64) {
        let given = self.forward(inputs);
        let Some(last) = given.last() else { return };
        let mut errors = self.errors(last, labels).0;
        let share = rate / labels.len() as f64;
        for number in (0..self.layers.len()).rev() {
            let before = &given[number];
            let layer = &mut self.layers[number];
            let mut back = errors.dot(&layer.view().split_at(Axis(1), 1).1);
            back.zip_mut_with(before, |error, value| {
                if *value <= 0.0 {
                    *error = 0.0;
                }
            });
            layer
                .column_mut(0)
                .scaled_add(-share, &errors.sum_axis(Axis(0)));
            let gradient = errors.t().dot(before);
            let mut slopes = layer.view_mut().split_at(Axis(1), 1).1;
            slopes.scaled_add(-share, &gradient);
            errors = back;
        }
    }
}
