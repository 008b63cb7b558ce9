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
fn a_rule_file_is_read_and_written_the_same() {
    let rules = parse(FILE).unwrap();
    assert_eq!(rules.otherwise, Otherwise::Ask);
    let list = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let all_limits = Rule {
        queriers: list(&["lab"]),
        purposes: list(&["heart research"]),
        doctypes: list(&["nhefs"]),
        fields: list(&["age", "sbp"]),
        min_cohort: Some(50),
        epsilon: Some(1.0),
        delta: Some(1e-6),
        epsilon_per_year: Some(5.0),
        ..Rule::new(Effect::Allow)
    };
    let denying = Rule {
        number: 7,
        fields: list(&["alcohol"]),
        ..Rule::new(Effect::Deny)
    };
    let exact = Rule {
        fields: list(&[]),
        epsilon: Some(0.0),
        exact: true,
        training: true,
        rounds: Some(20),
        ..Rule::new(Effect::Allow)
    };
    assert_eq!(rules.rules, [all_limits, denying, exact]);
    assert_eq!(parse(&text(&rules)).unwrap(), rules);
    assert_eq!(parse("").unwrap(), Rules::default());
    assert_eq!(Rules::default().otherwise, Otherwise::Deny);
}

#[test]
fn a_rule_file_that_cannot_be_meant_is_refused_with_what_to_write() {
    let refused = |text: &str| parse(text).unwrap_err().to_string();
    for (text, words) in [
        ("otherwize = 'ask'", "unknown field `otherwize`"),
        ("otherwise = 'maybe'", "unknown variant `maybe`"),
        (
            "[[rule]]\neffect = 'allow'\nquerier = ['x']",
            "unknown field `querier`",
        ),
        ("[[rule]]\nqueriers = ['x']", "missing field `effect`"),
        (
            "[[rule]]\neffect = 'deny'\nfields = []",
            "fields of rule 1 is empty",
        ),
        (
            "[[rule]]\neffect = 'allow'\nqueriers = []",
            "queriers of rule 1 is empty",
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
        ("email = 'nobody'", "is not an e-mail address"),
        ("email = \"a@b\\r\\nBcc: c@d\"", "is not an e-mail address"),
    ] {
        let error = refused(text);
        assert!(error.contains(words), "{text}: {error}");
    }
    let many = "[[rule]]\neffect = 'allow'\n".repeat(1001);
    assert_eq!(parse(&many), Err(RulesError::TooMany(1001).into()));
}
