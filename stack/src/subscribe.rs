//! Subscription of homes to concepts (protocol.md §4 and §5).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use dispers_base::{
    encoding::{decode, to_bytes},
    id::{KeyEpoch, MemberNumber, Name, Role},
    keys::SigningKey,
};
use dispers_core::{
    evaluation::{Evaluating, MAX_CONCEPTS, Requester},
    subscription::{
        Enrolment, Handle, HomeId, MAX_ENTRIES, PoolKeys, SealedUpload, Upload, upload_context,
    },
};
use dispers_crypto::oprf::{Evaluation, Pseudonym};
use dispers_node::{Activity, AnyOf, Channel, Channels, Node, Patience, blocking, now, rng};
use dispers_proto::{
    chunks,
    v1::{EvaluateRequest, target_client::TargetClient},
};
use dispers_query::catalogue::EVERY_HOME;
use dispers_trust::directory::{Directory, EpochKeys, Node as Listed};
use rand::Rng;
use tonic::Status;

use crate::{Connector, Error, Store, withdraw::send_leaving};

/// Tries to catch up, without an end.
const AGAIN: Patience = Patience::new(Duration::from_secs(10), Duration::from_secs(20));

/// Connection of a host to the network, through Targets, which pass on messages that they cannot open.
#[derive(Clone)]
pub struct Relay {
    node: Arc<Node>,
    channels: Channels,
    targets: Arc<AnyOf>,
}

/// Returns a function that makes an error of a failed call; `what` names the step.
pub(crate) fn remote(what: &'static str) -> impl Fn(Status) -> Error {
    move |status| Error::Remote {
        what,
        reason: status.message().to_owned(),
    }
}

impl Relay {
    /// Creates the relay of a host.
    pub fn new(node: Arc<Node>) -> Self {
        let channels = Channels::new(node.clone());
        let targets = AnyOf::new(node.clone(), channels.clone(), Role::Target);
        Self {
            targets: Arc::new(targets),
            channels,
            node,
        }
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.node.directory
    }

    /// Checks whether the host can be served, with a request to the concept indexors that changes nothing.
    ///
    /// # Errors
    /// [`Error`] of the first step that fails.
    pub async fn probe(&self) -> Result<(), Error> {
        let keys = self.node.directory.asked_keys();
        self.pseudonyms(&keys, &[EVERY_HOME]).await.map(|_| ())
    }

    pub(crate) fn name(&self) -> &Name {
        &self.node.name
    }

    pub(crate) fn signing(&self) -> &SigningKey {
        &self.node.signing
    }

    pub(crate) fn activity(&self) -> &Arc<Activity> {
        &self.node.activity
    }

    /// Returns a client of a listed Target.
    pub(crate) fn client(&self, target: &Listed) -> Result<TargetClient<Channel>, Status> {
        let channel = self.channels.to(&target.address, target.tls_key)?;
        Ok(TargetClient::new(channel))
    }

    /// Calls one Target after the other until one can be reached. More than one may receive the request, so that `call`
    /// must only do what may be repeated.
    pub(crate) async fn through<T, F: Future<Output = Result<T, Status>>>(
        &self,
        call: impl Fn(TargetClient<Channel>) -> F,
    ) -> Result<T, Status> {
        let targets = &self.targets;
        targets
            .call(|channel| call(TargetClient::new(channel)))
            .await
    }

