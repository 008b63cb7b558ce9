//! Subscriptions: they make a home findable without making it known (protocol.md §5).
//!
//! An upload of a host has one entry per (home, concept), under the concept's pseudonym. The outer layer of an entry
//! opens for the Target Finder only (tag, ticket key, inner layer). The inner layer opens for the Target only (host,
//! home). Both layers are batch envelopes: one encapsulation per upload and reader.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use rand::{CryptoRng, seq::SliceRandom};

use crate::ticket::HomeKey;
use dispers_base::{
    encoding::{self, Message},
    id::{KeyEpoch, Name, Role},
    labels,
};
use dispers_crypto::{
    envelope::{
        BatchOpener, BatchSealer, Context, EnvelopePublicKey, EnvelopeSecretKey, OpenError, reader,
    },
    oprf::Pseudonym,
};

/// Largest number of entries in one upload.
pub const MAX_ENTRIES: usize = 200_000;
/// Largest encoded upload, in bytes.
pub const MAX_UPLOAD: usize = 128 << 20;
/// Longest home identifier, in bytes.
pub const MAX_HOME_ID: usize = 128;

/// Name of a home towards the Target Finder: random per home and key epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct HomeTag(pub [u8; 16]);

impl fmt::Debug for HomeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HomeTag")
    }
}

/// Name of a home at its host. It is secret, since it is an address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct HomeId(pub String);

impl fmt::Debug for HomeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HomeId")
    }
}

/// Address of a home: the inner layer of an entry, for the Target.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Link {
    /// Host, as the directory lists it.
    pub host: Name,
    /// Home at that host.
    pub home: HomeId,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// Inner layer of one entry, which only the Target can open.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SealedLink {
    /// Index in the upload's inner batch envelope.
    pub index: u32,
    /// The sealed [`Link`].
    pub ciphertext: Vec<u8>,
}

/// Outer layer of one entry, for the Target Finder.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct EntryContent {
    /// The home's tag.
    pub tag: HomeTag,
    /// The home's ticket key κ.
    pub key: HomeKey,
    /// Inner layer, still sealed.
    pub link: SealedLink,
}

/// One entry of an upload, as the Conductor keeps it.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// The concept's pseudonym.
    pub pseudonym: Pseudonym,
    /// Index in the upload's outer batch envelope.
    pub index: u32,
    /// The sealed [`EntryContent`].
    pub ciphertext: Vec<u8>,
    /// Hash of the handle that withdraws the entry.
    pub withdrawal: [u8; 32],
}

/// The two batch envelopes that the entries of one upload belong to.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UploadEnvelopes {
    /// Encapsulation of the outer envelope, for the Target Finder.
    pub entries: Vec<u8>,
    /// Number of items in the outer envelope.
    pub entry_count: u32,
    /// Encapsulation of the inner envelope, for the Target.
    pub links: Vec<u8>,
    /// Number of items in the inner envelope.
    pub link_count: u32,
}

impl Message for UploadEnvelopes {
    const NAME: &'static str = "upload's envelopes";
    const LIMIT: usize = 1 << 20;
}

/// One host's upload, sealed for the Conductor on its way through the Target.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Upload {
    /// Key epoch of pseudonyms and pool keys.
    pub key_epoch: KeyEpoch,
    /// Partition of the Target Finder.
    pub partition: u16,
    /// Batch envelopes of the entries.
    pub envelopes: UploadEnvelopes,
    /// Entries, in random order.
    pub entries: Vec<Entry>,
}

impl Message for Upload {
    const NAME: &'static str = "upload";
    const LIMIT: usize = MAX_UPLOAD;
}

/// One home as its stack enrols it.
pub struct Enrolment {
    /// Name of the home at its host.
    pub home: HomeId,
    /// Tag of the home in this key epoch.
    pub tag: HomeTag,
    /// Ticket key of the home in this key epoch.
    pub key: HomeKey,
    /// Pseudonyms of the concepts that the owner opted in to, each with the handle that withdraws its entry.
    pub concepts: Vec<(Pseudonym, Handle)>,
}

impl HomeTag {
    /// Returns the partition that a home with this tag belongs to. Tags are random, so that partitions have nearly
    /// equal sizes.
    pub fn partition(&self, partitions: u16) -> u16 {
        u16::from_le_bytes([self.0[0], self.0[1]]) % partitions.max(1)
    }
}

/// Secret that withdraws one entry at once. Only the home's stack knows it.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Handle(pub [u8; 16]);

impl Handle {
    /// Returns the hash by which the Conductor recognises the handle.
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
    /// Key of the partition's Target Finder pool.
    pub target_finder: &'a EnvelopePublicKey,
    /// Key of the Target pool.
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

/// Returns the associated data of an entry. It binds the pseudonym and the key epoch, so that an entry that the
/// Conductor moves to another list does not open.
fn entry_data(key_epoch: KeyEpoch, pseudonym: &Pseudonym) -> Vec<u8> {
    encoding::to_bytes(&(key_epoch, pseudonym))
}

impl Upload {
    /// Seals the entries of `homes`, in random order, under two fresh encapsulations.
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
            // A home has one inner item for all its entries: every entry of the home has the same ciphertext.
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
        // The entries of one home must not stand beside each other: the Conductor could link its concepts.
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

/// Opener of the outer layer of one upload's entries, for the Target Finder.
pub struct EntryOpener {
    key_epoch: KeyEpoch,
    opener: BatchOpener<reader::TargetFinder>,
}

impl EntryOpener {
    /// Opens the encapsulation of the outer envelope.
    ///
    /// # Errors
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

    /// Opens one entry. An entry that was moved to another pseudonym, key epoch or upload does not open.
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
        // An entry has a tag, a key and a sealed address: the bound is far above any honest one.
        encoding::from_bytes(&plain, 4096, "entry").map_err(|_| OpenError)
    }
}

/// Opener of the inner layer of one upload's entries, for the Target.
pub struct LinkOpener(BatchOpener<reader::Target>);

impl LinkOpener {
    /// Opens the encapsulation of the inner envelope.
    ///
    /// # Errors
    pub fn new(
        secret: &EnvelopeSecretKey,
        encapsulated: &[u8],
        link_count: u32,
        key_epoch: KeyEpoch,
    ) -> Result<Self, OpenError> {
        BatchOpener::new(secret, encapsulated, &link_context(key_epoch), link_count).map(Self)
    }

    /// Opens the address of one home.
    ///
    /// # Errors
    pub fn open(&self, link: &SealedLink) -> Result<Link, OpenError> {
        let plain = self.0.open(link.index, b"", &link.ciphertext)?;
        encoding::from_bytes(&plain, 4096, "link").map_err(|_| OpenError)
    }
}

/// An upload as it travels through the Target.
pub type SealedUpload = dispers_crypto::envelope::Sealed<reader::Conductor, Upload>;

/// Withdrawals as they travel through the Target.
pub type SealedWithdrawal = dispers_crypto::envelope::Sealed<reader::Conductor, Vec<Handle>>;

/// Returns the envelope context of an upload. It names no host: the Conductor must not learn which host uploads.
pub fn upload_context() -> Context {
    Context {
        purpose: labels::ENVELOPE_UPLOAD,
        sender: Role::Stack,
        binding: Vec::new(),
    }
}

/// Returns the envelope context of a withdrawal. It names no host, like that of an upload.
pub fn withdrawal_context() -> Context {
    Context {
        purpose: labels::ENVELOPE_WITHDRAWAL,
        sender: Role::Stack,
        binding: Vec::new(),
    }
}
