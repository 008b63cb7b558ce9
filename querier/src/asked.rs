//! A signed question with the secret key that opens its answer.

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{encoding::to_bytes, id::QueryId};
use dispers_core::manifest::{SignedManifest, VerifiedManifest};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_sql::plan::Plan;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Question with a signed manifest and the secret key of its answer. Without that key nobody opens the answer.
pub struct Asked {
    pub(crate) sql: String,
    pub(crate) plan: Plan,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) signed: SignedManifest,
    pub(crate) reply: EnvelopeSecretKey,
}

/// Question as it is stored until its answer is opened. The plan is left out: `Querier::restore` makes it again from
/// the SQL.
#[derive(BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Saved {
    #[zeroize(skip)]
    pub(crate) sql: String,
    #[zeroize(skip)]
    pub(crate) manifest: SignedManifest,
    pub(crate) reply: [u8; 32],
}

impl Asked {
    /// Returns the query's id.
    pub fn query(&self) -> QueryId {
        self.manifest.query()
    }

    /// Encodes the question for [`Querier::restore`](crate::Querier::restore). Whoever has the bytes can open the
    /// answer.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(to_bytes(&Saved {
            sql: self.sql.clone(),
            manifest: self.signed.clone(),
            reply: *self.reply.to_seed_bytes(),
        }))
    }
}
