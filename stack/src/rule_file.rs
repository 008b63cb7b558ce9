//! Rule file: the standing rules of a home as TOML.

use dispers_core::consent::{Effect, Otherwise, Rule, Rules, RulesError};
use serde::{Deserialize, Serialize};

/// Most bytes of a rule file.
const MAX_FILE: usize = 1 << 20;

/// Reason why a text is not a rule file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFileError {
    /// The text is not TOML, or has other keys or types than rules.
    #[error("the rules cannot be read, correct them: {0}")]
    Malformed(String),
    /// The text is larger than a rule file may be.
    #[error("a rule file of {0} bytes is larger than 1 MiB: remove or merge rules")]
    TooLong(usize),
    /// The rules are not valid.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

/// Rules under the keys of a rule file.
#[derive(Serialize)]
pub(crate) struct Written<'a>(#[serde(with = "File")] pub(crate) &'a Rules);

/// Keys of the whole file.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Rules", deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(default, with = "OtherwiseWord")]
    otherwise: Otherwise,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epsilon_per_year: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(
        default,
        rename = "rule",
        with = "tables",
        skip_serializing_if = "Vec::is_empty"
    )]
    rules: Vec<Rule>,
}

/// Keys of a `[[rule]]`.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Rule", deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    #[serde(default, skip_serializing_if = "is_zero")]
    number: u32,
    #[serde(with = "EffectWord")]
    effect: Effect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queriers: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purposes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doctypes: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_cohort: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epsilon: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delta: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epsilon_per_year: Option<f64>,
    #[serde(default, skip_serializing_if = "is_false")]
    exact: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    training: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rounds: Option<u16>,
}

/// Words `allow` and `deny`, as in the file and in the forms of the owners' page.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Effect", rename_all = "kebab-case")]
pub(crate) enum EffectWord {
    Allow,
    Deny,
}

/// Words `deny` and `ask`, as in the file and in the forms of the owners' page.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Otherwise", rename_all = "kebab-case")]
pub(crate) enum OtherwiseWord {
    Deny,
    Ask,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Serialization of rules as a list of [`Table`]s.
mod tables {
    use dispers_core::consent::Rule;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Table;

    #[derive(Deserialize)]
    struct Read(#[serde(with = "Table")] Rule);

    #[derive(Serialize)]
    struct Written<'a>(#[serde(with = "Table")] &'a Rule);

    pub(super) fn serialize<S: Serializer>(rules: &[Rule], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(rules.iter().map(Written))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Rule>, D::Error> {
        let rules = Vec::<Read>::deserialize(from)?;
        Ok(rules.into_iter().map(|Read(rule)| rule).collect())
    }
}

/// Reads a rule file. Rules without a number get one when they become the rules of a home.
///
/// # Errors
/// [`RuleFileError`] with what to write instead.
pub fn parse(text: &str) -> Result<Rules, RuleFileError> {
    if text.len() > MAX_FILE {
        return Err(RuleFileError::TooLong(text.len()));
    }
    let rules = toml::Deserializer::parse(text).and_then(File::deserialize);
    let rules = rules.map_err(|error| RuleFileError::Malformed(error.to_string()))?;
    rules.check()?;
    Ok(rules)
}

/// Writes the rule file that [`parse`] reads back as these rules.
pub fn text(rules: &Rules) -> String {
    // Numbers and strings under fixed keys always have a TOML form, so that the default is never used.
    toml::to_string(&Written(rules)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
