//! The standing rules of a home.

use std::collections::BTreeSet;

/// Most rules of a home.
pub const MAX_RULES: usize = 1000;

/// What an owner decided for queries to come. The default refuses all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// What happens with a query that no rule covers.
    pub otherwise: Otherwise,
    /// Most ε in a year, of all queries together, at the directory's ceiling of δ.
    pub epsilon_per_year: Option<f64>,
    /// Where the owner is told of queries that wait for a word: an e-mail address.
    pub email: Option<String>,
    /// The rules. One that denies goes before all that allow.
    pub rules: Vec<Rule>,
}

/// What happens with a query that no rule covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// The home refuses.
    #[default]
    Deny,
    /// Its owner is asked; without a word in time the home refuses.
    Ask,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The home answers what the rule covers.
    Allow,
    /// The home refuses it.
    Deny,
}

/// One rule. What it does not name it covers all of.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its number, which stays when other rules go; given when it is left out.
    pub number: u32,
    /// What it does.
    pub effect: Effect,
    /// Whose queries, by their names in the directory.
    pub queriers: Option<Vec<String>>,
    /// Which purposes, as the directory registers them.
    pub purposes: Option<Vec<String>>,
    /// Which kinds of documents.
    pub doctypes: Option<Vec<String>>,
    /// Which fields: one that allows covers queries that read no others, with an empty list only those that read
    /// none; one that denies covers those that read any of them.
    pub fields: Option<Vec<String>>,
    /// Fewest people behind a released number.
    pub min_cohort: Option<u32>,
    /// Most ε of one noisy query; 0 where exact queries are allowed and no noisy ones.
    pub epsilon: Option<f64>,
    /// Largest δ of one query, 0 for noise that keeps pure ε only. The directory's ceiling holds beside it.
    pub delta: Option<f64>,
    /// Most ε in a year, of the queries that this rule allows.
    pub epsilon_per_year: Option<f64>,
    /// Whether it allows exact queries, without noise.
    pub exact: bool,
    /// Whether it allows training a model.
    pub training: bool,
    /// Most rounds of training a model.
    pub rounds: Option<u16>,
}

/// Rules that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// More than [`MAX_RULES`].
    #[error(
        "a home has at most {MAX_RULES} rules, not {0}: remove some, or join those that allow alike"
    )]
    TooMany(usize),
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
    /// A largest δ that is no probability.
    #[error("delta of rule {0} must be at least 0 and below 1: write a number such as 1e-6")]
    Delta(usize),
    /// A list of nothing, where it covers nothing.
    #[error(
        "{what} of rule {rule} lists nothing, so that the rule covers nothing: leave it out to cover all, or name some"
    )]
    Empty {
        /// Which list.
        what: &'static str,
        /// Which rule, from 1.
        rule: usize,
    },
    /// A limit of a rule that denies.
    #[error(
        "rule {0} denies, so it has no limits: leave out min-cohort, epsilon, delta, epsilon-per-year, exact, training and rounds"
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
            rounds: None,
        }
    }

    fn check(&self, rule: usize) -> Result<(), RulesError> {
        for (what, list) in [
            ("queriers", &self.queriers),
            ("purposes", &self.purposes),
            ("doctypes", &self.doctypes),
            ("fields", &self.fields),
        ] {
            // One that allows no field allows what reads none.
            let none = what == "fields" && self.effect == Effect::Allow;
            if list.as_ref().is_some_and(Vec::is_empty) && !none {
                return Err(RulesError::Empty { what, rule });
            }
        }
        let limited = [self.epsilon, self.delta, self.epsilon_per_year];
        let limits = limited.iter().any(Option::is_some)
            || self.min_cohort.is_some()
            || self.rounds.is_some();
        if self.effect == Effect::Deny && (limits || self.exact || self.training) {
            return Err(RulesError::LimitedDenial(rule));
        }
        if !(self.exact && self.epsilon == Some(0.0)) {
            limit("epsilon", rule, self.epsilon, 1000)?;
        }
        limit("rounds", rule, self.rounds.map(f64::from), u16::MAX.into())?;
        limit("epsilon-per-year", rule, self.epsilon_per_year, 1_000_000)?;
        match self.delta {
            Some(delta) if !(0.0..1.0).contains(&delta) => Err(RulesError::Delta(rule)),
            _ => Ok(()),
        }
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

    /// These rules, checked and with a number each.
    ///
    /// # Errors
    /// [`RulesError`] that says what to write.
    pub fn checked(mut self) -> Result<Self, RulesError> {
        if self.rules.len() > MAX_RULES {
            return Err(RulesError::TooMany(self.rules.len()));
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
        let mut numbers = BTreeSet::new();
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
}
