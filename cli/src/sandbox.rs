//! `dispers sandbox`: a whole network in one process.

use clap::{Args, Subcommand};
use dispers_sandbox::{Knowledge, Network};

use crate::{
    exit::Exit,
    format::Output,
    knowledge,
    loss::{Epsilon, Loss},
    network::NetworkArguments,
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
