//! What an edition of a directory changes, in words, for whoever is about to sign it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{DirectoryBody, Fingerprints, Floors, Host, Node, Pool, QuerierEntry, Witnesses};
use crate::ceremony;
use dispers_base::{
    fingerprint::Fingerprint,
    id::{KeyEpoch, Name, Role},
};
use dispers_crypto::{dealing::ThresholdKey, envelope::Suite};
use dispers_query::catalogue::{Catalogue, Doctype, Field};

/// One difference between two editions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is different.
    pub what: String,
    /// Whether people are protected less than before.
    pub weakens: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Why a directory cannot replace another. Each says what to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotNext {
    /// Of another network.
    #[error(
        "this is a directory of network {new}, and the one before is of {old}: take the two of one network"
    )]
    Network {
        /// The earlier one's.
        old: Name,
        /// The later one's.
        new: Name,
    },
    /// Not one epoch later.
    #[error("directory {new} does not follow directory {old}: write epoch = {}", .old.saturating_add(1))]
    Epoch {
        /// The earlier one's.
        old: u64,
        /// The later one's.
        new: u64,
    },
    /// Another epoch before than the one that was.
    #[error(
        "the previous key epoch has other keys than the directory before listed: list those, or leave [previous] out"
    )]
    Previous,
    /// A log that was over.
    #[error("the number of the log is lower than before: keep it, or write one more to begin anew")]
    Log,
    /// Neither the same key epoch nor the next.
    #[error("key epoch {} does not follow key epoch {}: keep it, or write one more where pool keys or the indexors' key change", .new.0, .old.0)]
    KeyEpoch {
        /// The earlier one's.
        old: KeyEpoch,
        /// The later one's.
        new: KeyEpoch,
    },
    /// Another key within a key epoch, under which no subscription would be found.
    #[error("{what} changed and the key epoch did not, so that no subscription would open: write key-epoch = {}, or list the key of before", .epoch.0.saturating_add(1))]
    SameKeyEpoch {
        /// Which key.
        what: String,
        /// The key epoch of both.
        epoch: KeyEpoch,
    },
}

impl DirectoryBody {
    /// What this edition changes of the one before, which must be exactly one epoch older.
    ///
    /// # Errors
    /// [`NotNext`] when it cannot replace `old`.
    pub fn changes_since(&self, old: &Self) -> Result<Vec<Change>, NotNext> {
        check_next(old, self)?;
        // Named one by one: a new part of the body must be compared here too.
        let Self {
            network: _,
            trial,
            epoch: _,
            issued: _,
            expires,
            suite,
            key_epoch,
            nodes,
            pools,
            hosts,
            queriers,
            indexors,
            committees,
            transcripts: _,
            witnesses,
            floors,
            catalogue,
            previous,
        } = self;
        let mut changes = Changes::default();
        if *trial != old.trial {
            let what = match trial {
                true => "the network becomes a trial: one dealer may know its threshold keys",
                false => "the network is no trial any longer",
            };
            changes.note(*trial, what.into());
        }
        if *expires < old.expires {
            let what = format!("it expires on {expires}, before the one it replaces");
            changes.note(false, what);
        }
        if *suite != old.suite {
            let what = format!("the envelopes' suite is {suite}, and was {}", old.suite);
            changes.note(old.suite == Suite::XWing, what);
        }
        if *key_epoch != old.key_epoch {
            let (new, before) = (key_epoch.0, old.key_epoch.0);
            changes.plain(match previous {
                Some(_) => format!(
                    "key epoch {new} follows {before}, which is still asked: stacks subscribe under both"
                ),
                None => format!("key epoch {new} follows {before}: hosts subscribe again"),
            });
        } else if let (Some(over), None) = (&old.previous, previous) {
            let (new, before) = (key_epoch.0, over.key_epoch.0);
            changes.plain(format!(
                "key epoch {new} is asked, and {before} is over: who did not subscribe again is not found"
            ));
        }
        changes.witnesses(&old.witnesses, witnesses);
        changes.floors(&old.floors, floors);
        changes.entries(&old.nodes, nodes);
        changes.pools(&old.pools, pools);
        changes.entries(&old.hosts, hosts);
        changes.entries(&old.queriers, queriers);
        changes.threshold_keys(old, self, Role::ConceptIndexor, [&old.indexors], [indexors]);
        changes.threshold_keys(old, self, Role::DataAggregator, &old.committees, committees);
        changes.catalogue(&old.catalogue, catalogue);
        Ok(changes.0)
    }
}

