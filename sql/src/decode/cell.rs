//! The value of one aggregate in one group, computed from its sums.

use super::Value;
use super::histogram::{Run, extreme, mode, quantile};
use dispers_circuit::{Layout, Moment};
use dispers_query::quantise::Quantiser;

/// Formula of a cell over a group's sums.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// The value of a GROUP BY column.
    Key(usize),
    /// Lower or upper edge of a bin of a GROUP BY column.
    Edge { key: usize, upper: bool },
    /// Number of rows in which none of these variables is NULL.
    Count(Vec<u16>),
    /// SUM.
    Sum(Product),
    /// AVG.
    Mean(Product),
    /// VARIANCE or STDDEV (`root`) of a variable.
    Variance {
        of: Product,
        sample: bool,
        root: bool,
    },
    /// A statistic of two variables.
    Pair {
        statistic: Statistic,
        y: u16,
        x: u16,
        present: Vec<u16>,
    },
    /// Value below which the given fraction of all values lies.
    Quantile { variable: u16, fraction: f64 },
    /// Smallest or largest value that the minimum cohort reaches.
    Extreme { variable: u16, largest: bool },
    /// Most frequent level, shown as the value in `labels`, or as its value on the grid if there are no
    /// labels.
    Mode { variable: u16, labels: Vec<Value> },
    /// Quotient of two counts.
    Share { hits: Vec<u16>, of: Vec<u16> },
}

/// A variable, or the product of two, over rows where none of `present` is NULL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Product {
    pub(crate) factors: Vec<u16>,
    pub(crate) present: Vec<u16>,
}

/// PostgreSQL's aggregates of two variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statistic {
    CovarSample,
    CovarPopulation,
    Correlation,
    Slope,
    Intercept,
    R2,
    AverageX,
    AverageY,
    Sxx,
    Syy,
    Sxy,
}

impl Statistic {
    /// Returns whether the statistic needs the squares of y, the squares of x, and the products.
    pub(crate) fn needs(self) -> (bool, bool, bool) {
        match self {
            Self::CovarSample | Self::CovarPopulation | Self::Sxy => (false, false, true),
            Self::Correlation | Self::R2 => (true, true, true),
            Self::Slope | Self::Intercept => (false, true, true),
            Self::AverageX | Self::AverageY => (false, false, false),
            Self::Sxx => (false, true, false),
            Self::Syy => (true, false, false),
        }
    }
}

/// A released cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    pub(super) value: Value,
    /// Largest distance from the true value, for a value that was read off a histogram.
    pub(super) resolution: Option<f64>,
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        Self {
            value,
            resolution: None,
        }
    }
}

impl From<Option<f64>> for Cell {
    fn from(value: Option<f64>) -> Self {
        // Noise can make a denominator 0 or a root negative. Neither is a number, so the cell is NULL.
        let value = value.filter(|value| value.is_finite());
        value.map_or(Value::Null, Value::Real).into()
    }
}

/// The released sums of one group.
pub(super) struct Sums<'a> {
    pub(super) layout: &'a Layout,
    pub(super) quantisers: &'a [Option<Quantiser>],
    pub(super) group: usize,
    /// All outputs. `None` if the output was withheld, or added to an earlier output of its run.
    pub(super) outputs: &'a [Option<i128>],
}

