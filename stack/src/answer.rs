//! Answers to asks, for the homes of one host.

use std::{collections::HashSet, sync::Arc, time::Duration};

use dispers_base::{
    encoding::from_bytes,
    id::{Role, Work},
};
use dispers_core::{
    ask::{Answer, AnsweringHome, Ask, AskError, MAX_ASK, allows, answer, check_parameters},
    consent::Place,
    manifest::VerifiedManifest,
    session::{NO_PARAMETERS, VerifiedParameters},
    subscription::HomeId,
};
use dispers_node::{Node, blocking, now, rng};
use dispers_training::{
    Document, Training,
    home::{State, is_held_out, vector},
};
use tokio::runtime::Handle;

use crate::{
    Bounds, Connector, Error, Relay, Selector, Store,
    config::{DEFAULT_EXACT, DEFAULT_QUANTUM_MS},
    engine::Engine,
    notify::{Notice, Notifier},
    pace::paced,
    store::{Deciding, KnownHeads, SentGroup},
    subscribe::remote,
};

/// Round of training, as a stack computes it.
struct Round<'a> {
    manifest: &'a VerifiedManifest,
    training: &'a Training,
    number: u16,
    shown: Option<&'a VerifiedParameters>,
}

/// Asked home, and true if it is subscribed to anything.
type Asked = (HomeId, bool);

/// Answering part of a stack, for the homes of one host.
pub struct Answerer {
    pub(crate) node: Arc<Node>,
    pub(crate) store: Arc<Store>,
    pub(crate) relay: Relay,
    pub(crate) heads: KnownHeads,
    quantum: Duration,
    exact_queries: usize,
    notifier: Option<Arc<Notifier>>,
}

impl Answerer {
    /// Creates an answerer over `store`, with the default pace and limit. It notifies no owners.
    pub fn new(node: Arc<Node>, store: Arc<Store>) -> Self {
        Self {
            relay: Relay::new(node.clone()),
            heads: KnownHeads::default(),
            node,
            store,
            quantum: Duration::from_millis(DEFAULT_QUANTUM_MS),
            exact_queries: DEFAULT_EXACT,
            notifier: None,
        }
    }

    /// Sets the quantum of the pace: answers leave at multiples of `quantum` after their ask.
    #[must_use]
    pub fn paced(mut self, quantum: Duration) -> Self {
        self.quantum = quantum;
        self
    }

    /// Sets the number of exact queries that a home answers per querier, doctype and key epoch.
    #[must_use]
    pub fn exact(mut self, queries: usize) -> Self {
        self.exact_queries = queries;
        self
    }

    /// Sets the notifier of owners who decide each query themselves.
    #[must_use]
    pub fn telling(mut self, notifier: Arc<Notifier>) -> Self {
        self.notifier = Some(notifier);
        self
    }

    /// Decodes an ask and answers it. The result comes at a time that does not tell what the homes did.
    ///
    /// # Errors
    /// [`Error`], at a time that does not tell what the homes did either.
    pub(crate) async fn answer_paced(self: Arc<Self>, ask: Vec<u8>) -> Result<Answer, Error> {
        let quantum = self.quantum;
        paced(quantum, async move {
            let failed = remote("answering");
            let decoded = blocking(move || Ok(from_bytes::<Ask>(&ask, MAX_ASK, "ask")));
            let ask = decoded.await.map_err(&failed)??;
            // Nobody asks in secret: nothing is decided or read before the query is shown to be in the log (protocol.md
            // §16).
            self.check_log(&ask).await?;
            let answered = blocking(move || Ok(self.answer(ask)));
            answered.await.map_err(&failed)?
        })
        .await
    }