fn check_next(old: &DirectoryBody, new: &DirectoryBody) -> Result<(), NotNext> {
    if new.network != old.network {
        let (old, new) = (old.network.clone(), new.network.clone());
        return Err(NotNext::Network { old, new });
    }
    if old.epoch.checked_add(1) != Some(new.epoch) {
        let (old, new) = (old.epoch, new.epoch);
        return Err(NotNext::Epoch { old, new });
    }
    if new.witnesses.log < old.witnesses.log {
        return Err(NotNext::Log);
    }
    if new.key_epoch != old.key_epoch {
        let (old_body, new_body) = (old, new);
        let (old, new) = (old.key_epoch, new.key_epoch);
        return match old.0.checked_add(1) == Some(new.0) {
            true => check_previous(old_body, new_body),
            false => Err(NotNext::KeyEpoch { old, new }),
        };
    }
    if new.previous.is_some() && new.previous != old.previous {
        return Err(NotNext::Previous);
    }
    let same_epoch = |what: String| NotNext::SameKeyEpoch {
        what,
        epoch: new.key_epoch,
    };
    if new.indexors.key() != old.indexors.key() {
        return Err(same_epoch("the concept indexors' key".into()));
    }
    for pool in &new.pools {
        let of = |p: &&Pool| p.role == pool.role && p.partition == pool.partition;
        let before = old.pools.iter().find(of);
        if before.is_some_and(|before| before.envelope_key != pool.envelope_key) {
            let (role, partition) = (pool.role, pool.partition);
            return Err(same_epoch(format!(
                "the key of the {role}s' pool {partition}"
            )));
        }
    }
    Ok(())
}

/// What is listed as the epoch before is what was listed.
fn check_previous(old: &DirectoryBody, new: &DirectoryBody) -> Result<(), NotNext> {
    let Some(previous) = &new.previous else {
        return Ok(());
    };
    let listed = |pool: &Pool| {
        let of = |p: &&Pool| p.role == pool.role && p.partition == pool.partition;
        let before = old.pools.iter().find(of);
        before.is_some_and(|before| before.envelope_key == pool.envelope_key)
    };
    match previous.indexors.key() == old.indexors.key() && previous.pools.iter().all(listed) {
        true => Ok(()),
        false => Err(NotNext::Previous),
    }
}

/// What is listed under a name.
trait Entry {
    fn name(&self) -> &Name;
    /// What it is, such as `target t`.
    fn title(&self) -> String;
    /// What of it a reader may want to know when it is new.
    fn detail(&self) -> String;
    /// Returns the parts of the entry without its keys, each with its name, for comparison.
    fn parts(&self) -> Vec<(&'static str, String)>;
    /// Returns the keys of the entry, for comparison with their holder's statement.
    fn keys(&self) -> Fingerprints;
}

impl Entry for Node {
    fn name(&self) -> &Name {
        &self.name
    }

    fn title(&self) -> String {
        format!("{} {}", self.role, self.name)
    }

    fn detail(&self) -> String {
        format!("of {} at {}", self.operator, self.address)
    }

    fn parts(&self) -> Vec<(&'static str, String)> {
        let member = self.member.map(|member| member.to_string());
        vec![
            ("role", self.role.to_string()),
            ("operator", self.operator.to_string()),
            ("address", self.address.clone()),
            ("group", self.group.to_string()),
            ("member number", member.unwrap_or_default()),
        ]
    }

    fn keys(&self) -> Fingerprints {
        self.fingerprints()
    }
}

impl Entry for Host {
    fn name(&self) -> &Name {
        &self.name
    }

    fn title(&self) -> String {
        format!("host {}", self.name)
    }

    fn detail(&self) -> String {
        match self.address.as_str() {
            "" => "which attaches itself".into(),
            address => format!("at {address}"),
        }
    }

    fn parts(&self) -> Vec<(&'static str, String)> {
        vec![("address", self.address.clone())]
    }

    fn keys(&self) -> Fingerprints {
        self.fingerprints()
    }
}

impl Entry for QuerierEntry {
    fn name(&self) -> &Name {
        &self.name
    }

    fn title(&self) -> String {
        format!("querier {}", self.name)
    }

    fn detail(&self) -> String {
        format!("for {}", self.purposes.join(", "))
    }

    fn parts(&self) -> Vec<(&'static str, String)> {
        vec![("purposes", self.purposes.join(", "))]
    }

