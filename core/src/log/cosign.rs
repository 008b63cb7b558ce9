//! Co-signing by witnesses: one history, and never a second.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Head, LogError, SignedHead, check_consistency};
use dispers_base::{id::Timestamp, keys::Signature};
use dispers_trust::directory::Directory;

/// Request of a Conductor to a witness.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Cosign {
    /// Head to co-sign.
    pub head: SignedHead,
    /// Size of the tree from which `proof` leads to the head.
    pub from: u64,
    /// Consistency proof.
    pub proof: Vec<u8>,
}

/// Answer of a witness.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CosignReply {
    /// Signature of the witness.
    Signed(Signature),
    /// Size of the head that the witness co-signed last. A proof must begin at this size.
    From(u64),
}

/// Memory of a witness: the head that it co-signed last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Witnessed(pub Option<Head>);

impl Witnessed {
    /// Decides about a request. `Ok(Ok(head))` means to co-sign this head; the caller stores it before the signature
    /// leaves. `Ok(Err(size))` means that a proof must begin at `size`.
    ///
    /// # Errors
    /// [`LogError::Forked`] or [`LogError::Unproved`] for a head that is not shown to continue the co-signed one,
    /// [`LogError::Time`] for a wrong time, and the errors of [`SignedHead::signed`] for the head itself.
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
        // A witness without a memory takes any head: it has seen no history that the head could contradict.
        let Some(last) = &self.0 else {
            return Ok(Ok(head));
        };
        if head.root.size < last.root.size {
            // Not an error: this head may be late, after another one overtook it. But a witness never co-signs a
            // smaller head.
            return Ok(Err(last.root.size));
        }
        if head.root.size != last.root.size && request.from != last.root.size {
            return Ok(Err(last.root.size));
        }
        check_consistency(&last.root, &head.root, &request.proof)?;
        // The times of one history do not run backwards, apart from the difference between the clocks of several
        // Conductors.
        if head.time.0.saturating_add(Timestamp::SKEW) < last.time.0 {
            return Err(LogError::Time);
        }
        Ok(Ok(head))
    }
}
