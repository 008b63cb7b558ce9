//! Plan of a training session, from features and a label: profile, local query, and the training of the manifest.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Catalogue, LocalQuery, Profile, SqlError, statement};
use dispers_training::{Family, Labels, Training};

/// Request to train a model.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct TrainingRequest {
    /// Label; `None` for clusters.
    pub label: Option<String>,
    /// Value of the label that counts as 1. All other values count as 0.
    pub positive: Option<String>,
    /// Features: columns, `clamp`, `domain`, `words` or conditions.
    pub features: Vec<String>,
    /// Doctype, or inner SELECT.
    pub from: String,
    /// Condition, as after WHERE.
    pub condition: Option<String>,
    /// Model, with its own settings.
    pub family: Family,
    /// Bits of a coordinate.
    pub bits: u8,
    /// Longest update of a home. `None` chooses a length that few updates exceed.
    pub clip: Option<f64>,
    /// Thousandths of the homes that are held out to validate the model.
    pub held_out: u16,
    /// Rounds of updates.
    pub updates: u16,
}

/// Plan of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingPlan {
    /// Target profile: which homes are asked. It is a secret of the querier.
    pub profile: Profile<String>,
    /// Local query, which measures each document of a home.
    pub local: LocalQuery,
    /// Part of the manifest that determines what homes compute in each round.
    pub training: Training,
    /// Names of the columns that the features become.
    pub names: Vec<String>,
    /// Names of the label's classes; empty for a number.
    pub classes: Vec<String>,
}

impl TrainingPlan {
    /// Plans a session over the doctypes of `catalogue`.
    ///
    /// # Errors
    /// [`SqlError`], which says what to write instead.
    pub fn new(request: &TrainingRequest, catalogue: &Catalogue) -> Result<Self, SqlError> {
        let labels = request.family.labels();
        let needs_label = labels != Labels::None;
        if needs_label && request.label.is_none() {
            return Err(refused("this model needs a label", "give --label COLUMN"));
        }
        if !needs_label && request.label.is_some() {
            return Err(refused("clusters have no label", "leave --label out"));
        }
        if request.features.is_empty() {
            return Err(refused("a model without features", "give --features A,B"));
        }
        let label = request.label.as_ref().map(|label| match &request.positive {
            Some(value) if value.parse().is_ok_and(f64::is_finite) => {
                format!("({label}) = {value}")
            }
            // Quotes are doubled, so that the value cannot end the text and continue the query.
            Some(value) => format!("({label}) = '{}'", value.replace('\'', "''")),
            None => label.clone(),
        });
        let items: Vec<String> = label.iter().chain(&request.features).cloned().collect();
        let from = request.from.trim();
        let is_select = from
            .get(..6)
            .is_some_and(|word| word.eq_ignore_ascii_case("select"));
        let source = match is_select {
            true => format!("({from}) AS home"),
            false => from.to_owned(),
        };
        let condition = request.condition.as_ref();
        let condition = condition.map_or(String::new(), |text| format!(" WHERE {text}"));
        let text = format!("SELECT {} FROM {source}{condition}", items.join(", "));
        let selected = statement::parse(&text)?;
        let select = &selected.select;
        // A list in one item would shift the others, and take a feature for the label.
        if select.projection.len() != items.len() {
            return Err(refused(
                "a label or a feature is a list",
                "give one label, and separate features by commas",
            ));
        }
        let mut source = statement::bind_documents(&select.from, catalogue)?;
        // Conditions on concepts choose homes. All others choose documents at the homes.
        let (profile, conditions) = statement::split_where(select.selection.as_ref(), catalogue)?;
        // Bound before the features, because the filter tells which columns cannot be NULL.
        let filter = statement::bind_filter(&conditions, source.names())?;
        let classified = labels == Labels::Classes;
        let labelled = label.is_some();
        let bound = statement::bind_training(&selected, labelled, classified, source.names())?;
        let doctype = source.doctype.name.clone();
        let (fields, inner) = source.finish();
        let local = LocalQuery {
            doctype,
            fields,
            inner,
            filter,
            keys: Vec::new(),
            measures: bound.measures.measures,
            moments: Vec::new(),
        };
        let mut label = bound.label;
        if labels == Labels::Number
            && let Some(label) = &mut label
        {
            if label.classes > 2 {
                let checked = request.family.check(Some(*label));
                let instead = "give a number as the label";
                checked.map_err(|error| refused(&error.to_string(), instead))?;
            }
            // A label of two classes is learnt as a number: the share of the second class.
            label.classes = 0;
        }
        let mut training = Training {
            // Without noise, cells are guarded (protocol.md §18). A querier that adds noise clears this.
            guarded: true,
            features: bound.features,
            label,
            family: request.family.clone(),
            bits: request.bits,
            // The default depends on the columns, and is computed below.
            clip: request.clip.unwrap_or(1.0),
            held_out: request.held_out,
            updates: request.updates,
        };
        if request.clip.is_none() {
            training.clip = training.default_clip(&local);
        }
        let rounds = training.schedule().len() as u16;
        // Every node applies the same rules to the manifest. A model that they refuse is better refused here.
        local.validate_documents(catalogue).map_err(untrainable)?;
        training.validate(&local, rounds).map_err(untrainable)?;
        Ok(Self {
            profile,
            local,
            training,
            names: bound.names,
            classes: match label.map(|label| label.classes) {
                Some(0) | None => Vec::new(),
                Some(_) => bound.classes,
            },
        })
    }
}

/// Returns the error for a request, which has no position in a text.
fn refused(what: &str, instead: &str) -> SqlError {
    SqlError::new(None, what, instead)
}

/// Returns the error for a model that the nodes would refuse.
fn untrainable(error: impl fmt::Display) -> SqlError {
    let what = format!("the model cannot be trained: {error}");
    SqlError::new(None, what, "change its settings")
}
