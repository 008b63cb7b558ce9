//! Messages that a find receives and sends (protocol.md §6).

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Cut, FindError, NoisySize};
use crate::{
    log::Inclusion,
    manifest::{SignedManifest, VerifiedManifest},
    subscription::{SealedLink, UploadEnvelopes},
    ticket::{FindId, TagKey, Ticket},
};
use dispers_base::{
    encoding::{self, Message},
    id::{BatchId, KeyEpoch, MemberNumber, Name, QueryId, Role, Timestamp},
    labels,
    signed::{Signed, Statement},
};
use dispers_crypto::{
    envelope::{Context, Sealed, reader},
    oprf::Pseudonym,
};
use dispers_privacy::Population;
use dispers_query::profile::Profile;
use dispers_trust::directory::Directory;

/// Largest encoded batch of targets, in bytes.
pub const MAX_BATCH: usize = 64 << 20;
/// Largest encoded head of a find, in bytes.
pub const MAX_FIND_HEAD: usize = 4 << 20;

/// The target profile with the salt of its commitment, sealed for the Target Finder.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ProfileOpening {
    /// Target profile, over pseudonyms.
    pub profile: Profile<Pseudonym>,
    /// Salt of the commitment in the manifest.
    pub salt: [u8; 32],
}

impl ProfileOpening {
    /// Returns the envelope context of a query's profile.
    pub fn context(query: QueryId) -> Context {
        Context {
            purpose: labels::ENVELOPE_PROFILE,
            sender: Role::Querier,
            binding: encoding::to_bytes(&query),
        }
    }
}

/// Head of a find, before the lists.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct FindRequest {
    /// Manifest of the query.
    pub manifest: SignedManifest,
    /// Sealed profile of the query.
    pub profile: Sealed<reader::TargetFinder, ProfileOpening>,
    /// Partition whose lists follow.
    pub partition: u16,
    /// Homes per batch that the Conductor prefers.
    pub batch_size: u32,
    /// Lists that follow: those of exactly the profile's pseudonyms, each once.
    pub lists: Vec<Pseudonym>,
    /// Proof that the query is in the log, so that a refused find leaves a trace too.
    pub inclusion: Inclusion,
}

impl FindRequest {
    /// Verifies the manifest, and the proof that the query is in the log.
    ///
    /// # Errors
    /// [`FindError::Manifest`] if the manifest is refused, [`FindError::Log`] if the proof is.
    pub fn verify(
        &self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<VerifiedManifest, FindError> {
        let manifest = self.manifest.verify(directory, now);
        let manifest = manifest.map_err(|error| FindError::Manifest(Box::new(error)))?;
        let shown = self.inclusion.verify(&self.manifest, directory);
        shown.map_err(FindError::Log)?;
        Ok(manifest)
    }
}

/// A part of the lists: the matching entries of one upload.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ListSegment {
    /// Key epoch of the upload.
    pub key_epoch: KeyEpoch,
    /// Envelopes of the upload.
    pub envelopes: UploadEnvelopes,
    /// Entries of the upload under the profile's pseudonyms.
    pub entries: Vec<ListedEntry>,
}

/// One entry of a list.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ListedEntry {
    /// Pseudonym under which the Conductor keeps the entry.
    pub pseudonym: Pseudonym,
    /// Index in the upload's outer envelope.
    pub index: u32,
    /// Sealed [`EntryContent`](crate::subscription::EntryContent).
    pub ciphertext: Vec<u8>,
}

/// One target, as the Target reads it.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ChosenTarget {
    /// Place of the home's upload in [`TargetBatch::uploads`].
    pub upload: u32,
    /// Address of the home, for the Target.
    pub link: SealedLink,
    /// Ticket by which the home proves that it was chosen, for the home.
    pub ticket: Ticket,
}

/// A batch of targets, sealed for the Target. A target's place in it is its index.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct TargetBatch {
    /// Find that chose the homes.
    pub find: FindId,
    /// Key epoch of the links.
    pub key_epoch: KeyEpoch,
    /// Inner encapsulation and item count of each upload that the links are from.
    pub uploads: Vec<(Vec<u8>, u32)>,
    /// Homes to ask.
    pub targets: Vec<ChosenTarget>,
}

