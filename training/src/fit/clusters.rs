//! The querier's side of k-means.

use rand::RngExt;

use super::{Fit, FitError, SURE, Sums};

/// Passes over the weighted candidates.
const PASSES: usize = 20;

fn distance(one: &[f64], other: &[f64]) -> f64 {
    let apart = one.iter().zip(other).map(|(a, b)| (a - b) * (a - b));
    apart.sum()
}

impl Fit {
    /// The first means, from how many homes are nearest to each candidate. A candidate is a random point and
    /// no person, and is counted only where the cohort is near it.
    pub(super) fn choose(&mut self, clusters: usize, sums: &Sums) -> Result<(), FitError> {
        let columns = self.design.columns();
        let points: Vec<&[f64]> = self.model.state.weights.chunks_exact(columns).collect();
        let sections = sums.sections.iter().skip(1);
        let shares =
            sections.map(|section| section.as_ref().map_or(0.0, |(_, sums)| sums[0].max(0.0)));
        let weighted: Vec<(&[f64], f64)> = points
            .into_iter()
            .zip(shares)
            .filter(|(_, share)| *share > 0.0)
            .collect();
        if weighted.is_empty() {
            return Err(FitError::TooFew);
        }
        // Each next mean is drawn by weight and squared distance to those that are chosen.
        let mut means: Vec<Vec<f64>> = Vec::with_capacity(clusters);
        while means.len() < clusters {
            let chances: Vec<f64> = weighted
                .iter()
                .map(|(point, weight)| {
                    let near = means.iter().map(|mean| distance(point, mean));
                    weight * near.fold(f64::INFINITY, f64::min).min(1e9)
                })
                .collect();
            let mut left = self.rng.random::<f64>() * chances.iter().sum::<f64>();
            let mut drawn = 0;
            for (place, chance) in chances.iter().enumerate() {
                drawn = place;
                left -= chance;
                if left <= 0.0 {
                    break;
                }
            }
            // Where few candidates have the cohort near them, several means begin beside one.
            let again = chances.iter().sum::<f64>() <= 0.0;
            let beside = |value: &f64| match again {
                true => value + 0.5 * (self.rng.random::<f64>() - 0.5),
                false => *value,
            };
            means.push(weighted[drawn].0.iter().map(beside).collect());
        }
        for _ in 0..PASSES {
            let mut sums = vec![(vec![0.0; columns], 0.0); clusters];
            for (point, weight) in &weighted {
                let near = |a: &usize, b: &usize| {
                    distance(point, &means[*a]).total_cmp(&distance(point, &means[*b]))
                };
                let nearest = (0..clusters).min_by(near).unwrap_or(0);
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
        self.model.state.weights = means.concat();
        Ok(())
    }

    /// Moves each mean to that of the documents that are nearest to it. One that is nearest to fewer than the
    /// cohort goes beside the mean of most.
    pub(super) fn assign(&mut self, sums: &Sums) {
        let columns = self.design.columns();
        let noise = SURE * self.noise * self.level();
        let state = &mut self.model.state;
        let sections: Vec<_> = sums.sections.iter().skip(1).collect();
        let share =
            |section: &Option<(f64, Vec<f64>)>| section.as_ref().map_or(0.0, |(_, sums)| sums[0]);
        for (mean, section) in state.weights.chunks_exact_mut(columns).zip(&sections) {
            let Some((_, sums)) = section.as_ref().filter(|(_, sums)| sums[0] > noise) else {
                continue;
            };
            for (column, value) in mean.iter_mut().enumerate() {
                let unit = (sums[1 + column] / sums[0]).clamp(0.0, 1.0);
                *value = (unit - state.means[column]) / state.spreads[column];
            }
        }
        let largest =
            (0..sections.len()).max_by(|a, b| share(sections[*a]).total_cmp(&share(sections[*b])));
        for (number, section) in sections.iter().enumerate() {
            let Some(largest) = largest.filter(|_| share(section) <= noise) else {
                continue;
            };
            for column in 0..columns {
                let beside = 0.5 * (self.rng.random::<f64>() - 0.5);
                state.weights[number * columns + column] =
                    state.weights[largest * columns + column] + beside;
            }
        }
    }
}
