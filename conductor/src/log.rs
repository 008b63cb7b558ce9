//! The log of manifests that this Conductor keeps, and its signed heads (protocol.md §16).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use dispers_base::{
    encoding::{decode, from_bytes, to_bytes},
    id::{Name, Timestamp},
    keys::Signature,
};
use dispers_core::{
    log::{Cosign, CosignReply, FRESH, Head, Inclusion, MAX_COSIGN, Root, SignedHead, Tree, leaf},
    manifest::SignedManifest,
};
use dispers_node::{Channel, Channels, Node, Patience, blocking, now};
use dispers_proto::v1::{Message, witness_client::WitnessClient};
use tokio::{sync::Mutex, task::JoinSet, time::timeout};
use tonic::Status;

use crate::{Error, Store};

/// Longest wait for one witness to co-sign a head.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tries to have a head co-signed, until the caller's deadline.
const SHOW: Patience = Patience::new(Duration::from_secs(1), Duration::from_secs(2));
/// Most consistency proofs that are cached.
const MAX_PROOFS: usize = 4096;
/// Most leaves that are read from the store at a time.
const LEAVES: u64 = 10_000;

/// The log of manifests. Conductors that share a store have one log.
pub struct Log {
    node: Arc<Node>,
    channels: Channels,
    store: Arc<dyn Store>,
    tree: Arc<Mutex<Tree>>,
    /// Size of the head that each witness co-signed last, as far as this process knows.
    sizes: RwLock<HashMap<Name, u64>>,
    /// Latest head that this process had co-signed, with its size.
    last: RwLock<Option<(u64, SignedHead)>>,
    /// Cached consistency proofs by sizes (older, newer). Most stacks ask for the same proof.
    proofs: RwLock<HashMap<(u64, u64), Vec<u8>>>,
    /// Lock for signing heads one at a time. The head signed meanwhile often covers the manifest of a query that
    /// waits, too.
    heads: Mutex<()>,
}

impl Log {
    /// Creates the log in `store`.
    pub fn new(node: Arc<Node>, channels: Channels, store: Arc<dyn Store>) -> Self {
        Self {
            node,
            channels,
            store,
            tree: Arc::default(),
            sizes: RwLock::default(),
            last: RwLock::default(),
            proofs: RwLock::default(),
            heads: Mutex::default(),
        }
    }

    /// Returns the number of the log that the directory names now.
    fn number(&self) -> u32 {
        self.node.directory.witnesses.log
    }

    /// Adds to the tree the leaves that only the store has.
    async fn refresh(&self, tree: &mut Tree) -> Result<(), Error> {
        loop {
            let leaves = self
                .store
                .leaves(self.number(), tree.size(), LEAVES)
                .await?;
            let count = leaves.len() as u64;
            leaves.into_iter().for_each(|leaf| tree.push(leaf));
            if count < LEAVES {
                return Ok(());
            }
        }
    }

    /// Appends a manifest to the log if it is not there, and proves its inclusion under a head that enough witnesses
    /// co-signed.
    ///
    /// # Errors
    /// [`Error::Unwitnessed`] with the witnesses that did not co-sign before `until`. [`Error::Storage`].
    pub async fn publish(
        &self,
        manifest: &SignedManifest,
        until: Timestamp,
    ) -> Result<Inclusion, Error> {
        let (query, leaf) = (manifest.query(), leaf(manifest));
        let index = self
            .store
            .append(self.number(), query, leaf, to_bytes(manifest));
        let index = index.await?;
        let may_pass = |error: &Error| matches!(error, Error::Unwitnessed { .. } | Error::Away(_));
        let left = Duration::from_millis(until.0.saturating_sub(now().0));
        let shown = SHOW.within(left).retry(may_pass, || self.show(index));
        shown.await
    }

    /// Returns at most `count` encoded signed manifests, beginning at place `from`.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Away`].
    pub(crate) async fn entries(&self, from: u64, count: u64) -> Result<Vec<Vec<u8>>, Error> {
        self.store.logged(self.number(), from, count).await
    }

