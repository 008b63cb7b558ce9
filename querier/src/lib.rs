//! The querier's library: it plans and submits queries, and opens their answers.
//!
//! The querier writes the query and learns the released aggregates. It must never learn a person's value, or which
//! homes were asked.

mod asked;
mod conductors;
mod config;
mod error;
mod query;
mod result;
mod train;

pub use asked::Asked;
pub use config::Config;
pub use error::Error;
pub use query::{Prepared, PrivacyLoss, Querier, Question, Step};
pub use result::{Aggregators, Homes, QueryResult};
pub use train::{Trained, TrainingQuestion, TrainingStep};
