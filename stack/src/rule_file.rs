//! The standing rules of a home as a TOML file.

use dispers_core::consent::{Effect, Otherwise, Rule, Rules, RulesError};
use serde::{Deserialize, Serialize};

/// Most bytes of a rule file.
const MAX_FILE: usize = 1 << 20;

/// Why a text is no rule file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFileError {
    /// Not TOML, or with other keys or types than rules have.
    #[error("the rules cannot be read: {0}")]
    Malformed(String),
    /// Larger than a rule file may be.
    #[error("a rule file has at most 1 MiB, not {0} bytes")]
    TooLong(usize),
    /// Rules that cannot be.
    #[error(transparent)]
    Rules(#[from] RulesError),
}

/// Rules with the keys that they have in a file.
#[derive(Serialize)]
pub(crate) struct Written<'a>(#[serde(with = "File")] pub(crate) &'a Rules);

/// The file as a whole.
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

/// A `[[rule]]`.
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

/// `allow` or `deny`, also as a form of the owners' page sends it.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Effect", rename_all = "kebab-case")]
pub(crate) enum EffectWord {
    Allow,
    Deny,
}

/// `deny` or `ask`, also as a form of the owners' page sends it.
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

/// A list of [`Table`]s.
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

/// Reads a rule file.
///
/// # Errors
/// [`RuleFileError`] that says what to write.
pub fn parse(text: &str) -> Result<Rules, RuleFileError> {
    if text.len() > MAX_FILE {
        return Err(RuleFileError::TooLong(text.len()));
    }
    let malformed = |error: toml::de::Error| RuleFileError::Malformed(error.to_string());
    let from = toml::Deserializer::parse(text).map_err(malformed)?;
    let rules = File::deserialize(from).map_err(malformed)?;
    Ok(rules.checked()?)
}

/// Writes the rule file that [`parse`] reads as these rules.
pub fn text(rules: &Rules) -> String {
    // Numbers and strings under fixed keys always have a TOML form.
    toml::to_string(&Written(rules)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
