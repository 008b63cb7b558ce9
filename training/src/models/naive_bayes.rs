//! Naive Bayes, in one round with a section for each class.

use ndarray::{Array1, ArrayView1, Axis};
use rand::rngs::StdRng;

use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::clip::shorten;
use crate::data::{Design, Row, Source, WORDS};
use crate::fit::{FitError, Released, SURE, Settings, Step};
use crate::layout::{Layout, Longest, Section, Values};
use crate::scores::{State, matrix, softmax};
use crate::sums::Sums;
use crate::{InvalidTraining, Label, Labels, Task};

/// Least variance of a number in 0 to 1 that a class gets. Scores are divided by it.
const LEAST_VARIANCE: f64 = 1e-6;
/// Logarithm of a share that is as good as 0. It is finite because all weights must be.
const NEVER: f64 = -1e9;

/// Naive Bayes.
pub(crate) struct NaiveBayes;

impl Algorithm for NaiveBayes {
    fn name(&self) -> &'static str {
        "naive-bayes"
    }

    fn labels(&self) -> Labels {
        Labels::Classes
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(
            label.is_some_and(|label| label.classes > 1),
            "this model needs a label with classes",
        )
    }

    fn rounds(&self, _updates: u16) -> Vec<Task> {
        vec![Task::Update]
    }

    fn steps(&self, _design: &Design, _settings: &Settings) -> Box<dyn Steps> {
        Box::new(Counts)
    }
}

impl Vectors for NaiveBayes {
    fn layout(&self, _task: Task, design: &Design, clip: f64) -> Layout {
        let each = Section::default().counted(of_class(design));
        let mut sections = vec![Section::default()];
        sections.resize(1 + design.classes(), each);
        Layout::new(
            sections,
            Longest {
                centred: 0.0,
                counted: clip,
            },
        )
    }

    fn values(
        &self,
        _task: Task,
        design: &Design,
        clip: f64,
        _state: &State,
        rows: &[Row],
    ) -> Option<Values> {
        let mut sections = counts(design, rows);
        shorten(sections.iter_mut().flatten().flatten(), clip);
        Some(sections)
    }

    fn operations(&self, design: &Design) -> usize {
        design.classes().max(1) * (design.columns() + 1)
    }

    fn default_clip(&self, design: &Design) -> f64 {
        let sources = design.sources.iter();
        let numbers = sources
            .filter(|source| matches!(source, Source::Number { .. }))
            .count() as f64;
        let (features, texts) = (design.sources.len() as f64, design.texts() as f64);
        // The share is at most 1, and so are a number, its square, and the one value of a category that is not 0.
        (1.0 + features + numbers + (WORDS - 1.0) * texts).sqrt()
    }
}

impl Weights for NaiveBayes {
    /// Returns the number of weights. Those of a class are the logarithm of its share, then those of each feature: mean
    /// and variance of a number, or the logarithm of the share of each value or bucket.
    fn weights(&self, design: &Design) -> usize {
        design.classes() * of_class(design)
    }

    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        let weights = matrix(&state.weights, design.classes(), of_class(design))?;
        let chances = rows.iter().map(|row| {
            let classes = weights.axis_iter(Axis(0));
            softmax(classes.map(|weights| score(design, weights, row)).collect())
        });
        Some(chances.collect())
    }
}

/// Returns how many numbers each class has: its share, and the sums of all features.
fn of_class(design: &Design) -> usize {
    1 + design.sources.iter().map(sums_of).sum::<usize>()
}

/// Returns how many sums a feature has in each class. It has as many weights.
fn sums_of(source: &Source) -> usize {
    match *source {
        Source::Number { .. } => 2,
        Source::Category { values, .. } => values,
        Source::Words { buckets, .. } => buckets.into(),
    }
}

/// Adds up a value of the columns over rows, each row with the weight `share`.
fn weighted_sum(rows: &[&Row], share: f64, value: impl Fn(&[f64]) -> f64) -> f64 {
    rows.iter().map(|row| share * value(&row.columns)).sum()
}

