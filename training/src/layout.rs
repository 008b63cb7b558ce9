//! Meaning of a home's vector in each round: sections, coordinates, and the range of each coordinate.

use std::ops::Range;

use rand::CryptoRng;

use super::data::Design;
use super::sums::Sums;
use super::{Task, Training, scaling, validation};
use dispers_circuit as circuit;
use dispers_circuit::{VectorRow, VectorShape};

/// Largest loss that a home sends. A larger loss is cut off.
pub(crate) const MAX_LOSS: f64 = 8.0;
/// Factor of the range of one coordinate in a long update: 10/√d of the longest length, for d coordinates (protocol.md
/// §18). So the grid is finer, and a home that uses all of every range weighs at most ten honest homes.
const SHARE: f64 = 10.0;

/// Sections of a vector, and the greatest length of an honest vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub(crate) sections: Vec<Section>,
    /// Ranges of sections whose counts are released in runs.
    runs: Vec<Range<usize>>,
    longest: Longest,
    /// Bits of a coordinate.
    bits: u8,
}

/// Length of the longest vector of an honest home, before rounding. Noise must cover it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Longest {
    /// Length of the centred coordinates together, in halves of their ranges.
    pub(crate) centred: f64,
    /// Length of the counted coordinates together, in their ranges.
    pub(crate) counted: f64,
}

/// Coordinates of a section, each with the range that is proved.
///
/// Neighbours with the same range are written once. So a layout takes little memory however long the vector is, and can
/// be made of an untrusted session before its length is checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Section {
    /// Coordinates on either side of the middle of their range.
    centred: Vec<Span>,
    /// Number of coordinates from 0 to 1 that are 0 for most homes.
    counted: usize,
}

/// Neighbouring coordinates that have the same range.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Span {
    lo: f64,
    hi: f64,
    count: usize,
}

impl Section {
    /// Adds `count` coordinates from `lo` to `hi`.
    pub(crate) fn centred(mut self, count: usize, lo: f64, hi: f64) -> Self {
        self.centred.push(Span { lo, hi, count });
        self
    }

    /// Adds `count` coordinates from 0 to 1 that are 0 for most homes.
    pub(crate) fn counted(mut self, count: usize) -> Self {
        self.counted += count;
        self
    }

    /// Returns the number of centred coordinates.
    fn centred_len(&self) -> usize {
        self.centred.iter().map(|span| span.count).sum()
    }

    /// Returns the number of coordinates.
    pub(crate) fn len(&self) -> usize {
        self.centred_len() + self.counted
    }

    /// Returns the section as the circuit has it, without ranges.
    fn shape(&self) -> circuit::Section {
        circuit::Section {
            centred: self.centred_len(),
            counted: self.counted,
        }
    }

    /// Returns the levels of each coordinate.
    fn grids(&self, bits: u8) -> impl Iterator<Item = Grid> {
        let half = middle(bits);
        let centred = self.centred.iter().flat_map(move |span| {
            let grid = Grid {
                origin: (span.lo + span.hi) / 2.0,
                half,
                width: width(span.lo, span.hi, bits),
            };
            std::iter::repeat_n(grid, span.count)
        });
        let counted = Grid {
            origin: 0.0,
            half: 0.0,
            width: width(0.0, 1.0, bits),
        };
        centred.chain(std::iter::repeat_n(counted, self.counted))
    }
}

/// Levels of one coordinate.
#[derive(Clone, Copy)]
struct Grid {
    /// Value at the level `half`.
    origin: f64,
    /// Level in the middle of the range; 0 for coordinates that are counted.
    half: f64,
    /// Distance between two levels.
    width: f64,
}

impl Grid {
    /// Rounds a value to one of the two neighbouring levels, at random such that the mean is right. Values beyond the
    /// levels 0 to `most` are cut off. A value that is not a finite number becomes the origin.
    fn level(self, value: f64, most: f64, rng: &mut impl CryptoRng) -> u64 {
        let position = self.half + (value - self.origin) / self.width;
        let position = match position.is_finite() {
            true => position.clamp(0.0, most),
            false => self.half,
        };
        let below = position.floor();
        // 53 bits are as precise as the fraction that they are compared with.
        let uniform = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        below as u64 + u64::from(uniform < position - below)
    }
}

/// Returns the number of levels on either side of the middle.
fn middle(bits: u8) -> f64 {
    (1u64 << (bits - 1)) as f64
}

/// Returns the distance between two levels of a range.
fn width(lo: f64, hi: f64, bits: u8) -> f64 {
    // One level remains unused, so that the number of steps is even, and the middle of the range is a level.
    (hi - lo) / (2.0 * middle(bits) - 2.0)
}

/// Values of one home, by section; `None` for a section in which the home has no values.
pub(crate) type Values = Vec<Option<Vec<f64>>>;

