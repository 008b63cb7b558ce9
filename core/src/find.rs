//! The find: the choice of the homes that a query asks (protocol.md §6).
//!
//! The Conductor streams sealed lists. The Target Finder opens their outer layer, evaluates the target profile, and
//! returns batches sealed for the Target, with a ticket per home. All random choices derive from the pool's secret and
//! the find, so that a repeated find gives the same bytes.

mod candidates;
mod cut;
mod members;
mod memory;
mod message;
mod responsible;
mod sizes;

use std::{
    collections::{BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use chacha20::ChaCha20Rng;
use rand::SeedableRng;
use sha2::{Digest, Sha256};

pub use cut::{Cut, committee_of};
pub use message::{
    BatchMessage, BatchStatement, ChosenTarget, FindRequest, FindSummary, Grant, ListSegment,
    ListedEntry, MAX_BATCH, MAX_FIND_HEAD, ProfileOpening, SealedGrant, SealedProfile, SignedGrant,
    TargetBatch,
};

pub use members::Members;
pub use memory::{Asking, Judging, KeptSet, Limits, Memory, Outcome, Queries, Verdict};
pub use responsible::{check_responsible, exact_finder, responsible};
pub use sizes::{Fingerprint, NoisySize, Sizes};

use candidates::Candidates;
use cut::Split;

use crate::{
    log::LogError,
    manifest::{ManifestError, VerifiedManifest},
    session::SessionKey,
    subscription::{EntryContent, EntryOpener, HomeTag, MAX_ENTRIES, MAX_UPLOAD},
    ticket::{FindId, PoolSecret, TagKey, TagStream, Ticket},
};
use dispers_base::{
    encoding,
    id::{BatchId, KeyEpoch, MemberNumber, Name, QueryId},
    keys::SigningKey,
    signed::Signed,
    weakness::{self, Weakness},
};
use dispers_crypto::{
    envelope::{EnvelopePublicKey, EnvelopeSecretKey, Sealed, reader},
    oprf::Pseudonym,
};
use dispers_privacy::Population;
use dispers_query::profile::Profile;

/// Largest number of homes that a find holds while its lists stream in.
pub const MAX_CANDIDATES: usize = 20_000_000;

/// Reason why a find is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The profile does not open, or is not the one that the manifest commits to.
    #[error("the target profile is not the one that the manifest commits to")]
    Profile,
    /// The manifest is refused.
    #[error(transparent)]
    Manifest(Box<ManifestError>),
    /// The query is not in the log.
    #[error(transparent)]
    Log(LogError),
    /// Another finder remembers the querier.
    #[error(
        "this querier's queries without noise go to target finder {0}, the only one that remembers the homes that they \
         asked: send the find to {0}"
    )]
    OtherFinder(Name),
    /// The lists are not those of the profile.
    #[error(
        "the lists of the find are not exactly those of the target profile's concepts: stream one list for each \
         concept, and no other"
    )]
    Lists,
    /// A list segment is malformed, or has an entry of another list or key epoch.
    #[error(
        "a list segment is malformed, or has an entry of another list or key epoch: stream the lists of the query's \
         key epoch as they were uploaded"
    )]
    Segment,
    /// The matching homes are too few, too many, or nearly those of another profile. The error is the same for all
    /// three: a querier chooses the bounds, and would learn sizes from it.
    #[error(
        "the homes that match may not be asked: they are fewer than the minimum cohort of {0}, or more than the query \
         allows, or differ in too few homes from an earlier query of yours with another target profile. The answer \
         is the same for all three. Widen or narrow the target profile, or use one that was answered before"
    )]
    Sizes(u32),
    /// The querier reached the limit of queries refused for the sizes of their sets.
    #[error(
        "{0} of your queries were refused for the homes that match, the limit of a key epoch: wait for the next key \
         epoch, or ask the operator of the target finder to raise max-refused"
    )]
    TooManyRefused(usize),
    /// An earlier find of the same query chose other homes.
    #[error(
        "an earlier find of this query was over other lists: submit the question again, as a new query"
    )]
    OtherLists,
    /// The querier reached the limit of remembered queries.
    #[error("too many of your queries found homes and have not expired: try again later")]
    TooManyQueries,
    /// The querier reached the limit of different populations.
    #[error(
        "a querier may ask {0} different populations in a key epoch: ask one of those that were asked, or \
         wait for the next key epoch"
    )]
    TooManyPopulations(usize),
    /// The querier reached the limit of remembered sets or homes.
    #[error(
        "the target finder cannot remember another set of homes for you in this key epoch, and asks no set that it \
         cannot remember: wait for the next key epoch, or ask its operator to raise max-sets or max-kept-homes"
    )]
    TooManySets,
    /// The lists name more homes than a find holds.
    #[error(
        "the lists of the profile name more than the {0} homes that a find holds: narrow the target profile"
    )]
    TooManyCandidates(usize),
}