    /// Checks the ask, lets each home decide, and evaluates the local query for all homes that answer at once. Encodes,
    /// proves, shares and seals their contributions. A home whose ticket opens contributes, unless the query reached it
    /// at another place before. A home that refuses or has no row contributes zeros. If the query is only announced,
    /// owners are notified and the answer is empty.
    ///
    /// Does not check that the query is in the log.
    ///
    /// # Errors
    /// [`Error`]. Nothing about any home leaves.
    pub fn answer(&self, ask: Ask) -> Result<Answer, Error> {
        let now = now();
        let manifest = ask.manifest.verify(&self.node.directory, now)?;
        if manifest.answer_by.has_passed(now) {
            return Err(Error::TooLate);
        }
        // Rounds and attempts are bounded by the manifest, or a relay could have the homes answer without end.
        if !allows(&manifest, ask.work) {
            return Err(AskError::WrongWork.into());
        }
        // Checked before anything is stored. Otherwise a relay could use up a round that the querier did not begin.
        let shown = check_parameters(
            ask.parameters.as_deref(),
            &manifest,
            ask.work.round,
            &self.node.directory,
        )?;
        // An announcement is not an answer: it may be repeated, and the ask itself follows.
        if !ask.announced && self.store.has_answered(&ask.work)? {
            return Err(Error::Repeated);
        }
        let (ids, homes) = self.chosen(&ask, &manifest)?;
        // Nothing is stored for an ask without a valid ticket. Otherwise a Target that the batch does not name could
        // use up the batches and attempts of the Targets that it names (protocol.md §6).
        if ids.is_empty() {
            return Ok(Answer::default());
        }
        // The check above saves the work of opening tickets. This call decides between asks that arrive at the same
        // time, and is on the disk before anything is read, so that a restart does not answer twice.
        if !ask.announced {
            self.store.answer_once(&ask.work, manifest.expires, now)?;
        }
        let decided = self.store.decide(
            &Deciding {
                signed: &ask.manifest,
                manifest: &manifest,
                cost: manifest.loss(),
                place: Place {
                    find: ask.find,
                    batch: ask.work.batch,
                },
                announced: ask.announced,
                bounds: Bounds {
                    exact_queries: self.exact_queries,
                    max_delta: self.node.directory.floors.max_delta,
                },
            },
            &ids,
        )?;
        if ask.announced {
            self.tell(&manifest, decided.to_notify)?;
            return Ok(Answer::default());
        }
        // A home that the query reached at another place before is left out, like a home that was not chosen. It could
        // otherwise count in two batches (protocol.md §6).
        let asked = ids.into_iter().zip(homes).zip(decided.outcomes);
        let mut here = (Vec::new(), Vec::new(), Vec::new());
        for ((id, home), outcome) in asked {
            if let Some(outcome) = outcome {
                here.0.push(id);
                here.1.push(home);
                here.2.push(outcome);
            }
        }
        let (ids, mut homes, outcomes) = here;
        // A home that refuses is not read. It contributes zeros like a home without data, so that nobody learns who
        // refused (protocol.md §17).
        let answering = (0..).zip(&outcomes);
        let places: Vec<usize> = answering
            .filter(|(_, outcome)| outcome.answers())
            .map(|(place, _)| place)
            .collect();
        let answering: Vec<HomeId> = places.iter().map(|place| ids[*place].0.clone()).collect();
        match &manifest.training {
            None => self.fill_rows(&manifest, &answering, &places, &mut homes)?,
            Some(training) => {
                let round = Round {
                    manifest: &manifest,
                    training,
                    number: ask.work.round,
                    shown: shown.as_ref(),
                };
                self.fill_vectors(&round, &answering, &places, &mut homes)?;
            }
        }
        let digest = shown.map_or(NO_PARAMETERS, |shown| shown.digest());
        let answer = answer(&manifest, ask.work, &digest, &homes, &mut rng())?;
        // The history is written before the answer leaves, so that it never lacks bytes that have left.
        self.note_sent(&manifest, ask.work, &answer)?;
        Ok(answer)
    }

