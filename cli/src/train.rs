//! `dispers train`: trains a model from homes' data.

mod chart;
pub(crate) mod file;
mod models;
mod onnx;
mod options;
mod progress;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use dispers_node::private;
use dispers_querier::{Querier, Trained, TrainingQuestion};
use dispers_sql::plan::TrainingPlan;

use crate::{
    exit::{self, Exit},
    loss::Epsilon,
    period::Period,
    sandbox,
};
use file::ModelFile;
pub(crate) use models::Model;
use models::Options;
use options::Shared;

/// How a model is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Printed {
    /// For people.
    Table,
    /// The model file.
    Json,
}

/// Where a model goes.
#[derive(Args)]
pub(crate) struct Written {
    /// Write the model here.
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Also write it as ONNX, where the model has a graph.
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

/// The options of `dispers train` that are not those of a model.
#[derive(Args)]
pub(crate) struct Arguments {
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

/// Training session, as the command line describes it.
struct Session {
    question: TrainingQuestion,
    written: Written,
}

impl Session {
    /// Trains the model, and writes it.
    async fn run(&self, querier: &Querier) -> Result<(), Exit> {
        let plan = querier.plan_training(&self.question.request)?;
        let progress = progress::Progress::new(plan.training.schedule().len());
        let trained = progress.follow(querier.train(&self.question)).await?;
        self.written.finish(querier, trained)
    }
}

impl Written {
    /// Collects the output files and the format from the options of a command.
    fn of(model: &dyn Options, shared: &Shared) -> Self {
        Self {
            output: shared.output.clone(),
            onnx: model.onnx().map(Path::to_owned),
            plot: model.plot().map(Path::to_owned),
            format: shared.format,
        }
    }

    /// Checks that the folders of all output files exist.
    ///
    /// # Errors
    /// For the first folder that does not exist.
    fn check(&self) -> Result<(), Exit> {
        // A session takes long and may cost a budget. A wrong path is therefore reported before any home is asked.
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

    /// Writes the model to its files, and prints it.
    fn write(&self, trained: Trained, question: &TrainingQuestion) -> Result<(), Exit> {
        let file = ModelFile::of(&trained, question);
        let json = file.to_json();
        let kept = match &self.output {
            Some(path) => write_file(path, json.as_bytes()),
            None => Ok(()),
        };
        // If the file cannot be written, the model is printed in full: nobody has to repeat the session for it.
        let default = match self.output.is_some() && kept.is_ok() {
            true => Printed::Table,
            false => Printed::Json,
        };
        match self.format.unwrap_or(default) {
            Printed::Table if kept.is_ok() => print!("{}", file.summary()),
            _ => println!("{json}"),
        }
        // Every file is tried, also after another failed. The first failure is reported.
        let mut written = kept;
        if let Some(path) = &self.onnx {
            let onnx = onnx::encode(&file).map_err(Exit::other);
            written = written.and(onnx.and_then(|bytes| write_file(path, &bytes)));
        }
        if let Some(path) = &self.plot {
            let drawn = chart::draw(&file).map_err(Exit::other);
            written = written.and(drawn.and_then(|drawn| write_file(path, drawn.as_bytes())));
        }
        // A session that failed is reported before a file that cannot be written. The model is then that of the rounds
        // before.
        match trained.interrupted {
            Some(error) => Err(error.into()),
            None => written,
        }
    }
}

/// Runs `dispers train`.
pub(crate) async fn run(model: Model<Arguments>) -> Result<(), Exit> {
    let (model, shared, arguments) = model.parts();
    let written = Written::of(&*model, &shared);
    written.check()?;
    let querier = Querier::open(&arguments.config)?;
    let question = shared.question(
        &*model,
        &arguments.purpose,
        arguments.min_cohort,
        arguments.ask_owners.0,
        None,
    )?;
    Session { question, written }.run(&querier).await
}

/// Writes a file that only its owner may read: a model may tell about the homes it was trained on.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Exit> {
    private::write(path, bytes)
        .with_context(|| format!("cannot write {}", path.display()))
        .map_err(Exit::other)
}

/// Continues a session whose process died, or that lost its network.
pub(crate) async fn resume(arguments: Resume) -> Result<(), Exit> {
    arguments.written.check()?;
    let querier = Querier::open(&arguments.config)?;
    let training = querier.resume(&arguments.id)?;
    let progress = progress::Progress::new(0).of_resumed();
    let trained = progress.follow(training).await?;
    arguments.written.finish(&querier, trained)
}

/// Trains a model on the embedded network.
pub(crate) async fn run_in_sandbox(model: Model<sandbox::NetworkArguments>) -> Result<(), Exit> {
    let (model, shared, network) = model.parts();
    let written = Written::of(&*model, &shared);
    written.check()?;
    let question = shared.question(&*model, &network.purpose, None, 0, Some(Epsilon::Off))?;
    let options = network.options(false);
    // A model that cannot be trained is refused before anything starts.
    let (catalogue, _) = dispers_sandbox::catalogue(&options)?;
    TrainingPlan::new(&question.request, &catalogue).map_err(dispers_querier::Error::from)?;
    let session = Session { question, written };
    let network = sandbox::start(&options).await?;
    let trained = session.run(network.querier()).await;
    network.stop().await;
    trained
}
