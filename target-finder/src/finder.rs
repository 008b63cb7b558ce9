//! Finds and certificates of releases (protocol.md §6, §9).

use std::sync::Arc;

use dispers_base::id::{KeyEpoch, Name, Role};
use dispers_core::{
    find::{
        BatchMessage, Chosen, FindRequest, FinderKeys, Finding, Limits, OpenedSegment,
        SegmentOpener, Sizes, check_responsible,
    },
    release::{Certificate, NotariseRequest},
    ticket::PoolSecret,
};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_node::{Node, now};

use crate::{
    Config, Error,
    store::{Asked, Certificates, Certified},
};

/// A Target Finder. Its methods block the calling thread, so the service runs them on worker threads.
pub struct Finder {
    node: Arc<Node>,
    partition: u16,
    targets: Vec<Name>,
    envelope: EnvelopeSecretKey,
    secret: PoolSecret,
    /// The pool's envelope key and secret of the previous key epoch, if they differ from `envelope` and `secret`.
    previous: Option<(EnvelopeSecretKey, PoolSecret)>,
    certificates: Certificates,
    max_certificates: usize,
    limits: Limits,
}

impl Finder {
    /// Creates the finder of `node`.
    ///
    /// # Errors
    /// [`Error::NotListed`] if the directory does not list this node, its pool with this envelope key, or a pool of
    /// Targets.
    pub fn new(
        node: Arc<Node>,
        envelope: EnvelopeSecretKey,
        secret: PoolSecret,
        certificates: Certificates,
        config: &Config,
    ) -> Result<Self, Error> {
        let entry = node.directory.node(&node.name).ok_or(Error::NotListed)?;
        let partition = entry.group;
        let pool = node
            .directory
            .pool(Role::TargetFinder, partition)
            .filter(|pool| pool.envelope_key == envelope.public());
        if pool.is_none() || node.directory.pool(Role::Target, 0).is_none() {
            return Err(Error::NotListed);
        }
        let targets = node.directory.nodes(Role::Target);
        Ok(Self {
            targets: targets.map(|target| target.name.clone()).collect(),
            partition,
            envelope,
            secret,
            previous: None,
            certificates,
            max_certificates: config.max_certificates,
            limits: config.limits(),
            node,
        })
    }

    /// Sets the envelope key and pool secret for the previous key epoch, which serve the queries under that epoch.
    #[must_use]
    pub fn with_previous(mut self, keys: Option<(EnvelopeSecretKey, PoolSecret)>) -> Self {
        self.previous = keys;
        self
    }

    /// Returns the keys for a listed key epoch. Without previous keys, both key epochs have the same ones.
    ///
    /// # Errors
    /// [`Error::NotListed`] if the directory does not list the key epoch.
    fn keys(&self, epoch: KeyEpoch) -> Result<FinderKeys<'_>, Error> {
        let directory = &self.node.directory;
        let (envelope, secret) = match &self.previous {
            Some((envelope, secret)) if epoch != directory.key_epoch => (envelope, secret),
            _ => (&self.envelope, &self.secret),
        };
        let listed = directory.keys_of(epoch);
        let target = listed.and_then(|keys| keys.pool(Role::Target, 0));
        Ok(FinderKeys {
            name: &self.node.name,
            signing: &self.node.signing,
            envelope,
            secret,
            target: &target.ok_or(Error::NotListed)?.envelope_key,
            partitions: directory.partitions(),
            targets: &self.targets,
        })
    }

    /// Verifies the manifest and opens the target profile.
    ///
    /// # Errors
    /// [`Error`] if the manifest or the profile is not valid, or the find is for another finder.
    pub fn start(&self, request: &FindRequest) -> Result<Finding, Error> {
        if request.partition != self.partition {
            return Err(Error::OtherPartition);
        }
        let directory = &self.node.directory;
        let manifest = request.verify(directory, now())?;
        // The finders of a partition do not share what they remember of a querier's sets (§9), so a query without
        // noise has only one of them.
        check_responsible(directory, &manifest, self.partition, &self.node.name)?;
        let keys = self.keys(manifest.key_epoch)?;
        Ok(Finding::new(manifest, request, &keys)?)
    }

    /// Opens one segment of the lists.
    ///
    /// # Errors
    /// [`Error::Find`] if the segment is malformed, or has an entry of another list or key epoch.
    pub fn open(&self, opener: &SegmentOpener, segment: &[u8]) -> Result<OpenedSegment, Error> {
        let keys = self.keys(opener.key_epoch())?;
        Ok(opener.open(segment, &keys)?)
    }

    /// Chooses the homes, if the sets that the finder remembers of the querier allow it (protocol.md §9).
    ///
    /// # Errors
    /// [`Error::Find`] if the homes may not be asked. A refusal for the sizes of sets is recorded before it is
    /// returned.
    pub fn finish(&self, finding: Finding) -> Result<Chosen, Error> {
        let keys = self.keys(finding.key_epoch())?;
        let matching = finding.choose(&keys);
        let directory = &self.node.directory;
        let manifest = matching.manifest();
        let epoch = manifest.key_epoch;
        // Sizes depend on the pool's secret, so that all finders of the partition give the same noisy number for the
        // same set.
        let sizes = Sizes::new(keys.secret, epoch, directory.floors.size_noise);
        let homes = matching.members(&keys);
        let asked = Asked {
            querier: &manifest.querier,
            key_epoch: epoch,
            asking: matching.asking(&homes, &sizes),
            sizes: &sizes,
            limits: self.limits,
            // Tags are random for each key epoch (§5), so the sets of an epoch that is over cannot be compared with
            // new ones, and are dropped.
            oldest: directory.key_epoch.min(directory.asked_keys().key_epoch),
            expires: manifest.expires,
            now: now(),
        };
        // The set, or the counted refusal, is on the disk before an answer can leave: a crash must not let the querier
        // try again.
        self.certificates.ask(&asked)?;
        Ok(matching.finish(&keys, &sizes))
    }

    /// Seals and signs the batch at one place of the cut. Returns `None` beyond the last place.
    ///
    /// # Errors
    /// [`Error::NotListed`] when the key epoch is over.
    pub fn batch(&self, chosen: &Chosen, place: usize) -> Result<Option<BatchMessage>, Error> {
        let keys = self.keys(chosen.key_epoch())?;
        Ok(chosen.batch(place, &keys))
    }

    /// Certifies the one release of a query's round. A repeated request with the same proposal gets the same
    /// certificate.
    ///
    /// # Errors
    /// [`Error::SecondRelease`] if another proposal, or a later round, was certified. [`Error::OtherNotary`] if the
    /// manifest names another notary or has no such round. [`Error::Full`] if no more certificates can be kept.
    pub fn notarise(&self, request: &NotariseRequest) -> Result<Certificate, Error> {
        let now = now();
        let manifest = request.manifest.verify(&self.node.directory, now)?;
        if manifest.notary != self.node.name {
            return Err(Error::OtherNotary);
        }
        if request.round >= manifest.rounds {
            return Err(Error::OtherNotary);
        }
        let query = manifest.query();
        let certified = Certified {
            query,
            round: request.round,
            proposal: request.proposal,
            expires: manifest.expires,
        };
        // > The notary signs the hash of R, once per (query, round), and has it on its disk before (§9).
        let most = self.max_certificates;
        self.certificates.certify(&certified, most, now)?;
        Ok(Certificate::new(
            query,
            request.round,
            request.proposal,
            &self.node.signing,
        ))
    }
}
