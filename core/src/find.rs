//! The find: which homes a query asks (protocol.md §6).
//!
//! The Conductor streams sealed lists, the Target Finder opens their outer layer, evaluates the
//! target profile, and returns batches sealed for the Target, with a ticket per home. Everything
//! random derives from the pool's secret and the find, so repeating a find gives the same bytes.

mod message;

use std::collections::HashMap;

use chacha20::ChaCha20Rng;
use rand::{SeedableRng, seq::SliceRandom};
use sha2::{Digest, Sha256};

pub use message::{
    BatchMessage, BatchStatement, ChosenTarget, FindRequest, FindSummary, Grant, ListSegment,
    ListedEntry, MAX_BATCH, MAX_FIND_HEAD, MAX_STATEMENT, ProfileOpening, SealedGrant,
    SealedProfile, SignedGrant, TargetBatch,
};

use crate::{
    encoding,
    envelope::{EnvelopePublicKey, EnvelopeSecretKey, Sealed, reader},
    id::{BatchId, KeyEpoch, MemberNumber, Name, QueryId},
    keys::SigningKey,
    labels,
    manifest::VerifiedManifest,
    oprf::Pseudonym,
    profile::Profile,
    subscription::{EntryOpener, HomeTag, MAX_ENTRIES, MAX_UPLOAD, SealedLink},
    ticket::{FindId, HomeKey, PoolSecret, TagKey, TagStream, Ticket},
};

/// Most homes that a find holds while its lists stream in.
pub const MAX_CANDIDATES: usize = 20_000_000;

/// Why a find is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The profile does not open or is not the one that the manifest commits to.
    #[error("the target profile is not the one that the manifest commits to")]
    Profile,
    /// A list segment is malformed or of another key epoch.
    #[error("a list segment is malformed or of another key epoch")]
    Segment,
    /// Too few homes.
    #[error("fewer homes match than the minimum cohort of {0}: widen the target profile")]
    BelowCohort(u32),
    /// Too many homes.
    #[error("more homes match than the {0} that are allowed: narrow the target profile")]
    TooManyHomes(u64),
}

/// The keys that a Target Finder uses.
pub struct FinderKeys<'a> {
    /// The node's name.
    pub name: &'a Name,
    /// Signs batches and grants.
    pub signing: &'a SigningKey,
    /// Opens entries and profiles.
    pub envelope: &'a EnvelopeSecretKey,
    /// What finds derive from.
    pub secret: &'a PoolSecret,
    /// Seals batches.
    pub target: &'a EnvelopePublicKey,
    /// How many partitions the subscriptions have.
    pub partitions: u16,
    /// The Targets, which batches are spread over; at least one.
    pub targets: &'a [Name],
}

struct Candidate {
    /// Which atoms of the profile hold, one bit each.
    atoms: Vec<u64>,
    key: HomeKey,
    upload: u32,
    link: SealedLink,
}

/// A find while its lists stream in.
pub struct Finding {
    manifest: VerifiedManifest,
    partition: u16,
    batch_size: u32,
    profile: Profile<Pseudonym>,
    atoms: HashMap<Pseudonym, usize>,
    digest: Sha256,
    uploads: Vec<(Vec<u8>, u32)>,
    candidates: HashMap<HomeTag, Candidate>,
}

/// The batches of a find, ready to be sealed one by one.
pub struct Found {
    /// What is told first.
    pub summary: FindSummary,
    /// One per batch, in order.
    pub batches: Vec<BatchMessage>,
}

impl Finding {
    /// The key epoch of the query, whose keys the find needs.
    pub fn key_epoch(&self) -> KeyEpoch {
        self.manifest.key_epoch
    }

    /// Opens the profile and checks it against the commitment.
    ///
    /// # Errors
    /// [`FindError::Profile`] when it is another.
    pub fn new(
        manifest: VerifiedManifest,
        request: &FindRequest,
        keys: &FinderKeys<'_>,
    ) -> Result<Self, FindError> {
        let opening = request
            .profile
            .open(
                keys.envelope,
                &ProfileOpening::context(manifest.query()),
                MAX_FIND_HEAD,
            )
            .map_err(|_| FindError::Profile)?;
        if opening.profile.commitment(&opening.salt) != manifest.profile_commitment {
            return Err(FindError::Profile);
        }
        let mut atoms = HashMap::new();
        for pseudonym in opening.profile.atoms() {
            let next = atoms.len();
            atoms.entry(*pseudonym).or_insert(next);
        }
        Ok(Self {
            manifest,
            partition: request.partition,
            batch_size: request.batch_size,
            profile: opening.profile,
            atoms,
            digest: Sha256::new(),
            uploads: Vec::new(),
            candidates: HashMap::new(),
        })
    }

