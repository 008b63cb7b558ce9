//! How good a model is, from what held-out homes said.

use rand::rngs::StdRng;

use super::SCORE_BINS;
use super::fit::{Released, normal};
use super::model::{Kind, Model};
use super::validation::MAX_CONFUSED;

/// How good a model is at homes that are held out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Homes that it was tried at.
    pub homes: u64,
    /// Share of documents whose class is right, the mean over homes.
    pub accuracy: Option<f64>,
    /// Mean of −log of the chance that is given to the right class.
    pub log_loss: Option<f64>,
    /// Root of the mean squared error, in the label's unit.
    pub rmse: Option<f64>,
    /// Share of the label's variance that is explained.
    pub r_squared: Option<f64>,
    /// Area under the receiver's operating curve, by histogram of scores.
    pub auc: Option<f64>,
    /// Share of documents of each class (rows) by predicted class (columns); `None` where it is withheld.
    pub confusion: Option<Vec<Vec<Option<f64>>>>,
    /// Mean squared distance to the nearest cluster, for each column.
    pub inertia: Option<f64>,
    /// Largest difference of the area from the true one, where it was computed from runs of scores.
    pub auc_resolution: Option<f64>,
    /// Names of metrics that are withheld, because they would reveal a count of fewer homes than the cohort.
    pub withheld: Vec<&'static str>,
    /// Standard errors of those of [`Self::named`], as far as noise makes them; none without noise.
    pub errors: [Option<f64>; METRICS],
}

/// Metrics that are one number.
pub const METRICS: usize = 6;

impl Metrics {
    /// Computes metrics from the released numbers of the validating round.
    pub(crate) fn released(model: &Model, released: &Released<'_>, rng: &mut StdRng) -> Self {
        let (homes, means) = (released.sums.homes as u64, released.means);
        let mut metrics = match model.training.guarded {
            true => Self::of_counts(model, homes, means, &released.sums.counts()),
            false => Self::of(model, homes, means),
        };
        if released.sums.is_noisy() {
            metrics.errors = errors(model, released, rng);
        }
        metrics.bound();
        metrics
    }

    /// Shares are none below nothing or above all, whatever noise makes of them.
    fn bound(&mut self) {
        self.accuracy.iter_mut().for_each(clamp_share);
        self.confusion
            .iter_mut()
            .flatten()
            .flatten()
            .flatten()
            .for_each(clamp_share);
    }

