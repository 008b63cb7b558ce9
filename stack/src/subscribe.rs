//! Subscribing homes to concepts (protocol.md §4 and §5).

use std::{collections::BTreeMap, sync::Arc};

use dispers_core::{
    catalogue::EVERY_HOME,
    directory::Directory,
    encoding::{from_bytes, to_bytes},
    evaluation::{Evaluating, MAX_CONCEPTS, Requester},
    id::{MemberNumber, Role},
    oprf::{Evaluation, Pseudonym},
    subscription::{
        Enrolment, Handle, HomeId, MAX_ENTRIES, PoolKeys, SealedUpload, Upload, upload_context,
    },
};
use dispers_node::{Channels, Node, blocking, now, rng};
use dispers_proto::{
    chunks,
    v1::{EvaluateRequest, target_client::TargetClient},
};
use rand::Rng;
use tonic::{Status, transport::Channel};

use crate::{Error, Store, withdraw::send_leaving};

/// A host's way to the network: through the Target, which passes on what it cannot open.
#[derive(Clone)]
pub struct Relay {
    node: Arc<Node>,
    channels: Channels,
}

pub(crate) fn remote(what: &'static str) -> impl Fn(Status) -> Error {
    move |status| Error::Remote {
        what,
        reason: status.message().to_owned(),
    }
}

impl Relay {
    /// The relay of a host.
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            channels: Channels::new(node.clone()),
            node,
        }
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.node.directory
    }

    pub(crate) fn target(&self) -> Result<TargetClient<Channel>, Error> {
        let node = self.node.directory.nodes(Role::Target).next();
        let node = node.ok_or(Error::NotListed("target"))?;
        let channel = self.channels.to(&node.address, node.tls_key);
        Ok(TargetClient::new(channel.map_err(remote("the target"))?))
    }

    /// The pseudonyms of `concepts`, in order.
    async fn pseudonyms(&self, concepts: &[&str]) -> Result<Vec<Pseudonym>, Error> {
        let evaluating = Evaluating::new(concepts, &mut rng())?;
        let requests = evaluating.requests(
            &Requester::Host(self.node.name.clone()),
            &self.node.signing,
            &self.node.directory,
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
            match self.target()?.evaluate(request).await {
                Ok(reply) => {
                    let body = reply.into_inner().body;
                    let evaluation: Evaluation = from_bytes(&body, 1 << 20, "evaluation")?;
                    // A wrong answer is left out and named, and the next indexor is asked.
                    match evaluating.check(&self.node.directory, member, &evaluation) {
                        Ok(()) => evaluations.push((member, evaluation)),
                        Err(error) => last = Some(error.to_string()),
                    }
                }
                Err(status) => last = Some(status.message().to_owned()),
            }
            if evaluations.len() == self.node.directory.indexors.threshold().needed() {
                return Ok(evaluating.finish(&self.node.directory, &evaluations)?);
            }
        }
        let reason = last.unwrap_or_else(|| "too few are listed".into());
        Err(Error::Remote {
            what: "the concept indexors",
            reason,
        })
    }
}

/// Subscribes each home to its concepts and to the one that every home has; what a home is
/// subscribed to already is left as it is. Returns how many subscriptions are new.
///
/// # Errors
/// [`Error`]; what was not taken by the Conductor is not noted as subscribed, and can be repeated.
/// What it may have taken unnoticed is withdrawn first.
pub async fn subscribe(
    relay: &Relay,
    store: &Arc<Store>,
    homes: BTreeMap<HomeId, Vec<String>>,
) -> Result<usize, Error> {
    send_leaving(relay, store).await?;
    let directory = &relay.node.directory;
    let mut wanted: Vec<(HomeId, Vec<String>)> = Vec::new();
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
        concepts.push(EVERY_HOME.into());
        concepts.sort_unstable();
        concepts.dedup();
        let have = store.subscriptions(&home, directory.key_epoch)?;
        concepts.retain(|concept| !have.contains(concept));
        if !concepts.is_empty() {
            wanted.push((home, concepts));
        }
    }
    send(relay, store, wanted).await
}

