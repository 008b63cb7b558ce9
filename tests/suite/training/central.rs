//! The same models, fitted by one computer that holds all documents. This code uses none of the project's.

use crate::plain::{Document, number};

/// Documents as rows of numbers, each with a label.
pub(crate) struct Sheet {
    pub(crate) rows: Vec<Vec<f64>>,
    pub(crate) labels: Vec<f64>,
}

/// Column, and the function that turns its cells into numbers.
pub(crate) type Read = (&'static str, fn(&str) -> f64);

pub(crate) fn plain_number(cell: &str) -> f64 {
    cell.parse().unwrap()
}

impl Sheet {
    /// Reads the documents that have all values.
    pub(crate) fn of(documents: &[Vec<Document>], columns: &[Read], label: &str) -> Self {
        let (mut rows, mut labels) = (Vec::new(), Vec::new());
        for document in documents.iter().flatten() {
            let cell = |(column, read): &Read| document.get(*column).map(|cell| read(cell));
            let row: Option<Vec<f64>> = columns.iter().map(cell).collect();
            if let Some((row, label)) = row.zip(number(document, label)) {
                rows.push(row);
                labels.push(label);
            }
        }
        Self { rows, labels }
    }

    pub(crate) fn columns(&self) -> usize {
        self.rows[0].len()
    }

    fn mean(&self, column: usize) -> f64 {
        self.rows.iter().map(|row| row[column]).sum::<f64>() / self.rows.len() as f64
    }

    pub(crate) fn spread(&self, column: usize) -> f64 {
        let mean = self.mean(column);
        let squares = self.rows.iter().map(|row| (row[column] - mean).powi(2));
        (squares.sum::<f64>() / self.rows.len() as f64).sqrt()
    }

    /// Scales each column to mean 0 and spread 1.
    pub(crate) fn standardised(&self) -> Self {
        let of = |column| (self.mean(column), self.spread(column));
        let scales: Vec<(f64, f64)> = (0..self.columns()).map(of).collect();
        let row = |row: &Vec<f64>| {
            let cells = row.iter().zip(&scales);
            cells
                .map(|(value, (mean, spread))| (value - mean) / spread)
                .collect()
        };
        Self {
            rows: self.rows.iter().map(row).collect(),
            labels: self.labels.clone(),
        }
    }

    /// Solves the weighted least squares of `targets`. Returns the coefficients, with the constant first, and the
    /// inverse matrix.
    fn least_squares(&self, weights: &[f64], targets: &[f64]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let size = self.columns() + 1;
        let mut matrix = vec![vec![0.0; 2 * size + 1]; size];
        for ((row, weight), target) in self.rows.iter().zip(weights).zip(targets) {
            let values: Vec<f64> = std::iter::once(&1.0).chain(row).copied().collect();
            for (sums, one) in matrix.iter_mut().zip(&values) {
                for (sum, other) in sums.iter_mut().zip(&values) {
                    *sum += weight * one * other;
                }
                sums[2 * size] += weight * one * target;
            }
        }
        for (place, row) in matrix.iter_mut().enumerate() {
            row[size + place] = 1.0;
        }
        for pivot in 0..size {
            let best = (pivot..size)
                .max_by(|a, b| matrix[*a][pivot].abs().total_cmp(&matrix[*b][pivot].abs()));
            matrix.swap(pivot, best.unwrap());
            let scale = matrix[pivot][pivot];
            matrix[pivot].iter_mut().for_each(|cell| *cell /= scale);
            let of = matrix[pivot].clone();
            for (place, row) in matrix.iter_mut().enumerate() {
                if place != pivot {
                    let factor = row[pivot];
                    row.iter_mut().zip(&of).for_each(|(a, b)| *a -= factor * b);
                }
            }
        }
        let solution = matrix.iter().map(|row| row[2 * size]).collect();
        let inverse = matrix.iter().map(|row| row[size..2 * size].to_vec());
        (solution, inverse.collect())
    }

    /// Fits linear regression. Returns the coefficients, with the constant first, and their standard errors.
    pub(crate) fn linear(&self) -> (Vec<f64>, Vec<f64>) {
        let ones = vec![1.0; self.rows.len()];
        let (coefficients, inverse) = self.least_squares(&ones, &self.labels);
        let rest = self.rows.iter().zip(&self.labels);
        let rest = rest.map(|(row, label)| (label - score(&coefficients, row)).powi(2));
        let freedom = self.rows.len() - coefficients.len();
        let variance = rest.sum::<f64>() / freedom as f64;
        let errors = (0..coefficients.len()).map(|at| (variance * inverse[at][at]).sqrt());
        let errors = errors.collect();
        (coefficients, errors)
    }

    /// Fits logistic regression by iteratively reweighted least squares. Returns the coefficients.
    pub(crate) fn logistic(&self) -> Vec<f64> {
        let mut coefficients = vec![0.0; self.columns() + 1];
        for _ in 0..30 {
            let (mut weights, mut targets) = (Vec::new(), Vec::new());
            for (row, label) in self.rows.iter().zip(&self.labels) {
                let score = score(&coefficients, row);
                let chance = 1.0 / (1.0 + (-score).exp());
                let weight = (chance * (1.0 - chance)).max(1e-9);
                weights.push(weight);
                targets.push(score + (label - chance) / weight);
            }
            coefficients = self.least_squares(&weights, &targets).0;
        }
        coefficients
    }

    /// Fits a linear machine with squared hinge loss by many small steps. Returns its weights.
    pub(crate) fn svm(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.columns() + 1];
        for _ in 0..3000 {
            let mut slope = vec![0.0; weights.len()];
            for (row, label) in self.rows.iter().zip(&self.labels) {
                let sign = 2.0 * label - 1.0;
                let lack = (1.0 - sign * score(&weights, row)).max(0.0);
                slope[0] -= 2.0 * sign * lack;
                for (slope, value) in slope[1..].iter_mut().zip(row) {
                    *slope -= 2.0 * sign * lack * value;
                }
            }
            for (weight, slope) in weights.iter_mut().zip(slope) {
                *weight -= 0.1 * slope / self.rows.len() as f64;
            }
        }
        weights
    }

    /// Returns the share of rows whose label the sign of the score gives.
    pub(crate) fn accuracy(&self, weights: &[f64]) -> f64 {
        let pairs = self.rows.iter().zip(&self.labels);
        let right = pairs.filter(|(row, label)| (score(weights, row) > 0.0) == (**label > 0.5));
        right.count() as f64 / self.rows.len() as f64
    }

    /// Returns the accuracy of Gaussian naive Bayes.
    pub(crate) fn bayes(&self) -> f64 {
        let classes: Vec<Self> = [0.0, 1.0]
            .into_iter()
            .map(|class| {
                let of = self.rows.iter().zip(&self.labels);
                let of = of.filter(|(_, label)| **label == class);
                Self {
                    rows: of.clone().map(|(row, _)| row.clone()).collect(),
                    labels: of.map(|(_, label)| *label).collect(),
                }
            })
            .collect();
        let chance = |class: &Self, row: &[f64]| {
            let prior = (class.rows.len() as f64 / self.rows.len() as f64).ln();
            let each = row.iter().enumerate().map(|(column, value)| {
                let (mean, spread) = (class.mean(column), class.spread(column));
                -(value - mean).powi(2) / (2.0 * spread * spread) - spread.ln()
            });
            prior + each.sum::<f64>()
        };
        let pairs = self.rows.iter().zip(&self.labels);
        let right = pairs.filter(|(row, label)| {
            let yes = chance(&classes[1], row) > chance(&classes[0], row);
            yes == (**label > 0.5)
        });
        right.count() as f64 / self.rows.len() as f64
    }

    /// Returns the least mean squared distance per column to the nearest of `count` means, over several starts.
    pub(crate) fn clusters(&self, count: usize) -> f64 {
        let starts = (0..20).map(|start| {
            let step = self.rows.len() / count;
            let mut means: Vec<Vec<f64>> = (0..count)
                .map(|mean| self.rows[(start * 37 + mean * step) % self.rows.len()].clone())
                .collect();
            let mut inertia = 0.0;
            for _ in 0..100 {
                let mut sums = vec![(vec![0.0; self.columns()], 0.0); count];
                inertia = 0.0;
                for row in &self.rows {
                    let (nearest, distance) = nearest(&means, row);
                    inertia += distance / (self.rows.len() * self.columns()) as f64;
                    let (sum, homes) = &mut sums[nearest];
                    sum.iter_mut()
                        .zip(row)
                        .for_each(|(sum, value)| *sum += value);
                    *homes += 1.0;
                }
                for (mean, (sum, homes)) in means.iter_mut().zip(sums) {
                    if homes > 0.0 {
                        *mean = sum.into_iter().map(|sum| sum / homes).collect();
                    }
                }
            }
            inertia
        });
        starts.fold(f64::INFINITY, f64::min)
    }

    /// Returns the accuracy of a perceptron with one hidden layer, fitted by gradient descent with momentum over all
    /// rows.
    pub(crate) fn perceptron(&self, hidden: usize) -> f64 {
        let inputs = self.columns();
        // Any different first weights are enough.
        let mut seed = 1u64;
        let mut draw = || {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (seed >> 33) as f64 / (1u64 << 31) as f64 - 0.5
        };
        let mut first: Vec<Vec<f64>> = (0..hidden)
            .map(|_| (0..=inputs).map(|_| draw()).collect())
            .collect();
        let mut last: Vec<f64> = (0..=hidden).map(|_| draw()).collect();
        let outputs = |first: &[Vec<f64>], row: &[f64]| -> Vec<f64> {
            first.iter().map(|unit| score(unit, row).max(0.0)).collect()
        };
        let mut speed = (vec![vec![0.0; inputs + 1]; hidden], vec![0.0; hidden + 1]);
        for _ in 0..600 {
            let mut slopes = (vec![vec![0.0; inputs + 1]; hidden], vec![0.0; hidden + 1]);
            for (row, label) in self.rows.iter().zip(&self.labels) {
                let units = outputs(&first, row);
                let error = 1.0 / (1.0 + (-score(&last, &units)).exp()) - label;
                slopes.1[0] += error;
                for (unit, value) in units.iter().enumerate() {
                    slopes.1[1 + unit] += error * value;
                    if *value > 0.0 {
                        let error = error * last[1 + unit];
                        slopes.0[unit][0] += error;
                        for (slope, value) in slopes.0[unit][1..].iter_mut().zip(row) {
                            *slope += error * value;
                        }
                    }
                }
            }
            let share = 0.1 / self.rows.len() as f64;
            let step = |weight: &mut f64, speed: &mut f64, slope: f64| {
                *speed = 0.9 * *speed - share * slope;
                *weight += *speed;
            };
            for (unit, slopes) in slopes.0.iter().enumerate() {
                for (at, slope) in slopes.iter().enumerate() {
                    step(&mut first[unit][at], &mut speed.0[unit][at], *slope);
                }
            }
            for (at, slope) in slopes.1.iter().enumerate() {
                step(&mut last[at], &mut speed.1[at], *slope);
            }
        }
        let pairs = self.rows.iter().zip(&self.labels);
        let right = pairs
            .filter(|(row, label)| (score(&last, &outputs(&first, row)) > 0.0) == (**label > 0.5));
        right.count() as f64 / self.rows.len() as f64
    }
}

/// Computes the constant plus each value times its weight.
pub(crate) fn score(weights: &[f64], row: &[f64]) -> f64 {
    weights[0]
        + weights[1..]
            .iter()
            .zip(row)
            .map(|(w, x)| w * x)
            .sum::<f64>()
}

fn nearest(means: &[Vec<f64>], row: &[f64]) -> (usize, f64) {
    let distances = means.iter().map(|mean| {
        let apart = mean.iter().zip(row).map(|(a, b)| (a - b).powi(2));
        apart.sum::<f64>()
    });
    let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
    nearest.unwrap()
}
