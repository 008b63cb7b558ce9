//! The find: which homes a query asks (protocol.md §6).
//!
//! The Conductor streams sealed lists, the Target Finder opens their outer layer, evaluates the
//! target profile, and returns batches sealed for the Target, with a ticket per home. Everything
//! random derives from the pool's secret and the find, so repeating a find gives the same bytes.

mod candidates;
mod cut;
mod message;
mod population;

use std::{collections::HashMap, ops::Range, sync::Arc};

use chacha20::ChaCha20Rng;
use rand::SeedableRng;
use sha2::{Digest, Sha256};

pub use cut::{Cut, committee_of};
pub use message::{
    BatchMessage, BatchStatement, ChosenTarget, FindRequest, FindSummary, Grant, ListSegment,
    ListedEntry, MAX_BATCH, MAX_FIND_HEAD, MAX_STATEMENT, ProfileOpening, SealedGrant,
    SealedProfile, SignedGrant, TargetBatch,
};

pub use population::Members;

use candidates::Candidates;
use cut::Split;

use crate::{
    encoding,
    envelope::{EnvelopePublicKey, EnvelopeSecretKey, Sealed, reader},
    id::{BatchId, KeyEpoch, MemberNumber, Name, QueryId},
    keys::SigningKey,
    labels,
    manifest::VerifiedManifest,
    oprf::Pseudonym,
    profile::Profile,
    subscription::{EntryContent, EntryOpener, MAX_ENTRIES, MAX_UPLOAD},
    ticket::{FindId, PoolSecret, Population, TagKey, TagStream, Ticket},
    training::SessionKey,
    weakness::{self, Weakness},
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
    /// Too few homes, of all or of one committee.
    #[error(
        "fewer homes match than the minimum cohort of {0}, or fewer than that are one committee's: widen the \
         target profile"
    )]
    BelowCohort(u32),
    /// The querier asked nearly the same homes before.
    #[error(
        "the homes that match differ from those of an earlier query of yours by fewer than the minimum \
         cohort of {0}, so that both answers together would tell about those few: ask the same homes as \
         before, or others by more"
    )]
    TooClose(u32),
    /// Too many populations.
    #[error(
        "a querier may ask {0} different populations in a key epoch: ask one of those that were asked, or \
         wait for the next key epoch"
    )]
    TooManyPopulations(usize),
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

/// Which of a profile's atoms stand where.
type Atoms = HashMap<Pseudonym, usize>;

/// A find while its lists stream in.
pub struct Finding {
    manifest: VerifiedManifest,
    batch_size: u32,
    profile: Profile<Pseudonym>,
    opener: Arc<SegmentOpener>,
    digest: Sha256,
    uploads: Vec<(Vec<u8>, u32)>,
    candidates: Candidates,
    /// What opens the parameters of a session.
    session: Option<SessionKey>,
}

/// Opens the segments of one find, in any order and from any thread.
pub struct SegmentOpener {
    partition: u16,
    key_epoch: KeyEpoch,
    atoms: Atoms,
}

/// What of a list segment is about the profile.
pub struct OpenedSegment {
    digest: [u8; 32],
    /// Inner encapsulation and item count.
    links: (Vec<u8>, u32),
    /// Which atom, and who.
    entries: Vec<(usize, EntryContent)>,
}

impl SegmentOpener {
    /// The key epoch of the query, whose keys open the segments.
    pub fn key_epoch(&self) -> KeyEpoch {
        self.key_epoch
    }

