//! Clusters around means. The first means are chosen among random points.

use ndarray::Array1;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::data::{Design, Row};
use crate::fit::{FitError, Released, SURE, Settings, Step, normal};
use crate::layout::{Layout, Longest, MAX_LOSS, Section, Values};
use crate::scores::{State, inputs, matrix, mean, nearest};
use crate::{InvalidTraining, Label, Labels, Task};

/// Number of passes that improve the first means over the weighted candidates.
const PASSES: usize = 20;

/// Clusters around means.
pub(crate) struct KMeans {
    clusters: usize,
    /// Number of random points among which the first means are chosen.
    candidates: usize,
}

impl KMeans {
    /// Makes the model with these settings.
    pub(super) fn new(clusters: u16, candidates: u16) -> Self {
        Self {
            clusters: clusters.into(),
            candidates: candidates.into(),
        }
    }
}

impl Algorithm for KMeans {
    fn name(&self) -> &'static str {
        "kmeans"
    }

    fn labels(&self) -> Labels {
        Labels::None
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(label.is_none(), "clusters have no label")?;
        require(
            (2..=128).contains(&self.clusters)
                && self.candidates >= self.clusters
                && self.candidates <= 512,
            "there are 2 to 128 clusters, chosen among at most 512 points",
        )
    }

    fn check_columns(&self, columns: usize) -> Result<(), InvalidTraining> {
        // Candidates are sent as parameters, which have at most as many numbers as a vector.
        require(
            self.candidates * columns <= dispers_circuit::MAX_COORDINATES,
            "the points among which clusters are chosen have at most 65536 numbers: take fewer features or \
             clusters",
        )
    }

    fn rounds(&self, updates: u16) -> Vec<Task> {
        let mut rounds = vec![Task::Scale, Task::Candidates];
        rounds.extend(std::iter::repeat_n(Task::Update, updates.into()));
        rounds
    }

    fn steps(&self, _design: &Design, _settings: &Settings) -> Box<dyn Steps> {
        Box::new(Means {
            clusters: self.clusters,
        })
    }
}

impl Vectors for KMeans {
    fn layout(&self, task: Task, design: &Design, _clip: f64) -> Layout {
        let columns = design.columns();
        if task == Task::Candidates {
            let mut sections = vec![Section::default()];
            sections.resize(1 + self.candidates, Section::default().counted(1));
            return Layout::new(
                sections,
                Longest {
                    centred: 0.0,
                    // Shares of the home's documents, which are parts of one whole.
                    counted: 1.0,
                },
            );
        }
        let mut sections = vec![Section::default().centred(1, 0.0, MAX_LOSS)];
        sections.resize(1 + self.clusters, Section::default().counted(1 + columns));
        Layout::new(
            sections,
            Longest {
                centred: 1.0,
                // Shares are parts of one whole, and in each cluster no column sums to more than the share.
                counted: (1.0 + columns as f64).sqrt(),
            },
        )
    }

    fn values(
        &self,
        task: Task,
        design: &Design,
        _clip: f64,
        state: &State,
        rows: &[Row],
    ) -> Option<Values> {
        let columns = design.columns();
        let count = if task == Task::Candidates {
            self.candidates
        } else {
            self.clusters
        };
        let points = matrix(&state.weights, count, columns)?;
        let nearest = nearest(&inputs(state, columns, rows), points);
        let share = 1.0 / rows.len() as f64;
        if task == Task::Candidates {
            let mut sections: Values = vec![Some(Vec::new())];
            sections.extend((0..count).map(|point| {
                let count = nearest.iter().filter(|(at, _)| *at == point).count();
                (count > 0).then(|| vec![count as f64 * share])
            }));
            return Some(sections);
        }
        let distance = mean(nearest.iter().map(|(_, distance)| *distance));
        let mut sections: Values = vec![Some(vec![distance.min(MAX_LOSS)])];
        sections.extend((0..count).map(|point| {
            let near = rows
                .iter()
                .zip(&nearest)
                .filter(|(_, (at, _))| *at == point);
            let mut values = vec![0.0; 1 + columns];
            for (row, _) in near {
                values[0] += share;
                for (sum, column) in values[1..].iter_mut().zip(&row.columns) {
                    *sum += column * share;
                }
            }
            (values[0] > 0.0).then_some(values)
        }));
        Some(sections)
    }

    fn operations(&self, design: &Design) -> usize {
        self.candidates * (design.columns() + 1)
    }
}

impl Weights for KMeans {
    fn weights(&self, design: &Design) -> usize {
        self.clusters * design.columns()
    }

    /// Draws the candidates. They are random points, so that homes are shown nobody's documents.
    fn first_weights(&self, design: &Design, rng: &mut StdRng) -> Vec<f64> {
        (0..self.candidates * design.columns())
            .map(|_| 1.2 * normal(rng))
            .collect()
    }

    fn predict(&self, design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        let columns = design.columns();
        let points = matrix(&state.weights, self.clusters, columns)?;
        let nearest = nearest(&inputs(state, columns, rows), points).into_iter();
        let pairs = nearest.map(|(point, distance)| Array1::from(vec![point as f64, distance]));
        Some(pairs.collect())
    }
}

/// Querier's steps.
struct Means {
    clusters: usize,
}

