//! `dispers train`: a model from homes' data.

mod chart;
pub(crate) mod file;
mod onnx;
mod progress;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use dispers_node::private;
use dispers_querier::{Querier, Trained, TrainingQuestion};
use dispers_sql::plan::{TrainingPlan, TrainingRequest};
use dispers_training::{Family, fit::Settings};

use crate::{
    exit::{self, Exit},
    loss::{Epsilon, Loss},
    period::Period,
    sandbox,
};
use file::ModelFile;

/// The models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Linear regression.
    Linear,
    /// Logistic regression, of two classes or more.
    Logistic,
    /// Linear support vector machine.
    Svm,
    /// Naive Bayes.
    NaiveBayes,
    /// Clusters around means.
    Kmeans,
    /// A perceptron with one or two hidden layers.
    Mlp,
}

/// How logistic regression is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Solver {
    /// Gradient descent with momentum.
    Gradient,
    /// Gradient descent with steps that adapt to each weight, for many columns that are seldom 1.
    Adam,
    /// Newton's steps: few rounds, of second moments.
    Newton,
}

/// How a model is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Printed {
    /// For people.
    Table,
    /// The model file.
    Json,
}

/// What is trained, of which features.
#[derive(Args)]
pub(crate) struct Model {
    /// What is trained.
    #[arg(value_enum)]
    model: Kind,
    /// What is learnt: a column, a condition, clamp(…) or domain(…).
    #[arg(long, value_name = "COL")]
    label: Option<String>,
    /// The value of the label that counts as 1; all others are 0.
    #[arg(long, value_name = "VALUE", requires = "label")]
    positive: Option<String>,
    /// What is learnt from, separated by commas: columns with a range in the catalogue, 'clamp(x, lo, hi)',
    /// "domain(x, 'a', 'b')", 'words(text, 1024)' and conditions.
    #[arg(long, value_name = "A,B…", required = true)]
    features: String,
    /// The doctype, or a SELECT that makes one row of a home's documents.
    #[arg(long, value_name = "DOCTYPE|SELECT")]
    from: String,
    /// Which homes and documents, as after WHERE.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Rounds of updates.
    #[arg(long, value_name = "N")]
    rounds: Option<u16>,
    /// Length of a step.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// What a step keeps of the one before, 0.9 where it is left out.
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// Penalty on the squares of standardised weights.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    l2: Option<f64>,
    /// Longest update of a home; a longer one is scaled down. By default few are.
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    clip: Option<f64>,
    /// Bits of each number of an update: 4, 8, 12, 16, 20 or 24.
    #[arg(long, value_name = "B")]
    bits: Option<u8>,
    /// How logistic regression and svm are solved, by gradients where it is left out.
    #[arg(long, value_enum)]
    solver: Option<Solver>,
    /// Clusters of kmeans, 3 where it is left out.
    #[arg(long, value_name = "K")]
    clusters: Option<u16>,
    /// Width of each hidden layer of mlp, one of 16 where it is left out.
    #[arg(long, value_name = "W,W", value_delimiter = ',')]
    hidden: Vec<u16>,
    /// Passes of mlp over a home's documents in each round, 1 where it is left out.
    #[arg(long, value_name = "N")]
    epochs: Option<u8>,
    /// Length of a home's own steps of mlp, 0.1 where it is left out.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    local_lr: Option<f64>,
    /// Share of the homes that are held out to validate with.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.2,
        allow_negative_numbers = true
    )]
    validation: f64,
    /// From which first weights are drawn.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    written: Written,
    #[command(flatten)]
    loss: Loss,
}

/// Where a model goes.
#[derive(Args)]
pub(crate) struct Written {
    /// Write the model here.
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Also write it as ONNX: linear, logistic, svm and mlp.
    #[arg(long, value_name = "FILE.onnx")]
    onnx: Option<PathBuf>,
    /// Draw the loss of each round.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// How it is printed: the model as JSON, or a table of it, which is the default where --output keeps it.
    #[arg(long, value_enum)]
    format: Option<Printed>,
}

#[derive(Args)]
pub(crate) struct Resume {
    /// The session's id, as `dispers train` told it.
    id: String,
    /// The querier's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    #[command(flatten)]
    written: Written,
}

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Model,
    /// The querier's configuration file.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// Why it is trained, one of the purposes that the directory registers for the querier.
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// Fewest people behind a released number; the network's floor where it is left out.
    #[arg(long, value_name = "N")]
    min_cohort: Option<u32>,
    /// Give owners who decide each time so long before homes answer, such as 30m, 12h or 2d.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0",
        hide_default_value = true
    )]
    ask_owners: Period,
}

