//! What a directory lists, for people.

use dispers_core::{
    directory::{Change, DirectoryBody},
    id::{Name, Role, Timestamp},
};

use crate::exit::Exit;

const DAY: u64 = 86_400_000;

/// When it expires, seen from `now`.
pub(super) fn expiry(body: &DirectoryBody, now: Timestamp) -> String {
    match body.expires.0.checked_sub(now.0) {
        Some(left) => format!("expires on {}, in {} days", body.expires, left / DAY),
        None => format!("expired on {}", body.expires),
    }
}

/// Prints what is listed.
pub(super) fn list(body: &DirectoryBody, now: Timestamp) {
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
        "floors: min-cohort {}, answer-rate {}, min-verified {}, max-homes {}, budget-rho {}",
        floors.min_cohort, floors.answer_rate, floors.min_verified, floors.max_homes, floors.budget
    );
    let names: Vec<&str> = body.witnesses.names.iter().map(Name::as_str).collect();
    println!(
        "log: co-signed by {} of {}",
        body.witnesses.needed,
        names.join(", ")
    );
    if floors.exact {
        println!("queries without noise are allowed");
    }
    let committees = (0u16..).zip(&body.committees);
    let groups = committees.map(|(group, key)| (Role::DataAggregator, group, key));
    for (role, group, key) in [(Role::ConceptIndexor, 0, &body.indexors)]
        .into_iter()
        .chain(groups)
    {
        let threshold = key.threshold();
        let (needed, members) = (threshold.needed(), threshold.members());
        let made = match body.transcripts_of(role, group).count() {
            0 => "of one dealer".to_owned(),
            count => format!("made jointly, refreshed {} times", count - 1),
        };
        println!("key of {role} group {group}: {needed} of {members}, {made}");
    }
    for node in &body.nodes {
        println!(
            "{} {} {} {}",
            node.role, node.name, node.operator, node.address
        );
    }
    for host in &body.hosts {
        println!("host {} {}", host.name, host.address);
    }
    for querier in &body.queriers {
        println!(
            "querier {} for {}",
            querier.name,
            querier.purposes.join(", ")
        );
    }
    for doctype in &body.catalogue.doctypes {
        let fields: Vec<&str> = doctype.fields.iter().map(|f| f.name.as_str()).collect();
        println!("doctype {}: {}", doctype.name, fields.join(", "));
    }
    for concept in &body.catalogue.concepts {
        println!("concept {concept}");
    }
}

/// What `new` changes of `old`, what protects people less first and loudly.
pub(super) fn changes(old: &DirectoryBody, new: &DirectoryBody) -> Result<String, Exit> {
    let changes = new.changes_since(old).map_err(Exit::misuse)?;
    let (weaker, others): (Vec<Change>, Vec<Change>) =
        changes.into_iter().partition(|change| change.weakens);
    let mut told = format!(
        "directory {} of network {} follows {}; it expires on {}, and the one before on {}\n",
        new.epoch, new.network, old.epoch, new.expires, old.expires
    );
    for change in &weaker {
        told += &format!("WARNING, people are protected less: {change}\n");
    }
    for change in &others {
        told += &format!("{change}\n");
    }
    if weaker.is_empty() && others.is_empty() {
        told += "nothing else changes\n";
    }
    Ok(told)
}
