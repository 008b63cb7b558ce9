//! A home's decision on one query, made once, and what it charges.

use super::{Account, Asked, Outcome, Rules, Spent, Verdict};
use crate::{id::Timestamp, privacy::Loss};

/// A query that homes decide on.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What rules look at.
    pub asked: &'a Asked,
    /// What an answer takes.
    pub cost: Loss,
    /// The directory's ceiling of δ, at which limits are read.
    pub max_delta: f64,
    /// Whether owners are only told now, so that there is time to ask them.
    pub announced: bool,
    /// Number of exact queries that a home answers one querier, of a doctype and in a key epoch.
    pub exact_queries: usize,
}

impl Question<'_> {
    /// Returns whether this exact query is one too many after `answered` others; false for a noisy query.
    fn too_many_exact(&self, answered: usize) -> bool {
        let cost = self.asked.exact_cost();
        cost > 0 && answered.saturating_add(cost) > self.exact_queries
    }
}

/// What a home does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It was decided before. Nothing is to be written; a home that withdrew or denies between two rounds
    /// refuses this one only.
    Stands(Outcome),
    /// Decided now. It must be written before anything of the home is read.
    New {
        /// What the home does, by which rule.
        verdict: Verdict,
        /// What is charged.
        cost: Loss,
    },
}

impl Decision {
    /// What the home does now.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Stands(outcome) => *outcome,
            Self::New { verdict, .. } => verdict.outcome,
        }
    }
}

/// An owner's word that comes too late, or contradicts what was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// The home was not asked.
    #[error("this home was not asked such a query: see its history")]
    NotAsked,
    /// It does not wait.
    #[error("this query was decided before: {}", .0.word())]
    Decided(Outcome),
    /// The time is over.
    #[error("the time to decide on this query is over")]
    Late,
    /// What the owner gives for a year does not allow it.
    #[error(
        "this query would take more epsilon than the rules give for a year: raise epsilon-per-year first"
    )]
    Spent,
}

/// Decides a query at a home that decided `before`, or for the first time. `subscribed` tells whether the home is
/// subscribed to anything; `account` is called only where it matters.
///
/// # Errors
/// What `account` fails with.
pub fn decide<E>(
    question: &Question<'_>,
    before: Option<Outcome>,
    subscribed: bool,
    rules: &Rules,
    account: impl FnOnce() -> Result<Account, E>,
) -> Result<Decision, E> {
    let asked = question.asked;
    let verdict = match before {
        Some(Outcome::Waiting) if !question.announced => Outcome::Late.into(),
        // An earlier decision stands, except that an owner can take it back between two rounds.
        Some(outcome) if outcome.answers() && !subscribed => {
            return Ok(Decision::Stands(Outcome::Withdrawn));
        }
        Some(outcome) if outcome.answers() && asked.training => {
            let denied = rules.denying(asked).is_some();
            let outcome = if denied { Outcome::Denied } else { outcome };
            return Ok(Decision::Stands(outcome));
        }
        Some(outcome) => return Ok(Decision::Stands(outcome)),
        None if !subscribed => Outcome::Withdrawn.into(),
        None => first(question, rules, account)?,
    };
    let cost = charged(verdict.outcome, question);
    Ok(Decision::New { verdict, cost })
}

fn first<E>(
    question: &Question<'_>,
    rules: &Rules,
    account: impl FnOnce() -> Result<Account, E>,
) -> Result<Verdict, E> {
    let mut exact = 0;
    let verdict = rules.verdict(question, || {
        let account = account()?;
        exact = account.exact;
        Ok::<Spent, E>(account.spent)
    })?;
    Ok(match verdict.outcome {
        Outcome::Allowed if question.too_many_exact(exact) => Outcome::TooManyExact.into(),
        Outcome::Waiting if !question.announced => Outcome::Late.into(),
        _ => verdict,
    })
}

fn charged(outcome: Outcome, question: &Question<'_>) -> Loss {
    match outcome.answers() {
        true => question.cost,
        false => Loss::default(),
    }
}

/// Takes an owner's word on a query that `before` says waits for it until `answer_from`. Returns what the home does
/// and what is charged.
///
/// # Errors
/// [`WordError`] when there is nothing to decide any more; then nothing changes.
pub fn word(
    question: &Question<'_>,
    before: Outcome,
    allow: bool,
    (answer_from, now): (Timestamp, Timestamp),
    rules: &Rules,
    account: &Account,
) -> Result<(Outcome, Loss), WordError> {
    match before {
        Outcome::Waiting if answer_from > now => {}
        Outcome::Waiting => return Err(WordError::Late),
        outcome => return Err(WordError::Decided(outcome)),
    }
    if !allow {
        return Ok((Outcome::DeniedByOwner, Loss::default()));
    }
    if !rules.affords(&account.spent, question) {
        return Err(WordError::Spent);
    }
    let outcome = match question.too_many_exact(account.exact) {
        true => Outcome::TooManyExact,
        false => Outcome::AllowedByOwner,
    };
    Ok((outcome, charged(outcome, question)))
}
