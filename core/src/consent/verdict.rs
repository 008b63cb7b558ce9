//! Evaluation of a home's rules for a query.

use super::{Asked, Effect, Otherwise, Outcome, Question, Rule, Rules, Spent};
use dispers_privacy::{Loss, whole_millionths};

/// Outcome of a query under a home's rules, with the rule that decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Outcome; [`Outcome::Waiting`] if the owner must be asked.
    pub outcome: Outcome,
    /// Number of the rule that decided.
    pub rule: Option<u32>,
}

/// Returns whether the query fits in a yearly limit of ε beside the loss `spent`.
fn within(limit: Option<f64>, spent: Loss, question: &Question<'_>) -> bool {
    let after = spent.plus(question.cost);
    limit.is_none_or(|limit| after.epsilon(question.max_delta) <= whole_millionths(limit))
}

/// Returns whether a list of a rule covers a name; a list that is left out covers all.
fn covers(list: &Option<Vec<String>>, name: &str) -> bool {
    list.as_ref()
        .is_none_or(|list| list.iter().any(|listed| listed == name))
}

/// Returns whether a list of a rule covers a name in any case, as SQL reads the names of doctypes and fields.
fn covers_any_case(list: &Option<Vec<String>>, name: &str) -> bool {
    list.as_ref()
        .is_none_or(|list| list.iter().any(|listed| listed.eq_ignore_ascii_case(name)))
}

impl Rule {
    /// Returns whether the rule covers such a query, apart from its limits.
    fn concerns(&self, asked: &Asked) -> bool {
        let mut listed = asked
            .fields
            .iter()
            .map(|field| covers_any_case(&self.fields, field));
        let fields = match (&self.fields, self.effect) {
            (None, _) => true,
            (Some(_), Effect::Allow) => listed.all(|listed| listed),
            (Some(_), Effect::Deny) => listed.any(|listed| listed),
        };
        fields
            && covers(&self.queriers, &asked.querier)
            && covers(&self.purposes, &asked.purpose)
            && covers_any_case(&self.doctypes, &asked.doctype)
    }

    /// Returns whether the query is within the rule's limits for one query.
    fn fits(&self, asked: &Asked) -> bool {
        let noise = match asked.epsilon {
            None => self.exact,
            Some(epsilon) => {
                self.epsilon
                    .is_none_or(|limit| epsilon <= whole_millionths(limit))
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
    /// Returns the first rule that denies such a query.
    pub fn denying(&self, asked: &Asked) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.effect == Effect::Deny && rule.concerns(asked))
    }

    /// Returns the rules that allow the query, in order, without regard to yearly limits. If there are none, returns
    /// the verdict instead.
    fn allowing(&self, asked: &Asked) -> Result<Vec<&Rule>, Verdict> {
        if let Some(rule) = self.denying(asked) {
            return Err(Verdict {
                outcome: Outcome::Denied,
                rule: Some(rule.number),
            });
        }
        let allowing: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.effect == Effect::Allow)
            .filter(|rule| rule.concerns(asked) && rule.fits(asked))
            .collect();
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

    /// Evaluates the rules for a query. `spent` is only called if a rule allows the query, since it reads the home's
    /// history.
    ///
    /// # Errors
    /// Errors of `spent`.
    pub fn verdict<E>(
        &self,
        question: &Question<'_>,
        spent: impl FnOnce() -> Result<Spent, E>,
    ) -> Result<Verdict, E> {
        let allowing = match self.allowing(question.asked) {
            Ok(allowing) => allowing,
            Err(verdict) => return Ok(verdict),
        };
        // Yearly limits come last, since they need the home's history.
        let spent = spent()?;
        // The first rule with enough ε left decides, and is charged.
        let rule = allowing.iter().find(|rule| {
            let spent_by_rule = spent.by_rule.get(&rule.number).copied();
            within(
                rule.epsilon_per_year,
                spent_by_rule.unwrap_or_default(),
                question,
            )
        });
        let rule = rule.map(|rule| rule.number);
        let outcome = match rule {
            Some(_) if self.affords(&spent, question) => Outcome::Allowed,
            _ => Outcome::Spent,
        };
        Ok(Verdict { outcome, rule })
    }

    /// Returns whether the query fits in the owner's limit of ε for a year.
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
