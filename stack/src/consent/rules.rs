//! The standing rules of a home.

use serde::{Deserialize, Serialize};

/// Most rules of a home.
pub(crate) const MAX_RULES: usize = 1000;
/// Most bytes of a rule file.
const MAX_FILE: usize = 1 << 20;

/// What an owner decided for queries to come. The default refuses all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rules {
    /// What happens with a query that no rule covers.
    #[serde(default)]
    pub otherwise: Otherwise,
    /// Most ε in a year, of all queries together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon_per_year: Option<f64>,
    /// Where the owner is told of queries that wait for a word: an e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The rules. One that denies goes before all that allow.
    #[serde(default, rename = "rule", skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// What happens with a query that no rule covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// The home refuses.
    #[default]
    Deny,
    /// Its owner is asked; without a word in time the home refuses.
    Ask,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The home answers what the rule covers.
    Allow,
    /// The home refuses it.
    Deny,
}

/// One rule. What it does not name it covers all of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// Its number, which stays when other rules go; given when it is left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub number: u32,
    /// What it does.
    pub effect: Effect,
    /// Whose queries, by their names in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queriers: Option<Vec<String>>,
    /// Which purposes, as the directory registers them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<Vec<String>>,
    /// Which kinds of documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctypes: Option<Vec<String>>,
    /// Which fields: one that allows covers queries that read no others, one that denies covers those
    /// that read any of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<String>>,
    /// Fewest people behind a released number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cohort: Option<u32>,
    /// Most ε of one query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Largest δ of one query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<f64>,
    /// Most ε in a year, of the queries that this rule allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon_per_year: Option<f64>,
    /// Whether it allows exact queries, without noise.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact: bool,
    /// Whether it allows training a model.
    #[serde(default, skip_serializing_if = "is_false")]
    pub training: bool,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Rules that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// No such file.
    #[error("the rules cannot be read: {0}")]
    Malformed(String),
    /// Too long.
    #[error("a rule file has at most 1 MiB and 1,000 rules")]
    TooLong,
    /// A limit that is no positive number.
    #[error("{what} of rule {rule} must be a number above 0 and at most {most}")]
    Limit {
        /// Which limit.
        what: &'static str,
        /// Which rule, from 1; 0 for the rules as a whole.
        rule: usize,
        /// The largest that means something.
        most: u32,
    },
    /// A list of nothing covers nothing.
    #[error("{what} of rule {rule} lists nothing: leave it out to cover all, or name some")]
    Empty {
        /// Which list.
        what: &'static str,
        /// Which rule, from 1.
        rule: usize,
    },
    /// A limit of a rule that denies.
    #[error(
        "rule {0} denies, so it has no limits: leave out min-cohort, epsilon, delta, epsilon-per-year, exact and training"
    )]
    LimitedDenial(usize),
    /// A number that two rules have.
    #[error("two rules have the number {0}: leave out the number of a new rule")]
    Number(u32),
    /// No e-mail address.
    #[error("{0:?} is no e-mail address: write one such as name@example.org")]
    Email(String),
}

impl Rule {
    /// A rule that allows every exact and every noisy query.
    pub fn everything() -> Self {
        Self {
            exact: true,
            training: true,
            ..Self::new(Effect::Allow)
        }
    }

    /// A rule that covers all, without a limit, but for what must be allowed by word.
    pub fn new(effect: Effect) -> Self {
        Self {
            number: 0,
            effect,
            queriers: None,
            purposes: None,
            doctypes: None,
            fields: None,
            min_cohort: None,
            epsilon: None,
            delta: None,
            epsilon_per_year: None,
            exact: false,
            training: false,
        }
    }

