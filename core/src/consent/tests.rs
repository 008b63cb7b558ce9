use std::convert::Infallible;

use proptest::prelude::*;

use super::*;
use crate::privacy::Loss;

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
        let question = Question {
            asked: &asked,
            cost: Loss::default(),
            max_delta: 1e-5,
            announced: false,
            exact_queries: 2,
        };
        let verdict = rules.verdict(&question, || Ok::<_, Infallible>(Spent::default())).unwrap();
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