    /// Takes one received segment. Entries that do not open where they stand were moved or
    /// invented, and are left out.
    ///
    /// # Errors
    /// [`FindError::Segment`] when the bytes are no segment of this key epoch,
    /// [`FindError::TooManyHomes`] beyond [`MAX_CANDIDATES`].
    pub fn absorb(&mut self, segment: &[u8], keys: &FinderKeys<'_>) -> Result<(), FindError> {
        self.digest.update((segment.len() as u64).to_le_bytes());
        self.digest.update(segment);
        let segment: ListSegment = encoding::from_bytes(segment, MAX_UPLOAD, "list segment")
            .map_err(|_| FindError::Segment)?;
        if segment.key_epoch != self.manifest.key_epoch || segment.entries.len() > MAX_ENTRIES {
            return Err(FindError::Segment);
        }
        let upload = self.uploads.len() as u32;
        self.uploads.push((
            segment.envelopes.links.clone(),
            segment.envelopes.link_count,
        ));
        let Ok(opener) = EntryOpener::new(
            keys.envelope,
            &segment.envelopes,
            segment.key_epoch,
            self.partition,
        ) else {
            return Ok(());
        };
        for entry in &segment.entries {
            let Some(&atom) = self.atoms.get(&entry.pseudonym) else {
                continue;
            };
            let Ok(content) = opener.open(&entry.pseudonym, entry.index, &entry.ciphertext) else {
                continue;
            };
            // A home is in one partition only, so that it is asked once.
            if content.tag.partition(keys.partitions) != self.partition {
                continue;
            }
            let known = self.candidates.contains_key(&content.tag);
            if !known && self.candidates.len() >= MAX_CANDIDATES {
                return Err(FindError::TooManyHomes(MAX_CANDIDATES as u64));
            }
            let words = self.atoms.len().div_ceil(64);
            let candidate = self
                .candidates
                .entry(content.tag)
                .or_insert_with(|| Candidate {
                    atoms: vec![0; words],
                    key: content.key,
                    upload,
                    link: content.link,
                });
            candidate.atoms[atom / 64] |= 1 << (atom % 64);
        }
        Ok(())
    }

