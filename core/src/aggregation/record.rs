//! Records of a query that outlive a restart (protocol.md §8): everything that was promised, and nothing of a
//! contribution.

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

/// Secret of the offer, grants by partition, and digests of parameters by round.
type Head = (
    Option<(Suite, [u8; 32])>,
    Vec<(u16, Grant)>,
    Vec<(u16, [u8; 32])>,
);

/// Name of a record: the part of a query that it holds. A part is rewritten as a whole.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub enum Part {
    /// Secret of the offer, and the finders' grants.
    Query,
    /// Attempts at a batch, or the committed batch.
    Batch {
        /// Round of the batch.
        round: u16,
        /// Name of the batch.
        batch: BatchId,
    },
    /// The release of a round.
    Release {
        /// Number of the round.
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

/// Encoded part of a query; zeroized when dropped, and never printed.
pub struct Record(Zeroizing<Vec<u8>>);

impl Record {
    /// Makes a record from stored bytes.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// Returns the bytes to store. They are secret.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn encode(value: &impl BorshSerialize) -> Self {
        // The buffer has its whole length from the start: a buffer that grows leaves copies of secrets behind.
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

/// Changes that must be written, in one transaction, before an answer leaves.
pub struct Changes {
    /// Changed parts, in their present state.
    pub records: Vec<(Part, Record)>,
    /// True if `records` are all parts of the query. All its other stored records are then to be erased.
    pub whole: bool,
    /// Expenses that count for the whole key epoch from this step on.
    pub charges: Vec<Expense>,
}

/// Parts that were not written yet.
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
    /// Returns the changes since [`Self::saved`], or `None` if there are none. The caller writes them before the answer
    /// of any step leaves, also if the step failed or is a repetition: an earlier write may have failed.
    pub fn changes(&self) -> Option<Changes> {
        let (parts, whole) = match &self.unsaved {
            Unsaved::Parts(parts) if parts.is_empty() => return None,
            Unsaved::Parts(parts) => (parts.iter().copied().collect(), false),
            Unsaved::Whole => (self.parts(), true),
        };
        let records = parts
            .into_iter()
            .filter_map(|part| Some((part, self.record(part)?)));
        Some(Changes {
            records: records.collect(),
            whole,
            charges: self.charges(),
        })
    }

    /// Records that the changes are written.
    pub fn saved(&mut self) {
        self.unsaved = Unsaved::Parts(BTreeSet::new());
    }

    /// Restores the query from `records`, the latest record of each part. Contributions are lost: an attempt that held
    /// some waits for the same groups again. `watch` gets the secret of the offer, and may attach a watcher to it.
    ///
    /// # Errors
    /// [`DecodeError`] when a record is malformed, missing, or of another query.
    pub fn restore(
        manifest: VerifiedManifest,
        committee: u16,
        me: MemberNumber,
        records: impl IntoIterator<Item = (Part, Record)>,
        watch: impl FnOnce(EnvelopeSecretKey) -> EnvelopeSecretKey,
    ) -> Result<Self, DecodeError> {
        let mut records: Vec<_> = records.into_iter().collect();
        // The part of the query itself comes first in this order. The other parts need it.
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
