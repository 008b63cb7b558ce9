//! What a home's vector means in each round: sections, coordinates, and the range of each.

use rand::CryptoRng;

use super::data::{Design, Source};
use super::{Family, SCORE_BINS, Task, Training};
use crate::circuit::{VectorRow, VectorShape};

/// The largest loss of one home that is told.
pub(super) const MAX_LOSS: f64 = 8.0;
/// Most classes of which each is compared with each.
pub(super) const MAX_CONFUSED: usize = 16;
/// Where a clipped update has more coordinates than the square of this, one coordinate cannot have the whole
/// length, and its grid is finer.
const SHARE: f64 = 10.0;

/// The sections of a vector: for each coordinate the range that is proved.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub(super) sections: Vec<Vec<(f64, f64)>>,
    /// Of a clipped update, its longest length and the range of its coordinates on either side.
    clipped: Option<(f64, f64)>,
}

/// Levels on either side of the middle.
fn middle(bits: u8) -> f64 {
    (1u64 << (bits - 1)) as f64
}

/// What one home computes: for each section its values, none where it has nothing there.
pub(super) type Values = Vec<Option<Vec<f64>>>;

impl Layout {
    /// The layout of a round.
    pub fn of(training: &Training, design: &Design, task: Task) -> Self {
        let unit = |count: usize| vec![(0.0, 1.0); count];
        let columns = design.columns();
        let mut clipped = None;
        let mut update = |weights: usize| {
            let range = training.clip * (SHARE / (weights as f64).sqrt()).min(1.0);
            let mut section = vec![(-range, range); weights];
            section.push((0.0, MAX_LOSS));
            clipped = Some((training.clip, range));
            section
        };
        let first = |section| vec![section];
        let sections = match (task, &training.family) {
            (Task::Scale, _) => {
                let label = training.label.map_or(0, |label| match label.classes {
                    0 => 2,
                    classes => classes.into(),
                });
                first(unit(2 * design.scaled().len() + label))
            }
            (Task::Candidates, Family::KMeans { candidates, .. }) => {
                let mut sections = vec![Vec::new()];
                sections.extend((0..*candidates).map(|_| unit(1)));
                sections
            }
            (Task::Candidates, _) => first(unit(1)),
            (Task::Update, Family::Linear) => {
                let values = columns + 1;
                first(unit(values + values * (values + 1) / 2))
            }
            (Task::Update, Family::Logistic { newton: true }) => {
                let values = columns + 1;
                let mut section = vec![(-1.0, 1.0); values];
                section.extend(vec![(0.0, 0.25); values * (values + 1) / 2]);
                section.push((0.0, MAX_LOSS));
                first(section)
            }
            (Task::Update, Family::Logistic { .. } | Family::Svm) => {
                first(update(vectors(design.classes()) * (columns + 1)))
            }
            (Task::Update, Family::Mlp { hidden, .. }) => first(update(weights(&shape_of(
                hidden,
                columns,
                design.classes(),
            )))),
            (Task::Update, Family::Bayes) => {
                let each: usize = design.sources.iter().map(statistics).sum();
                let mut sections = vec![Vec::new()];
                sections.extend((0..design.classes()).map(|_| unit(1 + each)));
                sections
            }
            (Task::Update, Family::KMeans { clusters, .. }) => {
                let mut sections = vec![vec![(0.0, MAX_LOSS)]];
                sections.extend((0..*clusters).map(|_| unit(1 + columns)));
                sections
            }
            (Task::Validate, _) => first(validation(training, design)),
        };
        Self { sections, clipped }
    }

    /// The circuit's shape.
    pub fn shape(&self, bits: u8) -> VectorShape {
        let sections: Vec<usize> = self.sections.iter().map(Vec::len).collect();
        let count = sections.iter().sum::<usize>() as f64;
        // Rounding moves each coordinate by less than a level.
        let longest = match self.clipped {
            Some((longest, range)) => {
                let levels = longest / range * middle(bits);
                // The loss stands beside the update.
                (levels * levels + middle(bits) * middle(bits)).sqrt() + count.sqrt()
            }
            None => middle(bits) * count.sqrt(),
        };
        VectorShape {
            bits,
            sections,
            norm: longest.ceil().max(1.0) as u64,
        }
    }