    fn keys(&self) -> Fingerprints {
        self.fingerprints()
    }
}

/// Describes the keys that differ, were added or were removed, each with both fingerprints.
fn other_keys(old: &Fingerprints, new: &Fingerprints) -> Vec<String> {
    let find = |keys: &Fingerprints, name: &str| {
        let found = keys.iter().find(|(key, _)| *key == name);
        found.map(|(_, print)| *print)
    };
    let shown = |print: Option<Fingerprint>| print.map_or("none".to_owned(), |p| p.to_string());
    let names: BTreeSet<&str> = old.iter().chain(new).map(|(key, _)| *key).collect();
    names
        .into_iter()
        .map(|key| (key, find(old, key), find(new, key)))
        .filter(|(_, before, now)| before != now)
        .map(|(key, before, now)| {
            format!("another {key}, {}, before {}", shown(now), shown(before))
        })
        .collect()
}

#[derive(Default)]
struct Changes(Vec<Change>);

impl Changes {
    fn note(&mut self, weakens: bool, what: String) {
        self.0.push(Change { what, weakens });
    }

    fn plain(&mut self, what: String) {
        self.note(false, what);
    }

    fn witnesses(&mut self, old: &Witnesses, new: &Witnesses) {
        if new.needed != old.needed {
            let (needed, before) = (new.needed, old.needed);
            let what = format!("{needed} witnesses must co-sign the log, before {before}");
            self.note(needed < before, what);
        }
        if new.log != old.log {
            let (log, before) = (new.log, old.log);
            let what = format!(
                "log {log} of queries begins, empty, and log {before} is over: what it showed is in the hands of those who kept it"
            );
            self.note(true, what);
        }
        for (these, those, is) in [(new, old, "is now"), (old, new, "is no longer")] {
            for name in these
                .names
                .iter()
                .filter(|name| !those.names.contains(name))
            {
                self.plain(format!("{name} {is} a witness of the log"));
            }
        }
    }

    fn floors(&mut self, old: &Floors, new: &Floors) {
        let protecting = [
            (
                "min-cohort",
                u64::from(old.min_cohort),
                u64::from(new.min_cohort),
            ),
            (
                "answer-rate",
                old.answer_rate.into(),
                new.answer_rate.into(),
            ),
            (
                "min-verified",
                old.min_verified.into(),
                new.min_verified.into(),
            ),
            ("size-noise", old.size_noise.into(), new.size_noise.into()),
        ];
        for (floor, old, new) in protecting {
            if new < old {
                self.note(
                    true,
                    format!("floor {floor} is lowered from {old} to {new}"),
                );
            } else if new > old {
                self.plain(format!("floor {floor} is raised from {old} to {new}"));
            }
        }
        if new.exact != old.exact {
            match new.exact {
                true => self.note(true, "queries without noise are allowed".to_owned()),
                false => self.plain("queries without noise are refused".to_owned()),
            }
        }
        if new.budget != old.budget {
            let text = format!(
                "a querier may spend rho {} on one population, and could spend {}",
                new.budget, old.budget
            );
            match new.budget > old.budget {
                true => self.note(true, text),
                false => self.plain(text),
            }
        }
        if new.max_delta != old.max_delta {
            let text = format!(
                "a query may have delta {}, and could have {}: owners' limits count at that delta",
                new.max_delta, old.max_delta
            );
            match new.max_delta > old.max_delta {
                true => self.note(true, text),
                false => self.plain(text),
            }
        }
        if new.max_homes != old.max_homes {
            let (old, new) = (old.max_homes, new.max_homes);
            self.plain(format!("a query may ask {new} homes, and could ask {old}"));
        }
    }

    fn entries<E: Entry>(&mut self, old: &[E], new: &[E]) {
        let before: BTreeMap<&Name, &E> = old.iter().map(|e| (e.name(), e)).collect();
        for entry in new {
            let Some(before) = before.get(entry.name()) else {
                let keys = entry.keys().into_iter();
                let keys: Vec<String> = keys.map(|(key, print)| format!("{key} {print}")).collect();
                self.plain(format!(
                    "{} is added, {}; {}",
                    entry.title(),
                    entry.detail(),
                    keys.join(", ")
                ));
                continue;
            };
            let parts = entry.parts().into_iter().zip(before.parts());
            let mut differ: Vec<String> = parts
                .filter(|(new, old)| new != old)
                .map(|((part, new), (_, old))| format!("{part} {new:?}, before {old:?}"))
                .collect();
            differ.extend(other_keys(&before.keys(), &entry.keys()));
            if !differ.is_empty() {
                self.plain(format!("{} has {}", entry.title(), differ.join("; ")));
            }
        }
        for gone in old {
            if !new.iter().any(|entry| entry.name() == gone.name()) {
                self.plain(format!("{} is removed", gone.title()));
            }
        }
    }

