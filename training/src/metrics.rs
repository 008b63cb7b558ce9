//! Quality of a model, from the sums over held-out homes.

use rand::rngs::StdRng;

use super::SCORE_BINS;
use super::fit::{Released, normal};
use super::model::{Kind, Model};
use super::validation::MAX_CONFUSED;

/// Quality of a model at homes that are held out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Number of homes that validated the model.
    pub homes: u64,
    /// Share of documents whose predicted class is right, as the mean over homes.
    pub accuracy: Option<f64>,
    /// Mean of −log of the chance that the model gave to the right class.
    pub log_loss: Option<f64>,
    /// Root of the mean squared error, in the label's unit.
    pub rmse: Option<f64>,
    /// Share of the label's variance that the model explains.
    pub r_squared: Option<f64>,
    /// Area under the receiver operating characteristic, from histograms of scores.
    pub auc: Option<f64>,
    /// Share of documents of each class (rows) by predicted class (columns); `None` for a share that is withheld.
    pub confusion: Option<Vec<Vec<Option<f64>>>>,
    /// Mean squared distance to the nearest cluster, divided by the number of columns.
    pub inertia: Option<f64>,
    /// Largest difference of `auc` from the true area; `None` unless `auc` was computed from runs of scores.
    pub auc_resolution: Option<f64>,
    /// Names of metrics that are withheld, because they would reveal a count of fewer homes than the cohort.
    pub withheld: Vec<&'static str>,
    /// Standard errors that noise gives the metrics of [`Self::named`]; `None` without noise.
    pub errors: [Option<f64>; METRICS],
}

/// Number of metrics that are a single number.
pub const METRICS: usize = 6;

impl Metrics {
    /// Computes metrics from the release of the validating round.
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

    /// Moves shares into 0 to 1, since noise may put them outside.
    fn bound(&mut self) {
        self.accuracy.iter_mut().for_each(clamp_share);
        self.confusion
            .iter_mut()
            .flatten()
            .flatten()
            .flatten()
            .for_each(clamp_share);
    }

    /// Returns the metrics that are a single number, by name.
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

    /// Computes metrics from the means over held-out homes.
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

    /// Computes metrics from a mean loss and counts of homes, as a guarded session releases them. Counts below the
    /// cohort are withheld or added to their neighbours.
    fn of_counts(model: &Model, homes: u64, means: &[f64], counts: &[Option<f64>]) -> Self {
        let classes = model.design().classes();
        if !matches!(model.kind(), Kind::Class) || counts.is_empty() {
            return Self::of(model, homes, means);
        }
        let all = homes as f64;
        let chances = model.training.family.algorithm().gives_chances();
        let mut metrics = Self {
            homes,
            // Outputs that are no chances have no log-loss.
            log_loss: means.first().copied().filter(|_| chances),
            ..Self::default()
        };
        // Numbers of homes of each class by predicted class.
        let cells: Vec<Option<f64>> = match classes {
            2 => {
                let (no, yes) = counts.split_at(counts.len().min(SCORE_BINS));
                let yes = &yes[..yes.len().min(SCORE_BINS)];
                // A run does not tell in which of its bins scores are. The area lies between its values for the least
                // and the most favourable places.
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
        // Right and wrong predictions have counts of their own, which may be released though a cell is withheld
        // (protocol.md §18).
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

/// Computes the standard errors of metrics, from their variation when the same noise is added once more.
fn errors(model: &Model, released: &Released<'_>, rng: &mut StdRng) -> [Option<f64>; METRICS] {
    // With 200 draws a standard error is right to about 5 %.
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
        // A metric that most draws leave undefined has no standard error.
        (all.len() * 2 > DRAWS).then(|| (squares / (count - 1.0)).sqrt())
    })
}

/// Largest resolution at which an area under the curve is reported. The resolution is half of the range in which the
/// area lies.
const COARSEST: f64 = 0.2;

/// Returns the counts of bins, with each run in its first bin or, if `high`, in its last. Returns `None` if all are
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

/// Returns the counts in the lower and the upper half of the bins. Returns `None` for both if a run spans both halves,
/// or if a half is withheld.
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

/// Computes the chance that a document of the second class scores higher than one of the first. Scores in the same bin
/// count half.
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
