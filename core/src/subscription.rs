//! Subscriptions: how homes become findable without being known (protocol.md §5).
//!
//! One upload of a host carries, for each (home, concept), an entry under the concept's
//! pseudonym. Its outer layer opens for the Target Finder only (tag, ticket key, inner layer), its
//! inner layer for the Target only (host, home). Both are batch envelopes: one encapsulation per
//! upload and reader.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use rand::{CryptoRng, seq::SliceRandom};

use crate::ticket::HomeKey;
use dispers_base::{
    encoding,
    id::{KeyEpoch, Name, Role},
    labels,
};
use dispers_crypto::{
    envelope::{
        BatchOpener, BatchSealer, Context, EnvelopePublicKey, EnvelopeSecretKey, OpenError, reader,
    },
    oprf::Pseudonym,
};

/// Most entries of one upload.
pub const MAX_ENTRIES: usize = 200_000;
/// Largest encoded upload, in bytes.
pub const MAX_UPLOAD: usize = 128 << 20;
/// Longest home identifier, in bytes.
pub const MAX_HOME_ID: usize = 128;

/// Names a home towards the Target Finder: random per home and key epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct HomeTag(pub [u8; 16]);

impl fmt::Debug for HomeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HomeTag")
    }
}

/// A home's name at its host. Secret: it is an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct HomeId(pub String);

impl fmt::Debug for HomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HomeId")
    }
}

/// Where a home is asked: the inner layer, for the Target.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Link {
    /// The host, as the directory lists it.
    pub host: Name,
    /// The home there.
    pub home: HomeId,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// The inner layer of one entry, still closed for everybody but the Target.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SealedLink {
    /// Place in the upload's inner batch envelope.
    pub index: u32,
    /// The sealed [`Link`].
    pub ciphertext: Vec<u8>,
}

/// The outer layer of one entry, for the Target Finder.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct EntryContent {
    /// The home's tag.
    pub tag: HomeTag,
    /// The home's ticket key κ.
    pub key: HomeKey,
    /// The inner layer.
    pub link: SealedLink,
}

/// One entry of an upload, as the Conductor keeps it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// The concept's pseudonym.
    pub pseudonym: Pseudonym,
    /// Place in the upload's outer batch envelope.
    pub index: u32,
    /// The sealed [`EntryContent`].
    pub ciphertext: Vec<u8>,
    /// Hash of the handle that withdraws the entry.
    pub withdrawal: [u8; 32],
}

/// The two batch envelopes that the entries of one upload belong to.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UploadEnvelopes {
    /// Outer encapsulation, for the Target Finder.
    pub entries: Vec<u8>,
    /// Items in the outer envelope.
    pub entry_count: u32,
    /// Inner encapsulation, for the Target.
    pub links: Vec<u8>,
    /// Items in the inner envelope.
    pub link_count: u32,
}

/// One host's upload, sealed for the Conductor on its way through the Target.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Upload {
    /// Key epoch of pseudonyms and pool keys.
    pub key_epoch: KeyEpoch,
    /// Partition of the Target Finder.
    pub partition: u16,
    /// The two envelopes.
    pub envelopes: UploadEnvelopes,
    /// The entries, in random order.
    pub entries: Vec<Entry>,
}

/// One home as its stack enrols it.
pub struct Enrolment {
    /// The home.
    pub home: HomeId,
    /// Its tag in this key epoch.
    pub tag: HomeTag,
    /// Its ticket key in this key epoch.
    pub key: HomeKey,
    /// The pseudonyms of the concepts that its owner opted in to, each with the handle that
    /// withdraws it.
    pub concepts: Vec<(Pseudonym, Handle)>,
}

impl HomeTag {
    /// The partition of the subscriptions that a home with this tag belongs to. A tag is random, so the
    /// partitions are of nearly one size.
    pub fn partition(&self, partitions: u16) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]]) % partitions.max(1)
    }
}

/// Withdraws one entry at once; known to the home's stack only.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Handle(pub [u8; 16]);

impl Handle {
    /// What the Conductor keeps to recognise the handle.
    pub fn hash(&self) -> [u8; 32] {
        encoding::hash(labels::HASH_WITHDRAWAL, &[&self.0])
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle")
    }
}

/// The pool keys that an upload is sealed to.
pub struct PoolKeys<'a> {
    /// The partition's Target Finder pool.
    pub target_finder: &'a EnvelopePublicKey,
    /// The Target pool.
    pub target: &'a EnvelopePublicKey,
}

fn entry_context(key_epoch: KeyEpoch, partition: u16) -> Context {
    Context {
        purpose: labels::ENVELOPE_ENTRY,
        sender: Role::Stack,
        binding: encoding::to_bytes(&(key_epoch, partition)),
    }
}

fn link_context(key_epoch: KeyEpoch) -> Context {
    Context {
        purpose: labels::ENVELOPE_LINK,
        sender: Role::Stack,
        binding: encoding::to_bytes(&key_epoch),
    }
}

/// The pseudonym and the epoch are bound into an entry, so that a moved entry does not open.
fn entry_data(key_epoch: KeyEpoch, pseudonym: &Pseudonym) -> Vec<u8> {
    encoding::to_bytes(&(key_epoch, pseudonym))
}

