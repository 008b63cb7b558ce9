//! Consent: what a home answers, by its owner's standing rules or the owner's own word.
//!
//! The default is no. A home that refuses is not read, and sends the all-zero contribution like one
//! without data, so that nobody outside learns who refused (protocol.md §6).

mod asked;
mod outcome;
mod rules;
mod verdict;

pub use asked::Asked;
pub use outcome::Outcome;
pub use rules::{Effect, Otherwise, Rule, Rules, RulesError};
pub use verdict::{Spent, Verdict};