    /// Chooses the homes, cuts and seals their batches, and signs.
    ///
    /// # Errors
    /// [`FindError::BelowCohort`] or [`FindError::TooManyHomes`] by what the manifest allows.
    pub fn finish(self, keys: &FinderKeys<'_>) -> Result<Found, FindError> {
        let lists: [u8; 32] = self.digest.finalize().into();
        let query = self.manifest.query();
        let find = FindId::new(query, self.partition, &lists);
        let mut chosen: Vec<(HomeTag, Candidate)> = self
            .candidates
            .into_iter()
            .filter(|(_, candidate)| {
                self.profile.matches(&|pseudonym: &Pseudonym| {
                    let atom = self.atoms[pseudonym];
                    candidate.atoms[atom / 64] >> (atom % 64) & 1 == 1
                })
            })
            .collect();
        let min_cohort = self.manifest.min_cohort;
        if chosen.len() < min_cohort as usize {
            return Err(FindError::BelowCohort(min_cohort));
        }
        if chosen.len() as u64 > self.manifest.max_homes {
            return Err(FindError::TooManyHomes(self.manifest.max_homes));
        }
        // Other batch sizes seal other batches, so the size is part of the seed: randomness is
        // never used for two plaintexts.
        let seed = keys.secret.shuffle_seed(&find);
        let seed = encoding::hash(
            labels::DERIVE_SHUFFLE,
            &[&seed, &self.batch_size.to_le_bytes()],
        );
        let mut rng = ChaCha20Rng::from_seed(seed);
        // A map has no order of its own, and a find must repeat: sort before the shuffle.
        chosen.sort_by_key(|(tag, _)| *tag);
        chosen.shuffle(&mut rng);

        let sizes = batch_sizes(chosen.len(), self.batch_size, min_cohort);
        let mut grants = Vec::new();
        let mut streams: Vec<Vec<TagKey>> = Vec::new();
        for (committee, terms) in (0u16..).zip(&self.manifest.committees) {
            let members = (1..=terms.offers.len() as u8).filter_map(|n| MemberNumber::new(n).ok());
            streams.push(
                members
                    .map(|member| keys.secret.tag_key(&find, committee, member))
                    .collect(),
            );
            for (member, key) in self.manifest.offers(committee) {
                let body = encoding::to_bytes(&Grant {
                    finder: keys.name.clone(),
                    query,
                    partition: self.partition,
                    find,
                    key: keys.secret.tag_key(&find, committee, member),
                    batches: sizes.clone(),
                });
                let signature = keys.signing.sign(labels::SIGN_FIND, &body);
                let sealed = Sealed::seal(
                    &SignedGrant { body, signature },
                    key,
                    &Grant::context(query, self.partition, committee, member),
                    &mut rng,
                );
                grants.push((committee, member, sealed));
            }
        }
        let targets = chosen.len() as u64;
        let mut remaining = chosen.into_iter();
        let mut batches = Vec::with_capacity(sizes.len());
        for (number, &size) in (0u32..).zip(&sizes) {
            let batch = BatchId {
                partition: self.partition,
                number,
            };
            let tags: Vec<TagStream> = streams[usize::from(self.manifest.committee_of(batch))]
                .iter()
                .map(|key| TagStream::new(key, batch))
                .collect();
            let targets = (0u32..size)
                .zip(&mut remaining)
                .map(|(index, (_, home))| {
                    let tags: Vec<[u8; 16]> = tags.iter().map(|t| t.tag(index)).collect();
                    ChosenTarget {
                        upload: home.upload,
                        ticket: Ticket::seal(&home.key, query, &find, batch, index, &tags),
                        link: home.link,
                    }
                })
                .collect();
            let content = TargetBatch {
                find,
                key_epoch: self.manifest.key_epoch,
                uploads: self.uploads.clone(),
                targets,
            };
            batches.push(seal_batch(query, batch, size, &content, keys, &mut rng));
        }
        Ok(Found {
            summary: FindSummary {
                targets,
                batches: sizes.len() as u32,
                grants,
            },
            batches,
        })
    }
}

fn seal_batch(
    query: QueryId,
    batch: BatchId,
    count: u32,
    content: &TargetBatch,
    keys: &FinderKeys<'_>,
    rng: &mut ChaCha20Rng,
) -> BatchMessage {
    let sealed = Sealed::<reader::Target, TargetBatch>::seal(
        content,
        keys.target,
        &TargetBatch::context(query, batch),
        rng,
    );
    let sealed = encoding::to_bytes(&sealed);
    let statement = encoding::to_bytes(&BatchStatement {
        finder: keys.name.clone(),
        query,
        batch,
        count,
        targets: assigned(keys.targets, batch),
        digest: encoding::hash(labels::HASH_BATCH, &[&sealed]),
    });
    let signature = keys.signing.sign(labels::SIGN_BATCH, &statement);
    BatchMessage {
        statement,
        signature,
        sealed,
    }
}

/// The Targets that are to ask a batch, in the order of its attempts: every one of the directory's
/// `targets` once, beginning with another for the next batch.
pub fn assigned(targets: &[Name], batch: BatchId) -> Vec<Name> {
    let mut targets = targets.to_vec();
    let first = batch.number.wrapping_add(batch.partition.into()) as usize;
    let first = first % targets.len().max(1);
    targets.rotate_left(first);
    targets
}

/// Cuts `homes` into batches of nearly equal size, at most `preferred` where that leaves each at
/// least `min_cohort`.
fn batch_sizes(homes: usize, preferred: u32, min_cohort: u32) -> Vec<u32> {
    let most = (homes / min_cohort.max(1) as usize).max(1);
    let batches = homes.div_ceil(preferred.max(1) as usize).clamp(1, most);
    (0..batches)
        .map(|batch| (homes * (batch + 1) / batches - homes * batch / batches) as u32)
        .collect()
}

#[cfg(test)]
mod tests;
