//! Options that several models, or all models, have in common.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Args;
use dispers_querier::TrainingQuestion;
use dispers_sql::plan::TrainingRequest;
use dispers_training::{Family, fit::Settings};

use super::{Printed, models::Options};
use crate::{
    exit::Exit,
    loss::{Epsilon, Loss},
};

/// Default of `--momentum`.
const MOMENTUM: f64 = 0.9;

/// What is learnt.
#[derive(Args)]
pub(super) struct Label {
    /// What is learnt: a column, a condition, clamp(…) or domain(…).
    #[arg(long, value_name = "COL")]
    label: Option<String>,
    /// The value of the label that counts as 1; all others are 0.
    #[arg(long, value_name = "VALUE", requires = "label")]
    positive: Option<String>,
}

/// How many rounds of updates.
#[derive(Args)]
pub(super) struct Rounds {
    /// Rounds of updates.
    #[arg(long, value_name = "N")]
    rounds: Option<u16>,
}

impl Rounds {
    /// Returns the number of rounds, or `default` if the option is absent.
    pub(super) fn or(&self, default: u16) -> u16 {
        self.rounds.unwrap_or(default)
    }
}

/// How large weights are penalised.
#[derive(Args)]
pub(super) struct Penalty {
    /// Penalty on the squares of standardised weights.
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    l2: Option<f64>,
}

impl Penalty {
    /// Returns the penalty, or `default` if the option is absent.
    ///
    /// # Errors
    /// For a penalty that is below 0, or not a finite number.
    pub(super) fn or(&self, default: f64) -> Result<f64, Exit> {
        Ok(positive_or_zero("--l2", self.l2)?.unwrap_or(default))
    }
}

/// Where losses are drawn.
#[derive(Args)]
pub(super) struct Plot {
    /// Draw the loss of each round.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

impl Plot {
    /// Returns the file in which the losses are drawn, if any.
    pub(super) fn file(&self) -> Option<&Path> {
        self.plot.as_deref()
    }
}

/// The options of models that are trained step by step.
#[derive(Args)]
pub(super) struct Gradient {
    #[command(flatten)]
    rounds: Rounds,
    /// Length of a step.
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// What a step keeps of the one before, 0.9 where it is left out.
    #[arg(long, value_name = "M", allow_negative_numbers = true)]
    momentum: Option<f64>,
    #[command(flatten)]
    penalty: Penalty,
    /// Longest update of a home; a longer one is scaled down. By default few are.
    #[arg(long, value_name = "C", allow_negative_numbers = true)]
    clip: Option<f64>,
    /// Also write the model as ONNX.
    #[arg(long, value_name = "FILE.onnx")]
    pub(super) onnx: Option<PathBuf>,
    #[command(flatten)]
    pub(super) plot: Plot,
}

impl Gradient {
    /// Returns the name of the first option present that Newton's steps do not use.
    pub(super) fn first_of_steps(&self) -> Option<&'static str> {
        let options = [
            ("--lr", self.lr),
            ("--momentum", self.momentum),
            ("--clip", self.clip),
        ];
        let given = options.into_iter().find(|(_, value)| value.is_some());
        given.map(|(name, _)| name)
    }

    /// Adds the options to `chosen`, which has the default number of rounds. `rate` and `l2` are the other defaults.
    ///
    /// # Errors
    /// For an option out of its range.
    pub(super) fn apply(&self, chosen: Chosen, rate: f64, l2: f64) -> Result<Chosen, Exit> {
        let rate = positive_or_zero("--lr", self.lr)?.unwrap_or(rate);
        let l2 = self.penalty.or(l2)?;
        let momentum = self.momentum.unwrap_or(MOMENTUM);
        // With a momentum of 1 the velocity would never decay.
        if !(0.0..1.0).contains(&momentum) {
            return Err(Exit::misuse(anyhow!(
                "--momentum must be from 0 to below 1"
            )));
        }
        Ok(Chosen {
            updates: self.rounds.or(chosen.updates),
            clip: self.clip,
            rate,
            momentum,
            l2,
            ..chosen
        })
    }
}

/// Checks an option that must be a finite number, and not below 0.
pub(super) fn positive_or_zero(name: &str, value: Option<f64>) -> Result<Option<f64>, Exit> {
    match value.is_some_and(|value| !value.is_finite() || value < 0.0) {
        true => Err(Exit::misuse(anyhow!(
            "{name} must be 0 or a number above it"
        ))),
        false => Ok(value),
    }
}