    /// Those that are one number, by name.
    pub fn named(&self) -> [(&'static str, Option<f64>); METRICS] {
        [
            ("accuracy", self.accuracy),
            ("log_loss", self.log_loss),
            ("auc", self.auc),
            ("rmse", self.rmse),
            ("r_squared", self.r_squared),
            ("inertia", self.inertia),
        ]
    }

    /// From the means of what homes say when a model is validated.
    fn of(model: &Model, homes: u64, means: &[f64]) -> Self {
        let base = Self {
            homes,
            ..Self::default()
        };
        let design = model.design();
        match (model.kind(), means) {
            (Kind::Cluster, [inertia, ..]) => Self {
                inertia: Some(*inertia),
                ..base
            },
            (Kind::Number, [error, mean, square, ..]) => {
                let (lo, hi) = model.training.label_range(&model.local);
                let width = hi - lo;
                let variance = square - mean * mean;
                Self {
                    rmse: Some(error.max(0.0).sqrt() * width),
                    r_squared: (variance > 0.0).then(|| 1.0 - error / variance),
                    ..base
                }
            }
            (Kind::Class, [loss, right, rest @ ..]) => {
                let classes = design.classes();
                let (confused, scores) = match classes <= MAX_CONFUSED {
                    true => rest.split_at((classes * classes).min(rest.len())),
                    false => (&rest[..0], rest),
                };
                let confusion = confused.chunks(classes);
                let confusion = confusion.map(|row| row.iter().copied().map(Some).collect());
                let chances = model.training.family.algorithm().gives_chances();
                Self {
                    accuracy: Some(*right),
                    log_loss: chances.then_some(*loss),
                    confusion: (!confused.is_empty()).then(|| confusion.collect()),
                    auc: auc(scores),
                    ..base
                }
            }
            _ => base,
        }
    }

    /// Computes metrics from the released numbers of a guarded session's round: a mean loss, and counts of homes.
    /// Counts below the cohort are withheld or added to their neighbours.
    fn of_counts(model: &Model, homes: u64, means: &[f64], counts: &[Option<f64>]) -> Self {
        let classes = model.design().classes();
        if !matches!(model.kind(), Kind::Class) || counts.is_empty() {
            return Self::of(model, homes, means);
        }
        let all = homes as f64;
        let chances = model.training.family.algorithm().gives_chances();
        let mut metrics = Self {
            homes,
            log_loss: means.first().copied().filter(|_| chances),
            ..Self::default()
        };
        // The number of homes of each class by predicted class.
        let cells: Vec<Option<f64>> = match classes {
            2 => {
                let (no, yes) = counts.split_at(counts.len().min(SCORE_BINS));
                let yes = &yes[..yes.len().min(SCORE_BINS)];
                // The area lies between its values for the least and the most favourable place of each score in its
                // run.
                let ends = [no, yes].map(|bins| Some([placed(bins, false)?, placed(bins, true)?]));
                if let [Some([no_low, no_high]), Some([yes_low, yes_high])] = ends {
                    let least = auc(&[no_high, yes_low].concat());
                    let most = auc(&[no_low, yes_high].concat());
                    let half = least.zip(most).map(|(least, most)| (most - least) / 2.0);
                    let half = half.filter(|half| *half <= COARSEST);
                    metrics.auc = least.zip(half).map(|(least, half)| least + half);
                    metrics.auc_resolution = half;
                }
                [no, yes].iter().flat_map(|bins| halves(bins)).collect()
            }
            _ => counts.to_vec(),
        };
        let right: Option<f64> = match classes <= MAX_CONFUSED {
            true => (0..classes)
                .map(|class| cells.get(class * (classes + 1)).copied().flatten())
                .sum(),
            false => cells.first().copied().flatten(),
        };
        let sides = (counts.get(2 * SCORE_BINS), counts.get(2 * SCORE_BINS + 1));
        metrics.accuracy = match (classes, sides) {
            (2, (Some(Some(right)), Some(Some(wrong)))) => Some(right / (right + wrong)),
            _ => right.map(|right| right / all),
        };
        if classes <= MAX_CONFUSED {
            let shares: Vec<Option<f64>> = cells
                .iter()
                .map(|cell| cell.map(|count| count / all))
                .collect();
            let rows: Vec<Vec<Option<f64>>> = shares.chunks(classes).map(<[_]>::to_vec).collect();
            if rows.iter().flatten().any(Option::is_none) {
                metrics.withheld.push("confusion");
            }
            metrics.confusion = Some(rows);
        }
        if metrics.accuracy.is_none() {
            metrics.withheld.push("accuracy");
        }
        if classes == 2 && metrics.auc.is_none() {
            metrics.withheld.push("auc");
        }
        metrics
    }
}

/// Moves a share into 0 to 1.
fn clamp_share(share: &mut f64) {
    *share = share.clamp(0.0, 1.0);
}

/// Computes the standard errors of metrics: how they vary when the same noise is added once more.
fn errors(model: &Model, released: &Released<'_>, rng: &mut StdRng) -> [Option<f64>; METRICS] {
    const DRAWS: usize = 200;
    let homes = released.sums.homes as u64;
    let mut simulated: [Vec<f64>; METRICS] = Default::default();
    for _ in 0..DRAWS {
        let pairs = released.means.iter().zip(released.deviations);
        let drawn = pairs.map(|(mean, deviation)| mean + deviation * normal(rng));
        let drawn: Vec<f64> = drawn.collect();
        let metrics = Metrics::of(model, homes, &drawn);
        for (all, (_, value)) in simulated.iter_mut().zip(metrics.named()) {
            all.extend(value);
        }
    }
    std::array::from_fn(|place| {
        let all = &simulated[place];
        let count = all.len() as f64;
        let mean = all.iter().sum::<f64>() / count;
        let squares = all.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        (all.len() * 2 > DRAWS).then(|| (squares / (count - 1.0)).sqrt())
    })
}

/// Largest resolution at which an area under the curve is reported: half of the range in which it lies.
const COARSEST: f64 = 0.2;

/// Returns the counts of bins, each run in its first bin or, if `high`, in its last. Returns `None` where all are
/// withheld.
fn placed(bins: &[Option<f64>], high: bool) -> Option<Vec<f64>> {
    let mut placed = vec![0.0; bins.len()];
    let starts: Vec<usize> = (0..bins.len()).filter(|bin| bins[*bin].is_some()).collect();
    let ends = starts.iter().skip(1).copied().chain([bins.len()]);
    for (start, end) in starts.iter().copied().zip(ends) {
        placed[if high { end - 1 } else { start }] = bins[start].unwrap_or(0.0);
    }
    (!starts.is_empty()).then_some(placed)
}

/// Returns the counts in the lower and the upper half of the bins; `None` where a run spans both halves, or all are
/// withheld.
fn halves(bins: &[Option<f64>]) -> [Option<f64>; 2] {
    let (low, high) = bins.split_at(bins.len() / 2);
    match (sum_of_runs(low), sum_of_runs(high)) {
        (Some(low), Some(high)) => [Some(low), Some(high)],
        _ => [None, None],
    }
}

/// Returns the sum of the runs that begin in these bins; `None` if no run begins with the first bin.
fn sum_of_runs(bins: &[Option<f64>]) -> Option<f64> {
    let begins = bins.first().is_some_and(Option::is_some);
    begins.then(|| bins.iter().flatten().sum())
}

/// The chance that a document of the second class scores higher than one of the first.
fn auc(scores: &[f64]) -> Option<f64> {
    let (no, yes) = scores.split_at_checked(SCORE_BINS)?;
    let yes = yes.get(..SCORE_BINS)?;
    let (mut below, mut won) = (0.0, 0.0);
    for (no, yes) in no.iter().zip(yes) {
        won += yes * (below + no / 2.0);
        below += no;
    }
    let pairs = below * yes.iter().sum::<f64>();
    (pairs > 0.0).then(|| (won / pairs).clamp(0.0, 1.0))
}