    /// Returns the channels to other nodes.
    pub(crate) fn channels(&self) -> &Channels {
        &self.channels
    }

    /// Returns the proof that the leaf at `index` is in the log, under the latest head or a newly signed one.
    async fn show(&self, index: u64) -> Result<Inclusion, Error> {
        let _one = self.heads.lock().await;
        let mut tree = self.tree.lock().await;
        self.refresh(&mut tree).await?;
        let last = self
            .last
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let path = tree.path(index).unwrap_or_default();
        // The path belongs to the tree of this size. A head of another size has another root.
        if let Some((_, head)) = last.filter(|(size, _)| *size == tree.size()) {
            return Ok(Inclusion { head, index, path });
        }
        let root = tree.root();
        drop(tree);
        let head = self.sign(root).await?;
        Ok(Inclusion { head, index, path })
    }

    /// Returns the latest head that witnesses co-signed. A head older than half of [`FRESH`] is first signed again. If
    /// witnesses are missing it stays as it is, and shows its age.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Away`].
    pub async fn head(&self) -> Result<Option<Vec<u8>>, Error> {
        let Some(latest) = self.store.head(self.number()).await? else {
            return Ok(None);
        };
        if !self.is_stale(&latest) {
            // Signing takes a round trip to the witnesses, so most requests get the stored head.
            return Ok(Some(latest));
        }
        let _one = self.heads.lock().await;
        // Another request may have signed a new head while this one waited for the lock.
        let again = self.store.head(self.number()).await?;
        if again.as_ref().is_some_and(|bytes| !self.is_stale(bytes)) {
            return Ok(again);
        }
        let mut tree = self.tree.lock().await;
        self.refresh(&mut tree).await?;
        let root = tree.root();
        drop(tree);
        match self.sign(root).await {
            Ok(head) => Ok(Some(to_bytes(&head))),
            Err(Error::Unwitnessed { .. }) => Ok(again),
            Err(error) => Err(error),
        }
    }

    /// Returns whether a stored head is unreadable, or older than half of [`FRESH`] with an allowance for differing
    /// clocks.
    fn is_stale(&self, head: &[u8]) -> bool {
        let head: Option<SignedHead> = decode(head).ok();
        let head = head.and_then(|head| head.signed(&self.node.directory).ok());
        // Auditors accept no head older than `FRESH`. Signing again at half of that leaves them time to fetch it.
        head.is_none_or(|head| head.time.plus(FRESH / 2).has_passed(now()))
    }

    /// Signs a head, collects the witnesses' signatures, and stores it.
    async fn sign(&self, root: Root) -> Result<SignedHead, Error> {
        let head = Head {
            network: self.node.directory.network.clone(),
            log: self.number(),
            root,
            time: now(),
        };
        // The head may have the size of the one before. Auditors refuse old heads, or a Conductor could show them one
        // prefix of the log forever (§16), so a log without new queries needs new heads, too.
        let mut head = head.sign(&self.node.name, &self.node.signing);
        head.witnesses = self.cosigned(&head, root.size).await?;
        self.store
            .keep_head(self.number(), root.size, to_bytes(&head))
            .await?;
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        *last = Some((root.size, head.clone()));
        Ok(head)
    }

