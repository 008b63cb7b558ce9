//! Decision of a home on one query, which is made once, and its cost.

use super::{Account, Asked, Outcome, Rules, Spent, Verdict};
use dispers_base::id::Timestamp;
use dispers_privacy::Loss;

/// Query that homes decide on.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Facts that rules depend on.
    pub asked: &'a Asked,
    /// Privacy loss of an answer.
    pub cost: Loss,
    /// Directory's ceiling of δ, at which limits of ε are evaluated.
    pub max_delta: f64,
    /// True if the query is announced, not asked, so that there is time to ask owners.
    pub announced: bool,
    /// Largest number of exact queries that a home answers per querier, doctype and key epoch.
    pub exact_queries: usize,
}

impl Question<'_> {
    /// Returns whether this exact query exceeds the limit after `answered` others; false for a noisy query.
    fn too_many_exact(&self, answered: usize) -> bool {
        let cost = self.asked.exact_cost();
        cost > 0 && answered.saturating_add(cost) > self.exact_queries
    }
}

/// Decision of a home on a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The home decided before. Nothing is written: an owner who withdraws or denies between two rounds refuses only
    /// this round.
    Stands(Outcome),
    /// The home decides now. The decision must be written before anything of the home is read.
    New {
        /// Outcome, with the rule that decided.
        verdict: Verdict,
        /// Privacy loss that is charged.
        cost: Loss,
    },
}

impl Decision {
    /// Returns what the home does now.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Stands(outcome) => *outcome,
            Self::New { verdict, .. } => verdict.outcome,
        }
    }
}

/// Reason why an owner's word on a query has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// The home was not asked.
    #[error("this home was not asked such a query: see its history for its queries")]
    NotAsked,
    /// The query does not wait for the owner.
    #[error("this query was decided before: {}", .0.word())]
    Decided(Outcome),
    /// The time for the owner's word is over.
    #[error("the time to decide on this query is over: write a rule for such queries")]
    Late,
    /// The owner's limit for a year does not allow the query.
    #[error(
        "this query would take more epsilon than the owner's rules allow for a year: raise epsilon-per-year first"
    )]
    Spent,
}

/// Decides a query at a home. `before` is the home's earlier outcome for this query, if it decided before;
/// `subscribed` is true if the home is subscribed to anything. `account` is only called if the decision depends on it,
/// since it reads the home's history.
///
/// # Errors
/// Errors of `account`.
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
        // An earlier decision stands, but its owner can take it back between two rounds.
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
        // A query that already asks leaves no time for the owner's word.
        Outcome::Waiting if !question.announced => Outcome::Late.into(),
        _ => verdict,
    })
}

fn charged(outcome: Outcome, question: &Question<'_>) -> Loss {
    match outcome.answers() {
        true => question.cost,
        // A home that refuses is not read: it loses nothing.
        false => Loss::default(),
    }
}

/// Applies an owner's word on a query that waits for it until `answer_from`. Returns the outcome and the privacy loss
/// that is charged.
///
/// # Errors
/// [`WordError`] when the query no longer waits, or the owner's limit forbids it; then nothing changes.
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
    // The word on one query does not lift the owner's own limit for a year.
    if !rules.affords(&account.spent, question) {
        return Err(WordError::Spent);
    }
    let outcome = match question.too_many_exact(account.exact) {
        true => Outcome::TooManyExact,
        false => Outcome::AllowedByOwner,
    };
    Ok((outcome, charged(outcome, question)))
}
