//! The embedded network of `dispers sandbox`: its options and its start.

use std::path::PathBuf;

use clap::Args;
use dispers_crypto::envelope::Suite;
use dispers_sandbox::{Network, Options};
use dispers_trust::directory::SIZE_NOISE;

use crate::{exit::Exit, progress::Bars};

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