/// Names and keys that a Target Finder uses.
pub struct FinderKeys<'a> {
    /// Name of the node.
    pub name: &'a Name,
    /// Key that signs batches and grants.
    pub signing: &'a SigningKey,
    /// Key that opens entries and profiles.
    pub envelope: &'a EnvelopeSecretKey,
    /// Secret from which finds derive their keys and their order.
    pub secret: &'a PoolSecret,
    /// Key of the Target pool, to which batches are sealed.
    pub target: &'a EnvelopePublicKey,
    /// Number of partitions of the subscriptions.
    pub partitions: u16,
    /// Names of the Targets, over which batches are spread; at least one.
    pub targets: &'a [Name],
}

/// Number of each pseudonym among the profile's atoms.
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
    /// Key that opens the parameters of a session; `None` for a query that is no session.
    session: Option<SessionKey>,
}

/// Opener of the segments of one find. It may open them in any order and from any thread.
pub struct SegmentOpener {
    partition: u16,
    key_epoch: KeyEpoch,
    atoms: Atoms,
}

/// Opened entries of a list segment.
pub struct OpenedSegment {
    digest: [u8; 32],
    /// Inner encapsulation and item count.
    links: (Vec<u8>, u32),
    /// Number of the atom that the entry is for, with the entry's content.
    entries: Vec<(usize, EntryContent)>,
}

impl SegmentOpener {
    /// Returns the key epoch of the query, whose keys open the segments.
    pub fn key_epoch(&self) -> KeyEpoch {
        self.key_epoch
    }

