use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use dispers_privacy::{Loss, Rho};

fn asked() -> Asked {
    Asked {
        querier: "lab".into(),
        purpose: "heart research".into(),
        doctype: "nhefs".into(),
        fields: vec!["age".into(), "sbp".into()],
        min_cohort: 50,
        epsilon: Some(1_000_000),
        delta: 0.0,
        training: false,
        rounds: 1,
    }
}

/// Returns the loss of queries with pure ε, each of which is small.
fn pure(epsilon: u64) -> Loss {
    Loss {
        pure: epsilon,
        gaussian: Rho(0),
        // Composition by ρ would cost more, so that the sum of ε counts.
        rho: Rho(u64::MAX / 4),
    }
}

/// Returns the outcome of a query whose noise keeps pure ε.
fn outcome(rules: &Rules, asked: &Asked, spent: &Spent) -> Outcome {
    let question = Question {
        asked,
        cost: pure(asked.epsilon.unwrap_or(0)),
        max_delta: 1e-5,
        announced: false,
        exact_queries: 2,
    };
    let rules = rules.clone().checked().unwrap();
    let spent = || Ok::<_, Infallible>(spent.clone());
    rules.verdict(&question, spent).unwrap().outcome
}

fn rules(rules: impl IntoIterator<Item = Rule>) -> Rules {
    Rules {
        rules: rules.into_iter().collect(),
        ..Rules::default()
    }
}

/// Returns whether a single rule allows the query, one that allows everything noisy before `change`.
fn allows(change: impl Fn(&mut Rule), asked: &Asked) -> bool {
    let mut rule = Rule::new(Effect::Allow);
    change(&mut rule);
    outcome(&rules([rule]), asked, &Spent::default()) == Outcome::Allowed
}

