//! What rules say of a query.

use std::collections::BTreeMap;

use super::{Asked, Effect, Otherwise, Outcome, Rule, Rules};

/// The ε of answered queries in the last year, in millionths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// Of all of them.
    pub all: u64,
    /// Of those that each rule allowed, by its number.
    pub by_rule: BTreeMap<u32, u64>,
}

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
    /// What these rules say of a query, before what was spent is looked at: the rules that allow it, in
    /// order, or what happens instead.
    fn allowing(&self, asked: &Asked) -> Result<Vec<&Rule>, Verdict> {
        let denying = |rule: &&Rule| rule.effect == Effect::Deny && rule.concerns(asked);
        if let Some(rule) = self.rules.iter().find(denying) {
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn asked() -> Asked {
        Asked {
            querier: "lab".into(),
            purpose: "heart research".into(),
            doctype: "nhefs".into(),
            fields: vec!["age".into(), "sbp".into()],
            min_cohort: 50,
            epsilon: Some(1_000_000),
            delta: 0,
            training: false,
        }
    }

    fn verdict(file: &str, asked: &Asked, spent: &Spent) -> Outcome {
        let rules = Rules::parse(file).unwrap();
        let spent = || Ok::<_, Infallible>(spent.clone());
        rules.verdict(asked, spent).unwrap().outcome
    }

    fn allows(file: &str, asked: &Asked) -> bool {
        let file = format!("[[rule]]\neffect = 'allow'\n{file}");
        verdict(&file, asked, &Spent::default()) == Outcome::Allowed
    }

    #[test]
    fn nothing_is_allowed_by_default() {
        let exact = Asked {
            epsilon: None,
            ..asked()
        };
        assert_eq!(verdict("", &asked(), &Spent::default()), Outcome::Uncovered);
        assert_eq!(verdict("", &exact, &Spent::default()), Outcome::Uncovered);
        assert_eq!(
            verdict("otherwise = 'ask'", &exact, &Spent::default()),
            Outcome::Waiting
        );
    }

    #[test]
    fn a_rule_allows_what_it_covers_and_nothing_more() {
        for (file, holds) in [
            ("", true),
            ("queriers = ['lab', 'other']", true),
            ("queriers = ['Lab']", false),
            ("queriers = ['other']", false),
            ("purposes = ['heart research']", true),
            ("purposes = ['heart']", false),
            ("doctypes = ['NHEFS']", true),
            ("doctypes = ['heartrate']", false),
            ("fields = ['AGE', 'sbp', 'sex']", true),
            ("fields = ['age']", false),
            ("min-cohort = 50", true),
            ("min-cohort = 51", false),
            ("epsilon = 1.0", true),
            ("epsilon = 0.999999", false),
            ("epsilon-per-year = 1.0", true),
            ("epsilon-per-year = 0.9", false),
        ] {
            assert_eq!(allows(file, &asked()), holds, "{file}");
        }
        let exact = Asked {
            epsilon: None,
            ..asked()
        };
        assert!(!allows("", &exact) && allows("exact = true", &exact));
        assert!(!allows("epsilon = 1.0", &exact));
        let training = Asked {
            training: true,
            ..asked()
        };
        assert!(!allows("", &training) && allows("training = true", &training));
        let approximate = Asked {
            delta: 1000,
            ..asked()
        };
        assert!(allows("", &approximate) && allows("delta = 1e-6", &approximate));
        assert!(!allows("delta = 1e-7", &approximate));
    }

    #[test]
    fn one_that_denies_goes_before_all_that_allow() {
        let file = |refusal: &str| {
            format!("[[rule]]\neffect = 'allow'\n[[rule]]\neffect = 'deny'\n{refusal}")
        };
        let spent = Spent::default();
        assert_eq!(
            verdict(&file("fields = ['sbp', 'weight']"), &asked(), &spent),
            Outcome::Denied
        );
        assert_eq!(
            verdict(&file("fields = ['weight']"), &asked(), &spent),
            Outcome::Allowed
        );
        assert_eq!(
            verdict(&file("queriers = ['lab']"), &asked(), &spent),
            Outcome::Denied
        );
    }

    #[test]
    fn what_is_given_for_a_year_is_not_overspent() {
        let spent = |all, rule| Spent {
            all,
            by_rule: [(1, rule)].into(),
        };
        let file = "epsilon-per-year = 3.0\n[[rule]]\neffect = 'allow'\nepsilon-per-year = 2.0";
        assert_eq!(
            verdict(file, &asked(), &spent(2_000_000, 1_000_000)),
            Outcome::Allowed
        );
        assert_eq!(
            verdict(file, &asked(), &spent(2_000_001, 1_000_000)),
            Outcome::Spent
        );
        assert_eq!(
            verdict(file, &asked(), &spent(1_500_000, 1_000_001)),
            Outcome::Spent
        );
        // Another rule may have something left.
        let file = format!("{file}\n[[rule]]\neffect = 'allow'");
        assert_eq!(
            verdict(&file, &asked(), &spent(1_500_000, 1_000_001)),
            Outcome::Allowed
        );
    }

    prop_compose! {
        fn rule()(
            allow: bool,
            querier in proptest::option::of(0..3u8),
            field in proptest::option::of(proptest::collection::vec(0..4u8, 1..4)),
            cohort in proptest::option::of(1..100u32),
            epsilon in proptest::option::of(1..4u8),
        ) -> Rule {
            let mut rule = Rule::new(if allow { Effect::Allow } else { Effect::Deny });
            rule.queriers = querier.map(|q| vec![format!("q{q}")]);
            rule.fields = field.map(|f| f.iter().map(|f| format!("f{f}")).collect());
            if allow {
                rule.min_cohort = cohort;
                rule.epsilon = epsilon.map(f64::from);
            }
            rule
        }
    }

    proptest! {
        #[test]
        fn whatever_the_rules_an_answer_is_within_one_of_them(
            rules in proptest::collection::vec(rule(), 0..6),
            querier in 0..3u8,
            fields in proptest::collection::vec(0..4u8, 1..4),
            min_cohort in 1..100u32,
            epsilon in 1..4u64,
        ) {
            let rules = Rules { rules, ..Rules::default() }.checked().unwrap();
            let asked = Asked {
                querier: format!("q{querier}"),
                fields: fields.iter().map(|f| format!("f{f}")).collect(),
                min_cohort,
                epsilon: Some(epsilon * 1_000_000),
                ..asked()
            };
            let verdict = rules.verdict(&asked, || Ok::<_, Infallible>(Spent::default())).unwrap();
            let about = |rule: &Rule| rule.queriers.as_ref().is_none_or(|q| q.contains(&asked.querier));
            let read = |rule: &Rule| match &rule.fields {
                None => (true, true),
                Some(fields) => (
                    asked.fields.iter().all(|f| fields.contains(f)),
                    asked.fields.iter().any(|f| fields.contains(f)),
                ),
            };
            let refused = rules.rules.iter().any(|rule| {
                rule.effect == Effect::Deny && about(rule) && read(rule).1
            });
            let allowed = rules.rules.iter().any(|rule| {
                rule.effect == Effect::Allow && about(rule) && read(rule).0
                    && rule.min_cohort.is_none_or(|c| min_cohort >= c)
                    && rule.epsilon.is_none_or(|e| epsilon as f64 <= e)
            });
            prop_assert_eq!(verdict.outcome.answers(), allowed && !refused);
        }
    }
}