/// Sends every subscription again: to a Conductor that has lost them, or under a new key epoch.
/// Returns how many were sent. Concepts that the catalogue has no longer stay behind.
///
/// # Errors
/// As [`subscribe`]; what was sent is kept, and repeating it is harmless.
pub async fn resubscribe(relay: &Relay, store: &Arc<Store>) -> Result<usize, Error> {
    send_leaving(relay, store).await?;
    let directory = &relay.node.directory;
    let mut wanted = Vec::new();
    for (home, mut concepts) in store.subscribers()? {
        concepts.retain(|concept| directory.catalogue.has_concept(concept));
        if !concepts.is_empty() && store.holds(&home)? {
            wanted.push((home, concepts));
        }
    }
    let count = send(relay, store, wanted).await?;
    // A Conductor that still has the entries of before is told that they are replaced.
    send_leaving(relay, store).await?;
    store.forget_before(directory.key_epoch)?;
    Ok(count)
}

/// Turns concepts into pseudonyms and uploads; how many subscriptions the Conductor took.
async fn send(
    relay: &Relay,
    store: &Arc<Store>,
    wanted: Vec<(HomeId, Vec<String>)>,
) -> Result<usize, Error> {
    let mut vocabulary: Vec<&str> = wanted
        .iter()
        .flat_map(|(_, concepts)| concepts.iter().map(String::as_str))
        .collect();
    vocabulary.sort_unstable();
    vocabulary.dedup();
    let mut pseudonyms: BTreeMap<String, Pseudonym> = BTreeMap::new();
    for part in vocabulary.chunks(MAX_CONCEPTS) {
        let names = part.iter().map(|concept| (*concept).to_owned());
        pseudonyms.extend(names.zip(relay.pseudonyms(part).await?));
    }
    let mut count = 0;
    let mut part: Vec<(HomeId, Vec<String>)> = Vec::new();
    let mut entries = 0;
    for home in wanted {
        if entries + home.1.len() > MAX_ENTRIES / 2 {
            count += upload(relay, store, std::mem::take(&mut part), &pseudonyms).await?;
            entries = 0;
        }
        entries += home.1.len();
        part.push(home);
    }
    if !part.is_empty() {
        count += upload(relay, store, part, &pseudonyms).await?;
    }
    Ok(count)
}

async fn upload(
    relay: &Relay,
    store: &Arc<Store>,
    homes: Vec<(HomeId, Vec<String>)>,
    pseudonyms: &BTreeMap<String, Pseudonym>,
) -> Result<usize, Error> {
    let node = relay.node.clone();
    let epoch = node.directory.key_epoch;
    let mut enrolments = Vec::with_capacity(homes.len());
    let mut subscriptions = Vec::new();
    for (home, concepts) in homes {
        let secrets = store.secrets(&home, epoch)?;
        let mut entries = Vec::with_capacity(concepts.len());
        for concept in concepts {
            let mut handle = Handle([0; 16]);
            rng().fill_bytes(&mut handle.0);
            entries.push((pseudonyms[&concept], handle.clone()));
            subscriptions.push((home.clone(), concept, handle));
        }
        enrolments.push(Enrolment {
            home,
            tag: secrets.tag,
            key: secrets.key,
            concepts: entries,
        });
    }
    store.sending(&subscriptions)?;
    let sealed =
        blocking(move || seal(&node, &enrolments).map_err(|error| error.fault().status(&error)))
            .await
            .map_err(remote("sealing the subscriptions"))?;
    relay
        .target()?
        .upload(tokio_stream::iter(chunks([sealed])))
        .await
        .map_err(remote("the upload"))?;
    store.subscribed(epoch, &subscriptions)?;
    Ok(subscriptions.len())
}

fn seal(node: &Node, enrolments: &[Enrolment]) -> Result<Vec<u8>, Error> {
    let directory = &node.directory;
    let finder = directory
        .pool(Role::TargetFinder, 0)
        .ok_or(Error::NotListed("target finder pool"))?;
    let target = directory
        .pool(Role::Target, 0)
        .ok_or(Error::NotListed("target pool"))?;
    let conductor = directory
        .nodes(Role::Conductor)
        .find_map(|node| node.envelope_key.as_ref())
        .ok_or(Error::NotListed("conductor with an envelope key"))?;
    let upload = Upload::build(
        &node.name,
        enrolments,
        directory.key_epoch,
        0,
        &PoolKeys {
            target_finder: &finder.envelope_key,
            target: &target.envelope_key,
        },
        &mut rng(),
    );
    let sealed = SealedUpload::seal(&upload, conductor, &upload_context(), &mut rng());
    Ok(to_bytes(&sealed))
}