impl Layout {
    /// Makes the layout of a home's vector in rounds of this task.
    pub fn of(training: &Training, design: &Design, task: Task) -> Self {
        let layout = match task {
            Task::Scale => scaling::layout(training, design),
            Task::Validate => validation::layout(training, design),
            Task::Candidates | Task::Update => {
                let algorithm = training.family.algorithm();
                algorithm.layout(task, design, training.clip)
            }
        };
        Self {
            bits: training.bits_of(task),
            ..layout
        }
    }

    /// Makes a layout of sections. The bits of a coordinate are added later, because they depend on the round.
    pub(crate) fn new(sections: Vec<Section>, longest: Longest) -> Self {
        Self {
            sections,
            runs: Vec::new(),
            longest,
            bits: 0,
        }
    }

    /// Makes a layout of one section, in which all centred coordinates may be at the ends of their ranges.
    pub(crate) fn full(section: Section) -> Self {
        Self::full_with(section, 0.0)
    }

    /// As [`Self::full`], with counted coordinates that together have at most this length.
    pub(crate) fn full_with(section: Section, counted: f64) -> Self {
        let centred = (section.centred_len() as f64).sqrt();
        Self::new(vec![section], Longest { centred, counted })
    }

    /// Makes the layout of an update that is scaled down to the length `clip`, and of the loss after it.
    pub(crate) fn clipped(weights: usize, clip: f64) -> Self {
        let range = clip * (SHARE / (weights as f64).sqrt()).min(1.0);
        let section = Section::default().centred(weights, -range, range);
        let longest = clip / range;
        Self::new(
            vec![section.centred(1, 0.0, MAX_LOSS)],
            Longest {
                // The loss may be at the end of its range, which adds 1 to the squared length.
                centred: (longest * longest + 1.0).sqrt(),
                counted: 0.0,
            },
        )
    }

    /// Adds `count` counts of homes, each a section without coordinates. The sections in `runs` are released in runs.
    pub(crate) fn with_counts(mut self, count: usize, runs: Vec<Range<usize>>) -> Self {
        let sections = self.sections.len() + count;
        self.sections.resize_with(sections, Section::default);
        self.runs = runs;
        self
    }

    /// Returns the number of coordinates of all sections.
    pub fn coordinates(&self) -> usize {
        self.sections.iter().map(Section::len).sum()
    }

    /// Returns whether each section has either values for all its coordinates, or none.
    pub(crate) fn fits(&self, values: &Values) -> bool {
        let mut pairs = values.iter().zip(&self.sections);
        values.len() == self.sections.len()
            && pairs.all(|(values, section)| {
                let length = values.as_ref().map(Vec::len);
                length.is_none_or(|length| length == section.len())
            })
    }

    /// Returns the shape of the circuit that proves the vector.
    pub fn shape(&self) -> VectorShape {
        let bits = self.bits;
        let sections: Vec<circuit::Section> = self.sections.iter().map(Section::shape).collect();
        let count = sections.iter().map(circuit::Section::len).sum::<usize>() as f64;
        let half = middle(bits);
        let Longest { centred, counted } = self.longest;
        let (centred, counted) = (half * centred, 2.0 * half * counted);
        // Noise must cover rounding too, which moves each coordinate by less than a level.
        let longest = centred.hypot(counted) + count.sqrt();
        VectorShape {
            bits,
            runs: self.runs.clone(),
            sections,
            norm: longest.ceil().max(1.0) as u64,
        }
    }

    /// Returns the levels of a home's values, rounded at random such that means are right.
    pub(crate) fn levels(&self, values: &Values, rng: &mut impl CryptoRng) -> VectorRow {
        let bits = self.bits;
        let most = 2.0 * middle(bits) - 1.0;
        let sections = values.iter().zip(&self.sections).map(|(values, section)| {
            let pairs = values.as_ref()?.iter().zip(section.grids(bits));
            let levels = pairs.map(|(value, grid)| grid.level(*value, most, rng));
            Some(levels.collect())
        });
        VectorRow {
            sections: sections.collect(),
        }
    }

    /// Reads the outputs of a round: the number of homes, then for each section the number of homes with values there,
    /// and the sums of its coordinates. Returns `None` if the number of homes is withheld, or an output is missing.
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
                // Levels count from the middle of the range, so each home adds the origin too.
                sums.push(pair.map(|(sum, count)| grid.origin * count + grid.width * sum as f64));
            }
            let sums: Option<Vec<f64>> = sums.into_iter().collect();
            sections.push(count.zip(sums));
        }
        let first = self.sections.iter().take(1);
        let widths = first.flat_map(|section| section.grids(bits).map(|grid| grid.width));
        Some(Sums {
            homes,
            sections,
            widths: widths.collect(),
            level: width(0.0, 1.0, bits),
            noise: 0.0,
        })
    }
}
