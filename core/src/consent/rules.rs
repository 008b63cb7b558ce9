//! Standing rules of a home.

use std::collections::BTreeSet;

/// Largest number of rules of a home.
pub const MAX_RULES: usize = 1000;

/// Decisions of an owner for queries to come. The default refuses all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rules {
    /// Outcome of a query that no rule covers.
    pub otherwise: Otherwise,
    /// Largest ε in a year, of all queries together, at the directory's ceiling of δ.
    pub epsilon_per_year: Option<f64>,
    /// E-mail address at which the owner is notified of queries that wait for a word.
    pub email: Option<String>,
    /// Rules. A rule that denies takes precedence over all that allow.
    pub rules: Vec<Rule>,
}

/// Outcome of a query that no rule covers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// The home refuses.
    #[default]
    Deny,
    /// The home waits for its owner; without a word in time it refuses.
    Ask,
}

/// Effect of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The home answers the queries that the rule covers.
    Allow,
    /// The home refuses the queries that the rule covers.
    Deny,
}

/// Rule of a home. A field that is `None` restricts nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Number of the rule, which stays the same when other rules are removed, and which no later rule of the home gets
    /// by itself. 0 for a rule that has none yet.
    pub number: u32,
    /// Effect on the queries that the rule covers.
    pub effect: Effect,
    /// Names of queriers, as in the directory.
    pub queriers: Option<Vec<String>>,
    /// Purposes, as registered in the directory.
    pub purposes: Option<Vec<String>>,
    /// Kinds of documents.
    pub doctypes: Option<Vec<String>>,
    /// Fields. A rule that allows covers queries that read no others; with an empty list, only queries that read none.
    /// A rule that denies covers queries that read any of them.
    pub fields: Option<Vec<String>>,
    /// Smallest number of people behind a released number.
    pub min_cohort: Option<u32>,
    /// Largest ε of one noisy query; 0 if exact queries are allowed and noisy ones are not.
    pub epsilon: Option<f64>,
    /// Largest δ of one query; 0 for noise with pure ε only. The directory's ceiling applies as well.
    pub delta: Option<f64>,
    /// Largest ε in a year, of the queries that this rule allows.
    pub epsilon_per_year: Option<f64>,
    /// True if the rule allows exact queries, without noise.
    pub exact: bool,
    /// True if the rule allows training a model.
    pub training: bool,
    /// Largest number of rounds of training a model.
    pub rounds: Option<u16>,
}

/// Reason why rules are not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// There are more than [`MAX_RULES`] rules.
    #[error(
        "{0} rules are more than the {MAX_RULES} of a home: remove some, or merge rules that allow the same"
    )]
    TooMany(usize),
    /// A limit is not a positive number.
    #[error("{what} of rule {rule} must be a number above 0 and at most {most}")]
    Limit {
        /// Name of the limit.
        what: &'static str,
        /// Position of the rule, from 1; 0 for the rules as a whole.
        rule: usize,
        /// Largest value that has an effect.
        most: u32,
    },
    /// The largest δ is not a probability.
    #[error("delta of rule {0} must be at least 0 and below 1: write a number such as 1e-6")]
    Delta(usize),
    /// A list is empty where that covers nothing.
    #[error(
        "{what} of rule {rule} is empty, so that the rule covers nothing: leave it out to cover all, or list some"
    )]
    Empty {
        /// Name of the list.
        what: &'static str,
        /// Position of the rule, from 1.
        rule: usize,
    },
    /// A rule that denies has a limit.
    #[error(
        "rule {0} denies, so it has no limits: leave out min-cohort, epsilon, delta, epsilon-per-year, exact, training \
         and rounds"
    )]
    LimitedDenial(usize),
    /// Two rules have the same number.
    #[error("two rules have the number {0}: leave out the number of the new one")]
    Number(u32),
    /// There is no larger number for a new rule.
    #[error("no number above {0} is left for a new rule: write one that no rule of the home had")]
    NoNumber(u32),
    /// The e-mail address is not one.
    #[error("{0:?} is not an e-mail address: write one such as name@example.org")]
    Email(String),
}

impl Rule {
    /// Creates a rule that allows every exact and every noisy query.
    pub fn everything() -> Self {
        Self {
            exact: true,
            training: true,
            ..Self::new(Effect::Allow)
        }
    }

