//! Rules that an owner makes from a question with one click.

use super::{Asked, Effect, Rule};
use dispers_base::weakness::{self, Weakness};

/// Number of noisy queries like the original one whose ε a made rule allows in a year.
const A_YEAR: f64 = 10.0;

impl Rule {
    /// Makes a rule from a question. It covers the same querier, purpose and kind of documents.
    ///
    /// A rule that denies covers all such questions, whatever fields they read. A rule that allows covers no question
    /// that exceeds the original in anything that a rule can bound: no other field, even where the original read none;
    /// no smaller cohort; no larger ε or δ; no training unless it trained, and no more rounds. After an exact question
    /// it allows exact ones only, since its limits would not bound the number of noisy ones. After a noisy question it
    /// allows noisy ones only, with at most ten times the ε in a year.
    pub fn made_from(asked: &Asked, effect: Effect) -> Self {
        let rule = Self {
            queriers: Some(vec![asked.querier.clone()]),
            purposes: Some(vec![asked.purpose.clone()]),
            doctypes: Some(vec![asked.doctype.clone()]),
            ..Self::new(effect)
        };
        if effect == Effect::Deny {
            return rule;
        }
        let epsilon = asked.epsilon.map(|epsilon| epsilon as f64 / 1e6);
        if weakness::off(Weakness::RuleWidens) {
            return Self {
                fields: Some(asked.fields.clone()).filter(|fields| !fields.is_empty()),
                min_cohort: Some(asked.min_cohort),
                epsilon,
                exact: epsilon.is_none(),
                training: asked.training,
                ..rule
            };
        }
        Self {
            fields: Some(asked.fields.clone()),
            min_cohort: Some(asked.min_cohort),
            // No noisy question has an ε of 0, so that this limit excludes them.
            epsilon: Some(epsilon.unwrap_or(0.0)),
            delta: epsilon.map(|_| asked.delta),
            epsilon_per_year: epsilon.map(|epsilon| epsilon * A_YEAR),
            exact: epsilon.is_none(),
            training: asked.training,
            rounds: asked.training.then_some(asked.rounds),
            ..rule
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        consent::{Account, Otherwise, Outcome, Question, Rules, decide},
        manifest::Manifest,
        testing::{Scene, Setting, name},
    };
    use dispers_privacy::{Loss, Mechanism, Privacy, Rho};
    use dispers_training::{Family, Feature, Training};

    /// Random differences of a question from that of [`Setting`].
    #[derive(Debug, Clone)]
    struct Drawn {
        querier: u8,
        purpose: u8,
        doctype: u8,
        /// Numbers of the fields, each with true for a name in upper case.
        fields: Vec<(u8, bool)>,
        min_cohort: u32,
        /// ε in quarters, and the exponent of δ = 10^exponent.
        noise: Option<(u64, Option<i32>)>,
        /// Rounds of training; `None` for SQL.
        rounds: Option<u16>,
    }

    fn drawn() -> impl Strategy<Value = Drawn> {
        let names = (0..2u8, 0..2u8, 0..2u8);
        let fields = proptest::collection::vec((0..3u8, any::<bool>()), 0..3);
        let delta = proptest::option::of(-8..-5i32);
        let noise = proptest::option::of((1..5u64, delta));
        let rounds = proptest::option::of(1..60u16);
        (names, fields, 2..6u32, noise, rounds).prop_map(
            |((querier, purpose, doctype), fields, min_cohort, noise, rounds)| Drawn {
                querier,
                purpose,
                doctype,
                fields,
                min_cohort,
                noise,
                rounds,
            },
        )
    }

    fn manifest(original: &Manifest, drawn: &Drawn) -> Manifest {
        let mut manifest = original.clone();
        manifest.querier = name(&format!("q{}", drawn.querier));
        manifest.purpose = format!("purpose {}", drawn.purpose);
        manifest.local.doctype = ["people", "Visits"][usize::from(drawn.doctype)].into();
        let field = manifest.local.fields[0].clone();
        let named = |(number, upper): &(u8, bool)| {
            let text = format!("field{number}");
            let mut field = field.clone();
            field.name = if *upper { text.to_uppercase() } else { text };
            field
        };
        manifest.local.fields = drawn.fields.iter().map(named).collect();
        manifest.min_cohort = drawn.min_cohort;
        manifest.privacy = drawn.noise.map(|(quarters, power)| {
            let epsilon = quarters * 250_000;
            let delta = power.map_or(0.0, |power| 10f64.powi(power));
            let mechanism = match power {
                None => Mechanism::Laplace,
                Some(_) => Mechanism::Gaussian {
                    rho: Rho::within(epsilon as f64 / 1e6, delta),
                },
            };
            Privacy {
                epsilon,
                delta,
                mechanism,
            }
        });
        manifest.rounds = drawn.rounds.unwrap_or(1);
        manifest.training = drawn.rounds.map(|rounds| Training {
            features: vec![Feature::Number(0)],
            label: None,
            family: Family::KMeans {
                clusters: 2,
                candidates: 8,
            },
            bits: 8,
            clip: 1.0,
            held_out: 0,
            guarded: true,
            updates: rounds,
        });
        manifest
    }

    fn outcome(rule: Rule, asked: &Asked, cost: Loss) -> Outcome {
        let rules = Rules {
            otherwise: Otherwise::Deny,
            rules: vec![rule],
            ..Rules::default()
        };
        let rules = rules.checked().unwrap();
        let question = Question {
            asked,
            cost,
            max_delta: 1e-5,
            announced: false,
            exact_queries: 10,
        };
        let account = || Ok::<_, Infallible>(Account::default());
        decide(&question, None, true, &rules, account)
            .unwrap()
            .outcome()
    }

    /// Returns whether `other` asks for nothing that `asked` does not ask for.
    fn within(other: &Asked, asked: &Asked) -> bool {
        let lower = |text: &String| text.to_lowercase();
        let fields: Vec<String> = asked.fields.iter().map(lower).collect();
        other.querier == asked.querier
            && other.purpose == asked.purpose
            && lower(&other.doctype) == lower(&asked.doctype)
            && other
                .fields
                .iter()
                .all(|field| fields.contains(&lower(field)))
            && other.min_cohort >= asked.min_cohort
            && match (other.epsilon, asked.epsilon) {
                (None, None) => true,
                (Some(other_epsilon), Some(epsilon)) => {
                    other_epsilon <= epsilon && other.delta <= asked.delta
                }
                _ => false,
            }
            && (!other.training || asked.training && other.rounds <= asked.rounds)
    }

    proptest! {
        #[test]
        fn a_rule_made_from_a_question_allows_nothing_beyond_it(one in drawn(), two in drawn()) {
            thread_local! {
                static BASE: Manifest = (*Scene::new(Setting::default()).question.manifest).clone();
            }
            let [first, second] = BASE.with(|base| [&one, &two].map(|drawn| manifest(base, drawn)));
            let (asked, other) = (Asked::of(&first), Asked::of(&second));
            let cost = |manifest: &Manifest| Loss::of(manifest.privacy.as_ref(), 2);
            let rule = Rule::made_from(&asked, Effect::Allow);
            prop_assert_eq!(outcome(rule.clone(), &asked, cost(&first)), Outcome::Allowed);
            let expected = if within(&other, &asked) { Outcome::Allowed } else { Outcome::Uncovered };
            prop_assert_eq!(outcome(rule, &other, cost(&second)), expected);
            // A rule that denies covers all questions of the same querier, purpose and documents.
            let rule = Rule::made_from(&asked, Effect::Deny);
            let same = other.querier == asked.querier
                && other.purpose == asked.purpose
                && other.doctype == asked.doctype;
            let denied = outcome(rule, &other, cost(&second)) == Outcome::Denied;
            prop_assert_eq!(denied, same);
        }
    }

    #[test]
    fn a_querier_whose_count_is_always_allowed_reads_no_field_by_that() {
        let asked = |fields: &[&str]| Asked {
            querier: "q".into(),
            purpose: "research".into(),
            doctype: "people".into(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
            min_cohort: 20,
            epsilon: Some(1_000_000),
            delta: 0.0,
            training: false,
            rounds: 1,
        };
        let (count, everything) = (asked(&[]), asked(&["age", "alcohol"]));
        let after = || {
            let rule = Rule::made_from(&count, Effect::Allow);
            outcome(rule, &everything, Loss::default())
        };
        assert_eq!(after(), Outcome::Uncovered);
        let before = dispers_base::weakness::without(Weakness::RuleWidens, after);
        assert_eq!(before, Outcome::Allowed);
    }
}