/// Cuts a list at commas outside of parentheses and quotes.
fn split(list: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0usize, None);
    for sign in list.chars() {
        match (sign, quoted) {
            ('\'' | '"', None) => quoted = Some(sign),
            (_, Some(quote)) if sign == quote => quoted = None,
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        match sign {
            ',' if depth == 0 && quoted.is_none() => parts.push(String::new()),
            sign => parts.last_mut().expect("it begins with one").push(sign),
        }
    }
    let parts = parts.into_iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

impl Model {
    /// The session that was written.
    fn question(
        &self,
        purpose: &str,
        min_cohort: Option<u32>,
        owners_ms: u64,
        default: Option<Epsilon>,
    ) -> Result<TrainingQuestion, Exit> {
        if !(0.0..=0.9).contains(&self.validation) {
            return Err(Exit::misuse(anyhow!(
                "--validation {} is no share: write one such as 0.2, at most 0.9",
                self.validation
            )));
        }
        self.check_options()?;
        for (name, value) in [
            ("--lr", self.lr),
            ("--l2", self.l2),
            ("--local-lr", self.local_lr),
        ] {
            if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
                return Err(Exit::misuse(anyhow!(
                    "{name} must be 0 or a number above it"
                )));
            }
        }
        let momentum = self.momentum.unwrap_or(0.9);
        if !(0.0..1.0).contains(&momentum) {
            return Err(Exit::misuse(anyhow!(
                "--momentum must be from 0 to below 1"
            )));
        }
        let loss = self.loss.loss(default)?;
        let noisy = loss.is_some();
        let newton = self.solver == Some(Solver::Newton);
        let adaptive = self.solver == Some(Solver::Adam);
        let (family, updates, rate, l2, bits) = match self.model {
            Kind::Linear => (Family::Linear, 1, 1.0, 0.0, 16),
            Kind::Logistic if newton => (Family::Logistic { newton }, 6, 1.0, 0.0, 16),
            Kind::Logistic if adaptive => (Family::Logistic { newton }, 40, 0.2, 0.0, 8),
            // Shorter where every step has noise.
            Kind::Logistic if noisy => (Family::Logistic { newton }, 40, 0.3, 0.0, 8),
            Kind::Logistic => (Family::Logistic { newton }, 40, 1.0, 0.0, 8),
            Kind::Svm if adaptive => (Family::Svm, 40, 0.05, 1e-3, 8),
            Kind::Svm => (Family::Svm, 40, 0.1, 1e-3, 8),
            Kind::NaiveBayes => (Family::Bayes, 1, 1.0, 0.0, 16),
            Kind::Kmeans => {
                let clusters = self.clusters.unwrap_or(3);
                let family = Family::KMeans {
                    clusters,
                    candidates: clusters.saturating_mul(5).clamp(16, 512),
                };
                (family, 12, 1.0, 1.0, 16)
            }
            Kind::Mlp => {
                let family = Family::Mlp {
                    hidden: match self.hidden.is_empty() {
                        true => vec![16],
                        false => self.hidden.clone(),
                    },
                    epochs: self.epochs.unwrap_or(1),
                    rate: self.local_lr.unwrap_or(0.1),
                };
                (family, 60, 0.02, 0.0, 8)
            }
        };
        let request = TrainingRequest {
            label: self.label.clone(),
            positive: self.positive.clone(),
            features: split(&self.features),
            from: self.from.clone(),
            condition: self.condition.clone(),
            family,
            bits: self.bits.unwrap_or(bits),
            clip: self.clip,
            held_out: (self.validation * 1000.0).round() as u16,
            updates: self.rounds.unwrap_or(updates),
        };
        let settings = Settings {
            rate: self.lr.unwrap_or(rate),
            momentum,
            l2: self.l2.unwrap_or(l2),
            adaptive,
            seed: self.seed,
        };
        let mut question = TrainingQuestion::new(request, settings, purpose, loss);
        question.min_cohort = min_cohort;
        question.owners_ms = owners_ms;
        Ok(question)
    }

    /// An option that the model has no use for is none that is silently ignored.
    fn check_options(&self) -> Result<(), Exit> {
        use Kind::{Kmeans, Linear, Logistic, Mlp, NaiveBayes, Svm};
        let (model, newton) = (self.model, self.solver == Some(Solver::Newton));
        let steps = matches!(model, Logistic | Svm | Mlp) && !newton;
        let of_mlp = model == Mlp;
        let options = [
            (
                "--rounds",
                self.rounds.is_some(),
                !matches!(model, Linear | NaiveBayes),
            ),
            ("--lr", self.lr.is_some(), steps),
            ("--momentum", self.momentum.is_some(), steps),
            ("--l2", self.l2.is_some(), model != NaiveBayes),
            ("--clip", self.clip.is_some(), steps || model == NaiveBayes),
            (
                "--solver",
                self.solver.is_some(),
                if newton {
                    model == Logistic
                } else {
                    matches!(model, Logistic | Svm)
                },
            ),
            ("--clusters", self.clusters.is_some(), model == Kmeans),
            ("--hidden", !self.hidden.is_empty(), of_mlp),
            ("--epochs", self.epochs.is_some(), of_mlp),
            ("--local-lr", self.local_lr.is_some(), of_mlp),
        ];
        let unused = options.into_iter().find(|(_, given, used)| *given && !used);
        match unused {
            None => Ok(()),
            Some((name, ..)) if newton && name != "--solver" => Err(Exit::misuse(anyhow!(
                "--solver newton has no use for {name}: leave it out"
            ))),
            Some((name, ..)) => Err(Exit::misuse(anyhow!(
                "this model, or its solver, has no use for {name}: leave it out"
            ))),
        }
    }

    /// What cannot be written is told before anybody is asked.
    fn check(&self) -> Result<(), Exit> {
        let Written { plot, onnx, .. } = &self.written;
        if plot.is_some() && matches!(self.model, Kind::Linear | Kind::NaiveBayes) {
            return Err(Exit::misuse(anyhow!(
                "--plot draws the loss of rounds, and this model has one round: leave it out"
            )));
        }
        let unfit = matches!(self.model, Kind::NaiveBayes | Kind::Kmeans);
        if onnx.is_some() && unfit {
            return Err(Exit::misuse(anyhow!(
                "ONNX is written of linear, logistic, svm and mlp: leave --onnx out, --output holds every model"
            )));
        }
        self.written.check()
    }

    async fn run(&self, querier: &Querier, question: &TrainingQuestion) -> Result<(), Exit> {
        let plan = querier.plan_training(&question.request)?;
        let progress = progress::Progress::new(plan.training.schedule().len());
        let trained = progress.follow(querier.train(question)).await?;
        self.written.finish(querier, trained)
    }
}