impl Upload {
    /// Seals the entries of `homes`, in random order, under two fresh encapsulations.
    ///
    pub fn build(
        host: &Name,
        homes: &[Enrolment],
        key_epoch: KeyEpoch,
        partition: u16,
        keys: &PoolKeys<'_>,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let entry_count = homes.iter().map(|home| home.concepts.len()).sum::<usize>() as u32;
        let link_count = homes.len() as u32;
        let mut links = BatchSealer::<reader::Target>::new(
            keys.target,
            &link_context(key_epoch),
            link_count,
            rng,
        );
        let mut outer = BatchSealer::<reader::TargetFinder>::new(
            keys.target_finder,
            &entry_context(key_epoch, partition),
            entry_count,
            rng,
        );
        // The order of the homes must not show in the order of either envelope's items.
        let mut order: Vec<usize> = (0..homes.len()).collect();
        order.shuffle(rng);
        let mut pending = Vec::with_capacity(entry_count as usize);
        for (index, home) in (0u32..).zip(order.into_iter().map(|i| &homes[i])) {
            let link = Link {
                host: host.clone(),
                home: home.home.clone(),
            };
            let link = SealedLink {
                index,
                ciphertext: links
                    .seal(index, b"", &encoding::to_bytes(&link))
                    .expect("each index is counted once"),
            };
            for (pseudonym, handle) in &home.concepts {
                let content = EntryContent {
                    tag: home.tag,
                    key: home.key.clone(),
                    link: link.clone(),
                };
                pending.push((*pseudonym, content, handle.hash()));
            }
        }
        pending.shuffle(rng);
        let mut entries = Vec::with_capacity(pending.len());
        for (index, (pseudonym, content, withdrawal)) in (0u32..).zip(pending) {
            entries.push(Entry {
                pseudonym,
                index,
                ciphertext: outer
                    .seal(
                        index,
                        &entry_data(key_epoch, &pseudonym),
                        &encoding::to_bytes(&content),
                    )
                    .expect("each index is counted once"),
                withdrawal,
            });
        }
        Self {
            key_epoch,
            partition,
            envelopes: UploadEnvelopes {
                entries: outer.encapsulated().to_vec(),
                entry_count,
                links: links.encapsulated().to_vec(),
                link_count,
            },
            entries,
        }
    }
}

/// Opens the outer layer of one upload's entries: the Target Finder.
pub struct EntryOpener {
    key_epoch: KeyEpoch,
    opener: BatchOpener<reader::TargetFinder>,
}

impl EntryOpener {
    /// # Errors
    /// [`OpenError`] when the encapsulation is malformed.
    pub fn new(
        secret: &EnvelopeSecretKey,
        envelopes: &UploadEnvelopes,
        key_epoch: KeyEpoch,
        partition: u16,
    ) -> Result<Self, OpenError> {
        let opener = BatchOpener::new(
            secret,
            &envelopes.entries,
            &entry_context(key_epoch, partition),
            envelopes.entry_count,
        )?;
        Ok(Self { key_epoch, opener })
    }

    /// Opens one entry; fails when it was moved under another pseudonym, epoch or upload.
    ///
    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open(
        &self,
        pseudonym: &Pseudonym,
        index: u32,
        ciphertext: &[u8],
    ) -> Result<EntryContent, OpenError> {
        let plain = self
            .opener
            .open(index, &entry_data(self.key_epoch, pseudonym), ciphertext)?;
        encoding::from_bytes(&plain, 4096, "entry").map_err(|_| OpenError)
    }
}

/// Opens the inner layer of one upload's entries: the Target.
pub struct LinkOpener(BatchOpener<reader::Target>);

impl LinkOpener {
    /// # Errors
    /// [`OpenError`] when the encapsulation is malformed.
    pub fn new(
        secret: &EnvelopeSecretKey,
        encapsulated: &[u8],
        link_count: u32,
        key_epoch: KeyEpoch,
    ) -> Result<Self, OpenError> {
        BatchOpener::new(secret, encapsulated, &link_context(key_epoch), link_count).map(Self)
    }

    /// # Errors
    /// [`OpenError`], whatever the cause.
    pub fn open(&self, link: &SealedLink) -> Result<Link, OpenError> {
        let plain = self.0.open(link.index, b"", &link.ciphertext)?;
        encoding::from_bytes(&plain, 4096, "link").map_err(|_| OpenError)
    }
}

/// An upload as it travels through the Target.
pub type SealedUpload = dispers_crypto::envelope::Sealed<reader::Conductor, Upload>;

/// Withdrawals as they travel through the Target.
pub type SealedWithdrawal = dispers_crypto::envelope::Sealed<reader::Conductor, Vec<Handle>>;

/// The envelope context of an upload.
pub fn upload_context() -> Context {
    Context {
        purpose: labels::ENVELOPE_UPLOAD,
        sender: Role::Stack,
        binding: Vec::new(),
    }
}

/// The envelope context of a withdrawal.
pub fn withdrawal_context() -> Context {
    Context {
        purpose: labels::ENVELOPE_WITHDRAWAL,
        sender: Role::Stack,
        binding: Vec::new(),
    }
}
