//! Output of directories and of their changes, for people and programs.

use std::collections::BTreeSet;

use dispers_base::{
    id::{Name, Role, Timestamp},
    keys::VerifyingKey,
};
use dispers_crypto::dealing::ThresholdKey;
use dispers_node::now;
use dispers_trust::{
    ceremony,
    directory::{Change, DirectoryBody, Pool},
};
use serde_json::{Value, json};

use crate::{exit::Exit, keys, text_file::Printed};

const DAY: u64 = 86_400_000;

/// Describes when a directory expires, seen from `now`.
pub(super) fn expiry(body: &DirectoryBody, now: Timestamp) -> String {
    match body.expires.0.checked_sub(now.0) {
        Some(left) => format!("expires on {}, in {} days", body.expires, left / DAY),
        None => format!("expired on {}", body.expires),
    }
}

/// Prints the entries of a directory, and its signers.
pub(super) fn print(body: &DirectoryBody, signers: &BTreeSet<&VerifyingKey>, printed: Printed) {
    if printed == Printed::Json {
        println!("{}", object(body, signers));
        return;
    }
    list(body, now());
    for key in signers {
        println!("signed by {}, {}", hex::encode(key.0), key.fingerprint());
    }
}

/// Returns the threshold keys, each with its role and group.
fn threshold_keys(body: &DirectoryBody) -> Vec<(Role, u16, &ThresholdKey)> {
    let committees = (0u16..).zip(&body.committees);
    let groups = committees.map(|(group, key)| (Role::DataAggregator, group, key));
    let indexors = [(Role::ConceptIndexor, 0, &body.indexors)];
    indexors.into_iter().chain(groups).collect()
}

/// Returns a threshold key as JSON.
fn threshold_key(role: Role, group: u16, key: &ThresholdKey) -> Value {
    let threshold = key.threshold();
    json!({
        "role": role.name(), "group": group,
        "needed": threshold.needed(), "members": threshold.members(),
        "fingerprint": ceremony::fingerprint(key).to_string(),
    })
}

/// Returns the key of a pool as JSON.
fn pool(pool: &Pool) -> Value {
    json!({
        "role": pool.role.name(), "group": pool.partition,
        "fingerprints": keys::object([("pool-envelope-key", pool.envelope_key.fingerprint())]),
    })
}

/// Returns the entries of a directory as JSON, with the fingerprint of every key.
fn object(body: &DirectoryBody, signers: &BTreeSet<&VerifyingKey>) -> Value {
    let nodes = body.nodes.iter().map(|node| {
        json!({
            "name": node.name.as_str(), "role": node.role.name(), "operator": node.operator.as_str(),
            "address": node.address, "group": node.group,
            "fingerprints": keys::object(node.fingerprints()),
        })
    });
    let thresholds = threshold_keys(body)
        .into_iter()
        .map(|(role, group, key)| threshold_key(role, group, key));
    let previous = body.previous.as_ref().map(|previous| {
        json!({
            "key_epoch": previous.key_epoch.0,
            "pools": previous.pools.iter().map(pool).collect::<Vec<_>>(),
            "threshold_keys": [threshold_key(Role::ConceptIndexor, 0, &previous.indexors)],
        })
    });
    let hosts = body.hosts.iter().map(|host| {
        json!({
            "name": host.name.as_str(), "address": host.address,
            "fingerprints": keys::object(host.fingerprints()),
        })
    });
    let queriers = body.queriers.iter().map(|querier| {
        json!({
            "name": querier.name.as_str(), "purposes": querier.purposes,
            "fingerprints": keys::object(querier.fingerprints()),
        })
    });
    let signed = signers.iter().map(
        |key| json!({"root": hex::encode(key.0), "fingerprint": key.fingerprint().to_string()}),
    );
    json!({
        "network": body.network.as_str(),
        "epoch": body.epoch,
        "key_epoch": body.key_epoch.0,
        "trial": body.trial,
        "suite": body.suite.name(),
        "issued": body.issued.to_string(),
        "expires": body.expires.to_string(),
        "nodes": nodes.collect::<Vec<_>>(),
        "pools": body.pools.iter().map(pool).collect::<Vec<_>>(),
        "threshold_keys": thresholds.collect::<Vec<_>>(),
        "previous": previous,
        "hosts": hosts.collect::<Vec<_>>(),
        "queriers": queriers.collect::<Vec<_>>(),
        "signed_by": signed.collect::<Vec<_>>(),
    })
}

/// Returns the line of a pool's key.
fn pool_key(pool: &Pool) -> String {
    keys::lines(
        "  ",
        [("pool-envelope-key", pool.envelope_key.fingerprint())],
    )
}

