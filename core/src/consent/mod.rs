//! Consent: which queries a home answers, by its owner's standing rules or the owner's own word (protocol.md §6, §17).
//!
//! The default is to refuse. A home that refuses is not read, and sends the same all-zero contribution as a home
//! without data, so that nobody outside learns which homes refused.
//!
//! All functions here depend only on the home's records. A stack calls [`decide`] and [`word`] in the transaction that
//! writes their results.

mod account;
mod asked;
mod decide;
mod made;
mod once;
mod outcome;
mod rules;
#[cfg(test)]
mod tests;
mod verdict;

pub use account::{Account, Answered, Spent, YEAR};
pub use asked::Asked;
pub use decide::{Decision, Question, WordError, decide, word};
pub use once::Place;
pub use outcome::Outcome;
pub use rules::{Effect, MAX_RULES, Otherwise, Rule, Rules, RulesError};
pub use verdict::Verdict;
