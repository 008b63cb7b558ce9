//! Differences between two editions of a directory, in words, for whoever is about to sign the later one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{DirectoryBody, Fingerprints, Floors, Host, Node, Pool, QuerierEntry, Witnesses};
use crate::ceremony;
use dispers_base::id::{KeyEpoch, Name, Role};
use dispers_crypto::{dealing::ThresholdKey, envelope::Suite};
use dispers_query::catalogue::{Catalogue, Doctype};

/// Difference between two editions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Description of the difference.
    pub what: String,
    /// True if people are protected less than before.
    pub weakens: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Reasons why a directory cannot replace another. Each message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotNext {
    /// The two directories are of different networks.
    #[error(
        "this is a directory of network {new}, and the one before is of {old}: take the two of one network"
    )]
    Network {
        /// Network of the earlier edition.
        old: Name,
        /// Network of the later edition.
        new: Name,
    },
    /// The later edition's epoch is not one higher.
    #[error("directory {new} does not follow directory {old}: write epoch = {}", .old.saturating_add(1))]
    Epoch {
        /// Epoch of the earlier edition.
        old: u64,
        /// Epoch of the later edition.
        new: u64,
    },
    /// The previous key epoch has other keys than the earlier edition lists.
    #[error(
        "the previous key epoch has other keys than the directory before listed: list those, or leave [previous] out"
    )]
    Previous,
    /// The number of the log is that of a log that has ended.
    #[error(
        "the number of the log is lower than before: keep it, or write one more to begin again"
    )]
    Log,
    /// The key epoch is neither the same nor the next.
    #[error("key epoch {} does not follow key epoch {}: keep it, or write one more where pool keys or the indexors' key change", .new.0, .old.0)]
    KeyEpoch {
        /// Key epoch of the earlier edition.
        old: KeyEpoch,
        /// Key epoch of the later edition.
        new: KeyEpoch,
    },
    /// A key changed within a key epoch. No subscription would be found under the new key.
    #[error("{what} changed and the key epoch did not, so that no subscription would open: write key-epoch = {}, or list the key of before", .epoch.0.saturating_add(1))]
    SameKeyEpoch {
        /// Name of the key.
        what: String,
        /// Key epoch of both editions.
        epoch: KeyEpoch,
    },
}

