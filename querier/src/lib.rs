//! Library of a querier: asks questions of a network of homes and opens the answers, and trains models.
//!
//! The querier writes the query and learns the released aggregates. It must never learn a person's value, or which
//! homes were asked.
//!
//! [`Querier::open`] reads a configuration file. [`Querier::ask`] asks a [`Question`], [`Querier::train`] trains a
//! model. Both return [`Pending`] work: a stream of progress events, and a future of the result. Questions outlive
//! their process: [`Querier::detach`] asks without waiting, [`Querier::find`] finds the question again, and
//! [`Querier::status`], [`Querier::follow`], [`Querier::result`] and [`Querier::cancel`] go on from there;
//! [`Querier::resume`] does so for training sessions.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
//! # let path = network.write_querier(folder.path())?;
//! use dispers_querier::{Querier, Question};
//!
//! let querier = Querier::open(path)?;
//! let question = Question::new("SELECT COUNT(*) AS people FROM health", "sandbox").epsilon(1.0);
//! let result = querier.ask(&question).await?;
//! println!("about {:?} people", result.table.rows[0][0].number());
//! querier.forget(result.query)?;
//! # network.stop().await;
//! # Ok(())
//! # }
//! ```

mod ask;
mod asked;
mod budget;
mod concepts;
mod conductors;
mod config;
mod draft;
mod error;
mod folder;
mod follow;
mod offers;
mod pending;
mod querier;
mod question;
mod result;
mod session;
pub mod steps;
mod totals;
mod train;

pub use ask::Asking;
pub use asked::Asked;
pub use config::{Config, ConfigFile};
pub use error::Error;
pub use follow::Progress;
pub use pending::Pending;
pub use querier::Querier;
pub use question::{PrivacyLoss, Question};
pub use result::{Aggregators, Homes, QueryResult};
pub use session::{InTraining, Trained, TrainingProgress, TrainingQuestion};

// What a user needs of the crates below, so that a program depends on this one alone.
/// Id of a query, which its text names in `find` and `resume`.
pub use dispers_base::id::QueryId;
/// Status of a running query: its phase, its homes, and the nodes that it waits for.
pub use dispers_core::conduct::{Failure, Funnel, Phase, Status, Wait};
/// Privacy budget, as [`Querier::budget`] returns it.
pub use dispers_privacy::{Budget, Expense, Population, Rho};
/// Table of an answer.
pub use dispers_sql::decode::{Table, Value};
/// Model to train, and its plan.
pub use dispers_sql::plan::{TrainingPlan, TrainingRequest};
/// Trained model and its history.
pub use dispers_training::{
    Family,
    fit::{Fit, Round, Settings},
};
/// Directory of the network, with its catalogue and floors.
pub use dispers_trust::directory::Directory;
