//! What rules say of a query.

use super::{Asked, Effect, Otherwise, Outcome, Rule, Rules, Spent};

/// What rules say of a query, and which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What the home does; [`Outcome::Waiting`] where its owner is to be asked.
    pub outcome: Outcome,
    /// The number of the rule that decided.
    pub rule: Option<u32>,
}

/// What a rule's limit is in millionths, rounded down.
fn millionths(limit: f64) -> u64 {
    (limit * 1e6 + 0.5).floor() as u64
}

fn within(limit: Option<f64>, spent: u64, more: u64) -> bool {
    limit.is_none_or(|limit| spent.saturating_add(more) <= millionths(limit))
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
                within(self.epsilon, 0, epsilon)
                    && self
                        .delta
                        .is_none_or(|delta| asked.delta <= (delta * 1e9).round() as u64)
            }
        };
        noise
            && self
                .min_cohort
                .is_none_or(|cohort| asked.min_cohort >= cohort)
            && (self.training || !asked.training)
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
        asked: &Asked,
        spent: impl FnOnce() -> Result<Spent, E>,
    ) -> Result<Verdict, E> {
        let allowing = match self.allowing(asked) {
            Ok(allowing) => allowing,
            Err(verdict) => return Ok(verdict),
        };
        let spent = spent()?;
        let epsilon = asked.epsilon.unwrap_or(0);
        let left = |rule: &&&Rule| {
            let of_rule = spent.by_rule.get(&rule.number).copied().unwrap_or(0);
            within(rule.epsilon_per_year, of_rule, epsilon)
        };
        let rule = allowing.iter().find(left).map(|rule| rule.number);
        let outcome = match rule {
            Some(_) if self.affords(&spent, epsilon) => Outcome::Allowed,
            _ => Outcome::Spent,
        };
        Ok(Verdict { outcome, rule })
    }

    /// Whether so much more ε is within what the owner gives for a year.
    pub fn affords(&self, spent: &Spent, epsilon: u64) -> bool {
        within(self.epsilon_per_year, spent.all, epsilon)
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