impl Steps for Means {
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        rng: &mut StdRng,
    ) -> Result<Step, FitError> {
        if released.task == Task::Candidates {
            state.weights = self.choose(released, &state.weights, rng)?;
            return Ok(Step::default());
        }
        assign(released, state, rng);
        Ok(Step {
            loss: released.means.first().copied(),
            early: None,
        })
    }
}

impl Means {
    /// Chooses the first means, from the share of documents nearest to each candidate.
    ///
    /// Only candidates with at least the cohort near them are counted (after k-means‖, Bahmani et al. 2012; protocol.md
    /// §18).
    fn choose(
        &self,
        released: &Released<'_>,
        candidates: &[f64],
        rng: &mut StdRng,
    ) -> Result<Vec<f64>, FitError> {
        let points = candidates.chunks_exact(released.design.columns());
        let sections = released.sums.sections.iter().skip(1);
        let shares = sections.map(|section| share_of(section).max(0.0));
        let weighted: Vec<(&[f64], f64)> = points
            .zip(shares)
            .filter(|(_, share)| *share > 0.0)
            .collect();
        if weighted.is_empty() {
            return Err(FitError::TooFew);
        }
        let mut means: Vec<Vec<f64>> = Vec::with_capacity(self.clusters);
        while means.len() < self.clusters {
            means.push(draw(&weighted, &means, rng));
        }
        for _ in 0..PASSES {
            improve(&weighted, &mut means);
        }
        Ok(means.concat())
    }
}

/// Returns the first sum of a released section, which is the share of documents there; 0 where it is withheld.
fn share_of(section: &Option<(f64, Vec<f64>)>) -> f64 {
    section.as_ref().map_or(0.0, |(_, sums)| sums[0])
}

/// Returns the squared distance of two points.
fn distance(one: &[f64], other: &[f64]) -> f64 {
    let apart = one.iter().zip(other).map(|(a, b)| (a - b) * (a - b));
    apart.sum()
}

/// Draws the next mean among weighted points, by weight and squared distance to the nearest mean so far.
fn draw(weighted: &[(&[f64], f64)], means: &[Vec<f64>], rng: &mut StdRng) -> Vec<f64> {
    let chances: Vec<f64> = weighted
        .iter()
        .map(|(point, weight)| {
            // Before the first mean the distance is infinite, and the bound leaves the choice to the weights.
            let near = means.iter().map(|mean| distance(point, mean));
            weight * near.fold(f64::INFINITY, f64::min).min(1e9)
        })
        .collect();
    let mut left = rng.random::<f64>() * chances.iter().sum::<f64>();
    let mut drawn = 0;
    for (place, chance) in chances.iter().enumerate() {
        drawn = place;
        left -= chance;
        if left <= 0.0 {
            break;
        }
    }
    // Few candidates may have the cohort near them. If all are means already, the next mean begins beside one of them,
    // because two equal means would never part.
    let point = weighted[drawn].0;
    match chances.iter().sum::<f64>() <= 0.0 {
        true => point
            .iter()
            .map(|value| value + 0.5 * (rng.random::<f64>() - 0.5))
            .collect(),
        false => point.to_vec(),
    }
}

/// Moves each mean to the mean of the weighted points that are nearest to it.
fn improve(weighted: &[(&[f64], f64)], means: &mut [Vec<f64>]) {
    let columns = weighted.first().map_or(0, |(point, _)| point.len());
    let mut sums = vec![(vec![0.0; columns], 0.0); means.len()];
    for (point, weight) in weighted {
        let nearest = (0..means.len())
            .min_by(|a, b| distance(point, &means[*a]).total_cmp(&distance(point, &means[*b])))
            .unwrap_or(0);
        let (sum, all) = &mut sums[nearest];
        sum.iter_mut()
            .zip(*point)
            .for_each(|(sum, value)| *sum += weight * value);
        *all += weight;
    }
    for (mean, (sum, all)) in means.iter_mut().zip(sums) {
        if all > 0.0 {
            *mean = sum.into_iter().map(|value| value / all).collect();
        }
    }
}

/// Moves each mean to the mean of the documents that are nearest to it. A mean with fewer homes than the cohort near it
/// moves beside the mean with the largest share.
fn assign(released: &Released<'_>, state: &mut State, rng: &mut StdRng) {
    let columns = released.design.columns();
    let noise = SURE * released.sums.noise * released.sums.level;
    let sections: Vec<_> = released.sums.sections.iter().skip(1).collect();
    for (mean, section) in state.weights.chunks_exact_mut(columns).zip(&sections) {
        let Some((_, sums)) = section.as_ref().filter(|(_, sums)| sums[0] > noise) else {
            continue;
        };
        for (column, value) in mean.iter_mut().enumerate() {
            // Sums are of columns in 0 to 1. Means are on the scale of inputs.
            let unit = (sums[1 + column] / sums[0]).clamp(0.0, 1.0);
            *value = (unit - state.means[column]) / state.spreads[column];
        }
    }
    let largest = (0..sections.len())
        .max_by(|a, b| share_of(sections[*a]).total_cmp(&share_of(sections[*b])));
    for (number, section) in sections.iter().enumerate() {
        let Some(largest) = largest.filter(|_| share_of(section) <= noise) else {
            continue;
        };
        for column in 0..columns {
            let beside = 0.5 * (rng.random::<f64>() - 0.5);
            state.weights[number * columns + column] =
                state.weights[largest * columns + column] + beside;
        }
    }
}