    /// Computes the vector of each home that answers a round of training.
    fn fill_vectors(
        &self,
        round: &Round<'_>,
        ids: &[HomeId],
        places: &[usize],
        homes: &mut [AnsweringHome],
    ) -> Result<(), Error> {
        let (manifest, local) = (round.manifest, &round.manifest.local);
        let Some(task) = manifest.task(round.number) else {
            return Err(AskError::WrongWork.into());
        };
        // The tickets of a session hold one session key, so that any home's key opens the parameters for all.
        let key = places.iter().find_map(|place| homes[*place].session());
        let state = match (round.shown, key) {
            // A first round comes without parameters.
            (None, _) => Some(State::empty()),
            (Some(shown), Some(key)) => shown.open(key).ok(),
            (Some(_), None) => None,
        };
        // If the parameters do not open or decode, every home contributes zeros.
        let Some(state) = state else { return Ok(()) };
        let fields: Vec<&str> = local.fields().collect();
        let documents = self
            .store
            .documents(&local.doctype, &fields, ids, &Selector::of(local))?;
        let measured = Engine::open_in_memory()?.measure(local, documents)?;
        let mut of_home: Vec<Vec<Document>> = vec![Vec::new(); ids.len()];
        for (home, document) in measured {
            if let Some(documents) = of_home.get_mut(home as usize) {
                documents.push(document);
            }
        }
        for ((id, place), documents) in ids.iter().zip(places).zip(of_home) {
            // A home that was erased meanwhile has no key. It contributes zeros.
            let Some((key, _)) = self.store.asked(id, manifest.key_epoch)? else {
                continue;
            };
            // The home's own key decides this together with the query, so that the querier alone cannot choose which
            // homes are held out (protocol.md §18).
            let held_out = is_held_out(round.training, manifest.query(), key.as_bytes());
            homes[*place].vector = vector(
                round.training,
                local,
                task,
                &state,
                held_out,
                &documents,
                &mut rng(),
            );
        }
        Ok(())
    }

    /// Notifies the owners of homes, without waiting until the notices are sent.
    fn tell(&self, manifest: &VerifiedManifest, homes: Vec<HomeId>) -> Result<(), Error> {
        let (Some(notifier), Ok(executor)) = (&self.notifier, Handle::try_current()) else {
            return Ok(());
        };
        let mut notices = Vec::with_capacity(homes.len());
        for home in homes {
            let email = self.store.rules(&home)?.email;
            notices.push(Notice::of(manifest, home, email));
        }
        // A slow webhook or mail server must not delay the answer.
        if !notices.is_empty() {
            executor.spawn(notifier.clone().tell(notices));
        }
        Ok(())
    }

    /// Returns the homes whose tickets open, each with the information whether it is subscribed to anything. A home
    /// without a key was never subscribed at this stack, and no ticket can be meant for it.
    fn chosen(
        &self,
        ask: &Ask,
        manifest: &VerifiedManifest,
    ) -> Result<(Vec<Asked>, Vec<AnsweringHome>), Error> {
        let mut seen: HashSet<&HomeId> = HashSet::new();
        let mut ids = Vec::with_capacity(ask.homes.len());
        let mut homes = Vec::with_capacity(ask.homes.len());
        for home in &ask.homes {
            // A home that an ask names twice must not contribute twice.
            if !seen.insert(&home.home) {
                continue;
            }
            let Some((key, subscribed)) = self.store.asked(&home.home, manifest.key_epoch)? else {
                continue;
            };
            if let Some(answering) = AnsweringHome::open(ask.work, &ask.find, home, &key) {
                homes.push(answering);
                ids.push((home.home.clone(), subscribed));
            }
        }
        Ok((ids, homes))
    }

    /// Records in the homes' history how many bytes leave for each aggregator.
    fn note_sent(
        &self,
        manifest: &VerifiedManifest,
        work: Work,
        answer: &Answer,
    ) -> Result<(), Error> {
        let committee = work.batch.committee;
        let directory = &self.node.directory;
        let offers = manifest.offers(committee).zip(&answer.groups);
        let groups: Vec<SentGroup> = offers
            .map(|((member, _), group)| SentGroup {
                aggregator: directory
                    .member(Role::DataAggregator, committee, member)
                    .map_or_else(String::new, |node| node.name.to_string()),
                bytes: (group.encapsulated().len() + group.ciphertext().len()) as u64,
            })
            .collect();
        self.store
            .note_sent(manifest.query(), work.batch, answer.homes, &groups)
    }

    /// Evaluates the local query and sets the row of each home that answers.
    fn fill_rows(
        &self,
        manifest: &VerifiedManifest,
        ids: &[HomeId],
        places: &[usize],
        homes: &mut [AnsweringHome],
    ) -> Result<(), Error> {
        let local = &manifest.local;
        let fields: Vec<&str> = local.fields().collect();
        let documents = self
            .store
            .documents(&local.doctype, &fields, ids, &Selector::of(local))?;
        for (place, raw) in Engine::open_in_memory()?.evaluate(local, documents)? {
            if let Some(place) = places.get(place as usize) {
                homes[*place].row = local.row(&raw, &mut rng());
            }
        }
        Ok(())
    }
}
