//! Export of what a stack keeps of one home, as JSON for its owner.

use dispers_base::id::KeyEpoch;
use dispers_core::subscription::HomeId;
use serde_json::{Value, json};

use crate::{Asked, Entry, Error, Store, rule_file::Written};

/// Exports everything about a home except its documents, for its owner: rules, subscriptions, the ε of the last year
/// at the directory's ceiling of δ, and each query with its outcome.
///
/// # Errors
/// [`Error::Database`].
pub fn export(
    store: &Store,
    home: &HomeId,
    epoch: KeyEpoch,
    max_delta: f64,
) -> Result<Value, Error> {
    let history = store.history(home, 0, usize::MAX)?;
    Ok(json!({
        "home": home.0,
        "rules": Written(&store.rules(home)?),
        "subscriptions": store.subscriptions(home, epoch)?,
        "epsilon_of_the_year": store.spent(home)?.all.epsilon(max_delta) as f64 / 1e6,
        "at_delta": max_delta,
        "history": history.iter().map(entry).collect::<Vec<Value>>(),
    }))
}

/// Converts one query of the history to JSON.
pub fn entry(entry: &Entry) -> Value {
    let manifest = &entry.manifest;
    let asked = Asked::of(manifest);
    let sent = entry
        .sent
        .as_ref()
        .map(|(homes, groups)| json!({"homes": homes, "aggregators": groups}));
    json!({
        "query": entry.query.to_string(),
        "querier": asked.querier,
        "purpose": asked.purpose,
        "doctype": asked.doctype,
        "fields": asked.fields,
        "local_query": manifest.local.to_string(),
        "sql": manifest.local.sql(),
        "min_cohort": asked.min_cohort,
        "epsilon": asked.epsilon.map(|epsilon| epsilon as f64 / 1e6),
        "delta": asked.delta,
        "training": asked.training,
        "received": entry.received.to_string(),
        "decided": entry.decided.to_string(),
        "answers_from": manifest.answer_from.to_string(),
        "outcome": entry.outcome.word(),
        "rule": entry.rule,
        "sent": sent,
    })
}
