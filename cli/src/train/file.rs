//! Model file: JSON with schema, weights, metrics, history, and privacy loss.

mod summary;

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use dispers_base::encoding::{from_bytes, to_bytes};
use dispers_querier::{Trained, TrainingQuestion};
use dispers_query::local::LocalQuery;
use dispers_training::{
    Model, Task, Training,
    fit::{Coefficient, Early},
    home::State,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Value of `schema`, by which a model file is recognised.
const SCHEMA: &str = "dispers model";
/// Version of the format.
const VERSION: u32 = 1;

/// Contents of a model file.
#[derive(Serialize, Deserialize)]
pub(crate) struct ModelFile {
    schema: String,
    version: u32,
    /// Name of the model, as on the command line.
    pub(crate) model: String,
    /// Id of the session's query. The manifest is in the network's log.
    query: String,
    pub(crate) label: Option<String>,
    pub(crate) classes: Vec<String>,
    /// Features, as the command line gave them.
    features: Vec<String>,
    /// Columns that the features become.
    pub(crate) columns: Vec<Column>,
    /// Coefficients of a linear model with one score, the constant's first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    coefficients: Option<Vec<Named>>,
    /// Scales and weights of the model.
    pub(crate) state: Numbers,
    /// Training and local query, encoded as in the manifest, in hexadecimal.
    plan: String,
    metrics: serde_json::Value,
    pub(crate) history: Vec<Past>,
    /// Reason why the session ended before its last round, if it did.
    ended: Option<String>,
    privacy: serde_json::Value,
    homes: u64,
    /// Share of the homes that were held out, from 0 to 1.
    validation: f64,
}

/// Column of the design.
#[derive(Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Least value of the feature. Smaller values are moved to it.
    pub(crate) lo: f64,
    /// Greatest value of the feature. Larger values are moved to it.
    pub(crate) hi: f64,
}

#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    standardised: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    standard_error: Option<f64>,
}

/// Scales and weights, for columns that were mapped to 0 to 1.
#[derive(Serialize, Deserialize)]
pub(crate) struct Numbers {
    pub(crate) means: Vec<f64>,
    pub(crate) spreads: Vec<f64>,
    pub(crate) weights: Vec<f64>,
}

/// Record of a round.
#[derive(Serialize, Deserialize)]
pub(crate) struct Past {
    pub(crate) round: u16,
    task: String,
    homes: u64,
    pub(crate) loss: Option<f64>,
    seconds: f64,
}

fn task(task: Task) -> &'static str {
    match task {
        Task::Scale => "scale",
        Task::Candidates => "candidates",
        Task::Update => "update",
        Task::Validate => "validate",
    }
}

/// Returns why a session ended before its last round; `None` if it did not.
fn ended(trained: &Trained) -> Option<String> {
    let early = trained.fit.early.map(|early| match early {
        Early::Converged => "converged",
        Early::Diverged => "diverged: this is the best model before; give a smaller --lr",
        Early::Unsteady => {
            "the loss went up and down: this is the best model whose loss is known; give a smaller --lr, or more --rounds"
        }
        Early::Flat => {
            "no further step can be told from rounding: this is the model before; give --l2 a value above 0, or fewer --rounds"
        }
        Early::TooFew => {
            "fewer homes than the minimum cohort took part in the round after: this is the model before it"
        }
    });
    // A failure comes first: it is what the user may act on.
    let failed = trained.interrupted.as_ref();
    let failed = failed.map(|error| format!("{error}: this is the model of the rounds before"));
    failed.or(early.map(str::to_owned))
}

// A file that was changed by hand and one that was cut off need the same remedy, so they share one message.
fn damaged() -> anyhow::Error {
    anyhow!("the model file is damaged: train it again")
}

/// Names coefficients by their columns. The first one is the constant, which has no column.
fn named(coefficients: Vec<Coefficient>, columns: &[String]) -> Vec<Named> {
    let named = coefficients.into_iter().enumerate();
    let named = named.map(|(place, one)| Named {
        name: match place.checked_sub(1) {
            None => "(constant)".to_owned(),
            Some(column) => columns.get(column).cloned().unwrap_or_default(),
        },
        value: one.value,
        standardised: one.standardised,
        standard_error: one.error,
    });
    named.collect()
}