impl Sums<'_> {
    /// Returns the cell, or `None` if a sum that it needs was withheld. Keys and edges are not computed from
    /// sums and also give `None`.
    pub(super) fn cell(&self, source: &Source) -> Option<Cell> {
        Some(match source {
            Source::Key(_) | Source::Edge { .. } => return None,
            // Noise may take a count below 0.
            Source::Count(present) => Value::Integer(self.count(present)?.max(0)).into(),
            Source::Sum(of) => self.sum(of)?.into(),
            Source::Mean(of) => self.mean(of)?.into(),
            Source::Variance { of, sample, root } => {
                let variance = self.variance(of, *sample)?;
                variance.map(|v| if *root { v.sqrt() } else { v }).into()
            }
            Source::Pair {
                statistic,
                y,
                x,
                present,
            } => self.pair(*statistic, *y, *x, present)?.into(),
            Source::Share { hits, of } => {
                // Noise may take a share above 1.
                let (hits, of) = (self.count(hits)?.max(0), self.count(of)?);
                (of > 0).then(|| (hits as f64 / of as f64).min(1.0)).into()
            }
            Source::Quantile { variable, fraction } => {
                quantile(&self.runs(*variable)?, self.grid(*variable)?, *fraction)
            }
            Source::Extreme { variable, largest } => {
                extreme(&self.runs(*variable)?, self.grid(*variable)?, *largest)
            }
            Source::Mode { variable, labels } => {
                mode(&self.runs(*variable)?, self.grid(*variable)?, labels)
            }
        })
    }

    pub(super) fn grid(&self, variable: u16) -> Option<&Quantiser> {
        self.quantisers.get(usize::from(variable))?.as_ref()
    }

    pub(super) fn count(&self, present: &[u16]) -> Option<i128> {
        match present {
            [] => self.outputs[self.layout.rows(self.group)],
            present => self.moment(present, &[]),
        }
    }

    pub(super) fn moment(&self, present: &[u16], factors: &[u16]) -> Option<i128> {
        let moment = Moment::Product {
            present: present.to_vec(),
            factors: factors.to_vec(),
        };
        self.outputs[self.layout.moment(self.group, &moment)?.start]
    }

    /// Returns the released runs of levels in order, or `None` if all are withheld.
    fn runs(&self, variable: u16) -> Option<Vec<Run>> {
        // A variable has either merged or single levels, never both.
        let levels = [true, false].iter().find_map(|&merged| {
            let moment = Moment::Levels { variable, merged };
            Some((self.layout.moment(self.group, &moment)?, merged))
        });
        let (levels, merged) = levels?;
        let mut runs: Vec<Run> = Vec::new();
        for (level, output) in (0u64..).zip(&self.outputs[levels]) {
            match (output, runs.last_mut()) {
                (Some(count), _) => runs.push(Run {
                    levels: level..=level,
                    count: *count,
                }),
                // A missing output of a merged variable was added to the run before it. Of a single level it
                // was withheld.
                (None, Some(run)) if merged => run.levels = *run.levels.start()..=level,
                (None, _) => {}
            }
        }
        (!runs.is_empty()).then_some(runs)
    }

    fn sum(&self, of: &Product) -> Option<Value> {
        let count = self.count(&of.present)?;
        Some(match of.factors[..] {
            [variable] => {
                let (grid, sum) = (self.grid(variable)?, self.moment(&of.present, &of.factors)?);
                match grid.integer_sum(count, sum) {
                    _ if count <= 0 => Value::Null,
                    Some(sum) => Value::Integer(sum),
                    None => Value::Real(grid.value_sum(count, sum)),
                }
            }
            _ => match self.product(of, count)? {
                _ if count <= 0 => Value::Null,
                sum => Value::Real(sum),
            },
        })
    }

    /// Returns the sum of products of two variables' values.
    fn product(&self, of: &Product, count: i128) -> Option<f64> {
        let [a, b] = of.factors[..] else {
            return None;
        };
        let sums = (
            self.moment(&of.present, &[a])?,
            self.moment(&of.present, &[b])?,
        );
        let product = self.moment(&of.present, &of.factors)?;
        Some(
            self.grid(a)?
                .product_sum(self.grid(b)?, count, sums, product),
        )
    }

    fn mean(&self, of: &Product) -> Option<Option<f64>> {
        let count = self.count(&of.present)?;
        match of.factors[..] {
            [variable] => {
                let sum = self.moment(&of.present, &of.factors)?;
                Some(self.grid(variable)?.mean(count, sum))
            }
            _ => {
                let sum = self.product(of, count)?;
                Some((count > 0).then(|| sum / count as f64))
            }
        }
    }

    fn variance(&self, of: &Product, sample: bool) -> Option<Option<f64>> {
        let [variable] = of.factors[..] else {
            return None;
        };
        let count = self.count(&of.present)?;
        let sum = self.moment(&of.present, &[variable])?;
        let squares = self.moment(&of.present, &[variable, variable])?;
        Some(self.grid(variable)?.variance(count, sum, squares, sample))
    }

    /// Returns the sum of products of deviations from the means, times the count, in levels. It is computed
    /// in integers and exact.
    pub(super) fn scatter(&self, present: &[u16], a: u16, b: u16) -> Option<i128> {
        let count = self.count(present)?;
        let sums = (self.moment(present, &[a])?, self.moment(present, &[b])?);
        let product = self.moment(present, &[a.min(b), a.max(b)])?;
        Some(count * product - sums.0 * sums.1)
    }

    fn pair(&self, statistic: Statistic, y: u16, x: u16, present: &[u16]) -> Option<Option<f64>> {
        let count = self.count(present)?;
        let (width_y, width_x) = (self.grid(y)?.width(), self.grid(x)?.width());
        let both = width_y * width_x;
        Some(match statistic {
            Statistic::CovarSample => scaled(self.scatter(present, y, x)?, both, count, count - 1),
            Statistic::CovarPopulation => scaled(self.scatter(present, y, x)?, both, count, count),
            Statistic::Sxy => scaled(
                self.scatter(present, y, x)?,
                both,
                count,
                i128::from(count > 0),
            ),
            Statistic::Sxx => squares(self.scatter(present, x, x)?, width_x, count),
            Statistic::Syy => squares(self.scatter(present, y, y)?, width_y, count),
            Statistic::AverageX => self.mean_of(present, x)?,
            Statistic::AverageY => self.mean_of(present, y)?,
            Statistic::Slope => self.slope(present, y, x)?,
            Statistic::Intercept => {
                let slope = self.slope(present, y, x)?;
                let means = self.mean_of(present, y)?.zip(self.mean_of(present, x)?);
                slope.zip(means).map(|(slope, (y, x))| y - slope * x)
            }
            Statistic::Correlation => correlation(
                self.scatter(present, y, x)?,
                self.scatter(present, y, y)?,
                self.scatter(present, x, x)?,
            ),
            Statistic::R2 => match (
                self.scatter(present, y, x)?,
                self.scatter(present, y, y)?,
                self.scatter(present, x, x)?,
            ) {
                _ if count <= 0 => None,
                // If y is constant and x is not, R² is 1, as in PostgreSQL.
                (_, 0, xx) if xx > 0 => Some(1.0),
                (xy, yy, xx) => correlation(xy, yy, xx).map(|r| r * r),
            },
        })
    }

    /// Returns the mean of a variable over the rows in which none of `present` is NULL.
    pub(super) fn mean_of(&self, present: &[u16], variable: u16) -> Option<Option<f64>> {
        let sum = self.moment(present, &[variable])?;
        Some(self.grid(variable)?.mean(self.count(present)?, sum))
    }

    /// Returns the slope of the least-squares line of `y` over `x`.
    fn slope(&self, present: &[u16], y: u16, x: u16) -> Option<Option<f64>> {
        let (xy, xx) = (self.scatter(present, y, x)?, self.scatter(present, x, x)?);
        let (grid_y, grid_x) = (self.grid(y)?, self.grid(x)?);
        let defined = self.count(present)? > 0 && xx > 0;
        Some(defined.then(|| xy as f64 / xx as f64 * grid_y.width() / grid_x.width()))
    }
}

/// Returns the correlation. It is clamped to [-1, 1], since noise may take it out of that range.
fn correlation(xy: i128, yy: i128, xx: i128) -> Option<f64> {
    (yy > 0 && xx > 0).then(|| {
        let r = xy as f64 / (yy as f64).sqrt() / (xx as f64).sqrt();
        r.clamp(-1.0, 1.0)
    })
}

/// Returns the scatter of `count` rows in the unit of its variables, divided by `divisor`. Floating point begins only
/// here, after the differences were taken exactly: differences of large sums would lose their digits.
fn scaled(scatter: i128, widths: f64, count: i128, divisor: i128) -> Option<f64> {
    (divisor > 0).then(|| scatter as f64 / count as f64 / divisor as f64 * widths)
}

/// Returns the sum of squared deviations from the mean. Noise may make it negative; it is then `None`.
fn squares(scatter: i128, width: f64, count: i128) -> Option<f64> {
    scaled(scatter, width.powi(2), count, 1).filter(|_| scatter >= 0 && count > 0)
}
