//! Report of what each role of a sandbox could read.

use std::collections::BTreeMap;

use dispers_base::{id::Role, labels};
use dispers_querier::Aggregators;
use dispers_sandbox::{Envelopes, Knowledge};

/// Returns a name for the contents of envelopes of a purpose, in singular and plural.
fn noun(purpose: &str) -> (&'static str, &'static str) {
    match purpose {
        labels::ENVELOPE_PROFILE => ("target profile", "target profiles"),
        labels::ENVELOPE_EVALUATION => (
            "request of blinded concepts",
            "requests of blinded concepts",
        ),
        labels::ENVELOPE_UPLOAD => ("subscription upload", "subscription uploads"),
        labels::ENVELOPE_WITHDRAWAL => ("withdrawal", "withdrawals"),
        labels::ENVELOPE_ENTRY => ("subscription (a random tag)", "subscriptions (random tags)"),
        labels::ENVELOPE_LINK => ("home's address", "homes' addresses"),
        labels::ENVELOPE_TARGETS => ("batch of targets", "batches of targets"),
        labels::ENVELOPE_GROUP => ("group of shares", "groups of shares"),
        labels::ENVELOPE_TAG_KEY => ("grant", "grants"),
        labels::ENVELOPE_PEER => (
            "message between aggregators",
            "messages between aggregators",
        ),
        labels::ENVELOPE_TOTAL => ("sealed total", "sealed totals"),
        _ => ("message", "messages"),
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn list(envelopes: &BTreeMap<&'static str, Envelopes>) -> String {
    let parts: Vec<String> = envelopes
        .iter()
        .map(|(purpose, envelopes)| {
            let (one, many) = noun(purpose);
            let noun = if envelopes.count == 1 { one } else { many };
            format!("{} {noun}", envelopes.count)
        })
        .collect();
    if parts.is_empty() {
        return "nothing sealed".into();
    }
    parts.join(", ")
}

fn closed_bytes(envelopes: &BTreeMap<&'static str, Envelopes>) -> usize {
    envelopes.values().map(|envelopes| envelopes.bytes).sum()
}

fn title(role: Role, nodes: usize) -> String {
    let name = role.name().replace('-', " ");
    if nodes == 1 {
        return name;
    }
    format!("{nodes} {name}s")
}

/// Prints on stderr what each role received, opened and could not open, from the sandbox's records.
pub(crate) fn print(knowledge: &Knowledge, aggregators: &Aggregators) {
    eprintln!("\nWhat each role received in this run, and what of it it could read:");
    for known in &knowledge.roles {
        eprintln!(
            "{} received {}",
            title(known.role, known.nodes),
            size(known.received)
        );
        eprintln!("    opened  {}", list(&known.opened));
        if !known.closed.is_empty() {
            eprintln!(
                "    closed  {}: {}",
                list(&known.closed),
                size(closed_bytes(&known.closed))
            );
        }
    }
    match knowledge.read_by_several_roles {
        0 => eprintln!(
            "{} sealed messages, and each was read by one role only.",
            knowledge.envelopes
        ),
        // Each envelope is sealed to one role, so a second reader would be a fault of the protocol.
        several => eprintln!(
            "{} sealed messages, of which {several} were read by more than one role!",
            knowledge.envelopes
        ),
    }
    eprintln!(
        "A value is in the groups of shares alone, and {} aggregators would have to put theirs \
         together to read one.",
        aggregators.needed
    );
}
