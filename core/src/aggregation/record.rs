//! What of a query outlives a restart (protocol.md §8): everything that was promised, and nothing
//! of a contribution.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use zeroize::Zeroizing;

use super::{Aggregation, Batch, releasing::Releasing};
use crate::{find::Grant, manifest::VerifiedManifest};
use dispers_base::{
    encoding::{self, DecodeError, VERSION},
    id::{BatchId, MemberNumber, Work},
};
use dispers_crypto::envelope::{EnvelopeSecretKey, Suite};
use dispers_privacy::Expense;

const MALFORMED: DecodeError = DecodeError {
    what: "record of a query",
};

/// The offer's secret, the grants by partition, and the digests of parameters by round.
type Head = (
    Option<(Suite, [u8; 32])>,
    Vec<(u16, Grant)>,
    Vec<(u16, [u8; 32])>,
);

/// Which part of a query a record is. Each is rewritten as a whole.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Part {
    /// The offer's secret, and the finder's grants.
    Query,
    /// The attempts at a batch, or what was committed of it.
    Batch {
        /// The round.
        round: u16,
        /// The batch.
        batch: BatchId,
    },
    /// The release of a round.
    Release {
        /// The round.
        round: u16,
    },
}

impl Part {
    pub(super) fn of(work: Work) -> Self {
        Self::Batch {
            round: work.round,
            batch: work.batch,
        }
    }
}

/// One part of a query, encoded; zeroized when dropped, and never shown.
pub struct Record(Zeroizing<Vec<u8>>);

impl Record {
    /// A record that was kept.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The bytes to keep. They are secret.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn encode(value: &impl BorshSerialize) -> Self {
        // The whole length at once: a buffer that grows leaves copies behind.
        let length = borsh::object_length(value).unwrap_or_default();
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + length));
        bytes.push(VERSION);
        value
            .serialize(&mut *bytes)
            .expect("writing to a Vec cannot fail and no length exceeds u32");
        Self(bytes)
    }

    fn decode<T: BorshDeserialize>(&self) -> Result<T, DecodeError> {
        encoding::from_bytes(&self.0, self.0.len(), MALFORMED.what)
    }
}

/// What is to be written, in one transaction, before an answer leaves.
pub struct Changes {
    /// The parts that changed, as they are now.
    pub records: Vec<(Part, Record)>,
    /// Whether these are all: whatever else was kept of the query is to be erased.
    pub whole: bool,
    /// Expenses that count for the whole key epoch from this step on.
    pub charges: Vec<Expense>,
}

/// What was not written yet.
pub(super) enum Unsaved {
    Parts(BTreeSet<Part>),
    Whole,
}

impl Unsaved {
    pub(super) fn mark(&mut self, part: Part) {
        if let Self::Parts(parts) = self {
            parts.insert(part);
        }
    }
}

impl Aggregation {
    /// What changed since [`Self::saved`], if anything did. It is to be written before the answer of
    /// any step leaves, also of one that failed and of one that is repeated: the write before may
    /// have failed.
    pub fn changes(&self) -> Option<Changes> {
        let (parts, whole) = match &self.unsaved {
            Unsaved::Parts(parts) if parts.is_empty() => return None,
            Unsaved::Parts(parts) => (parts.iter().copied().collect(), false),
            Unsaved::Whole => (self.parts(), true),
        };
        let record = |part| Some((part, self.record(part)?));
        Some(Changes {
            records: parts.into_iter().filter_map(record).collect(),
            whole,
            charges: self.charges(),
        })
    }

    /// Notes that the changes are written.
    pub fn saved(&mut self) {
        self.unsaved = Unsaved::Parts(BTreeSet::new());
    }

    /// The query as it was when `records`, the latest of each part, were written. Contributions are
    /// lost: attempts at which they were held wait for the same groups again. `watch` is given the
    /// offer's secret, to have it watched or not.
    ///
    /// # Errors
    /// [`DecodeError`] when a record is none, is missing, or is of another query.
    pub fn restore(
        manifest: VerifiedManifest,
        committee: u16,
        me: MemberNumber,
        records: impl IntoIterator<Item = (Part, Record)>,
        watch: impl FnOnce(EnvelopeSecretKey) -> EnvelopeSecretKey,
    ) -> Result<Self, DecodeError> {
        let mut records: Vec<_> = records.into_iter().collect();
        records.sort_by_key(|(part, _)| *part);
        let mut records = records.into_iter();
        let Some((Part::Query, head)) = records.next() else {
            return Err(MALFORMED);
        };
        let (seed, grants, parameters) = head.decode::<Head>()?;
        let secret = seed.map(|(suite, seed)| {
            let seed = Zeroizing::new(seed);
            EnvelopeSecretKey::from_bytes(suite, &*seed).map(watch)
        });
        let secret = secret.transpose().map_err(|_| MALFORMED)?;
        let mut query = Self::holding(manifest, committee, me, secret).map_err(|_| MALFORMED)?;
        query.grants = grants.into_iter().collect();
        query.parameters = parameters.into_iter().collect();
        for (part, record) in records {
            match part {
                Part::Query => return Err(MALFORMED),
                Part::Batch { round, batch } => {
                    query
                        .batches
                        .insert((round, batch), record.decode::<Batch>()?);
                }
                Part::Release { round } => {
                    query.releases.insert(round, record.decode::<Releasing>()?);
                }
            }
        }
        query.saved();
        Ok(query)
    }

    fn parts(&self) -> Vec<Part> {
        let batches = self.batches.keys();
        let releases = self.releases.keys();
        std::iter::once(Part::Query)
            .chain(batches.map(|&(round, batch)| Part::Batch { round, batch }))
            .chain(releases.map(|&round| Part::Release { round }))
            .collect()
    }

    fn record(&self, part: Part) -> Option<Record> {
        Some(match part {
            Part::Query => {
                let seed = self.secret.as_ref().map(|secret| secret.to_seed_bytes());
                let suite = self.secret.as_ref().map(|secret| secret.suite());
                let grants: Vec<_> = self.grants.iter().collect();
                let parameters: Vec<_> = self.parameters.iter().collect();
                Record::encode(&(suite.zip(seed.as_deref()), grants, parameters))
            }
            Part::Batch { round, batch } => Record::encode(self.batches.get(&(round, batch))?),
            Part::Release { round } => Record::encode(self.releases.get(&round)?),
        })
    }
}