    /// Opens a received segment. Leaves out entries that do not open in their place: they were moved or invented.
    ///
    /// # Errors
    /// [`FindError::Segment`] when the bytes are no segment of this key epoch, or have an entry of a list that is not
    /// in the find.
    pub fn open(&self, segment: &[u8], keys: &FinderKeys<'_>) -> Result<OpenedSegment, FindError> {
        // The digest names what was streamed, including entries that do not open: it becomes part of the find's id.
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
            let Some(&atom) = self.atoms.get(&entry.pseudonym) else {
                if weakness::off(Weakness::ListsLeftOut) {
                    continue;
                }
                return Err(FindError::Segment);
            };
            let Ok(opener) = &opener else {
                continue;
            };
            let Ok(content) = opener.open(&entry.pseudonym, entry.index, &entry.ciphertext) else {
                continue;
            };
            // A home belongs to one partition only. An entry for another partition could have the home asked twice.
            let here = content.tag.partition(keys.partitions) == self.partition;
            if here || weakness::off(Weakness::HomesOfOtherPartitions) {
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
    /// Returns the key epoch of the query, whose keys the find needs.
    pub fn key_epoch(&self) -> KeyEpoch {
        self.manifest.key_epoch
    }

    /// Opens the profile, verifies it against the commitment, and compares the request's lists with it.
    ///
    /// # Errors
    /// [`FindError::Profile`] when the opened profile does not match the commitment, [`FindError::Lists`] when the
    /// lists of the request are not exactly those of the profile: a missing list would make its homes look
    /// unsubscribed.
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
        // A profile may name a pseudonym several times, but has one list for it.
        let mut atoms = Atoms::new();
        for pseudonym in opening.profile.atoms() {
            let next = atoms.len();
            atoms.entry(*pseudonym).or_insert(next);
        }
        let lists: BTreeSet<&Pseudonym> = request.lists.iter().collect();
        let named =
            lists.len() == atoms.len() && lists.iter().all(|list| atoms.contains_key(*list));
        if !named && !weakness::off(Weakness::ListsLeftOut) {
            return Err(FindError::Lists);
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

    /// Returns the opener of the segments.
    pub fn opener(&self) -> Arc<SegmentOpener> {
        self.opener.clone()
    }

    /// Takes the next segment. The caller must pass the segments in the order in which they were streamed, since the
    /// digest depends on it.
    ///
    /// # Errors
    /// [`FindError::TooManyCandidates`] beyond [`MAX_CANDIDATES`].
    pub fn add(&mut self, segment: OpenedSegment) -> Result<(), FindError> {
        self.digest.update(segment.digest);
        let upload = self.uploads.len() as u32;
        self.uploads.push(segment.links);
        for (atom, content) in segment.entries {
            if !self.candidates.note(atom, upload, content, MAX_CANDIDATES) {
                return Err(FindError::TooManyCandidates(MAX_CANDIDATES));
            }
        }
        Ok(())
    }

    /// Evaluates the profile and splits the matching homes over the committees. The next step, [`Judging`], decides
    /// whether these homes may be asked.
    pub fn choose(self, keys: &FinderKeys<'_>) -> Matching {
        let atoms = &self.opener.atoms;
        let order = self.candidates.matching(|holds| {
            self.profile
                .matches(&|pseudonym: &Pseudonym| holds(atoms[pseudonym]))
        });
        let committees = self.manifest.committees.len() as u16;
        let key = keys.secret.committee_key(self.manifest.query());
        let split = Split::new(order, |place| self.candidates.tag(place), &key, committees);
        Matching {
            finding: self,
            split,
        }
    }
}

/// Homes that match, before they are cut into batches. [`Judging`] decides whether they may be asked.
pub struct Matching {
    finding: Finding,
    split: Split,
}

impl Matching {
    /// Returns the manifest of the query.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.finding.manifest
    }

    /// Returns the matching homes in the form that a finder remembers.
    pub fn members(&self, keys: &FinderKeys<'_>) -> Members {
        let manifest = &self.finding.manifest;
        let key = keys
            .secret
            .member_key(&manifest.querier, manifest.key_epoch);
        Members::new(&key, self.tags())
    }

    /// Returns the request of this query to ask `homes`, for [`Judging`].
    pub fn asking<'a>(&self, homes: &'a Members, sizes: &Sizes) -> Asking<'a> {
        let manifest = &self.finding.manifest;
        Asking {
            query: manifest.query(),
            profile: self.finding.profile.canonical(),
            homes,
            fingerprint: sizes.fingerprint(self.tags()),
            cohort: manifest.min_cohort,
            most: manifest.max_homes,
            smallest: self.split.smallest() as u64,
        }
    }

    fn tags(&self) -> impl Iterator<Item = &HomeTag> {
        let candidates = &self.finding.candidates;
        self.split.homes().map(|place| candidates.tag(place))
    }

    /// Cuts the matching homes into batches, once [`Judging`] allowed them.
    ///
    /// # Security
    /// The population is named for the canonical profile. No other profile reaches the same homes, or nearly the same,
    /// for this querier in this key epoch, since its find is refused (protocol.md §9).
    pub fn finish(self, keys: &FinderKeys<'_>, sizes: &Sizes) -> Chosen {
        let homes = self.split.homes().count() as u64;
        let noisy_size = sizes.report(&sizes.fingerprint(self.tags()), homes);
        let Self { finding, split } = self;
        let manifest = &finding.manifest;
        let (querier, epoch) = (&manifest.querier, manifest.key_epoch);
        let profile = finding.profile.canonical();
        // The canonical profile, so that one profile that is written in several ways has one budget.
        let population = keys.secret.population(querier, epoch, &profile);
        finding.seal(split, noisy_size, population, keys)
    }
}

