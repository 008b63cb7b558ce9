//! What a find receives and sends (protocol.md §6).

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Cut, FindError, NoisySize};
use crate::{
    log::Inclusion,
    manifest::{SignedManifest, VerifiedManifest},
    subscription::{SealedLink, UploadEnvelopes},
    ticket::{FindId, TagKey, Ticket},
};
use dispers_base::{
    encoding,
    id::{BatchId, KeyEpoch, MemberNumber, Name, QueryId, Role, Timestamp},
    keys::Signature,
    labels,
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
    /// Which homes are meant.
    pub profile: Profile<Pseudonym>,
    /// Salt of the commitment in the manifest.
    pub salt: [u8; 32],
}

impl ProfileOpening {
    /// The envelope context of a query's profile.
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
    /// The query.
    pub manifest: SignedManifest,
    /// Its profile.
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
    /// The upload's envelopes.
    pub envelopes: UploadEnvelopes,
    /// Its entries under the profile's pseudonyms.
    pub entries: Vec<ListedEntry>,
}

/// One entry of a list.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ListedEntry {
    /// The pseudonym that the Conductor keeps it under.
    pub pseudonym: Pseudonym,
    /// Place in the upload's outer envelope.
    pub index: u32,
    /// The sealed content.
    pub ciphertext: Vec<u8>,
}

/// One target, as the Target reads it.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct ChosenTarget {
    /// Which of the batch's uploads the link belongs to.
    pub upload: u32,
    /// Where the home is, for the Target.
    pub link: SealedLink,
    /// What lets the home prove that it was chosen, for the home.
    pub ticket: Ticket,
}

/// A batch of targets, sealed for the Target. A target's index is its place.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct TargetBatch {
    /// The find that chose them.
    pub find: FindId,
    /// Key epoch of the links.
    pub key_epoch: KeyEpoch,
    /// Inner encapsulation and item count of each upload that the links are from.
    pub uploads: Vec<(Vec<u8>, u32)>,
    /// The targets.
    pub targets: Vec<ChosenTarget>,
}

impl TargetBatch {
    /// The envelope context of one batch.
    pub fn context(query: QueryId, batch: BatchId) -> Context {
        Context {
            purpose: labels::ENVELOPE_TARGETS,
            sender: Role::TargetFinder,
            binding: encoding::to_bytes(&(query, batch)),
        }
    }
}

/// What the Target Finder signs about a batch, so that the Target takes no other.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BatchStatement {
    /// Who chose.
    pub finder: Name,
    /// For which query.
    pub query: QueryId,
    /// Which batch.
    pub batch: BatchId,
    /// Id of the find, so that batches of two finds are distinguished without opening them.
    pub find: FindId,
    /// Number of targets.
    pub count: u32,
    /// Who is to ask it: each attempt the next, and the first again after the last.
    pub targets: Vec<Name>,
    /// Digest of the sealed batch.
    pub digest: [u8; 32],
}

/// Largest encoded statement about a batch, in bytes.
pub const MAX_STATEMENT: usize = 1 << 16;

impl BatchStatement {
    /// The Target that is to ask it at an attempt.
    pub fn target(&self, attempt: u8) -> Option<&Name> {
        let place = usize::from(attempt).checked_rem(self.targets.len())?;
        self.targets.get(place)
    }
}

/// A batch on its way from the Target Finder through the Conductor to the Target.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct BatchMessage {
    /// Encoding of a [`BatchStatement`].
    pub statement: Vec<u8>,
    /// The finder's signature over it.
    pub signature: Signature,
    /// Encoding of a [`Sealed`] [`TargetBatch`].
    pub sealed: Vec<u8>,
}

/// What one aggregator must know of a find, signed by the finder and sealed to the offered key.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct Grant {
    /// Who chose.
    pub finder: Name,
    /// For which query.
    pub query: QueryId,
    /// In which partition.
    pub partition: u16,
    /// The find.
    pub find: FindId,
    /// What the homes that the profile means are called towards this querier: its privacy budget is
    /// kept under it.
    pub population: Population,
    /// What this aggregator checks tags with.
    pub key: TagKey,
    /// Number of homes with noise, for the status of a noisy query.
    pub noisy_size: NoisySize,
    /// Number of targets of each batch; their sum is what the answer rate is measured against.
    pub batches: Cut,
}

/// A [`Grant`] with its signature.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct SignedGrant {
    /// Encoding of a [`Grant`].
    pub body: Vec<u8>,
    /// The finder's signature.
    pub signature: Signature,
}

impl Grant {
    /// The envelope context of one aggregator's grant.
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
    /// A grant for each aggregator with an offer.
    pub grants: Vec<(u16, MemberNumber, SealedGrant)>,
}