    /// Returns the pseudonyms of `concepts` in a key epoch, in order.
    async fn pseudonyms(
        &self,
        keys: &EpochKeys<'_>,
        concepts: &[&str],
    ) -> Result<Vec<Pseudonym>, Error> {
        let evaluating = Evaluating::new(concepts, &mut rng())?;
        let requests = evaluating.requests(
            &Requester::Host(self.node.name.clone()),
            &self.node.signing,
            &self.node.directory,
            keys.key_epoch,
            now(),
            &mut rng(),
        );
        let mut evaluations: Vec<(MemberNumber, Evaluation)> = Vec::new();
        let mut last = None;
        for (member, sealed) in requests {
            let request = EvaluateRequest {
                member: member.point().into(),
                sealed: to_bytes(&sealed),
            };
            let evaluated = self.through(|mut target| {
                let request = request.clone();
                async move { target.evaluate(request).await }
            });
            match evaluated.await {
                Ok(reply) => {
                    let body = reply.into_inner().body;
                    // A wrong or malformed evaluation is left out, and another indexor is asked: any `needed` of them
                    // are enough.
                    match decode::<Evaluation>(&body) {
                        Ok(evaluation) => match evaluating.check(keys, member, &evaluation) {
                            Ok(()) => evaluations.push((member, evaluation)),
                            Err(error) => last = Some(error.to_string()),
                        },
                        Err(error) => last = Some(error.to_string()),
                    }
                }
                Err(status) => last = Some(status.message().to_owned()),
            }
            if evaluations.len() == keys.indexors.threshold().needed() {
                return Ok(evaluating.finish(keys, &evaluations)?);
            }
        }
        let reason = last.unwrap_or_else(|| "too few are listed".into());
        Err(Error::Remote {
            what: "the concept indexors",
            reason,
        })
    }
}

/// Subscribes each home to its concepts and to `home>all`. Subscriptions that exist stay as they are. Returns the
/// number of new subscriptions.
///
/// # Errors
/// [`Error`]. Subscriptions that the Conductor did not take are not recorded as such, and the call can be repeated. It
/// first withdraws entries that the Conductor may have taken unnoticed.
pub async fn subscribe(
    relay: &Relay,
    store: &Arc<Store>,
    homes: BTreeMap<HomeId, Vec<String>>,
) -> Result<usize, Error> {
    send_leaving(relay, store).await?;
    let directory = &relay.node.directory;
    let asked = directory.asked_keys();
    let mut wanted: Vec<(HomeId, Vec<String>)> = Vec::new();
    let subscribed = store.subscriptions_of(asked.key_epoch)?;
    for (home, mut concepts) in homes {
        if let Some(unknown) = concepts
            .iter()
            .find(|c| !directory.catalogue.has_concept(c))
        {
            return Err(Error::UnknownConcept(unknown.clone()));
        }
        if !store.holds(&home)? {
            return Err(Error::UnknownHome(home.0));
        }
        // Every home is in this list, to which NOT in a profile is relative (protocol.md §5).
        concepts.push(EVERY_HOME.into());
        concepts.sort_unstable();
        concepts.dedup();
        if let Some(have) = subscribed.get(&home) {
            concepts.retain(|concept| !have.contains(concept));
        }
        if !concepts.is_empty() {
            wanted.push((home, concepts));
        }
    }
    let tried: usize = wanted.iter().map(|(_, concepts)| concepts.len()).sum();
    let count = send(relay, store, &asked, wanted, false).await?;
    // Fewer than were sent: another process has withdrawn the others on their way.
    if count < tried {
        send_leaving(relay, store).await?;
        return Err(Error::Interrupted);
    }
    // Under the key epoch that is asked, everything is done. Other listed epochs follow.
    while catch_up(relay, store).await? > 0 {}
    Ok(count)
}

/// Gives each home, under every key epoch that the directory lists, the subscriptions that it has in another, and
/// forgets key epochs that are over. Returns the number of subscriptions that were missing; 0 means that nothing is
/// left to do. A subscription that another process withdrew on its way is missing again.
///
/// # Errors
/// As [`subscribe`]. Repeating the call goes on where it stopped.
pub async fn catch_up(relay: &Relay, store: &Arc<Store>) -> Result<usize, Error> {
    let directory = &relay.node.directory;
    let homes = subscribers(directory, store)?;
    let mut count = 0;
    for keys in directory.epochs() {
        let mut wanted = Vec::new();
        let subscribed = store.subscriptions_of(keys.key_epoch)?;
        for (home, concepts) in &homes {
            let have = subscribed.get(home).map_or(&[][..], Vec::as_slice);
            let lacking = concepts.iter().filter(|concept| !have.contains(concept));
            let lacking: Vec<String> = lacking.cloned().collect();
            if !lacking.is_empty() {
                count += lacking.len();
                wanted.push((home.clone(), lacking));
            }
        }
        send(relay, store, &keys, wanted, true).await?;
    }
    send_leaving(relay, store).await?;
    // Nobody asks under an older epoch, so that its secrets are of no use any more.
    store.forget_before(directory.asked_keys().key_epoch)?;
    Ok(count)
}