/// Returns a section for each class: the share of the home's documents that have the class, then the sums of each
/// feature over these documents. A class without documents has `None`.
fn counts(design: &Design, rows: &[Row]) -> Values {
    let share = 1.0 / rows.len() as f64;
    let mut sections: Values = vec![Some(Vec::new())];
    sections.extend((0..design.classes()).map(|class| {
        let mut values = vec![0.0];
        let of_class: Vec<&Row> = rows
            .iter()
            .filter(|row| row.label as usize == class)
            .collect();
        let mut first = 0;
        for source in &design.sources {
            let next = first + source.columns();
            if let Source::Category { .. } = source {
                values.push(weighted_sum(&of_class, share, |columns| {
                    1.0 - columns[first..next].iter().sum::<f64>()
                }));
            }
            values.extend(
                (first..next).map(|at| weighted_sum(&of_class, share, |columns| columns[at])),
            );
            if let Source::Number { .. } = source {
                values.push(weighted_sum(&of_class, share, |columns| {
                    columns[first] * columns[first]
                }));
            }
            first = next;
        }
        values[0] = share * of_class.len() as f64;
        (!of_class.is_empty()).then_some(values)
    }));
    sections
}

/// Returns the logarithm of a class's chance for a row, up to a constant that all classes share.
fn score(design: &Design, weights: ArrayView1<'_, f64>, row: &Row) -> f64 {
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
        place += sums_of(source);
        column += source.columns();
    }
    score
}

/// Querier's only step.
struct Counts;

impl Steps for Counts {
    /// Computes the weights of each class from its sums.
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        _rng: &mut StdRng,
    ) -> Result<Step, FitError> {
        let (sums, design) = (released.sums, released.design);
        // A share within the noise counts as 0.
        let noise = SURE * sums.noise * sums.level;
        let classes = design.classes();
        let mut weights = Vec::with_capacity(classes * of_class(design));
        let mut known = 0;
        for class in 0..classes {
            let section = sums.sections.get(1 + class).and_then(Option::as_ref);
            match section.filter(|(_, values)| values[0] > noise) {
                Some((_, values)) => {
                    known += 1;
                    weights.extend(learnt(design, sums, values, noise));
                }
                // Fewer homes than the cohort have the class, so it is never predicted.
                None => weights.extend(unknown(design)),
            }
        }
        // One class alone leaves nothing to decide.
        if known < 2 {
            return Err(FitError::ConstantLabel);
        }
        state.weights = weights;
        Ok(Step::default())
    }
}

/// Returns the weights of a class that is never predicted.
fn unknown(design: &Design) -> Vec<f64> {
    let mut weights = vec![NEVER];
    for source in &design.sources {
        match source {
            Source::Number { .. } => weights.extend([0.5, 1.0]),
            Source::Category { .. } | Source::Words { .. } => {
                weights.extend(vec![NEVER; sums_of(source)]);
            }
        }
    }
    weights
}

/// Computes the weights of a class from its sums. The first sum is the class's share.
fn learnt(design: &Design, sums: &Sums, values: &[f64], noise: f64) -> Vec<f64> {
    let smoothing = 1.0 / sums.homes;
    let share = values[0];
    let mut weights = vec![(share / sums.homes).ln()];
    let mut place = 1;
    for source in &design.sources {
        let of_feature = &values[place..place + sums_of(source)];
        place += of_feature.len();
        match source {
            Source::Number { .. } => {
                let mean = (of_feature[0] / share).clamp(0.0, 1.0);
                // No number in 0 to 1 has a variance above ¼.
                let variance = (of_feature[1] / share - mean * mean).min(0.25);
                let rounding = sums.rounding(1.0, share);
                let least = LEAST_VARIANCE.max(noise / share).max(rounding);
                weights.extend([mean, variance.max(least)]);
            }
            Source::Category { .. } | Source::Words { .. } => {
                // Without smoothing, one value or word that no home of the class has would rule the class out.
                let smoothing = (smoothing.max(1e-6) * share.max(1.0)).max(noise);
                let all: f64 = of_feature.iter().map(|sum| sum.max(0.0) + smoothing).sum();
                let shares = of_feature
                    .iter()
                    .map(|sum| (sum.max(0.0) + smoothing) / all);
                weights.extend(shares.map(f64::ln));
            }
        }
    }
    weights
}
