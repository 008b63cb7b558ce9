//! The stack: answers for the homes of one host (protocol.md §5 and §6).
//!
//! The stack learns its own homes' data, which its host holds anyway, and the queries that ask these homes. It must
//! never learn other hosts' homes, or a result.

mod answer;
mod attach;
mod config;
mod connector;
pub mod engine;
mod erase;
mod error;
mod export;
mod http;
mod import;
mod log;
pub mod notify;
mod pace;
pub mod page;
pub mod render;
pub mod rule_file;
mod service;
mod setup;
mod store;
mod subscribe;
mod sync;
#[cfg(test)]
mod testing;
mod withdraw;

pub use answer::Answerer;
pub use attach::attach;
pub use config::Config;
pub use connector::{Condition, Connector, Document, Operator, Selector, couch};
pub use dispers_core::consent::{Asked, Effect, Otherwise, Outcome, Rule, Rules, Spent, WordError};
/// Id of a home at its host, which a [`Connector`] gets and returns.
pub use dispers_core::subscription::HomeId;
/// Value of a document's field, which a [`Connector`] returns.
pub use dispers_query::local::FieldValue;
pub use erase::{Erased, Receipt, erase};
pub use error::Error;
pub use export::{entry, export};
pub use import::{Column, ImportError, Line, Sheet, lines};
pub use service::Service;
pub use setup::routes;
pub use store::{Bounds, Entry, SentGroup, Store, Token};
pub use subscribe::{Relay, catch_up, keep_up, resubscribe, subscribe};
pub use sync::{Changes, sync};
pub use withdraw::withdraw;
