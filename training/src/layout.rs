//! What a home's vector means in each round: sections, coordinates, and the range of each.

use std::ops::Range;

use rand::CryptoRng;

use super::data::{Design, Source};
use super::{Family, SCORE_BINS, Task, Training};
use dispers_circuit as circuit;
use dispers_circuit::{VectorRow, VectorShape};

/// The largest loss of one home that is told.
pub(super) const MAX_LOSS: f64 = 8.0;
/// Most classes of which each is compared with each.
pub(super) const MAX_CONFUSED: usize = 16;
/// Where a clipped update has more coordinates than the square of this, one coordinate cannot have the whole
/// length, and its grid is finer.
const SHARE: f64 = 10.0;

/// The sections of a vector, and how long an honest one is.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub(super) sections: Vec<Section>,
    /// Ranges of sections that are released in runs.
    runs: Vec<Range<usize>>,
    /// Of the centred coordinates together, in halves of their ranges.
    centred: f64,
    /// Of the counted coordinates together, in their ranges.
    counted: f64,
    /// Bits of a coordinate.
    pub(super) bits: u8,
}

/// For each coordinate of a section the range that is proved.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Section {
    /// Coordinates on either side of the middle of their range.
    centred: Vec<(f64, f64)>,
    /// Coordinates that are 0 for most, from 0 to 1.
    counted: usize,
}

impl Section {
    fn centred(ranges: Vec<(f64, f64)>) -> Self {
        Self {
            centred: ranges,
            counted: 0,
        }
    }

    fn counted(counted: usize) -> Self {
        Self {
            centred: Vec::new(),
            counted,
        }
    }

    /// Number of coordinates.
    pub(super) fn len(&self) -> usize {
        self.centred.len() + self.counted
    }

    /// The levels of each coordinate.
    fn grids(&self, bits: u8) -> impl Iterator<Item = Grid> {
        let half = middle(bits);
        let centred = self.centred.iter().map(move |(lo, hi)| Grid {
            origin: (lo + hi) / 2.0,
            half,
            width: width(*lo, *hi, bits),
        });
        let counted = Grid {
            origin: 0.0,
            half: 0.0,
            width: width(0.0, 1.0, bits),
        };
        centred.chain(std::iter::repeat_n(counted, self.counted))
    }
}