impl DirectoryBody {
    /// Returns the differences between this edition and `old`, which must be exactly one epoch older.
    ///
    /// # Errors
    /// [`NotNext`] if this edition cannot replace `old`.
    pub fn changes_since(&self, old: &Self) -> Result<Vec<Change>, NotNext> {
        check_next(old, self)?;
        // Every field is named: a field that is added to the body does not compile before it is compared or left out
        // here.
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
            // Only X-Wing protects what is recorded today against a quantum computer.
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
    // Under the number of an ended log, heads of its history would count again.
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
    // Within a key epoch a grace may end, but not begin again: stacks have forgotten the secrets of an epoch that is
    // over (protocol.md §5).
    if new.previous.is_some() && new.previous != old.previous {
        return Err(NotNext::Previous);
    }
    // Only the public key is compared: a refresh changes the shares and leaves every pseudonym as it is.
    if new.indexors.key() != old.indexors.key() {
        return Err(same_key_epoch(new, "the concept indexors' key".into()));
    }
    // A pool may be added. The key of a pool that stays must stay too, or entries that were sealed to it no longer
    // open.
    for pool in &new.pools {
        let before = old.pools.iter().find(|p| p.place() == pool.place());
        if before.is_some_and(|before| before.envelope_key != pool.envelope_key) {
            let (role, partition) = (pool.role, pool.partition);
            let what = format!("the key of the {role}s' pool {partition}");
            return Err(same_key_epoch(new, what));
        }
    }
    // Without a pool, no node could open the entries that were sealed to it.
    for pool in &old.pools {
        if !new.pools.iter().any(|p| p.place() == pool.place()) {
            let (role, partition) = (pool.role, pool.partition);
            let what = format!("the list of the {role}s' pools, which lacks pool {partition},");
            return Err(same_key_epoch(new, what));
        }
    }
    Ok(())
}

fn same_key_epoch(new: &DirectoryBody, what: String) -> NotNext {
    let epoch = new.key_epoch;
    NotNext::SameKeyEpoch { what, epoch }
}

/// Verifies that the previous key epoch has the keys that `old` lists as its own.
fn check_previous(old: &DirectoryBody, new: &DirectoryBody) -> Result<(), NotNext> {
    let Some(previous) = &new.previous else {
        return Ok(());
    };
    let same_pools = previous.pools.iter().all(|pool| {
        let before = old.pools.iter().find(|p| p.place() == pool.place());
        before.is_some_and(|before| before.envelope_key == pool.envelope_key)
    });
    match previous.indexors.key() == old.indexors.key() && same_pools {
        true => Ok(()),
        false => Err(NotNext::Previous),
    }
}

/// Entry of the directory: a node, host or querier.
trait Entry {
    fn name(&self) -> &Name;
    /// Returns the kind and name of the entry, such as `target t`.
    fn title(&self) -> String;
    /// Returns the details that are shown when the entry is new.
    fn detail(&self) -> String;
    /// Returns the parts of the entry without its keys, each with its name, for comparison.
    fn parts(&self) -> Vec<(&'static str, String)>;
    /// Returns the fingerprints of the entry's keys, which are compared with its holder's statement.
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
    let names: BTreeSet<&str> = old.iter().chain(new).map(|(key, _)| *key).collect();
    names
        .into_iter()
        .filter_map(|name| {
            let [before, now] = [old, new].map(|keys| {
                let key = keys.iter().find(|(key, _)| *key == name);
                key.map(|(_, print)| *print)
            });
            let [before_text, now_text] =
                [before, now].map(|print| print.map_or("none".to_owned(), |p| p.to_string()));
            (before != now).then(|| format!("another {name}, {now_text}, before {before_text}"))
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
            // What an ended log showed is known only to those who kept it, so that a new log weakens.
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
        // Each of these protects more if it is higher.
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
        // Of the budget and δ, the lower value protects more.
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
        for pool in new {
            let title = format!("the {}s' pool {}", pool.role, pool.partition);
            match old.iter().find(|p| p.place() == pool.place()) {
                None => {
                    let print = pool.envelope_key.fingerprint();
                    self.plain(format!("{title} is added, with the key {print}"));
                }
                Some(before) if before.envelope_key != pool.envelope_key => {
                    let [print, before] = [pool, before].map(|p| p.envelope_key.fingerprint());
                    self.plain(format!("{title} has another key, {print}, before {before}"));
                }
                Some(_) => {}
            }
        }
        for pool in old {
            if !new.iter().any(|p| p.place() == pool.place()) {
                let (role, partition) = (pool.role, pool.partition);
                self.plain(format!("the {role}s' pool {partition} is removed"));
            }
        }
    }

    /// Describes the changes of a role's threshold keys. Both lists are in order of the groups.
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
                    let old_transcripts: Vec<_> = old.transcripts_of(role, group).collect();
                    let new_transcripts: Vec<_> = new.transcripts_of(role, group).collect();
                    if key.key() != before.key() {
                        self.plain(format!("{title} is another key, {prints}"));
                    } else if key != before {
                        self.plain(format!(
                            "{title} is refreshed, {prints}: its members have other shares"
                        ));
                    } else if old_transcripts != new_transcripts {
                        self.plain(format!("{title} has other transcripts"));
                    }
                    if new_transcripts.is_empty() && !old_transcripts.is_empty() {
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
        for doctype in &new.doctypes {
            match old.doctypes.iter().find(|d| d.name == doctype.name) {
                None => self.plain(format!("doctype {} is added", doctype.name)),
                Some(before) => self.doctype(before, doctype),
            }
        }
        for doctype in &old.doctypes {
            if !new.doctypes.iter().any(|d| d.name == doctype.name) {
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
        for field in &new.fields {
            let title = format!("field {name}.{}", field.name);
            match old.fields.iter().find(|f| f.name == field.name) {
                None => self.plain(format!("{title} is added")),
                Some(before) if before != field => {
                    self.plain(format!("{title} has another type, unit, range or NULL"));
                }
                Some(_) => {}
            }
        }
        for field in &old.fields {
            if !new.fields.iter().any(|f| f.name == field.name) {
                self.plain(format!("field {name}.{} is removed", field.name));
            }
        }
    }
}