    fn check(&self, rule: usize) -> Result<(), RulesError> {
        for (what, list) in [
            ("queriers", &self.queriers),
            ("purposes", &self.purposes),
            ("doctypes", &self.doctypes),
            ("fields", &self.fields),
        ] {
            if list.as_ref().is_some_and(Vec::is_empty) {
                return Err(RulesError::Empty { what, rule });
            }
        }
        let limited = [self.epsilon, self.delta, self.epsilon_per_year];
        let limits = limited.iter().any(Option::is_some) || self.min_cohort.is_some();
        if self.effect == Effect::Deny && (limits || self.exact || self.training) {
            return Err(RulesError::LimitedDenial(rule));
        }
        limit("epsilon", rule, self.epsilon, 1000)?;
        limit("epsilon-per-year", rule, self.epsilon_per_year, 1_000_000)?;
        limit("delta", rule, self.delta, 1)
    }
}

fn limit(what: &'static str, rule: usize, value: Option<f64>, most: u32) -> Result<(), RulesError> {
    match value {
        Some(value) if !(value > 0.0 && value <= most.into()) => {
            Err(RulesError::Limit { what, rule, most })
        }
        _ => Ok(()),
    }
}

impl Rules {
    /// Rules that allow everything: for a sandbox, whose homes are nobody's.
    pub fn allow_everything() -> Self {
        let mut rules = Self::default();
        rules.rules.push(Rule {
            number: 1,
            ..Rule::everything()
        });
        rules
    }

    /// Reads a rule file.
    ///
    /// # Errors
    /// [`RulesError`] that says what to write.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        if text.len() > MAX_FILE {
            return Err(RulesError::TooLong);
        }
        let rules: Self =
            toml::from_str(text).map_err(|error| RulesError::Malformed(error.to_string()))?;
        rules.checked()
    }

    /// These rules, checked and with a number each.
    ///
    /// # Errors
    /// [`RulesError`] that says what to write.
    pub fn checked(mut self) -> Result<Self, RulesError> {
        if self.rules.len() > MAX_RULES {
            return Err(RulesError::TooLong);
        }
        limit("epsilon-per-year", 0, self.epsilon_per_year, 1_000_000)?;
        if let Some(email) = &self.email {
            let parts = email.split_once('@');
            let fits = |part: &str| {
                !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control())
            };
            if email.len() > 254 || !parts.is_some_and(|(name, host)| fits(name) && fits(host)) {
                return Err(RulesError::Email(email.clone()));
            }
        }
        let mut last = self.rules.iter().map(|rule| rule.number).max().unwrap_or(0);
        let mut numbers = std::collections::BTreeSet::new();
        for (place, rule) in self.rules.iter_mut().enumerate() {
            rule.check(place + 1)?;
            if rule.number == 0 {
                last = last.saturating_add(1);
                rule.number = last;
            }
            if !numbers.insert(rule.number) {
                return Err(RulesError::Number(rule.number));
            }
        }
        Ok(self)
    }

    /// The rule file.
    pub fn text(&self) -> String {
        // Numbers and strings under fixed keys always have a TOML form.
        toml::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
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
    ";

    #[test]
    fn a_rule_file_is_read_numbered_and_written_the_same() {
        let rules = Rules::parse(FILE).unwrap();
        assert_eq!(rules.otherwise, Otherwise::Ask);
        let numbers: Vec<u32> = rules.rules.iter().map(|rule| rule.number).collect();
        assert_eq!(numbers, [8, 7]);
        assert_eq!(Rules::parse(&rules.text()).unwrap(), rules);
        assert_eq!(Rules::parse("").unwrap(), Rules::default());
        assert_eq!(Rules::default().otherwise, Otherwise::Deny);
    }

    #[test]
    fn a_rule_file_that_cannot_be_meant_is_refused_with_what_to_write() {
        let refused = |text: &str| Rules::parse(text).unwrap_err().to_string();
        for (text, said) in [
            ("otherwize = 'ask'", "unknown field `otherwize`"),
            ("otherwise = 'maybe'", "unknown variant `maybe`"),
            (
                "[[rule]]\neffect = 'allow'\nquerier = ['x']",
                "unknown field `querier`",
            ),
            ("[[rule]]\nqueriers = ['x']", "missing field `effect`"),
            (
                "[[rule]]\neffect = 'allow'\nfields = []",
                "fields of rule 1 lists nothing",
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
        assert_eq!(Rules::parse(&many), Err(RulesError::TooLong));
    }
}