    fn pools(&mut self, old: &[Pool], new: &[Pool]) {
        let find = |pools: &[Pool], of: &Pool| {
            let same = |p: &&Pool| p.role == of.role && p.partition == of.partition;
            pools.iter().find(same).map(|p| p.envelope_key.clone())
        };
        for pool in new {
            let title = format!("the {}s' pool {}", pool.role, pool.partition);
            match find(old, pool) {
                None => {
                    let print = pool.envelope_key.fingerprint();
                    self.plain(format!("{title} is added, with the key {print}"));
                }
                Some(key) if key != pool.envelope_key => {
                    let (print, before) = (pool.envelope_key.fingerprint(), key.fingerprint());
                    self.plain(format!("{title} has another key, {print}, before {before}"));
                }
                Some(_) => {}
            }
        }
        for pool in old {
            if find(new, pool).is_none() {
                let (role, partition) = (pool.role, pool.partition);
                self.plain(format!("the {role}s' pool {partition} is removed"));
            }
        }
    }

    /// The keys of a role's groups, in order of the groups.
    fn threshold_keys<'a>(
        &mut self,
        old: &DirectoryBody,
        new: &DirectoryBody,
        role: Role,
        old_keys: impl IntoIterator<Item = &'a ThresholdKey>,
        new_keys: impl IntoIterator<Item = &'a ThresholdKey>,
    ) {
        let (mut old_keys, mut new_keys) = (old_keys.into_iter(), new_keys.into_iter());
        for group in 0u16.. {
            let title = format!("the key of the {role}s' group {group}");
            let made = |body: &DirectoryBody| {
                let of = body.transcripts_of(role, group);
                of.cloned().collect::<Vec<_>>()
            };
            match (old_keys.next(), new_keys.next()) {
                (None, None) => return,
                (None, Some(key)) => {
                    let print = ceremony::fingerprint(key);
                    self.plain(format!("{title} is added, {print}"));
                }
                (Some(_), None) => self.plain(format!("{title} is removed")),
                (Some(before), Some(key)) => {
                    let (was, is) = (before.threshold(), key.threshold());
                    if was != is {
                        let weaker = is.needed() < was.needed();
                        let [n, m, x, y] = [is.needed(), is.members(), was.needed(), was.members()];
                        self.note(
                            weaker,
                            format!("{title} needs {n} of {m}, before {x} of {y}"),
                        );
                    }
                    let prints = [key, before].map(ceremony::fingerprint);
                    let prints = format!("{}, before {}", prints[0], prints[1]);
                    let (was, is) = (made(old), made(new));
                    if key.key() != before.key() {
                        self.plain(format!("{title} is another key, {prints}"));
                    } else if key != before {
                        self.plain(format!(
                            "{title} is refreshed, {prints}: its members have other shares"
                        ));
                    } else if was != is {
                        self.plain(format!("{title} has other transcripts"));
                    }
                    if is.is_empty() && !was.is_empty() {
                        let what = format!("{title} is of one dealer, and was made jointly");
                        self.note(true, what);
                    }
                }
            }
        }
    }

    fn catalogue(&mut self, old: &Catalogue, new: &Catalogue) {
        for concept in &new.concepts {
            if !old.concepts.contains(concept) {
                self.plain(format!("concept {concept} is added"));
            }
        }
        for concept in &old.concepts {
            if !new.concepts.contains(concept) {
                self.plain(format!("concept {concept} is removed"));
            }
        }
        let find = |catalogue: &Catalogue, name: &str| {
            let mut doctypes = catalogue.doctypes.iter();
            doctypes.find(|d| d.name == name).cloned()
        };
        for doctype in &new.doctypes {
            match find(old, &doctype.name) {
                None => self.plain(format!("doctype {} is added", doctype.name)),
                Some(before) => self.doctype(&before, doctype),
            }
        }
        for doctype in &old.doctypes {
            if find(new, &doctype.name).is_none() {
                self.plain(format!("doctype {} is removed", doctype.name));
            }
        }
    }

    fn doctype(&mut self, old: &Doctype, new: &Doctype) {
        let name = &new.name;
        if new.cardinality != old.cardinality {
            let (new, old) = (new.cardinality, old.cardinality);
            self.plain(format!(
                "doctype {name} has {new:?} documents a home, before {old:?}"
            ));
        }
        let find = |doctype: &Doctype, field: &Field| {
            let mut fields = doctype.fields.iter();
            fields.find(|f| f.name == field.name).cloned()
        };
        for field in &new.fields {
            let title = format!("field {name}.{}", field.name);
            match find(old, field) {
                None => self.plain(format!("{title} is added")),
                Some(before) if before != *field => {
                    self.plain(format!("{title} has another type, unit, range or NULL"));
                }
                Some(_) => {}
            }
        }
        for field in &old.fields {
            if find(new, field).is_none() {
                self.plain(format!("field {name}.{} is removed", field.name));
            }
        }
    }
}