/// Model with its settings.
pub(crate) struct Chosen {
    pub(super) family: Family,
    pub(super) label: Option<String>,
    pub(super) positive: Option<String>,
    pub(super) updates: u16,
    /// Bits of a coordinate, if `--bits` is absent.
    pub(super) bits: u8,
    pub(super) clip: Option<f64>,
    pub(super) rate: f64,
    pub(super) momentum: f64,
    pub(super) l2: f64,
    pub(super) adaptive: bool,
}

impl Chosen {
    /// Makes a model with default settings of its steps.
    pub(super) fn of(family: Family, label: Option<&Label>, updates: u16, bits: u8) -> Self {
        Self {
            family,
            label: label.and_then(|label| label.label.clone()),
            positive: label.and_then(|label| label.positive.clone()),
            updates,
            bits,
            clip: None,
            rate: 1.0,
            momentum: MOMENTUM,
            l2: 0.0,
            adaptive: false,
        }
    }
}

/// The options of every model.
#[derive(Args)]
pub(crate) struct Shared {
    /// What is learnt from, separated by commas: columns with a range in the catalogue, 'clamp(x, lo, hi)',
    /// "domain(x, 'a', 'b')", 'words(text, 1024)' and conditions.
    #[arg(long, value_name = "A,B…", required = true)]
    features: String,
    /// The doctype, or a SELECT that makes one row of a home's documents.
    #[arg(long, value_name = "DOCTYPE|SELECT")]
    from: String,
    /// Which homes and documents, as after WHERE.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Bits of each number of an update: 4, 8, 12, 16, 20 or 24.
    #[arg(long, value_name = "B")]
    bits: Option<u8>,
    /// Share of the homes that are held out to validate with.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.2,
        allow_negative_numbers = true
    )]
    validation: f64,
    /// From which first weights are drawn.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write the model here.
    #[arg(long, value_name = "FILE.json")]
    pub(super) output: Option<PathBuf>,
    /// How it is printed: the model as JSON, or a table of it, which is the default where --output keeps it.
    #[arg(long, value_enum)]
    pub(super) format: Option<Printed>,
    #[command(flatten)]
    loss: Loss,
}

impl Shared {
    /// Makes the question that the options describe.
    ///
    /// # Errors
    /// For an option out of its range.
    pub(super) fn question(
        &self,
        model: &dyn Options,
        purpose: &str,
        min_cohort: Option<u32>,
        owners_ms: u64,
        default: Option<Epsilon>,
    ) -> Result<TrainingQuestion, Exit> {
        // With a larger share, hardly any home would be left to train the model.
        if !(0.0..=0.9).contains(&self.validation) {
            return Err(Exit::misuse(anyhow!(
                "--validation {} is no share: write one such as 0.2, at most 0.9",
                self.validation
            )));
        }
        let loss = self.loss.loss(default)?;
        let chosen = model.chosen(loss.is_some())?;
        let request = TrainingRequest {
            label: chosen.label,
            positive: chosen.positive,
            features: split(&self.features),
            from: self.from.clone(),
            condition: self.condition.clone(),
            family: chosen.family,
            bits: self.bits.unwrap_or(chosen.bits),
            clip: chosen.clip,
            held_out: (self.validation * 1000.0).round() as u16,
            updates: chosen.updates,
        };
        let settings = Settings {
            rate: chosen.rate,
            momentum: chosen.momentum,
            l2: chosen.l2,
            adaptive: chosen.adaptive,
            seed: self.seed,
        };
        let mut question = TrainingQuestion::new(request, settings, purpose, loss);
        question.min_cohort = min_cohort;
        question.owners_ms = owners_ms;
        Ok(question)
    }
}

/// Splits a list at commas outside of parentheses and quotes, which belong to the items.
fn split(list: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted) = (vec![String::new()], 0usize, None);
    for sign in list.chars() {
        match (sign, quoted) {
            // Inside quotes, neither parentheses nor the other kind of quote count.
            ('\'' | '"', None) => quoted = Some(sign),
            (_, Some(quote)) if sign == quote => quoted = None,
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        match sign {
            ',' if depth == 0 && quoted.is_none() => parts.push(String::new()),
            sign => parts.last_mut().expect("it begins with one").push(sign),
        }
    }
    let parts = parts.into_iter().map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_cut_at_commas_of_their_own() {
        assert_eq!(
            split("age, clamp(sbp, 80, 230),domain(sex, 'a,(b', 'c') ,, x > 3"),
            [
                "age",
                "clamp(sbp, 80, 230)",
                "domain(sex, 'a,(b', 'c')",
                "x > 3"
            ]
        );
    }
}