fn list(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn nothing_is_allowed_by_default() {
    let exact = Asked {
        epsilon: None,
        ..asked()
    };
    let spent = Spent::default();
    let default = Rules::default();
    assert_eq!(outcome(&default, &asked(), &spent), Outcome::Uncovered);
    assert_eq!(outcome(&default, &exact, &spent), Outcome::Uncovered);
    let ask = Rules {
        otherwise: Otherwise::Ask,
        ..default
    };
    assert_eq!(outcome(&ask, &exact, &spent), Outcome::Waiting);
}

#[test]
fn a_rule_allows_what_it_covers_and_nothing_more() {
    type Change = fn(&mut Rule);
    let cases: [(Change, bool); 17] = [
        (|_| {}, true),
        (|rule| rule.queriers = list(&["lab", "other"]), true),
        (|rule| rule.queriers = list(&["Lab"]), false),
        (|rule| rule.queriers = list(&["other"]), false),
        (|rule| rule.purposes = list(&["heart research"]), true),
        (|rule| rule.purposes = list(&["heart"]), false),
        (|rule| rule.doctypes = list(&["NHEFS"]), true),
        (|rule| rule.doctypes = list(&["heartrate"]), false),
        (|rule| rule.fields = list(&["AGE", "sbp", "sex"]), true),
        (|rule| rule.fields = list(&["age"]), false),
        (|rule| rule.fields = list(&[]), false),
        (|rule| rule.min_cohort = Some(50), true),
        (|rule| rule.min_cohort = Some(51), false),
        (|rule| rule.epsilon = Some(1.0), true),
        (|rule| rule.epsilon = Some(0.999999), false),
        (|rule| rule.epsilon_per_year = Some(1.0), true),
        (|rule| rule.epsilon_per_year = Some(0.9), false),
    ];
    for (place, (change, expected)) in cases.into_iter().enumerate() {
        assert_eq!(allows(change, &asked()), expected, "case {place}");
    }
    let exact = Asked {
        epsilon: None,
        ..asked()
    };
    assert!(!allows(|_| {}, &exact));
    assert!(allows(|rule| rule.exact = true, &exact));
    assert!(!allows(|rule| rule.epsilon = Some(1.0), &exact));
    let training = Asked {
        training: true,
        rounds: 20,
        ..asked()
    };
    let rounds = |rounds: u16| {
        move |rule: &mut Rule| {
            rule.training = true;
            rule.rounds = Some(rounds);
        }
    };
    assert!(!allows(|_| {}, &training));
    assert!(allows(|rule| rule.training = true, &training));
    assert!(allows(rounds(20), &training) && !allows(rounds(19), &training));
    // A rule can allow queries that read no field.
    let count = Asked {
        fields: Vec::new(),
        ..asked()
    };
    assert!(allows(|rule| rule.fields = list(&[]), &count));
    // A rule can allow exact queries only.
    let exact_only = |rule: &mut Rule| {
        rule.exact = true;
        rule.epsilon = Some(0.0);
    };
    assert!(allows(exact_only, &exact) && !allows(exact_only, &asked()));
    let approximate = Asked {
        delta: 1e-6,
        ..asked()
    };
    assert!(allows(|_| {}, &approximate));
    assert!(allows(|rule| rule.delta = Some(1e-6), &approximate));
    assert!(!allows(|rule| rule.delta = Some(1e-7), &approximate));
}

#[test]
fn one_that_denies_goes_before_all_that_allow() {
    let refusals = [
        (
            Rule {
                fields: list(&["sbp", "weight"]),
                ..Rule::new(Effect::Deny)
            },
            Outcome::Denied,
        ),
        (
            Rule {
                fields: list(&["weight"]),
                ..Rule::new(Effect::Deny)
            },
            Outcome::Allowed,
        ),
        (
            Rule {
                queriers: list(&["lab"]),
                ..Rule::new(Effect::Deny)
            },
            Outcome::Denied,
        ),
    ];
    for (refusal, expected) in refusals {
        let rules = rules([Rule::new(Effect::Allow), refusal]);
        assert_eq!(outcome(&rules, &asked(), &Spent::default()), expected);
    }
}

#[test]
fn what_is_given_for_a_year_is_not_overspent() {
    let spent = |all, rule| Spent {
        all: pure(all),
        by_rule: [(1, pure(rule))].into(),
    };
    let mut rules = rules([Rule {
        epsilon_per_year: Some(2.0),
        ..Rule::new(Effect::Allow)
    }]);
    rules.epsilon_per_year = Some(3.0);
    for (all, by_rule, expected) in [
        (2_000_000, 1_000_000, Outcome::Allowed),
        (2_000_001, 1_000_000, Outcome::Spent),
        (1_500_000, 1_000_001, Outcome::Spent),
    ] {
        assert_eq!(outcome(&rules, &asked(), &spent(all, by_rule)), expected);
    }
    // Another rule may have some of its ε left.
    rules.rules.push(Rule::new(Effect::Allow));
    assert_eq!(
        outcome(&rules, &asked(), &spent(1_500_000, 1_000_001)),
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

#[test]
fn a_new_rule_gets_a_number_that_no_rule_had_and_an_equal_rule_keeps_its_own() {
    let (allowing, denying) = (Rule::new(Effect::Allow), Rule::new(Effect::Deny));
    let of = |rules: &[(u32, &Rule)]| Rules {
        rules: rules
            .iter()
            .map(|(number, rule)| Rule {
                number: *number,
                ..(*rule).clone()
            })
            .collect(),
        ..Rules::default()
    };
    let numbers = |after: Rules, before: &Rules, last| -> Vec<u32> {
        let numbered = after.numbered(before, last).unwrap();
        numbered.rules.iter().map(|rule| rule.number).collect()
    };
    let before = of(&[(2, &allowing), (5, &denying)]);
    // Rule 7 was removed earlier.
    let added = of(&[(2, &allowing), (5, &denying), (0, &denying)]);
    assert_eq!(numbers(added, &before, 7), [2, 5, 8]);
    // The highest rule is replaced.
    assert_eq!(
        numbers(of(&[(2, &allowing), (0, &allowing)]), &before, 5),
        [2, 6]
    );
    // The same file again.
    let again = of(&[(0, &denying), (0, &allowing), (0, &allowing)]);
    assert_eq!(numbers(again, &before, 5), [5, 2, 6]);
    let full = of(&[(u32::MAX, &allowing), (0, &denying)]);
    assert_eq!(full.checked(), Err(RulesError::NoNumber(u32::MAX)));
    let twice = of(&[(3, &allowing), (3, &denying)]);
    assert_eq!(twice.check(), Err(RulesError::Number(3)));
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
        let question = Question {
            asked: &asked,
            cost: Loss::default(),
            max_delta: 1e-5,
            announced: false,
            exact_queries: 2,
        };
        let verdict = rules.verdict(&question, || Ok::<_, Infallible>(Spent::default())).unwrap();
        let concerns = |rule: &Rule| rule.queriers.as_ref().is_none_or(|q| q.contains(&asked.querier));
        // Without a list of fields a rule covers every query.
        let names_all = |rule: &Rule| {
            rule.fields.as_ref().is_none_or(|fields| asked.fields.iter().all(|f| fields.contains(f)))
        };
        let names_any = |rule: &Rule| {
            rule.fields.as_ref().is_none_or(|fields| asked.fields.iter().any(|f| fields.contains(f)))
        };
        let refused = rules.rules.iter().any(|rule| {
            rule.effect == Effect::Deny && concerns(rule) && names_any(rule)
        });
        let allowed = rules.rules.iter().any(|rule| {
            rule.effect == Effect::Allow && concerns(rule) && names_all(rule)
                && rule.min_cohort.is_none_or(|c| min_cohort >= c)
                && rule.epsilon.is_none_or(|e| epsilon as f64 <= e)
        });
        prop_assert_eq!(verdict.outcome.answers(), allowed && !refused);
    }
}
