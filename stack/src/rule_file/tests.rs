use std::convert::Infallible;

use dispers_core::{
    consent::{Asked, Outcome, Question, Spent},
    privacy::{Loss, Rho},
};

use super::*;

const FILE: &str = "
    otherwise = 'ask'
    epsilon-per-year = 10.0
    email = 'owner@example.org'

    [[rule]]
    effect = 'allow'
    queriers = ['lab']
    purposes = ['heart research']
    doctypes = ['nhefs']
    fields = ['age', 'sbp']
    min-cohort = 50
    epsilon = 1.0
    delta = 1e-6
    epsilon-per-year = 5.0

    [[rule]]
    number = 7
    effect = 'deny'
    fields = ['alcohol']

    [[rule]]
    effect = 'allow'
    fields = []
    epsilon = 0.0
    exact = true
    training = true
    rounds = 20
";

#[test]
fn a_rule_file_is_read_numbered_and_written_the_same() {
    let rules = parse(FILE).unwrap();
    assert_eq!(rules.otherwise, Otherwise::Ask);
    let numbers: Vec<u32> = rules.rules.iter().map(|rule| rule.number).collect();
    assert_eq!(numbers, [8, 7, 9]);
    assert_eq!(rules.rules[2].fields, Some(Vec::new()));
    assert_eq!(parse(&text(&rules)).unwrap(), rules);
    assert_eq!(parse("").unwrap(), Rules::default());
    assert_eq!(Rules::default().otherwise, Otherwise::Deny);
}

#[test]
fn a_rule_file_that_cannot_be_meant_is_refused_with_what_to_write() {
    let refused = |text: &str| parse(text).unwrap_err().to_string();
    for (text, said) in [
        ("otherwize = 'ask'", "unknown field `otherwize`"),
        ("otherwise = 'maybe'", "unknown variant `maybe`"),
        (
            "[[rule]]\neffect = 'allow'\nquerier = ['x']",
            "unknown field `querier`",
        ),
        ("[[rule]]\nqueriers = ['x']", "missing field `effect`"),
        (
            "[[rule]]\neffect = 'deny'\nfields = []",
            "fields of rule 1 lists nothing",
        ),
        (
            "[[rule]]\neffect = 'allow'\nqueriers = []",
            "queriers of rule 1 lists nothing",
        ),
        (
            "[[rule]]\neffect = 'allow'\nrounds = 0",
            "rounds of rule 1 must be",
        ),
        (
            "[[rule]]\neffect = 'allow'\nepsilon = 0.0",
            "epsilon of rule 1 must be a number above 0",
        ),
        (
            "[[rule]]\neffect = 'allow'\nepsilon = nan",
            "epsilon of rule 1 must be",
        ),
        (
            "[[rule]]\neffect = 'allow'\ndelta = 2.0",
            "delta of rule 1 must be",
        ),
        (
            "[[rule]]\neffect = 'deny'\nepsilon = 1.0",
            "rule 1 denies, so it has no limits",
        ),
        (
            "[[rule]]\nnumber = 1\neffect = 'allow'\n[[rule]]\nnumber = 1\neffect = 'allow'",
            "number 1",
        ),
        (
            "epsilon-per-year = -1.0",
            "epsilon-per-year of rule 0 must be",
        ),
        ("email = 'nobody'", "no e-mail address"),
        ("email = \"a@b\\r\\nBcc: c@d\"", "no e-mail address"),
    ] {
        let error = refused(text);
        assert!(error.contains(said), "{text}: {error}");
    }
    let many = "[[rule]]\neffect = 'allow'\n".repeat(1001);
    assert_eq!(parse(&many), Err(RulesError::TooMany(1001).into()));
}

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

/// The verdict on a query whose noise keeps pure ε.
fn verdict(file: &str, asked: &Asked, spent: &Spent) -> Outcome {
    let rules = parse(file).unwrap();
    let spent = || Ok::<_, Infallible>(spent.clone());
    let question = Question {
        asked,
        cost: pure(asked.epsilon.unwrap_or(0)),
        max_delta: 1e-5,
        announced: false,
        exact_queries: 2,
    };
    rules.verdict(&question, spent).unwrap().outcome
}

/// What queries of pure ε take, each of few.
fn pure(epsilon: u64) -> Loss {
    Loss {
        pure: epsilon,
        gaussian: Rho(0),
        rho: Rho(u64::MAX / 4),
    }
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
        ("fields = []", false),
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
        rounds: 20,
        ..asked()
    };
    assert!(!allows("", &training) && allows("training = true", &training));
    assert!(allows("training = true\nrounds = 20", &training));
    assert!(!allows("training = true\nrounds = 19", &training));
    // A rule can allow what reads no field, and exact queries only.
    let count = Asked {
        fields: Vec::new(),
        ..asked()
    };
    assert!(allows("fields = []", &count) && !allows("fields = []", &asked()));
    assert!(allows("exact = true\nepsilon = 0.0", &exact));
    assert!(!allows("exact = true\nepsilon = 0.0", &asked()));
    let approximate = Asked {
        delta: 1e-6,
        ..asked()
    };
    assert!(allows("", &approximate) && allows("delta = 1e-6", &approximate));
    assert!(!allows("delta = 1e-7", &approximate));
}

#[test]
fn one_that_denies_goes_before_all_that_allow() {
    let file =
        |refusal: &str| format!("[[rule]]\neffect = 'allow'\n[[rule]]\neffect = 'deny'\n{refusal}");
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
        all: pure(all),
        by_rule: [(1, pure(rule))].into(),
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
