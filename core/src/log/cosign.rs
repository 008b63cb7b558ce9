//! What a witness co-signs: one history, and never a second.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Head, LogError, SignedHead, check_consistency};
use dispers_base::{id::Timestamp, keys::Signature};
use dispers_trust::directory::Directory;

/// What a Conductor asks of a witness.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Cosign {
    /// The head.
    pub head: SignedHead,
    /// The size from which `proof` leads to the head.
    pub from: u64,
    /// The consistency proof.
    pub proof: Vec<u8>,
}

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CosignReply {
    /// Its signature.
    Signed(Signature),
    /// The size of the head that it co-signed last: a proof must begin there.
    From(u64),
}

/// What a witness remembers: the head that it co-signed last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnessed(pub Option<Head>);

impl Witnessed {
    /// What to do with a request: co-sign this head, which must be remembered before the signature
    /// leaves, or tell where a proof must begin.
    ///
    /// # Errors
    /// [`LogError::Forked`] for a head that does not continue what was co-signed, [`LogError::Time`], and
    /// what is wrong with the head itself.
    pub fn consider(
        &self,
        request: &Cosign,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<Result<Head, u64>, LogError> {
        let head = request.head.signed(directory)?;
        if head.time.is_ahead_of(now) {
            return Err(LogError::Time);
        }
        let Some(last) = &self.0 else {
            return Ok(Ok(head));
        };
        if head.root.size < last.root.size {
            // It may come late: another head overtook it.
            return Ok(Err(last.root.size));
        }
        if head.root.size != last.root.size && request.from != last.root.size {
            return Ok(Err(last.root.size));
        }
        check_consistency(&last.root, &head.root, &request.proof)?;
        if head.time.0.saturating_add(Timestamp::SKEW) < last.time.0 {
            return Err(LogError::Time);
        }
        Ok(Ok(head))
    }
}
