//! A question that was asked, and what opens its answer.

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{encoding::to_bytes, id::QueryId};
use dispers_core::manifest::{SignedManifest, VerifiedManifest};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_sql::plan::Plan;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A question that was asked. It alone opens its answer.
pub struct Asked {
    pub(crate) sql: String,
    pub(crate) plan: Plan,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) signed: SignedManifest,
    pub(crate) reply: EnvelopeSecretKey,
}

/// What is kept of a question until its answer is opened.
#[derive(BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Saved {
    #[zeroize(skip)]
    pub(crate) sql: String,
    #[zeroize(skip)]
    pub(crate) manifest: SignedManifest,
    pub(crate) reply: [u8; 32],
}

impl Asked {
    /// The query's id.
    pub fn query(&self) -> QueryId {
        self.manifest.query()
    }

    /// What [`Querier::restore`](crate::Querier::restore) takes up. Whoever has it reads the answer.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(to_bytes(&Saved {
            sql: self.sql.clone(),
            manifest: self.signed.clone(),
            reply: *self.reply.to_seed_bytes(),
        }))
    }
}