/// The levels of one coordinate.
#[derive(Clone, Copy)]
struct Grid {
    /// What the level `half` stands for.
    origin: f64,
    half: f64,
    width: f64,
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
        let columns = design.columns();
        let classes = design.classes();
        let bits = training.bits_of(task);
        let unit = |count: usize| vec![(0.0, 1.0); count];
        // Whatever is on the grid, each at the end of its range.
        let full = |section: Section, counted: f64| Self {
            centred: (section.centred.len() as f64).sqrt(),
            sections: vec![section],
            runs: Vec::new(),
            counted,
            bits,
        };
        // Adds `count` counts of homes beside the first section.
        let counts = |first: Section, count: usize, runs: Vec<Range<usize>>| {
            let mut layout = full(first, 0.0);
            layout.sections.resize_with(1 + count, Section::default);
            layout.runs = runs;
            layout
        };
        let clipped = |weights: usize| {
            let range = training.clip * (SHARE / (weights as f64).sqrt()).min(1.0);
            let mut section = vec![(-range, range); weights];
            section.push((0.0, MAX_LOSS));
            let longest = training.clip / range;
            Self {
                sections: vec![Section::centred(section)],
                runs: Vec::new(),
                // The loss stands beside the update.
                centred: (longest * longest + 1.0).sqrt(),
                counted: 0.0,
                bits,
            }
        };
        match (task, &training.family) {
            (Task::Scale, _) if training.guarded && classes > 0 => {
                let scaled = 2 * design.scaled().len();
                let first = Section {
                    centred: unit(scaled),
                    // A vector needs at least one coordinate.
                    counted: usize::from(scaled == 0),
                };
                counts(first, classes, Vec::new())
            }
            (Task::Validate, _) if training.guarded && classes > 0 => {
                let (count, runs) = cells(classes);
                counts(Section::centred(vec![(0.0, MAX_LOSS)]), count, runs)
            }
            (Task::Scale, _) => {
                let (label, shares) = match training.label.map(|label| label.classes) {
                    Some(0) => (2, 0),
                    classes => (0, classes.unwrap_or(0).into()),
                };
                let section = Section {
                    centred: unit(2 * design.scaled().len() + label),
                    counted: shares,
                };
                full(section, 1.0)
            }
            (Task::Candidates, Family::KMeans { candidates, .. }) => {
                let mut sections = vec![Section::default()];
                sections.extend((0..*candidates).map(|_| Section::counted(1)));
                Self {
                    sections,
                    runs: Vec::new(),
                    centred: 0.0,
                    // Shares of one whole.
                    counted: 1.0,
                    bits,
                }
            }
            (Task::Candidates, _) => full(Section::counted(1), 1.0),
            (Task::Update, Family::Linear) => {
                let values = columns + 1;
                let moments = values + values * (values + 1) / 2;
                full(Section::centred(unit(moments)), 0.0)
            }
            (Task::Update, Family::Logistic { newton: true }) => {
                let values = columns + 1;
                let mut section = vec![(-1.0, 1.0); values];
                section.extend(vec![(0.0, 0.25); values * (values + 1) / 2]);
                section.push((0.0, MAX_LOSS));
                full(Section::centred(section), 0.0)
            }
            (Task::Update, Family::Logistic { .. } | Family::Svm) => {
                clipped(vectors(classes) * (columns + 1))
            }
            (Task::Update, Family::Mlp { hidden, .. }) => {
                clipped(weights(&shape_of(hidden, columns, classes)))
            }
            (Task::Update, Family::Bayes) => {
                let each: usize = design.sources.iter().map(statistics).sum();
                let mut sections = vec![Section::default()];
                sections.extend((0..classes).map(|_| Section::counted(1 + each)));
                Self {
                    sections,
                    runs: Vec::new(),
                    centred: 0.0,
                    counted: training.clip,
                    bits,
                }
            }
            (Task::Update, Family::KMeans { clusters, .. }) => {
                let mut sections = vec![Section::centred(vec![(0.0, MAX_LOSS)])];
                sections.extend((0..*clusters).map(|_| Section::counted(1 + columns)));
                Self {
                    sections,
                    runs: Vec::new(),
                    centred: 1.0,
                    // In each cluster no column is more than the share.
                    counted: (1.0 + columns as f64).sqrt(),
                    bits,
                }
            }
            (Task::Validate, family) => {
                let loss = (0.0, MAX_LOSS);
                let (centred, wholes) = match (family, classes) {
                    (Family::KMeans { .. }, _) => (vec![loss], Vec::new()),
                    // Squared error, the label and its square.
                    (_, 0) => (vec![(0.0, 4.0), (0.0, 1.0), (0.0, 1.0)], Vec::new()),
                    // Loss, share that is right; who is taken for whom, scores by class.
                    (_, classes) => {
                        let confused = (classes <= MAX_CONFUSED).then_some(classes * classes);
                        let scores = (classes == 2).then_some(2 * SCORE_BINS);
                        let wholes = confused.into_iter().chain(scores).collect();
                        (vec![loss, (0.0, 1.0)], wholes)
                    }
                };
                let section = Section {
                    centred,
                    counted: wholes.iter().sum(),
                };
                // Each is the shares of one whole.
                full(section, (wholes.len() as f64).sqrt())
            }
        }
    }

    /// Returns the number of counts in the round that validates a guarded session.
    pub(super) fn cells(classes: usize) -> usize {
        cells(classes).0
    }

    /// Number of coordinates of a round's layout, which is not made for it: strangers write sessions whose
    /// vectors no memory holds.
    pub fn coordinates(training: &Training, design: &Design, task: Task) -> usize {
        let (columns, classes) = (design.columns(), design.classes());
        let values = columns + 1;
        let products = values * (values + 1) / 2;
        match (task, &training.family) {
            (Task::Scale, _) if training.guarded && classes > 0 => {
                (2 * design.scaled().len()).max(1)
            }
            (Task::Validate, _) if training.guarded && classes > 0 => 1,
            (Task::Scale, _) => {
                let label = training.label.map_or(0, |_| classes.max(2));
                2 * design.scaled().len() + label
            }
            (Task::Candidates, Family::KMeans { candidates, .. }) => usize::from(*candidates),
            (Task::Candidates, _) => 1,
            (Task::Update, Family::Linear) => values + products,
            (Task::Update, Family::Logistic { newton: true }) => values + products + 1,
            (Task::Update, Family::Logistic { .. } | Family::Svm) => vectors(classes) * values + 1,
            (Task::Update, Family::Mlp { hidden, .. }) => {
                weights(&shape_of(hidden, columns, classes)) + 1
            }
            (Task::Update, Family::Bayes) => {
                classes * (1 + design.sources.iter().map(statistics).sum::<usize>())
            }
            (Task::Update, Family::KMeans { clusters, .. }) => 1 + usize::from(*clusters) * values,
            (Task::Validate, Family::KMeans { .. }) => 1,
            (Task::Validate, _) => match classes {
                0 => 3,
                2 => 2 + 4 + 2 * SCORE_BINS,
                3..=MAX_CONFUSED => 2 + classes * classes,
                _ => 2,
            },
        }
    }

    /// The circuit's shape.
    pub fn shape(&self) -> VectorShape {
        let bits = self.bits;
        let section = |section: &Section| circuit::Section {
            centred: section.centred.len(),
            counted: section.counted,
        };
        let sections: Vec<circuit::Section> = self.sections.iter().map(section).collect();
        let count = sections.iter().map(circuit::Section::len).sum::<usize>() as f64;
        let half = middle(bits);
        let (centred, counted) = (half * self.centred, 2.0 * half * self.counted);
        // Rounding moves each coordinate by less than a level.
        let longest = centred.hypot(counted) + count.sqrt();
        VectorShape {
            bits,
            runs: self.runs.clone(),
            sections,
            norm: longest.ceil().max(1.0) as u64,
        }
    }

    /// The levels of a home's values, rounded to either neighbour so that the mean is right. What is no
    /// number is its origin.
    pub(super) fn levels(&self, values: &Values, rng: &mut impl CryptoRng) -> VectorRow {
        let bits = self.bits;
        let most = 2.0 * middle(bits) - 1.0;
        let mut level = |(value, grid): (&f64, Grid)| {
            let position = grid.half + (value - grid.origin) / grid.width;
            let position = match position.is_finite() {
                true => position.clamp(0.0, most),
                false => grid.half,
            };
            let below = position.floor();
            // 53 bits: the precision of the fraction that they are compared with.
            let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            below as u64 + u64::from(uniform < position - below)
        };
        let sections = values.iter().zip(&self.sections);
        let section = |(values, section): (&Option<Vec<f64>>, &Section)| {
            let values = values.as_ref()?;
            Some(
                values
                    .iter()
                    .zip(section.grids(bits))
                    .map(&mut level)
                    .collect(),
            )
        };
        VectorRow {
            sections: sections.map(section).collect(),
        }
    }

    /// What released outputs say, each a sum over homes: the number of homes, and for each section that was
    /// released how many homes have something there, and their sums.
    pub fn read(&self, outputs: &[Option<i128>]) -> Option<Sums> {
        let bits = self.bits;
        let mut outputs = outputs.iter();
        let homes = (*outputs.next()?)? as f64;
        let mut sections = Vec::with_capacity(self.sections.len());
        for (number, section) in self.sections.iter().enumerate() {
            let count = match number {
                0 => Some(homes),
                _ => outputs.next()?.map(|count| count as f64),
            };
            let mut sums = Vec::with_capacity(section.len());
            for grid in section.grids(bits) {
                let sum = *outputs.next()?;
                let pair = sum.zip(count);
                sums.push(pair.map(|(sum, count)| grid.origin * count + grid.width * sum as f64));
            }
            let sums: Option<Vec<f64>> = sums.into_iter().collect();
            sections.push(count.zip(sums));
        }
        Some(Sums { homes, sections })
    }

    /// The standard deviation of each mean of the first section over so many homes, where the sums have noise
    /// of so many levels.
    pub(super) fn deviations(&self, noise: f64, homes: f64) -> Vec<f64> {
        let grids = self
            .sections
            .first()
            .map(|section| section.grids(self.bits));
        let grids = grids.into_iter().flatten();
        grids.map(|grid| grid.width * noise / homes).collect()
    }
}

