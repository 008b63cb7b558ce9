//! Synchronisation of a stack with its host's list of homes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dispers_core::subscription::HomeId;
use dispers_query::catalogue::EVERY_HOME;

use crate::{Connector, Error, Receipt, Relay, Store, erase, subscribe, withdraw::send_leaving};

/// Differences between a stack and its host's list of homes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// New concepts of homes. New homes are among them.
    pub subscribe: BTreeMap<HomeId, Vec<String>>,
    /// Subscriptions that end, because the list or the catalogue no longer has them.
    pub withdraw: BTreeSet<(HomeId, String)>,
    /// Homes that are not in the list any more, since they have left.
    pub erase: BTreeSet<HomeId>,
    /// Homes of the list without documents. They are passed over.
    pub empty: BTreeSet<HomeId>,
}

impl Changes {
    /// Returns the changes after which the stack has the homes of `list`, each with its concepts. A home whose concepts
    /// are `None` keeps its subscriptions, except those to concepts that the catalogue no longer has.
    ///
    /// # Errors
    /// [`Error::UnknownConcept`] for a concept that is not in the catalogue; [`Error::Database`].
    pub fn of(
        relay: &Relay,
        store: &Store,
        list: &BTreeMap<HomeId, Option<Vec<String>>>,
    ) -> Result<Self, Error> {
        let directory = relay.directory();
        let subscribed = store.subscribers()?;
        let mut changes = Self::default();
        for home in store.known()? {
            if !list.contains_key(&home) {
                changes.erase.insert(home);
            }
        }
        let none = Vec::new();
        for (home, wanted) in list {
            let have = subscribed.get(home).unwrap_or(&none);
            // An unknown concept refuses the whole list: a typing error must not end subscriptions.
            let mut concepts = wanted.iter().flatten();
            if let Some(unknown) = concepts.find(|name| !directory.catalogue.has_concept(name)) {
                return Err(Error::UnknownConcept(unknown.clone()));
            }
            if !store.holds(home)? {
                changes.empty.insert(home.clone());
                continue;
            }
            let ending = have.iter().filter(|concept| {
                let stays = match wanted {
                    // `home>all` comes with any other concept, so it stays unless the list gives the home no concept at
                    // all.
                    _ if *concept == EVERY_HOME => wanted.as_ref().is_none_or(|w| !w.is_empty()),
                    None => directory.catalogue.has_concept(concept),
                    Some(wanted) => wanted.contains(concept),
                };
                !stays
            });
            let ending = ending.map(|concept| (home.clone(), concept.clone()));
            changes.withdraw.extend(ending);
            let new = wanted.iter().flatten();
            let new: Vec<String> = new.filter(|c| !have.contains(c)).cloned().collect();
            if !new.is_empty() {
                changes.subscribe.insert(home.clone(), new);
            }
        }
        Ok(changes)
    }

    /// Returns whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.subscribe.is_empty() && self.withdraw.is_empty() && self.erase.is_empty()
    }
}

/// Makes the changes. Returns a receipt for each home that was erased.
///
/// # Errors
/// [`Error`]. Changes that were made stay, and the next sync goes on.
pub async fn sync(
    relay: &Relay,
    store: &Arc<Store>,
    changes: Changes,
) -> Result<Vec<Receipt>, Error> {
    // Withdrawals come first: whatever fails later, no home is asked that should not be.
    let mut receipts = Vec::with_capacity(changes.erase.len());
    for home in &changes.erase {
        receipts.push(erase(relay, store, home).await?);
    }
    for (home, concept) in &changes.withdraw {
        // Withdrawing `home>all` withdraws everything.
        let concept = Some(concept.as_str()).filter(|concept| *concept != EVERY_HOME);
        store.leave(home, concept)?;
    }
    send_leaving(relay, store).await?;
    subscribe(relay, store, changes.subscribe).await?;
    Ok(receipts)
}