/// Catches up when a stack starts, and tries again until nothing is missing.
pub async fn keep_up(relay: Relay, store: Arc<Store>) {
    let mut tries = AGAIN.begin();
    loop {
        match catch_up(&relay, &store).await {
            Ok(0) => return,
            Ok(count) => tracing::info!(count, "subscribed under another key epoch"),
            Err(error) => {
                tracing::warn!(%error, "cannot subscribe yet");
                tries.again().await;
            }
        }
    }
}

/// Returns every home with documents that is subscribed to anything in any key epoch, with those of its concepts that
/// the catalogue has.
fn subscribers(directory: &Directory, store: &Store) -> Result<Vec<(HomeId, Vec<String>)>, Error> {
    let mut homes = Vec::new();
    for (home, mut concepts) in store.subscribers()? {
        concepts.retain(|concept| directory.catalogue.has_concept(concept));
        if !concepts.is_empty() && store.holds(&home)? {
            homes.push((home, concepts));
        }
    }
    Ok(homes)
}

/// Sends every subscription again, under every key epoch that the directory lists, to a Conductor that has lost them.
/// Returns the number of subscriptions sent. Concepts that the catalogue no longer has are left out.
///
/// # Errors
/// As [`subscribe`]. Subscriptions that were sent are recorded, and repeating the call is harmless.
pub async fn resubscribe(relay: &Relay, store: &Arc<Store>) -> Result<usize, Error> {
    send_leaving(relay, store).await?;
    let directory = &relay.node.directory;
    let homes = subscribers(directory, store)?;
    let each: usize = homes.iter().map(|(_, concepts)| concepts.len()).sum();
    let (mut count, mut tried) = (0, 0);
    for keys in directory.epochs() {
        tried += each;
        count += send(relay, store, &keys, homes.clone(), true).await?;
    }
    // A Conductor that still has the earlier entries withdraws them, since the new ones replace them.
    send_leaving(relay, store).await?;
    store.forget_before(directory.asked_keys().key_epoch)?;
    if count < tried {
        return Err(Error::Interrupted);
    }
    Ok(count)
}

/// Translates concepts into pseudonyms and uploads subscriptions. Returns the number that were recorded. `again` is
/// true if the homes are subscribed to the concepts already, under this or another key epoch.
async fn send(
    relay: &Relay,
    store: &Arc<Store>,
    keys: &EpochKeys<'_>,
    wanted: Vec<(HomeId, Vec<String>)>,
    again: bool,
) -> Result<usize, Error> {
    let mut vocabulary: Vec<&str> = wanted
        .iter()
        .flat_map(|(_, concepts)| concepts.iter().map(String::as_str))
        .collect();
    vocabulary.sort_unstable();
    vocabulary.dedup();
    let mut pseudonyms: BTreeMap<String, Pseudonym> = BTreeMap::new();
    // An indexor refuses a request with more concepts.
    for part in vocabulary.chunks(MAX_CONCEPTS) {
        let names = part.iter().map(|concept| (*concept).to_owned());
        pseudonyms.extend(names.zip(relay.pseudonyms(keys, part).await?));
    }
    let mut count = 0;
    let mut part: Vec<(HomeId, Vec<String>)> = Vec::new();
    let mut entries = 0;
    for home in wanted {
        if entries + home.1.len() > MAX_ENTRIES / 2 {
            count += upload(
                relay,
                store,
                keys.key_epoch,
                std::mem::take(&mut part),
                &pseudonyms,
                again,
            )
            .await?;
            entries = 0;
        }
        entries += home.1.len();
        part.push(home);
    }
    if !part.is_empty() {
        count += upload(relay, store, keys.key_epoch, part, &pseudonyms, again).await?;
    }
    Ok(count)
}

