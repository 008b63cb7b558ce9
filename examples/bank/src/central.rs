//! The same models where all operations are in one place, or those of one home alone.

use std::collections::BTreeMap;

use dispers_training::hash_words;

use crate::{CATEGORIES, Operation};

/// Sizes of amounts.
const SIZES: usize = 4;

/// The places of an operation's row that are 1: buckets of words, then the size of the amount.
fn row(operation: &Operation, buckets: u16) -> Vec<usize> {
    let words = hash_words(&operation.label, buckets);
    let mut places: Vec<usize> = words.into_iter().map(usize::from).collect();
    places.push(usize::from(buckets) + operation.size());
    places
}

/// A score for each category and place, and one for each category.
pub struct Scores {
    buckets: u16,
    constants: Vec<f64>,
    places: Vec<Vec<f64>>,
}

impl Scores {
    /// The category that scores highest.
    pub fn category(&self, operation: &Operation) -> usize {
        let row = row(operation, self.buckets);
        let score = |category: usize| -> f64 {
            let of = &self.places[category];
            self.constants[category] + row.iter().map(|place| of[*place]).sum::<f64>()
        };
        let best = (0..CATEGORIES.len()).max_by(|a, b| score(*a).total_cmp(&score(*b)));
        best.unwrap_or(0)
    }

    /// Share of operations that are sorted right.
    pub fn accuracy(&self, operations: &[Operation]) -> f64 {
        let right = operations
            .iter()
            .filter(|one| self.category(one) == one.category);
        right.count() as f64 / operations.len().max(1) as f64
    }
}

/// Multinomial naive Bayes, each count with one more.
pub fn naive_bayes(operations: &[Operation], buckets: u16) -> Scores {
    let width = usize::from(buckets) + SIZES;
    let mut documents = vec![1.0; CATEGORIES.len()];
    let mut counts = vec![vec![1.0; width]; CATEGORIES.len()];
    for operation in operations {
        documents[operation.category] += 1.0;
        for place in row(operation, buckets) {
            counts[operation.category][place] += 1.0;
        }
    }
    let all: f64 = documents.iter().sum();
    // The words and the size of the amount are two features, each a distribution of its own.
    let logarithms = |counts: Vec<f64>| -> Vec<f64> {
        let (words, sizes) = counts.split_at(usize::from(buckets));
        let of = |part: &[f64]| -> Vec<f64> {
            let sum: f64 = part.iter().sum();
            part.iter().map(|count| (count / sum).ln()).collect()
        };
        [of(words), of(sizes)].concat()
    };
    Scores {
        buckets,
        constants: documents.iter().map(|count| (count / all).ln()).collect(),
        places: counts.into_iter().map(logarithms).collect(),
    }
}

/// Multinomial logistic regression by accelerated gradient descent from zero.
pub fn logistic(operations: &[Operation], buckets: u16, steps: usize, rate: f64) -> Scores {
    const MOMENTUM: f64 = 0.9;
    let width = usize::from(buckets) + SIZES + 1;
    let rows: Vec<(Vec<usize>, usize)> = operations
        .iter()
        .map(|operation| {
            let mut places = row(operation, buckets);
            places.push(width - 1);
            (places, operation.category)
        })
        .collect();
    let mut weights = vec![vec![0.0; width]; CATEGORIES.len()];
    let mut velocity = weights.clone();
    let share = 1.0 / rows.len().max(1) as f64;
    for _ in 0..steps {
        let mut slopes = vec![vec![0.0; width]; CATEGORIES.len()];
        for (places, category) in &rows {
            let score = |of: &Vec<f64>| places.iter().map(|place| of[*place]).sum::<f64>();
            let scores: Vec<f64> = weights.iter().map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let chances: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let sum: f64 = chances.iter().sum();
            for (class, (chance, slopes)) in chances.iter().zip(&mut slopes).enumerate() {
                let error = chance / sum - f64::from(u8::from(class == *category));
                for place in places {
                    slopes[*place] += share * error;
                }
            }
        }
        for ((weights, velocity), slopes) in weights.iter_mut().zip(&mut velocity).zip(&slopes) {
            for ((weight, velocity), slope) in weights.iter_mut().zip(velocity).zip(slopes) {
                *velocity = MOMENTUM * *velocity + slope;
                *weight -= rate * (slope + MOMENTUM * *velocity);
            }
        }
    }
    let constants = weights.iter().map(|of| of[width - 1]).collect();
    for of in &mut weights {
        of.pop();
    }
    Scores {
        buckets,
        constants,
        places: weights,
    }
}

/// Share of new operations that are sorted right where each home knows only its own.
pub fn alone(held: &[Operation], new: &[Operation], fit: impl Fn(&[Operation]) -> Scores) -> f64 {
    let mut homes: BTreeMap<usize, (Vec<Operation>, Vec<Operation>)> = BTreeMap::new();
    for one in held {
        homes.entry(one.home).or_default().0.push(one.clone());
    }
    for one in new {
        homes.entry(one.home).or_default().1.push(one.clone());
    }
    let right: f64 = homes
        .values()
        .map(|(held, new)| fit(held).accuracy(new) * new.len() as f64)
        .sum();
    right / new.len().max(1) as f64
}