impl Written {
    /// Writes the model, then forgets a session that has ended. One that may go on is there to be resumed.
    fn finish(&self, querier: &Querier, trained: Trained) -> Result<(), Exit> {
        let (query, question) = (trained.query, trained.question.clone());
        let written = self.write(trained, &question);
        if !matches!(&written, Err(exit) if exit.code == exit::UNAVAILABLE) {
            // A failure is ignored: a file that stays reveals only sums that were released.
            let _ = querier.forget(query);
        }
        written
    }

    /// What cannot be written is told before anybody is asked.
    fn check(&self) -> Result<(), Exit> {
        for path in [&self.output, &self.onnx, &self.plot].into_iter().flatten() {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            if !folder.unwrap_or(Path::new(".")).is_dir() {
                return Err(Exit::misuse(anyhow!(
                    "cannot write {}: there is no such folder",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// Writes the model, and prints it.
    fn write(&self, trained: Trained, question: &TrainingQuestion) -> Result<(), Exit> {
        let file = ModelFile::of(&trained, question);
        let write = |path: &Path, bytes: &[u8]| {
            private::write(path, bytes)
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(Exit::other)
        };
        let json = file.to_json();
        let kept = match &self.output {
            Some(path) => write(path, json.as_bytes()),
            None => Ok(()),
        };
        // What cost a session is not lost with a file.
        let default = match self.output.is_some() && kept.is_ok() {
            true => Printed::Table,
            false => Printed::Json,
        };
        match self.format.unwrap_or(default) {
            Printed::Table if kept.is_ok() => print!("{}", file.summary()),
            _ => println!("{json}"),
        }
        let mut written = kept;
        if let Some(path) = &self.onnx {
            let onnx = onnx::encode(&file).map_err(Exit::other);
            written = written.and(onnx.and_then(|bytes| write(path, &bytes)));
        }
        if let Some(path) = &self.plot {
            let drawn = chart::draw(&file).map_err(Exit::other);
            written = written.and(drawn.and_then(|drawn| write(path, drawn.as_bytes())));
        }
        // The model is that of the rounds before; that the session failed is told before anything else.
        match trained.interrupted {
            Some(error) => Err(error.into()),
            None => written,
        }
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    arguments.model.check()?;
    let querier = Querier::open(&arguments.config)?;
    let question = arguments.model.question(
        &arguments.purpose,
        arguments.min_cohort,
        arguments.ask_owners.0,
        None,
    )?;
    arguments.model.run(&querier, &question).await
}

/// Goes on with a session whose process died, or that lost its network.
pub(crate) async fn resume(arguments: Resume) -> Result<(), Exit> {
    arguments.written.check()?;
    let querier = Querier::open(&arguments.config)?;
    let training = querier.resume(&arguments.id)?;
    let progress = progress::Progress::new(0).of_resumed();
    let trained = progress.follow(training).await?;
    arguments.written.finish(&querier, trained)
}

/// The same on the embedded network.
pub(crate) async fn run_in_sandbox(
    model: &Model,
    network: sandbox::NetworkArguments,
) -> Result<(), Exit> {
    model.check()?;
    let question = model.question(&network.purpose, None, 0, Some(Epsilon::Off))?;
    let options = network.options(false);
    // A model that cannot be trained is refused before anything starts.
    let (catalogue, _) = dispers_sandbox::catalogue(&options)?;
    TrainingPlan::new(&question.request, &catalogue).map_err(dispers_querier::Error::from)?;
    let network = sandbox::start(&options).await?;
    let trained = model.run(network.querier(), &question).await;
    network.stop().await;
    trained
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_cut_at_commas_of_their_own() {
        assert_eq!(
            split("age, clamp(sbp, 80, 230),domain(sex, 'a,(b', 'c') ,, x > 3"),
            [
                "age",
                "clamp(sbp, 80, 230)",
                "domain(sex, 'a,(b', 'c')",
                "x > 3"
            ]
        );
    }
}
