//! The log of manifests that this Conductor keeps, and its heads (protocol.md §16).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{Name, Timestamp},
    keys::Signature,
};
use dispers_core::{
    log::{
        Cosign, CosignReply, FRESH, Head, Inclusion, MAX_COSIGN, MAX_HEAD, Root, SignedHead, Tree,
        leaf,
    },
    manifest::SignedManifest,
};
use dispers_node::{Channel, Channels, Node, blocking, now};
use dispers_proto::v1::{Message, witness_client::WitnessClient};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Status;

use crate::{Error, Store};

/// Longest wait for a witness.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to have a head co-signed.
const PAUSE: Duration = Duration::from_secs(1);
/// Proofs that are kept.
const MAX_PROOFS: usize = 4096;
/// Leaves that are read from the store at a time.
const LEAVES: u64 = 10_000;

/// The log. Several Conductors that share a store have one log.
pub struct Log {
    node: Arc<Node>,
    channels: Channels,
    store: Arc<dyn Store>,
    tree: Arc<Mutex<Tree>>,
    /// The size that each witness co-signed last, as far as this process knows.
    sizes: RwLock<HashMap<Name, u64>>,
    /// The latest head that was co-signed here, and its size.
    last: RwLock<Option<(u64, SignedHead)>>,
    /// Proofs that were asked for: most stacks ask for the same.
    proofs: RwLock<HashMap<(u64, u64), Vec<u8>>>,
    /// One head is signed at a time: who waits finds the one before cover its manifest, too.
    heads: Mutex<()>,
}

impl Log {
    /// The log in `store`.
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

    fn number(&self) -> u32 {
        self.node.directory.witnesses.log
    }

    /// Brings the tree up to what is kept.
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

    /// Puts a manifest into the log, if it is not there, and shows that it is, under a head that enough
    /// witnesses co-signed.
    ///
    /// # Errors
    /// [`Error::Unwitnessed`] naming the witnesses that did not co-sign until `until`; [`Error::Storage`].
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
        loop {
            let missing = match self.show(index).await {
                Ok(inclusion) => return Ok(inclusion),
                Err(error @ Error::Unwitnessed { .. }) => error,
                Err(error @ Error::Away(_)) => error,
                Err(error) => return Err(error),
            };
            if now().plus(PAUSE.as_millis() as u64) >= until {
                return Err(missing);
            }
            sleep(PAUSE).await;
        }
    }

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

    fn is_stale(&self, head: &[u8]) -> bool {
        let head: Option<SignedHead> = from_bytes(head, MAX_HEAD, "head").ok();
        let head = head.and_then(|head| head.signed(&self.node.directory).ok());
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
        let mut head = head.sign(&self.node.name, &self.node.signing);
        head.witnesses = self.cosigned(&head, root.size).await?;
        self.store
            .keep_head(self.number(), root.size, to_bytes(&head))
            .await?;
        let mut last = self.last.write().unwrap_or_else(PoisonError::into_inner);
        *last = Some((root.size, head.clone()));
        Ok(head)
    }

    /// Enough witnesses' signatures on a head.
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
                        // The others may still be asked: what they co-sign, they will remember.
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

    /// That the log of `newer` entries continues that of `older`.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`] where it never had these sizes, [`Error::Storage`].
    pub async fn consistency(&self, older: u64, newer: u64) -> Result<Vec<u8>, Error> {
        let known = |proofs: &HashMap<(u64, u64), Vec<u8>>| proofs.get(&(older, newer)).cloned();
        if let Some(proof) = known(&self.proofs.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(proof);
        }
        let mut tree = self.tree.lock().await;
        if newer > tree.size() {
            self.refresh(&mut tree).await?;
        }
        drop(tree);
        // For a size that is past, the tree of then is made anew: that is a worker's work.
        let tree = self.tree.clone();
        let proof = blocking(move || Ok(tree.blocking_lock().consistency(older, newer)));
        let proof = proof
            .await
            .map_err(|status| Error::Storage(status.message().to_owned()));
        let proof = proof?.ok_or(Error::NoSuchLog)?;
        let mut proofs = self.proofs.write().unwrap_or_else(PoisonError::into_inner);
        if proofs.len() >= MAX_PROOFS {
            proofs.clear();
        }
        proofs.insert((older, newer), proof.clone());
        Ok(proof)
    }
}

/// One witness's signature. `from` is where its last head is believed to end; it tells if that is wrong.
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
    // Another conductor's head came first: the next one continues it.
    Err(Status::aborted("another head was co-signed meanwhile"))
}