    /// Has the witnesses co-sign a head. Returns their signatures as soon as these are enough.
    ///
    /// # Errors
    /// [`Error::Unwitnessed`] with the witnesses that did not co-sign.
    async fn cosigned(
        &self,
        head: &SignedHead,
        size: u64,
    ) -> Result<Vec<(Name, Signature)>, Error> {
        let directory = &self.node.directory;
        let mut asking = JoinSet::new();
        let mut missing = directory.witnesses.names.clone();
        for name in &directory.witnesses.names {
            let Some(witness) = directory.node(name) else {
                continue;
            };
            let Ok(channel) = self.channels.to(&witness.address, witness.tls_key) else {
                continue;
            };
            let sizes = self.sizes.read().unwrap_or_else(PoisonError::into_inner);
            let from = sizes.get(name).copied().unwrap_or_default();
            drop(sizes);
            let (name, head, tree) = (name.clone(), head.clone(), self.tree.clone());
            let client = WitnessClient::new(channel);
            asking.spawn(async move {
                let asked = timeout(PATIENCE, cosign(client, &tree, head, from, size)).await;
                let asked = asked.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")));
                (name, asked)
            });
        }
        let mut signatures: Vec<(Name, Signature)> = Vec::new();
        while let Some(asked) = asking.join_next().await {
            let Ok((name, asked)) = asked else { continue };
            match asked {
                Ok(signature) if head.is_cosigned(&name, &signature, directory) => {
                    missing.retain(|other| *other != name);
                    let mut sizes = self.sizes.write().unwrap_or_else(PoisonError::into_inner);
                    sizes.insert(name.clone(), size);
                    drop(sizes);
                    signatures.push((name, signature));
                    let mut covered = head.clone();
                    covered.witnesses.clone_from(&signatures);
                    if covered.verify(directory).is_ok() {
                        // The remaining requests go on: each witness that co-signs this head accepts only heads that
                        // continue it.
                        asking.detach_all();
                        return Ok(signatures);
                    }
                }
                Ok(_) => tracing::warn!(node = %name, "a witness's signature does not hold"),
                Err(status) => {
                    tracing::warn!(node = %name, code = ?status.code(), "a witness did not co-sign the log");
                }
            }
        }
        Err(Error::Unwitnessed {
            needed: directory.witnesses.needed.into(),
            missing,
        })
    }

    /// Returns the proof that the log of `newer` entries continues the log of `older` entries.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`] if the log never had these sizes in this order. [`Error::Storage`].
    pub async fn consistency(&self, older: u64, newer: u64) -> Result<Vec<u8>, Error> {
        let cached = {
            let proofs = self.proofs.read().unwrap_or_else(PoisonError::into_inner);
            proofs.get(&(older, newer)).cloned()
        };
        if let Some(proof) = cached {
            return Ok(proof);
        }
        let mut tree = self.tree.lock().await;
        if newer > tree.size() {
            self.refresh(&mut tree).await?;
        }
        drop(tree);
        // For a size of the past, the proof requires the tree of that size to be built again, so a worker computes it.
        let tree = self.tree.clone();
        let proof = blocking(move || Ok(tree.blocking_lock().consistency(older, newer)));
        let proof = proof
            .await
            .map_err(|status| Error::Storage(status.message().to_owned()));
        let proof = proof?.ok_or(Error::NoSuchLog)?;
        let mut proofs = self.proofs.write().unwrap_or_else(PoisonError::into_inner);
        // Everybody in the directory may ask for proofs, so the cache is bounded.
        if proofs.len() >= MAX_PROOFS {
            proofs.clear();
        }
        proofs.insert((older, newer), proof.clone());
        Ok(proof)
    }
}

/// Has one witness co-sign a head. `from` is the assumed size of the head that it co-signed last. A witness that
/// co-signed another size last answers with that size, and is asked once more.
///
/// # Errors
/// The witness's status, or `ABORTED` if it co-signed another head meanwhile.
async fn cosign(
    mut witness: WitnessClient<Channel>,
    tree: &Mutex<Tree>,
    head: SignedHead,
    from: u64,
    size: u64,
) -> Result<Signature, Status> {
    let mut from = from.min(size);
    for _ in 0..2 {
        let proof = tree.lock().await.consistency(from, size);
        let request = Cosign {
            head: head.clone(),
            from,
            proof: proof.unwrap_or_default(),
        };
        let body = to_bytes(&request);
        let reply = witness.cosign(Message { body }).await?.into_inner().body;
        match from_bytes(&reply, MAX_COSIGN, "reply") {
            Ok(CosignReply::Signed(signature)) => return Ok(signature),
            Ok(CosignReply::From(last)) if last <= size => from = last,
            Ok(CosignReply::From(_)) => break,
            Err(error) => return Err(Status::data_loss(error.to_string())),
        }
    }
    // The witness co-signed the head of another Conductor meanwhile. The next head will continue that one.
    Err(Status::aborted("another head was co-signed meanwhile"))
}
