//! What rules say of a query.

use super::{Asked, Effect, Otherwise, Outcome, Question, Rule, Rules, Spent};
use crate::privacy::{Loss, whole_millionths};

/// What rules say of a query, and which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What the home does; [`Outcome::Waiting`] where its owner is to be asked.
    pub outcome: Outcome,
    /// The number of the rule that decided.
    pub rule: Option<u32>,
}

/// Returns whether a query may be answered under a yearly limit of ε, after what was spent.
fn within(limit: Option<f64>, spent: Loss, question: &Question<'_>) -> bool {
    let after = spent.plus(question.cost);
    limit.is_none_or(|limit| after.epsilon(question.max_delta) <= whole_millionths(limit))
}

fn names(list: &Option<Vec<String>>, name: &str) -> bool {
    list.as_ref()
        .is_none_or(|list| list.iter().any(|n| n == name))
}

impl Rule {
    /// Whether the rule is about such a query, whatever its limits.
    fn concerns(&self, asked: &Asked) -> bool {
        let same = |list: &Option<Vec<String>>, name: &str| {
            list.as_ref()
                .is_none_or(|list| list.iter().any(|n| n.eq_ignore_ascii_case(name)))
        };
        let fields = match (&self.fields, self.effect) {
            (None, _) => true,
            (Some(_), Effect::Allow) => asked.fields.iter().all(|field| same(&self.fields, field)),
            (Some(_), Effect::Deny) => asked.fields.iter().any(|field| same(&self.fields, field)),
        };
        fields
            && names(&self.queriers, &asked.querier)
            && names(&self.purposes, &asked.purpose)
            && same(&self.doctypes, &asked.doctype)
    }

    /// Whether the query is within the limits of the rule that one query can be measured by.
    fn fits(&self, asked: &Asked) -> bool {
        let noise = match asked.epsilon {
            None => self.exact,
            Some(epsilon) => {
                let at_most = |limit| epsilon <= whole_millionths(limit);
                self.epsilon.is_none_or(at_most)
                    && self.delta.is_none_or(|delta| asked.delta <= delta)
            }
        };
        noise
            && self
                .min_cohort
                .is_none_or(|cohort| asked.min_cohort >= cohort)
            && (self.training || !asked.training)
            && (!asked.training || self.rounds.is_none_or(|rounds| asked.rounds <= rounds))
    }
}

impl Rules {
    /// The first rule that denies such a query.
    pub fn denying(&self, asked: &Asked) -> Option<&Rule> {
        let denies = |rule: &&Rule| rule.effect == Effect::Deny && rule.concerns(asked);
        self.rules.iter().find(denies)
    }

    /// What these rules say of a query, before what was spent is looked at: the rules that allow it, in
    /// order, or what happens instead.
    fn allowing(&self, asked: &Asked) -> Result<Vec<&Rule>, Verdict> {
        if let Some(rule) = self.denying(asked) {
            return Err(Verdict {
                outcome: Outcome::Denied,
                rule: Some(rule.number),
            });
        }
        let allow =
            |rule: &&Rule| rule.effect == Effect::Allow && rule.concerns(asked) && rule.fits(asked);
        let allowing: Vec<&Rule> = self.rules.iter().filter(allow).collect();
        match (allowing.is_empty(), self.otherwise) {
            (false, _) => Ok(allowing),
            (true, Otherwise::Ask) => Err(Verdict {
                outcome: Outcome::Waiting,
                rule: None,
            }),
            (true, Otherwise::Deny) => Err(Verdict {
                outcome: Outcome::Uncovered,
                rule: None,
            }),
        }
    }

    /// What these rules say of a query. What was spent is asked for where it matters.
    ///
    /// # Errors
    /// What `spent` fails with.
    pub fn verdict<E>(
        &self,
        question: &Question<'_>,
        spent: impl FnOnce() -> Result<Spent, E>,
    ) -> Result<Verdict, E> {
        let allowing = match self.allowing(question.asked) {
            Ok(allowing) => allowing,
            Err(verdict) => return Ok(verdict),
        };
        let spent = spent()?;
        let left = |rule: &&&Rule| {
            let of_rule = spent.by_rule.get(&rule.number).copied();
            within(rule.epsilon_per_year, of_rule.unwrap_or_default(), question)
        };
        let rule = allowing.iter().find(left).map(|rule| rule.number);
        let outcome = match rule {
            Some(_) if self.affords(&spent, question) => Outcome::Allowed,
            _ => Outcome::Spent,
        };
        Ok(Verdict { outcome, rule })
    }

    /// Returns whether what the query takes is within what the owner gives for a year.
    pub fn affords(&self, spent: &Spent, question: &Question<'_>) -> bool {
        within(self.epsilon_per_year, spent.all, question)
    }
}

impl From<Outcome> for Verdict {
    fn from(outcome: Outcome) -> Self {
        Self {
            outcome,
            rule: None,
        }
    }
}
