//! Options of a sandbox, and the population that they describe.

use std::{fmt, path::PathBuf, sync::Arc};

use dispers_crypto::envelope::Suite;
use dispers_query::catalogue::Catalogue;
use dispers_sql::plan::{Plan, PlanLimits};
use dispers_stack::{Connector, Rules};
use dispers_trust::directory::SIZE_NOISE;

use crate::{
    Error, Synthetic,
    population::{Population, Sheets},
};

/// Most homes that one query may ask.
pub(crate) const MAX_HOMES: u64 = 10_000_000;

/// Options of a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// CSV files, one per doctype. Without any, the sandbox uses the example data.
    pub data: Vec<PathBuf>,
    /// Homes with computed documents, instead of homes from data files.
    pub synthetic: Option<Synthetic>,
    /// Column that identifies the home of a row. If `None`, each row is a home of its own.
    pub home_column: Option<String>,
    /// Columns whose values are concepts that homes subscribe to.
    pub concepts: Vec<String>,
    /// Number of hosts.
    pub hosts: usize,
    /// Number of hosts that attach themselves to the Target instead of being dialled.
    pub attached: usize,
    /// Number of concept indexors.
    pub indexors: u8,
    /// Number of concept indexors that an evaluation needs.
    pub indexor_threshold: u8,
    /// Number of data aggregators of each committee.
    pub aggregators: u8,
    /// Number of data aggregators of a committee that a query needs.
    pub threshold: u8,
    /// Number of committees.
    pub committees: u16,
    /// Number of partitions of the subscriptions.
    pub partitions: u16,
    /// Number of target finders of each partition.
    pub finders: u8,
    /// Number of targets.
    pub targets: u16,
    /// Minimum cohort of the network.
    pub min_cohort: u32,
    /// Scale of the noise of sizes of sets, in homes.
    pub size_noise: u32,
    /// Number of exact queries that a home answers one querier.
    pub exact_queries: usize,
    /// Wrapper of the connectors through which hosts read documents. If `None`, hosts read their stores directly.
    pub through: Option<Through>,
    /// Rules of every home.
    pub rules: Rules,
    /// Purpose that the directory registers for the querier, and that the querier asks for.
    pub purpose: String,
    /// Suite of the envelopes.
    pub suite: Suite,
    /// Homes per batch.
    pub batch_size: u32,
    /// Configuration of the Targets.
    pub target: dispers_target::Config,
    /// True if the sandbox records the bytes that each node receives and the envelopes that it opens.
    pub record: bool,
    /// True if the sandbox counts the bytes that each role receives. Ignored together with `record`.
    pub meter: bool,
    /// Folder of the nodes' files. If `None`, nodes store their state in memory.
    pub state: Option<PathBuf>,
}

impl Options {
    /// Returns the options of a small network for examples: 400 homes with an age and a heart rate each, doctype
    /// `health`, at two hosts. It starts and answers in seconds.
    pub fn small() -> Self {
        Self {
            synthetic: Some(Synthetic {
                homes: 400,
                seed: 1,
            }),
            hosts: 2,
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: Vec::new(),
            synthetic: None,
            home_column: None,
            concepts: Vec::new(),
            hosts: 4,
            attached: 0,
            indexors: 3,
            indexor_threshold: 2,
            aggregators: 3,
            threshold: 2,
            committees: 1,
            partitions: 1,
            finders: 1,
            targets: 1,
            min_cohort: 20,
            size_noise: SIZE_NOISE,
            exact_queries: 10,
            through: None,
            rules: Rules::allow_everything(),
            purpose: "sandbox".into(),
            suite: Suite::default(),
            batch_size: dispers_conductor::Config::default().batch_size,
            target: dispers_target::Config::default(),
            record: false,
            meter: false,
            state: None,
        }
    }
}

/// Function that wraps the connector of a host.
pub type Wrap = dyn Fn(Arc<dyn Connector>) -> Arc<dyn Connector> + Send + Sync;

/// Wrapper of the connectors through which hosts read documents.
#[derive(Clone)]
pub struct Through(pub Arc<Wrap>);

impl fmt::Debug for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Through")
    }
}

/// Progress of starting a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The services start.
    Starting {
        /// Number of services.
        services: usize,
    },
    /// More homes are subscribed.
    Subscribed {
        /// Number of homes that are subscribed so far.
        homes: usize,
        /// Number of all homes.
        of: usize,
    },
}

/// Plans `sql` against the catalogue of the options' data. No service starts.
///
/// # Errors
/// [`Error`] if the data or the question is refused.
pub fn check(options: &Options, sql: &str) -> Result<(), Error> {
    let population = population(options)?;
    let limits = PlanLimits {
        max_homes: MAX_HOMES,
        ..PlanLimits::default()
    };
    Plan::new(sql, &population.catalogue(), &limits)?;
    Ok(())
}

/// Returns the catalogue of the options' data, and the number of homes.
///
/// # Errors
/// [`Error`] if the data is refused.
pub fn catalogue(options: &Options) -> Result<(Catalogue, usize), Error> {
    let population = population(options)?;
    Ok((population.catalogue(), population.len()))
}

/// Returns the homes that the options describe.
pub(crate) fn population(options: &Options) -> Result<Box<dyn Population>, Error> {
    Ok(match options.synthetic {
        Some(synthetic) => Box::new(synthetic),
        None => Box::new(Sheets::read(
            &options.data,
            options.home_column.as_deref(),
            &options.concepts,
        )?),
    })
}