    /// The levels of a home's values, rounded to either neighbour so that the mean is right. What is no
    /// number is the middle of its range.
    pub(super) fn levels(&self, values: &Values, bits: u8, rng: &mut impl CryptoRng) -> VectorRow {
        let (half, most) = (middle(bits), 2.0 * middle(bits) - 1.0);
        let mut level = |(value, (lo, hi)): (&f64, &(f64, f64))| {
            // The highest level is one below the end, so that the middle is a level.
            let position = half + (value - (lo + hi) / 2.0) / width(*lo, *hi, bits);
            let position = match position.is_finite() {
                true => position.clamp(0.0, most),
                false => half,
            };
            let below = position.floor();
            // 53 bits: the precision of the fraction that they are compared with.
            let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            below as u64 + u64::from(uniform < position - below)
        };
        let sections = values.iter().zip(&self.sections);
        let section = |(values, ranges): (&Option<Vec<f64>>, &Vec<(f64, f64)>)| {
            let values = values.as_ref()?;
            Some(values.iter().zip(ranges).map(&mut level).collect())
        };
        VectorRow {
            sections: sections.map(section).collect(),
        }
    }

    /// What released outputs say, each a sum over homes: the number of homes, and for each section that was
    /// released how many homes have something there, and their sums.
    pub(super) fn read(&self, outputs: &[Option<i128>], bits: u8) -> Option<Sums> {
        let mut outputs = outputs.iter();
        let homes = (*outputs.next()?)? as f64;
        let mut sections = Vec::with_capacity(self.sections.len());
        for (number, ranges) in self.sections.iter().enumerate() {
            let count = match number {
                0 => Some(homes),
                _ => outputs.next()?.map(|count| count as f64),
            };
            let mut sums = Vec::with_capacity(ranges.len());
            for (lo, hi) in ranges {
                let sum = *outputs.next()?;
                let middle = (lo + hi) / 2.0;
                sums.push(
                    sum.zip(count)
                        .map(|(sum, count)| middle * count + width(*lo, *hi, bits) * sum as f64),
                );
            }
            let sums: Option<Vec<f64>> = sums.into_iter().collect();
            sections.push(count.zip(sums));
        }
        Some(Sums { homes, sections })
    }
}

/// The distance between two levels of a range.
fn width(lo: f64, hi: f64, bits: u8) -> f64 {
    (hi - lo) / (2.0 * middle(bits) - 2.0)
}

/// What a round released.
pub(super) struct Sums {
    /// Homes that contributed, those that are held out apart.
    pub(super) homes: f64,
    /// For each section the number of homes and the sum of each coordinate; none where too few.
    pub(super) sections: Vec<Option<(f64, Vec<f64>)>>,
}

impl Sums {
    /// The means of the first section over all homes.
    pub(super) fn means(&self) -> Option<Vec<f64>> {
        let (homes, sums) = self.sections.first()?.as_ref()?;
        (*homes > 0.0).then(|| sums.iter().map(|sum| sum / homes).collect())
    }
}

/// Weight vectors of a linear model: one for two classes or a number, one for each of more.
pub(super) fn vectors(classes: usize) -> usize {
    match classes {
        0..=2 => 1,
        more => more,
    }
}

/// Widths of a perceptron's layers, from its columns to its outputs.
pub(super) fn shape_of(hidden: &[u16], columns: usize, classes: usize) -> Vec<usize> {
    let mut widths = vec![columns];
    widths.extend(hidden.iter().map(|width| usize::from(*width)));
    widths.push(classes.max(1));
    widths
}

/// Number of weights of a perceptron, those of constants included.
pub(super) fn weights(widths: &[usize]) -> usize {
    let layers = widths.windows(2);
    layers.map(|pair| (pair[0] + 1) * pair[1]).sum()
}

/// What naive Bayes sums of a feature in each class.
pub(super) fn statistics(source: &Source) -> usize {
    match *source {
        Source::Number { .. } => 2,
        Source::Category { values, .. } => values,
        Source::Words { buckets, .. } => buckets.into(),
    }
}

fn validation(training: &Training, design: &Design) -> Vec<(f64, f64)> {
    let unit = |count: usize| vec![(0.0, 1.0); count];
    match (&training.family, design.classes()) {
        (Family::KMeans { .. }, _) => vec![(0.0, MAX_LOSS)],
        // Squared error, the label and its square.
        (_, 0) => vec![(0.0, 4.0), (0.0, 1.0), (0.0, 1.0)],
        (_, classes) => {
            // Loss, share that is right, who is taken for whom, scores by class.
            let mut section = vec![(0.0, MAX_LOSS), (0.0, 1.0)];
            if classes <= MAX_CONFUSED {
                section.extend(unit(classes * classes));
            }
            if classes == 2 {
                section.extend(unit(2 * SCORE_BINS));
            }
            section
        }
    }
}