    /// Creates a rule without limits that covers all queries, except exact queries and training, which must be allowed
    /// explicitly.
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
            // A rule that allows no field is meaningful: it allows queries that read none.
            let may_be_empty = what == "fields" && self.effect == Effect::Allow;
            if list.as_ref().is_some_and(Vec::is_empty) && !may_be_empty {
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
        // An ε of 0 has a meaning beside `exact`: it excludes every noisy query.
        if !(self.exact && self.epsilon == Some(0.0)) {
            limit("epsilon", rule, self.epsilon, 1000)?;
        }
        limit("rounds", rule, self.rounds.map(f64::from), u16::MAX.into())?;
        limit("epsilon-per-year", rule, self.epsilon_per_year, 1_000_000)?;
        match self.delta {
            // The range contains no NaN, which is refused too.
            Some(delta) if !(0.0..1.0).contains(&delta) => Err(RulesError::Delta(rule)),
            _ => Ok(()),
        }
    }
}

fn limit(what: &'static str, rule: usize, value: Option<f64>, most: u32) -> Result<(), RulesError> {
    match value {
        // Written so that a NaN is refused.
        Some(value) if !(value > 0.0 && value <= most.into()) => {
            Err(RulesError::Limit { what, rule, most })
        }
        _ => Ok(()),
    }
}

impl Rules {
    /// Returns rules that allow everything, for a sandbox, whose homes belong to nobody.
    pub fn allow_everything() -> Self {
        let mut rules = Self::default();
        rules.rules.push(Rule {
            number: 1,
            ..Rule::everything()
        });
        rules
    }

    /// Checks the rules, and numbers those without a number as the first rules of a home.
    ///
    /// # Errors
    /// [`RulesError`] with what to write instead.
    pub fn checked(self) -> Result<Self, RulesError> {
        self.numbered(&Self::default(), 0)
    }

    /// Checks the rules, of which some may have no number.
    ///
    /// # Errors
    /// [`RulesError`] with what to write instead.
    pub fn check(&self) -> Result<(), RulesError> {
        if self.rules.len() > MAX_RULES {
            return Err(RulesError::TooMany(self.rules.len()));
        }
        limit("epsilon-per-year", 0, self.epsilon_per_year, 1_000_000)?;
        if let Some(email) = &self.email {
            check_email(email)?;
        }
        let mut numbers = BTreeSet::new();
        for (place, rule) in self.rules.iter().enumerate() {
            rule.check(place + 1)?;
            if rule.number != 0 && !numbers.insert(rule.number) {
                return Err(RulesError::Number(rule.number));
            }
        }
        Ok(())
    }

    /// Checks the rules, which replace the rules `before` of a home, and gives a number to each that has none. `last`
    /// is the largest number that a rule of the home ever had.
    ///
    /// A rule that `before` has too gets its number there, so that what the rule spent still counts. Any other rule
    /// gets a number that no rule had: with the number of a removed rule it would begin with what that one spent.
    ///
    /// # Errors
    /// [`RulesError`] with what to write instead.
    pub fn numbered(mut self, before: &Self, last: u32) -> Result<Self, RulesError> {
        self.check()?;
        let mut last = last.max(self.last_number()).max(before.last_number());
        let mut used: BTreeSet<u32> = self.rules.iter().map(|rule| rule.number).collect();
        for rule in self.rules.iter_mut().filter(|rule| rule.number == 0) {
            rule.number = match before.number_of(rule, &used) {
                Some(number) => number,
                None => {
                    last = last.checked_add(1).ok_or(RulesError::NoNumber(last))?;
                    last
                }
            };
            used.insert(rule.number);
        }
        Ok(self)
    }

    /// Returns the largest number of a rule, or 0 if no rule has one.
    pub fn last_number(&self) -> u32 {
        let numbers = self.rules.iter().map(|rule| rule.number);
        numbers.max().unwrap_or(0)
    }

    /// Returns the number of the first rule that equals `rule` apart from the number, which is not in `used`.
    fn number_of(&self, rule: &Rule, used: &BTreeSet<u32>) -> Option<u32> {
        let mut wanted = rule.clone();
        let mut free = self
            .rules
            .iter()
            .filter(|earlier| !used.contains(&earlier.number));
        let equal = free.find(|earlier| {
            wanted.number = earlier.number;
            wanted == **earlier
        });
        equal.map(|earlier| earlier.number)
    }
}

fn check_email(email: &str) -> Result<(), RulesError> {
    let fits = email.split_once('@').is_some_and(|(name, host)| {
        [name, host].iter().all(|part| {
            !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control())
        })
    });
    // Mail servers accept no longer address (RFC 5321). This is no full check of the syntax.
    if email.len() > 254 || !fits {
        return Err(RulesError::Email(email.to_owned()));
    }
    Ok(())
}