/// Prints the entries of a directory as text.
fn list(body: &DirectoryBody, now: Timestamp) {
    println!("network {}, directory {}", body.network, body.epoch);
    println!("issued on {}, {}", body.issued, expiry(body, now));
    if body.trial {
        println!("for trying only: one dealer may know the threshold keys");
    }
    println!("key epoch {}, suite {}", body.key_epoch.0, body.suite);
    if let Some(previous) = &body.previous {
        println!("queries are asked under key epoch {}", previous.key_epoch.0);
    }
    let floors = &body.floors;
    println!(
        "floors: min-cohort {}, answer-rate {}, min-verified {}, max-homes {}, budget-rho {}, \
         max-delta {}",
        floors.min_cohort,
        floors.answer_rate,
        floors.min_verified,
        floors.max_homes,
        floors.budget,
        floors.max_delta
    );
    println!("sizes of sets have noise of scale {}", floors.size_noise);
    let names: Vec<&str> = body.witnesses.names.iter().map(Name::as_str).collect();
    println!(
        "log: co-signed by {} of {}",
        body.witnesses.needed,
        names.join(", ")
    );
    if floors.exact {
        println!("queries without noise are allowed");
    }
    for (role, group, key) in threshold_keys(body) {
        let threshold = key.threshold();
        let (needed, members) = (threshold.needed(), threshold.members());
        let made = match body.transcripts_of(role, group).count() {
            0 => "of one dealer".to_owned(),
            // The first transcript made the key, and each later one refreshed it.
            count => format!("made jointly, refreshed {} times", count - 1),
        };
        let print = ceremony::fingerprint(key);
        println!("key of {role} group {group}: {needed} of {members}, {made}, {print}");
    }
    for node in &body.nodes {
        println!(
            "{} {} {} {}",
            node.role, node.name, node.operator, node.address
        );
        print!("{}", keys::lines("  ", node.fingerprints()));
    }
    for pool in &body.pools {
        println!("pool of {} group {}", pool.role, pool.partition);
        print!("{}", pool_key(pool));
    }
    if let Some(previous) = &body.previous {
        let epoch = format!("of key epoch {}", previous.key_epoch.0);
        let print = ceremony::fingerprint(&previous.indexors);
        println!("key of {} group 0 {epoch}: {print}", Role::ConceptIndexor);
        for pool in &previous.pools {
            println!("pool of {} group {} {epoch}", pool.role, pool.partition);
            print!("{}", pool_key(pool));
        }
    }
    for host in &body.hosts {
        match host.address.as_str() {
            "" => println!("host {}, which attaches itself", host.name),
            address => println!("host {} {address}", host.name),
        }
        print!("{}", keys::lines("  ", host.fingerprints()));
    }
    for querier in &body.queriers {
        println!(
            "querier {} for {}",
            querier.name,
            querier.purposes.join(", ")
        );
        print!("{}", keys::lines("  ", querier.fingerprints()));
    }
    for doctype in &body.catalogue.doctypes {
        let fields: Vec<&str> = doctype.fields.iter().map(|f| f.name.as_str()).collect();
        println!("doctype {}: {}", doctype.name, fields.join(", "));
    }
    for concept in &body.catalogue.concepts {
        println!("concept {concept}");
    }
}

/// Describes the changes from `old` to `new`. Changes that protect people less come first, with a warning.
pub(super) fn changes(
    old: &DirectoryBody,
    new: &DirectoryBody,
    printed: Printed,
) -> Result<String, Exit> {
    // This refuses an edition that may not follow `old`, such as one that skips an epoch.
    let changes = new.changes_since(old).map_err(Exit::misuse)?;
    if printed == Printed::Json {
        let changes = changes.iter();
        let changes = changes.map(|c| json!({"what": c.what, "weakens": c.weakens}));
        let all = json!({
            "network": new.network.as_str(), "epoch": new.epoch, "expires": new.expires.to_string(),
            "changes": changes.collect::<Vec<_>>(),
        });
        return Ok(format!("{all}\n"));
    }
    let (weaker, others): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| change.weakens);
    let mut text = format!(
        "directory {} of network {} follows {}; it expires on {}, and the one before on {}\n",
        new.epoch, new.network, old.epoch, new.expires, old.expires
    );
    for change in &weaker {
        text += &format!("WARNING, people are protected less: {change}\n");
    }
    for change in &others {
        text += &format!("{change}\n");
    }
    if weaker.is_empty() && others.is_empty() {
        text += "nothing else changes\n";
    }
    Ok(text)
}