impl TargetBatch {
    /// Returns the envelope context of one batch.
    pub fn context(query: QueryId, batch: BatchId) -> Context {
        Context {
            purpose: labels::ENVELOPE_TARGETS,
            sender: Role::TargetFinder,
            binding: encoding::to_bytes(&(query, batch)),
        }
    }
}

/// Signed statement of the Target Finder about a batch, so that the Target accepts no other batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchStatement {
    /// Target Finder that chose the homes.
    pub finder: Name,
    /// Query that the batch is for.
    pub query: QueryId,
    /// Name of the batch.
    pub batch: BatchId,
    /// Id of the find, so that batches of two finds are distinguished without opening them.
    pub find: FindId,
    /// Number of targets.
    pub count: u32,
    /// Targets in the order of the attempts. After the last, the first follows again.
    pub targets: Vec<Name>,
    /// Digest of the sealed batch.
    pub digest: [u8; 32],
}

impl Message for BatchStatement {
    const NAME: &'static str = "batch statement";
    const LIMIT: usize = 1 << 16;
}

impl Statement for BatchStatement {
    const LABEL: &'static str = labels::SIGN_BATCH;
}

impl BatchStatement {
    /// Returns the digest of a sealed batch.
    pub fn digest_of(sealed: &[u8]) -> [u8; 32] {
        encoding::hash(labels::HASH_BATCH, &[sealed])
    }

    /// Returns the Target that is to ask the batch at an attempt; `None` if the statement names no Target.
    pub fn target(&self, attempt: u8) -> Option<&Name> {
        let place = usize::from(attempt).checked_rem(self.targets.len())?;
        self.targets.get(place)
    }
}

/// A batch on its way from the Target Finder through the Conductor to the Target.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct BatchMessage {
    /// Statement with the signature of the finder.
    pub statement: Signed<BatchStatement>,
    /// Encoding of a [`Sealed`] [`TargetBatch`].
    pub sealed: Vec<u8>,
}

impl Message for BatchMessage {
    const NAME: &'static str = "batch";
    // The length of the sealed batch is far below 64 KiB.
    const LIMIT: usize = MAX_BATCH + Signed::<BatchStatement>::LIMIT + (1 << 16);
}

/// Facts about a find that one aggregator needs, signed by the finder and sealed to the offered key.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct Grant {
    /// Target Finder that chose the homes.
    pub finder: Name,
    /// Query that the find is for.
    pub query: QueryId,
    /// Partition of the find.
    pub partition: u16,
    /// Id of the find.
    pub find: FindId,
    /// Name of the profile's population towards this querier. The aggregator keeps the privacy budget under this name.
    pub population: Population,
    /// Key Kᵢ with which this aggregator checks tags.
    pub key: TagKey,
    /// Number of homes with noise, for the status of a noisy query.
    pub noisy_size: NoisySize,
    /// Number of homes of each batch. The answer rate is measured against their sum.
    pub batches: Cut,
}

impl Statement for Grant {
    const LABEL: &'static str = labels::SIGN_FIND;
}

impl Message for Grant {
    const NAME: &'static str = "grant";
    const LIMIT: usize = 4 << 20;
}

/// A grant with the finder's signature.
pub type SignedGrant = Signed<Grant>;

impl Grant {
    /// Returns the envelope context of the grant for aggregator `to`.
    pub fn context(query: QueryId, partition: u16, committee: u16, to: MemberNumber) -> Context {
        Context {
            purpose: labels::ENVELOPE_TAG_KEY,
            sender: Role::TargetFinder,
            binding: encoding::to_bytes(&(query, partition, committee, to)),
        }
    }
}

/// A target profile as it travels to one partition's Target Finders.
pub type SealedProfile = Sealed<reader::TargetFinder, ProfileOpening>;

/// A grant as it travels.
pub type SealedGrant = Sealed<reader::DataAggregator, SignedGrant>;

/// First answer of a find, before its batches.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct FindSummary {
    /// Number of homes that match.
    pub targets: u64,
    /// The same number with noise, for a noisy query.
    pub noisy_size: NoisySize,
    /// Batches that follow, in order, with the number of targets of each.
    pub batches: Cut,
    /// Grants, one per aggregator with an offer, each with the aggregator's committee and number.
    pub grants: Vec<(u16, MemberNumber, SealedGrant)>,
}
