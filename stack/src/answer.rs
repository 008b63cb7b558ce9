//! The verb of a stack: answer.

use std::{collections::HashSet, sync::Arc, time::Duration};

use dispers_core::{
    ask::{Answer, AnsweringHome, Ask, AskError, MAX_ASK, allows, answer},
    encoding::from_bytes,
    manifest::VerifiedManifest,
    subscription::HomeId,
};
use dispers_node::{Node, blocking, now, rng};

use crate::{
    Connector, Error, Store,
    config::{DEFAULT_EXACT, DEFAULT_QUANTUM_MS},
    engine::Engine,
    pace::paced,
    store::Exact,
};

/// Answers asks for the homes of one host.
pub struct Answerer {
    node: Arc<Node>,
    store: Arc<Store>,
    quantum: Duration,
    exact_queries: usize,
}

impl Answerer {
    /// Answers from `store`.
    pub fn new(node: Arc<Node>, store: Arc<Store>) -> Self {
        Self {
            node,
            store,
            quantum: Duration::from_millis(DEFAULT_QUANTUM_MS),
            exact_queries: DEFAULT_EXACT,
        }
    }

    /// Has answers leave at multiples of `quantum` after their ask.
    #[must_use]
    pub fn paced(mut self, quantum: Duration) -> Self {
        self.quantum = quantum;
        self
    }

    /// Has each home answer one querier so many exact queries, of a doctype and in a key epoch.
    #[must_use]
    pub fn exact(mut self, queries: usize) -> Self {
        self.exact_queries = queries;
        self
    }

    /// The encoding of the answer to an encoded ask, at a time that does not tell what the homes did.
    ///
    /// # Errors
    /// [`Error`], at such a time too.
    pub(crate) async fn answer_paced(self: Arc<Self>, ask: Vec<u8>) -> Result<Answer, Error> {
        let quantum = self.quantum;
        let answered = blocking(move || {
            let ask = from_bytes(&ask, MAX_ASK, "ask");
            Ok(ask.map_err(Error::from).and_then(|ask| self.answer(ask)))
        });
        match paced(quantum, answered).await {
            Ok(result) => result,
            Err(status) => Err(Error::Remote {
                what: "answering",
                reason: status.message().to_owned(),
            }),
        }
    }

    /// Checks the ask, evaluates the local query for all its homes at once, and encodes, proves,
    /// shares and seals what each contributes. Every home whose ticket holds contributes, a home
    /// without a row all zeros.
    ///
    /// # Errors
    /// [`Error`]; nothing about any home leaves.
    pub fn answer(&self, ask: Ask) -> Result<Answer, Error> {
        let now = now();
        let manifest = ask.manifest.verify(&self.node.directory, now)?;
        if manifest.answer_by.has_passed(now) {
            return Err(Error::TooLate);
        }
        if !allows(&manifest, ask.work) {
            return Err(AskError::WrongWork.into());
        }
        self.store.answer_once(&ask.work, manifest.expires, now)?;
        let mut seen: HashSet<HomeId> = HashSet::new();
        let mut ids = Vec::with_capacity(ask.homes.len());
        let mut places = Vec::with_capacity(ask.homes.len());
        let mut homes = Vec::with_capacity(ask.homes.len());
        for home in ask.homes {
            if !seen.insert(home.home.clone()) {
                continue;
            }
            // A home without a key cannot open its ticket: it was never subscribed here.
            let Some((key, consents)) = self.store.asked(&home.home, manifest.key_epoch)? else {
                continue;
            };
            homes.push(AnsweringHome {
                index: home.index,
                ticket: home.ticket,
                key,
                row: None,
            });
            // A home that refuses is not even read, and contributes zeros like one without data.
            if consents {
                ids.push(home.home);
                places.push(homes.len() - 1);
            }
        }
        let (ids, places) = self.allow(&manifest, ids, places)?;
        self.fill_rows(&manifest, &ids, &places, &mut homes)?;
        Ok(answer(&manifest, ask.work, ask.find, &homes, &mut rng())?)
    }

    /// Leaves out the homes that answered this querier too many exact queries: they are not read.
    fn allow(
        &self,
        manifest: &VerifiedManifest,
        ids: Vec<HomeId>,
        places: Vec<usize>,
    ) -> Result<(Vec<HomeId>, Vec<usize>), Error> {
        if manifest.privacy.is_some() {
            return Ok((ids, places));
        }
        let directory = &self.node.directory;
        let exact = Exact {
            querier: &manifest.querier,
            doctype: &manifest.local.doctype,
            key_epoch: manifest.key_epoch,
            query: manifest.query(),
            oldest: directory.key_epoch.min(directory.asked_keys().key_epoch),
            most: self.exact_queries,
        };
        let allowed = self.store.answer_exact(&exact, &ids)?;
        let kept = ids.into_iter().zip(places).zip(allowed);
        Ok(kept
            .filter(|(_, allowed)| *allowed)
            .map(|(home, _)| home)
            .unzip())
    }

    fn fill_rows(
        &self,
        manifest: &VerifiedManifest,
        ids: &[HomeId],
        places: &[usize],
        homes: &mut [AnsweringHome],
    ) -> Result<(), Error> {
        let local = &manifest.local;
        let fields: Vec<&str> = local.fields().collect();
        let documents = self.store.documents(&local.doctype, &fields, ids)?;
        for (place, raw) in Engine::open_in_memory()?.evaluate(local, documents)? {
            if let Some(place) = places.get(place as usize) {
                homes[*place].row = local.row(&raw, &mut rng());
            }
        }
        Ok(())
    }
}