impl Finding {
    fn seal(
        self,
        split: Split,
        noisy_size: NoisySize,
        population: Population,
        keys: &FinderKeys<'_>,
    ) -> Chosen {
        let partition = self.opener.partition;
        let lists: [u8; 32] = self.digest.finalize().into();
        let query = self.manifest.query();
        let cut = Cut::new(&split.sizes(), self.batch_size, self.manifest.min_cohort);
        // The cut is part of the find's id: a home in batches of two cuts would count twice.
        let secret = keys.secret;
        let named = secret.find(query, partition, &lists, self.batch_size, &cut);
        let find = match weakness::off(Weakness::SeveralCutsOfOneFind) {
            true => secret.find(query, partition, &lists, 0, &Cut::default()),
            false => named,
        };
        // All finders of a pool must assign the same homes to the same batches. Nothing is sealed with this generator.
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
                    // Members without an offer have a tag key too: a ticket's tags are in the order of the committee.
                    .map(|member| keys.secret.tag_key(&find, committee, member))
                    .collect(),
            );
            for (member, key) in self.manifest.offers(committee) {
                let grant = Grant {
                    finder: keys.name.clone(),
                    query,
                    partition,
                    find,
                    population,
                    noisy_size: noisy_size.clone(),
                    key: keys.secret.tag_key(&find, committee, member),
                    batches: cut.clone(),
                };
                // All finders of a pool share the secret, and repeat a find: this way of sealing never has two
                // plaintexts under one encapsulation (protocol.md §3).
                let sealed = Sealed::seal_alike(
                    &Signed::new(&grant, keys.signing),
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
                noisy_size,
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

/// Returns each batch of a cut with the range of its homes in the order of the find.
fn places(cut: &Cut, partition: u16) -> Vec<(BatchId, Range<usize>)> {
    let mut end = 0;
    let places = cut.batches(partition).map(|(batch, size)| {
        let start = end;
        end += size as usize;
        (batch, start..end)
    });
    places.collect()
}

/// Homes that a find chose, in the order in which they are asked.
pub struct Chosen {
    /// First part of the answer to the find.
    pub summary: FindSummary,
    manifest: VerifiedManifest,
    find: FindId,
    /// Batches, each with the range of its homes in `order`.
    batches: Vec<(BatchId, Range<usize>)>,
    /// Kᵢ by committee and member.
    tag_keys: Vec<Vec<TagKey>>,
    uploads: Vec<(Vec<u8>, u32)>,
    candidates: Candidates,
    /// Places of the chosen homes among the candidates.
    order: Vec<u32>,
    /// Key that opens the parameters of a session; `None` for a query that is no session.
    session: Option<SessionKey>,
}

impl Chosen {
    /// Returns the key epoch of the query, whose keys seal the batches.
    pub fn key_epoch(&self) -> KeyEpoch {
        self.manifest.key_epoch
    }

    /// Returns the number of batches.
    pub fn count(&self) -> usize {
        self.batches.len()
    }

    /// Seals and signs the batch at `place` among [`FindSummary::batches`], in any order and from any thread. The same
    /// place gives the same bytes. Returns `None` at [`Self::count`] and beyond.
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
    let statement = BatchStatement {
        finder: keys.name.clone(),
        query,
        batch,
        find: content.find,
        count,
        targets: assigned(keys.targets, batch),
        digest: BatchStatement::digest_of(&sealed),
    };
    BatchMessage {
        statement: Signed::new(&statement, keys.signing),
        sealed,
    }
}

/// Returns the Targets that are to ask a batch, in the order of its attempts. Each of the directory's `targets` is
/// there once, and the next batch begins with the next Target: this spreads the work, and the Conductor does not choose
/// which Target sees which homes.
pub fn assigned(targets: &[Name], batch: BatchId) -> Vec<Name> {
    let mut targets = targets.to_vec();
    let first = u64::from(batch.number) + u64::from(batch.committee) + u64::from(batch.partition);
    let first = (first % targets.len().max(1) as u64) as usize;
    targets.rotate_left(first);
    targets
}

#[cfg(test)]
mod tests;