/// Returns the number of counts that validate a guarded session, and the ranges that are released in runs. Two classes
/// have the bins of scores of each, then the right and the wrong predictions. More classes have a count of each class
/// by each predicted class. Above `MAX_CONFUSED` there are only the right and the wrong predictions.
fn cells(classes: usize) -> (usize, Vec<Range<usize>>) {
    match classes {
        2 => {
            let bins = |class: usize| 1 + class * SCORE_BINS..1 + (class + 1) * SCORE_BINS;
            (2 * SCORE_BINS + 2, vec![bins(0), bins(1)])
        }
        _ if classes <= MAX_CONFUSED => (classes * classes, Vec::new()),
        _ => (2, Vec::new()),
    }
}

/// The distance between two levels of a range. The highest level is one below the end, so that the middle is a
/// level.
fn width(lo: f64, hi: f64, bits: u8) -> f64 {
    (hi - lo) / (2.0 * middle(bits) - 2.0)
}

/// What a round released.
pub struct Sums {
    /// Homes that contributed, those that are held out apart.
    pub(super) homes: f64,
    /// For each section the number of homes and the sum of each coordinate; none where too few.
    pub(super) sections: Vec<Option<(f64, Vec<f64>)>>,
}

impl Sums {
    /// Returns the number of homes of each section except the first; `None` where it is withheld, or added to an
    /// earlier one.
    pub(super) fn counts(&self) -> Vec<Option<f64>> {
        let sections = self.sections.iter().skip(1);
        sections
            .map(|section| section.as_ref().map(|(count, _)| *count))
            .collect()
    }

    /// The means of the first section over all homes.
    pub fn means(&self) -> Option<Vec<f64>> {
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
