//! `dispers sandbox`: a whole network in one process.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use dispers_crypto::envelope::Suite;
use dispers_sandbox::{Knowledge, Network, Options};
use dispers_trust::directory::SIZE_NOISE;

use crate::{
    exit::Exit,
    format::Output,
    knowledge,
    loss::{Epsilon, Loss},
    progress::Bars,
    regress::Text,
    train,
};

/// Example question: mean systolic blood pressure by age band.
const EXAMPLE: &str = "SELECT CASE WHEN age < 40 THEN '25-39' WHEN age < 55 THEN '40-54' \
    ELSE '55+' END AS band, COUNT(*) AS homes, COUNT(sbp) AS measured, \
    AVG(clamp(sbp, 80, 230, 1)) AS mean_sbp FROM nhefs GROUP BY band";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    question: Question,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model on the sandbox's data.
    #[command(subcommand)]
    Train(Box<train::Model<NetworkArguments>>),
}

#[derive(Args)]
struct Question {
    #[command(flatten)]
    text: Text,
    #[command(flatten)]
    network: NetworkArguments,
    /// Show on stderr what each role received, could open and could not, as it was recorded.
    #[arg(long)]
    show_knowledge: bool,
    #[command(flatten)]
    loss: Loss,
    #[command(flatten)]
    output: Output,
}

/// Documents and sizes of a sandbox.
#[derive(Args)]
pub(crate) struct NetworkArguments {
    /// A CSV file whose rows are documents of the doctype that its name says; may be repeated.
    /// Without one: 1,629 adults of the NHEFS study, doctype nhefs.
    #[arg(long, value_name = "FILE.csv")]
    data: Vec<PathBuf>,
    /// The column whose value tells which home a row belongs to; without it each row is a home.
    #[arg(long, value_name = "COL")]
    home_column: Option<String>,
    /// Columns whose values homes subscribe to, so that concept('COL>value') finds them.
    #[arg(long, value_name = "COL,COL…", value_delimiter = ',')]
    concepts: Vec<String>,
    /// Hosts that the homes are spread over.
    #[arg(long, default_value_t = 4)]
    hosts: usize,
    /// Concept indexors.
    #[arg(long, value_name = "M", default_value_t = 3)]
    indexors: u8,
    /// Concept indexors that are needed for a pseudonym.
    #[arg(
        long,
        visible_alias = "indexer-threshold",
        value_name = "K",
        default_value_t = 2
    )]
    indexor_threshold: u8,
    /// Data aggregators.
    #[arg(long, value_name = "N", default_value_t = 3)]
    aggregators: u8,
    /// Data aggregators that are needed for a result, and that must collude to learn a value.
    #[arg(long, value_name = "T", default_value_t = 2)]
    threshold: u8,
    /// Fewest people behind a released number.
    #[arg(long, value_name = "N", default_value_t = 20)]
    min_cohort: u32,
    /// Scale of the noise that hides how many homes match. A query then needs about 14 times this many homes above the
    /// minimum cohort. At 0 sizes are exact.
    #[arg(long, value_name = "N", default_value_t = SIZE_NOISE)]
    size_noise: u32,
    /// Why it is asked; the sandbox's directory registers this purpose.
    #[arg(long, value_name = "TEXT", default_value = "sandbox")]
    pub(crate) purpose: String,
    /// Cipher suite of the envelopes: x-wing or x25519.
    #[arg(long, default_value_t = Suite::default())]
    suite: Suite,
}

impl NetworkArguments {
    /// Converts the arguments to the sandbox's options. `record` turns on the records for `--show-knowledge`.
    pub(crate) fn options(self, record: bool) -> Options {
        Options {
            data: self.data,
            home_column: self.home_column,
            concepts: self.concepts,
            hosts: self.hosts,
            indexors: self.indexors,
            indexor_threshold: self.indexor_threshold,
            aggregators: self.aggregators,
            threshold: self.threshold,
            min_cohort: self.min_cohort,
            size_noise: self.size_noise,
            purpose: self.purpose,
            suite: self.suite,
            record,
            ..Options::default()
        }
    }
}

/// Starts the sandbox and shows its progress.
pub(crate) async fn start(options: &Options) -> Result<Network, Exit> {
    let mut bars = Bars::new();
    let network = Network::start(options, |progress| bars.starting(progress)).await?;
    bars.end();
    Ok(network)
}

pub(crate) async fn run(arguments: Arguments) -> Result<(), Exit> {
    if let Some(Command::Train(model)) = arguments.command {
        return train::run_in_sandbox(*model).await;
    }
    let arguments = arguments.question;
    // Without a question, the sandbox answers the example.
    let written = arguments.text.written();
    let sql = written.unwrap_or_else(|| EXAMPLE.to_owned());
    let options = arguments.network.options(arguments.show_knowledge);
    // All of a sandbox's data is on the user's own machine, so an exact answer is the default.
    let loss = arguments.loss.loss(Some(Epsilon::Off))?;
    arguments.output.check()?;
    // A question that cannot be asked is refused here, before a whole network is started for it.
    dispers_sandbox::check(&options, &sql)?;
    let mut bars = Bars::new();
    let network = Network::start(&options, |progress| bars.starting(progress)).await?;
    let question = network.question(&sql, None, loss);
    let result = bars.follow(network.querier().ask(&question)).await;
    // Records and the answer are taken before the network stops, but errors are returned only after, so that
    // it always stops cleanly.
    let knowledge = network.recording().map(Knowledge::new);
    network.stop().await;
    let result = result?;
    arguments.output.print(&result).map_err(Exit::other)?;
    if let Some(knowledge) = knowledge {
        knowledge::print(&knowledge, &result.aggregators);
    }
    Ok(())
}