/// Uploads subscriptions, with one message per partition.
async fn upload(
    relay: &Relay,
    store: &Arc<Store>,
    epoch: KeyEpoch,
    homes: Vec<(HomeId, Vec<String>)>,
    pseudonyms: &BTreeMap<String, Pseudonym>,
    again: bool,
) -> Result<usize, Error> {
    let partitions = relay.directory().partitions();
    let mut parts: BTreeMap<u16, Part> = BTreeMap::new();
    for (home, concepts) in homes {
        let secrets = store.secrets(&home, epoch)?;
        // The tag names the partition, whose Target Finders alone can open the home's entries (protocol.md §6).
        let part = parts.entry(secrets.tag.partition(partitions)).or_default();
        let mut entries = Vec::with_capacity(concepts.len());
        for concept in concepts {
            // Each entry has a handle of its own, by which only this stack can withdraw it.
            let mut handle = Handle([0; 16]);
            rng().fill_bytes(&mut handle.0);
            entries.push((pseudonyms[&concept], handle.clone()));
            part.subscriptions.push((home.clone(), concept, handle));
        }
        part.enrolments.push(Enrolment {
            home,
            tag: secrets.tag,
            key: secrets.key,
            concepts: entries,
        });
    }
    let mut count = 0;
    for (partition, part) in parts {
        count += upload_part(relay, store, epoch, partition, part, again).await?;
    }
    Ok(count)
}

/// Subscriptions of homes in one partition.
#[derive(Default)]
struct Part {
    enrolments: Vec<Enrolment>,
    subscriptions: Vec<(HomeId, String, Handle)>,
}

async fn upload_part(
    relay: &Relay,
    store: &Arc<Store>,
    epoch: KeyEpoch,
    partition: u16,
    part: Part,
    again: bool,
) -> Result<usize, Error> {
    let node = relay.node.clone();
    let Part {
        enrolments,
        subscriptions,
    } = part;
    // Recorded before the upload: if this process dies, another one still knows the handles and withdraws the entries.
    store.sending(&subscriptions)?;
    let sent = async {
        let sealed = blocking(move || {
            let sealed = seal(&node, epoch, partition, &enrolments);
            sealed.map_err(|error| error.fault().status(&error))
        });
        let sealed = sealed.await.map_err(remote("sealing the subscriptions"))?;
        let sent = relay.through(|mut target| {
            let sealed = tokio_stream::iter(chunks([sealed.clone()]));
            async move { target.upload(sealed).await }
        });
        sent.await.map_err(remote("the upload"))
    };
    // The Conductor may have taken the upload without a reply that arrived. The entries are therefore withdrawn.
    if let Err(error) = sent.await {
        store.lost(&subscriptions)?;
        return Err(error);
    }
    store.subscribed(epoch, &subscriptions, again)
}

/// Seals an upload for the Conductor. Its entries are sealed for the Target Finders of the partition and for the
/// Targets.
fn seal(
    node: &Node,
    epoch: KeyEpoch,
    partition: u16,
    enrolments: &[Enrolment],
) -> Result<Vec<u8>, Error> {
    let directory = &node.directory;
    let keys = directory
        .keys_of(epoch)
        .ok_or(Error::NotListed("such key epoch"))?;
    let finder = keys
        .pool(Role::TargetFinder, partition)
        .ok_or(Error::NotListed("target finder pool"))?;
    let target = keys
        .pool(Role::Target, 0)
        .ok_or(Error::NotListed("target pool"))?;
    let conductor = directory.conductor_key();
    let upload = Upload::build(
        &node.name,
        enrolments,
        epoch,
        partition,
        &PoolKeys {
            target_finder: &finder.envelope_key,
            target: &target.envelope_key,
        },
        &mut rng(),
    );
    let sealed = SealedUpload::seal(&upload, conductor, &upload_context(), &mut rng());
    Ok(to_bytes(&sealed))
}