    /// Opens a received segment. Entries that do not open where they stand were moved or invented, and
    /// are left out.
    ///
    /// # Errors
    /// [`FindError::Segment`] when the bytes are no segment of this key epoch.
    pub fn open(&self, segment: &[u8], keys: &FinderKeys<'_>) -> Result<OpenedSegment, FindError> {
        let digest = Sha256::digest(segment).into();
        let segment: ListSegment = encoding::from_bytes(segment, MAX_UPLOAD, "list segment")
            .map_err(|_| FindError::Segment)?;
        if segment.key_epoch != self.key_epoch || segment.entries.len() > MAX_ENTRIES {
            return Err(FindError::Segment);
        }
        let envelopes = &segment.envelopes;
        let opener = EntryOpener::new(keys.envelope, envelopes, self.key_epoch, self.partition);
        let mut entries = Vec::new();
        for entry in &segment.entries {
            let (Ok(opener), Some(&atom)) = (&opener, self.atoms.get(&entry.pseudonym)) else {
                continue;
            };
            let Ok(content) = opener.open(&entry.pseudonym, entry.index, &entry.ciphertext) else {
                continue;
            };
            // A home is in one partition only, so that it is asked once.
            if content.tag.partition(keys.partitions) == self.partition {
                entries.push((atom, content));
            }
        }
        Ok(OpenedSegment {
            digest,
            links: (segment.envelopes.links, segment.envelopes.link_count),
            entries,
        })
    }
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
        let mut atoms = Atoms::new();
        for pseudonym in opening.profile.atoms() {
            let next = atoms.len();
            atoms.entry(*pseudonym).or_insert(next);
        }
        Ok(Self {
            batch_size: request.batch_size,
            profile: opening.profile,
            candidates: Candidates::new(atoms.len()),
            opener: Arc::new(SegmentOpener {
                partition: request.partition,
                key_epoch: manifest.key_epoch,
                atoms,
            }),
            session: manifest
                .training
                .is_some()
                .then(|| SessionKey::new(&opening.salt, manifest.query())),
            manifest,
            digest: Sha256::new(),
            uploads: Vec::new(),
        })
    }

    /// What opens the segments.
    pub fn opener(&self) -> Arc<SegmentOpener> {
        self.opener.clone()
    }

    /// Takes the next segment, in the order in which they were streamed.
    ///
    /// # Errors
    /// [`FindError::TooManyHomes`] beyond [`MAX_CANDIDATES`].
    pub fn add(&mut self, segment: OpenedSegment) -> Result<(), FindError> {
        self.digest.update(segment.digest);
        let upload = self.uploads.len() as u32;
        self.uploads.push(segment.links);
        for (atom, content) in segment.entries {
            if !self.candidates.note(atom, upload, content, MAX_CANDIDATES) {
                return Err(FindError::TooManyHomes(MAX_CANDIDATES as u64));
            }
        }
        Ok(())
    }

    /// Chooses the homes, and splits them over the committees.
    ///
    /// # Errors
    /// [`FindError::BelowCohort`] or [`FindError::TooManyHomes`] by what the manifest allows.
    pub fn choose(self, keys: &FinderKeys<'_>) -> Result<Matching, FindError> {
        let atoms = &self.opener.atoms;
        let order = self.candidates.matching(|holds| {
            self.profile
                .matches(&|pseudonym: &Pseudonym| holds(atoms[pseudonym]))
        });
        if order.len() as u64 > self.manifest.max_homes {
            return Err(FindError::TooManyHomes(self.manifest.max_homes));
        }
        let committees = self.manifest.committees.len() as u16;
        let key = keys.secret.committee_key(self.manifest.query());
        let tag = |place| self.candidates.tag(place);
        let split = Split::new(order, tag, &key, committees);
        let min_cohort = self.manifest.min_cohort;
        if split.smallest() < min_cohort as usize {
            return Err(FindError::BelowCohort(min_cohort));
        }
        Ok(Matching {
            finding: self,
            split,
        })
    }
}

/// The homes that match, before they are batched: the querier's earlier populations decide whether
/// they may be asked.
pub struct Matching {
    finding: Finding,
    split: Split,
}

impl Matching {
    /// The query.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.finding.manifest
    }

    /// The profile, however it is written.
    pub fn profile(&self) -> [u8; 32] {
        self.finding.profile.canonical()
    }

    /// The homes, as they are remembered.
    pub fn members(&self, keys: &FinderKeys<'_>) -> Members {
        let manifest = &self.finding.manifest;
        let key = keys
            .secret
            .member_key(&manifest.querier, manifest.key_epoch);
        let candidates = &self.finding.candidates;
        Members::new(&key, self.split.homes().map(|place| candidates.tag(place)))
    }

    /// Cuts the batches. `profile` is the first of the querier's that meant these homes: their
    /// population is called after it.
    pub fn finish(self, keys: &FinderKeys<'_>, profile: &[u8; 32]) -> Chosen {
        let Self { finding, split } = self;
        let manifest = &finding.manifest;
        let (querier, epoch) = (&manifest.querier, manifest.key_epoch);
        let population = keys.secret.population(querier, epoch, profile);
        finding.seal(split, population, keys)
    }
}

