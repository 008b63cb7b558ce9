//! The stack agent: answers for the homes of one host (protocol.md §5 and §6).
//!
//! It learns its own homes' data, which it holds anyway, and which queries ask them. It must never
//! learn other hosts' homes or a result.

mod answer;
mod attach;
mod config;
mod connector;
pub mod engine;
mod error;
mod import;
mod pace;
pub mod render;
mod service;
mod store;
mod subscribe;
mod withdraw;

pub use answer::Answerer;
pub use attach::attach;
pub use config::Config;
pub use connector::{Connector, Document};
pub use error::Error;
pub use import::{Column, ImportError, Sheet};
pub use service::Service;
pub use store::Store;
pub use subscribe::{Relay, resubscribe, subscribe};
pub use withdraw::withdraw;
