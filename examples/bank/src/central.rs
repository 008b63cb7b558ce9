//! The same models, trained on all operations in one place, or on those of one home alone.

use std::collections::BTreeMap;

use dispers_training::hash_words;

use crate::{CATEGORIES, Operation};

/// Number of sizes of amounts, as [`Operation::size`] returns them.
const SIZES: usize = 4;

/// Returns the places of an operation's row that are 1: the buckets of its words, then the size of its
/// amount.
fn row(operation: &Operation, buckets: u16) -> Vec<usize> {
    let words = hash_words(&operation.label, buckets);
    let mut places: Vec<usize> = words.into_iter().map(usize::from).collect();
    places.push(usize::from(buckets) + operation.size());
    places
}

/// Sums the weights of a row's places.
fn sum(weights: &[f64], row: &[usize]) -> f64 {
    row.iter().map(|place| weights[*place]).sum()
}

/// A linear model: a score for each category and place, and a constant for each category.
pub struct Scores {
    buckets: u16,
    constants: Vec<f64>,
    places: Vec<Vec<f64>>,
}

impl Scores {
    /// Returns the category with the highest score.
    pub fn category(&self, operation: &Operation) -> usize {
        let row = row(operation, self.buckets);
        let categories = self.constants.iter().zip(&self.places);
        let scores: Vec<f64> = categories
            .map(|(constant, weights)| constant + sum(weights, &row))
            .collect();
        let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        best.unwrap_or(0)
    }

    /// Returns the share of operations whose category is predicted correctly.
    pub fn accuracy(&self, operations: &[Operation]) -> f64 {
        let right = operations
            .iter()
            .filter(|one| self.category(one) == one.category);
        right.count() as f64 / operations.len().max(1) as f64
    }
}

/// Returns the logarithms of the counts' shares of their sum.
fn logarithms(counts: &[f64]) -> Vec<f64> {
    let sum: f64 = counts.iter().sum();
    counts.iter().map(|count| (count / sum).ln()).collect()
}

/// Fits multinomial naive Bayes with Laplace smoothing: every count starts at 1.
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
    let places = counts.iter().map(|counts| {
        // The words and the size of the amount are two features, and each has its own distribution.
        let (words, sizes) = counts.split_at(usize::from(buckets));
        [logarithms(words), logarithms(sizes)].concat()
    });
    Scores {
        buckets,
        constants: logarithms(&documents),
        places: places.collect(),
    }
}

/// Fits multinomial logistic regression by gradient descent with Nesterov momentum, from zero.
pub fn logistic(operations: &[Operation], buckets: u16, steps: usize, rate: f64) -> Scores {
    const MOMENTUM: f64 = 0.9;
    let width = usize::from(buckets) + SIZES + 1;
    let rows: Vec<(Vec<usize>, usize)> = operations
        .iter()
        .map(|operation| {
            let mut places = row(operation, buckets);
            // The last place is 1 in every row. Its weights are the constants.
            places.push(width - 1);
            (places, operation.category)
        })
        .collect();
    let mut weights = vec![vec![0.0; width]; CATEGORIES.len()];
    let mut velocity = weights.clone();
    // The gradient is a mean, so that one rate suits any number of operations.
    let share = 1.0 / rows.len().max(1) as f64;
    for _ in 0..steps {
        let mut slopes = vec![vec![0.0; width]; CATEGORIES.len()];
        for (places, category) in &rows {
            let scores: Vec<f64> = weights.iter().map(|of| sum(of, places)).collect();
            // Subtracting the largest score changes no chance and keeps the exponentials from overflowing.
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

/// Returns the share of new operations that are predicted correctly if each home learns only from its own
/// operations.
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
        // Weighted by the number of operations, so that the figure compares with that of one model for all
        // homes.
        .map(|(held, new)| fit(held).accuracy(new) * new.len() as f64)
        .sum();
    right / new.len().max(1) as f64
}