impl Finding {
    fn seal(self, split: Split, population: Population, keys: &FinderKeys<'_>) -> Chosen {
        let partition = self.opener.partition;
        let lists: [u8; 32] = self.digest.finalize().into();
        let query = self.manifest.query();
        let cut = Cut::new(&split.sizes(), self.batch_size, self.manifest.min_cohort);
        // Two cuts are two finds: a home in batches of both would count twice.
        let secret = keys.secret;
        let named = secret.find(query, partition, &lists, self.batch_size, &cut);
        let find = match weakness::off(Weakness::SeveralCutsOfOneFind) {
            true => secret.find(query, partition, &lists, 0, &Cut::default()),
            false => named,
        };
        // Who is asked where must be the same at all finders. Nothing is sealed with this generator.
        let mut shuffle = ChaCha20Rng::from_seed(secret.shuffle_seed(&named));
        let order = split.shuffled(&mut shuffle);
        let mut candidates = self.candidates;
        candidates.close();

        let mut grants = Vec::new();
        let mut tag_keys: Vec<Vec<TagKey>> = Vec::new();
        for (committee, terms) in (0u16..).zip(&self.manifest.committees) {
            let members = (1..=terms.offers.len() as u8).filter_map(|n| MemberNumber::new(n).ok());
            tag_keys.push(
                members
                    .map(|member| keys.secret.tag_key(&find, committee, member))
                    .collect(),
            );
            for (member, key) in self.manifest.offers(committee) {
                let body = encoding::to_bytes(&Grant {
                    finder: keys.name.clone(),
                    query,
                    partition,
                    find,
                    population,
                    key: keys.secret.tag_key(&find, committee, member),
                    batches: cut.clone(),
                });
                let signature = keys.signing.sign(labels::SIGN_FIND, &body);
                let sealed = Sealed::seal_alike(
                    &SignedGrant { body, signature },
                    key,
                    &Grant::context(query, partition, committee, member),
                    keys.secret.as_bytes(),
                );
                grants.push((committee, member, sealed));
            }
        }
        Chosen {
            summary: FindSummary {
                targets: order.len() as u64,
                batches: cut.clone(),
                grants,
            },
            manifest: self.manifest,
            find,
            batches: places(&cut, partition),
            tag_keys,
            uploads: self.uploads,
            candidates,
            order,
            session: self.session,
        }
    }
}

/// Returns each batch of a cut with the places of its homes in the order in which all are asked.
fn places(cut: &Cut, partition: u16) -> Vec<(BatchId, Range<usize>)> {
    let mut end = 0;
    let places = cut.batches(partition).map(|(batch, size)| {
        let start = end;
        end += size as usize;
        (batch, start..end)
    });
    places.collect()
}

/// The homes that a find chose, and the order in which they are asked.
pub struct Chosen {
    /// What is told first.
    pub summary: FindSummary,
    manifest: VerifiedManifest,
    find: FindId,
    /// The batches, each with the places of its homes in `order`.
    batches: Vec<(BatchId, Range<usize>)>,
    /// Kᵢ by committee and member.
    tag_keys: Vec<Vec<TagKey>>,
    uploads: Vec<(Vec<u8>, u32)>,
    candidates: Candidates,
    /// Places among the candidates.
    order: Vec<u32>,
    /// What opens the parameters of a session.
    session: Option<SessionKey>,
}

impl Chosen {
    /// The key epoch of the query, whose keys seal the batches.
    pub fn key_epoch(&self) -> KeyEpoch {
        self.manifest.key_epoch
    }

    /// Returns the number of batches.
    pub fn count(&self) -> usize {
        self.batches.len()
    }

    /// Seals and signs the batch at this place, below [`Self::count`], of [`FindSummary::batches`]; in any order,
    /// and from any thread. The same place gives the same bytes. `None` beyond the last.
    pub fn batch(&self, place: usize, keys: &FinderKeys<'_>) -> Option<BatchMessage> {
        let (batch, places) = self.batches.get(place)?;
        let batch = *batch;
        let homes = &self.order[places.clone()];
        let query = self.manifest.query();
        let committee = usize::from(batch.committee);
        let tags: Vec<TagStream> = self.tag_keys[committee]
            .iter()
            .map(|key| TagStream::new(key, batch))
            .collect();
        let targets = (0u32..).zip(homes).map(|(index, &home)| {
            let home = self.candidates.get(home);
            let tags: Vec<[u8; 16]> = tags.iter().map(|t| t.tag(index)).collect();
            ChosenTarget {
                upload: home.upload,
                ticket: Ticket::seal(
                    home.key,
                    query,
                    &self.find,
                    batch,
                    index,
                    &tags,
                    self.session.as_ref(),
                ),
                link: home.link,
            }
        });
        let content = TargetBatch {
            find: self.find,
            key_epoch: self.manifest.key_epoch,
            uploads: self.uploads.clone(),
            targets: targets.collect(),
        };
        let count = homes.len() as u32;
        Some(seal_batch(query, batch, count, &content, keys))
    }
}

fn seal_batch(
    query: QueryId,
    batch: BatchId,
    count: u32,
    content: &TargetBatch,
    keys: &FinderKeys<'_>,
) -> BatchMessage {
    let sealed = Sealed::<reader::Target, TargetBatch>::seal_alike(
        content,
        keys.target,
        &TargetBatch::context(query, batch),
        keys.secret.as_bytes(),
    );
    let sealed = encoding::to_bytes(&sealed);
    let statement = encoding::to_bytes(&BatchStatement {
        finder: keys.name.clone(),
        query,
        batch,
        find: content.find,
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
    let first = u64::from(batch.number) + u64::from(batch.committee) + u64::from(batch.partition);
    let first = (first % targets.len().max(1) as u64) as usize;
    targets.rotate_left(first);
    targets
}

#[cfg(test)]
mod tests;