impl ModelFile {
    /// Makes the model file of a session that ended.
    pub(super) fn of(trained: &Trained, question: &TrainingQuestion) -> Self {
        let fit = &trained.fit;
        let model = fit.model();
        let names = fit.names();
        let bounds = model.design().bounds();
        let columns = names.iter().zip(bounds).map(|(name, (lo, hi))| Column {
            name: name.clone(),
            lo,
            hi,
        });
        let metrics = fit.metrics.as_ref().map(|metrics| {
            let errors = metrics.named().into_iter().zip(metrics.errors);
            let errors = errors.filter_map(|((name, value), error)| {
                value?;
                Some((name.to_owned(), json!(error?)))
            });
            let noise: serde_json::Map<String, serde_json::Value> = errors.collect();
            json!({
                "homes": metrics.homes,
                "accuracy": metrics.accuracy,
                "log_loss": metrics.log_loss,
                "auc": metrics.auc,
                "auc_resolution": metrics.auc_resolution,
                "confusion": metrics.confusion,
                "withheld": metrics.withheld,
                "rmse": metrics.rmse,
                "r_squared": metrics.r_squared,
                "inertia": metrics.inertia,
                "standard_errors": noise,
            })
        });
        let privacy = trained.privacy.map(|privacy| {
            json!({
                "epsilon": privacy.epsilon(),
                "delta": privacy.delta,
                "rho": privacy.cost(1).value(),
                "rounds": trained.rounds,
            })
        });
        let past = fit.history.iter().zip(&trained.durations);
        Self {
            schema: SCHEMA.to_owned(),
            version: VERSION,
            model: model.training.family.name().to_owned(),
            query: trained.query.to_string(),
            label: question.request.label.clone(),
            classes: trained.classes.clone(),
            features: question.request.features.clone(),
            columns: columns.collect(),
            coefficients: fit.coefficients().map(|all| named(all, names)),
            state: Numbers {
                means: model.state.means.clone(),
                spreads: model.state.spreads.clone(),
                weights: model.state.weights.clone(),
            },
            plan: hex::encode(to_bytes(&(&model.training, &model.local))),
            metrics: metrics.unwrap_or_default(),
            history: past
                .map(|(round, time)| Past {
                    round: round.number,
                    task: task(round.task).to_owned(),
                    homes: round.homes,
                    loss: round.loss,
                    seconds: time.as_secs_f64(),
                })
                .collect(),
            ended: ended(trained),
            privacy: privacy.unwrap_or_default(),
            homes: fit
                .history
                .iter()
                .map(|round| round.homes)
                .max()
                .unwrap_or(0),
            validation: f64::from(model.training.held_out) / 1000.0,
        }
    }

    /// Makes the file of a model that no session trained.
    #[cfg(test)]
    pub(super) fn of_model(model: &Model, plan: &dispers_sql::plan::TrainingPlan) -> Self {
        let bounds = model.design().bounds();
        let columns = plan.names.iter().zip(bounds);
        Self {
            schema: SCHEMA.to_owned(),
            version: VERSION,
            model: model.training.family.name().to_owned(),
            query: String::new(),
            label: None,
            classes: plan.classes.clone(),
            features: Vec::new(),
            columns: columns
                .map(|(name, (lo, hi))| Column {
                    name: name.clone(),
                    lo,
                    hi,
                })
                .collect(),
            coefficients: None,
            state: Numbers {
                means: model.state.means.clone(),
                spreads: model.state.spreads.clone(),
                weights: model.state.weights.clone(),
            },
            plan: hex::encode(to_bytes(&(&model.training, &model.local))),
            metrics: serde_json::Value::Null,
            history: Vec::new(),
            ended: None,
            privacy: serde_json::Value::Null,
            homes: 0,
            validation: 0.0,
        }
    }

    /// Returns the file's text.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a model file is JSON")
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// The reason why the file cannot be used, and how to recover.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        // Schema and version are read before the rest: files of another version may have other fields.
        let value: serde_json::Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is no JSON", path.display()))?;
        if value["schema"] != SCHEMA {
            bail!(
                "{} is no model file: dispers train --output writes one",
                path.display()
            );
        }
        if value["version"] != VERSION {
            bail!(
                "{} is a model file of version {}, this dispers reads version {VERSION}: train it again, or use \
                 the dispers that wrote it",
                path.display(),
                value["version"]
            );
        }
        serde_json::from_value(value)
            .with_context(|| format!("{} is damaged: train it again", path.display()))
    }

    /// Decodes the model.
    ///
    /// # Errors
    /// If the file is damaged or was changed.
    pub(crate) fn model(&self) -> anyhow::Result<Model> {
        let plan = hex::decode(&self.plan).map_err(|_| damaged())?;
        let (training, local): (Training, LocalQuery) =
            from_bytes(&plan, 1 << 20, "model").map_err(|_| damaged())?;
        // Anybody may have changed the file, so the rules for an untrusted session apply. The file has no number of
        // rounds that could contradict the schedule.
        let rounds = training.schedule().len() as u16;
        training.validate(&local, rounds).map_err(|_| damaged())?;
        let model = Model {
            training,
            local,
            state: State {
                means: self.state.means.clone(),
                spreads: self.state.spreads.clone(),
                weights: self.state.weights.clone(),
            },
        };
        // A changed file may have too many or too few numbers, or numbers that are not finite.
        model.is_whole().then_some(model).ok_or_else(damaged)
    }
}
