//! Checks by the Conductor of a Target's answer, before any aggregator sees it (protocol.md §8).

use super::{BatchAnswer, GroupsStatement, contribution_limit};
use crate::manifest::VerifiedManifest;
use dispers_base::{
    id::{Name, Work},
    weakness::{self, Weakness},
};
use dispers_trust::directory::Directory;

/// Error for an answer that an honest Target cannot have given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the target did not sign these groups for this attempt: ask the batch again")]
pub struct OtherBytes;

impl BatchAnswer {
    /// Checks that `target` signed exactly these groups for `work`, which asked `homes` homes. Each aggregator with an
    /// offer must have the same number of groups; there may be no more groups or answers than homes, and no more bytes
    /// than honest stacks send.
    ///
    /// So every aggregator gets exactly the bytes that the signature covers. Otherwise a Target could send one
    /// aggregator other bytes than it signed, or so many that opening them takes too long. That aggregator would fail
    /// its step and leave the query, and the Target would choose the aggregators that verify.
    ///
    /// # Errors
    /// [`OtherBytes`]: the attempt has failed, and no aggregator is at fault.
    pub fn check(
        &self,
        work: Work,
        target: &Name,
        homes: u32,
        manifest: &VerifiedManifest,
        directory: &Directory,
    ) -> Result<(), OtherBytes> {
        if weakness::off(Weakness::OtherBytesEvict) {
            return Ok(());
        }
        let statement = &self.statement;
        let offers = manifest.offers(work.batch.committee).count();
        let home = contribution_limit(manifest.circuit_of(work.round), offers);
        // Upper bound for the bytes of one aggregator's groups: one envelope per home, if each stack has one home.
        let most = offers.saturating_mul((homes as usize).saturating_mul(home + super::GROUP));
        let first = self.groups.first().map_or(0, Vec::len);
        let shaped = statement.work == work
            && statement.target == *target
            && statement.digests.len() == offers
            && self.groups.len() == offers
            && self
                .groups
                .iter()
                .all(|groups| groups.len() == first && bytes_of(groups) <= most)
            && first <= homes as usize
            && self.answered <= homes;
        let signed = statement.is_signed(&self.signature, directory);
        let mut pairs = self.groups.iter().zip(&statement.digests);
        // The digests under the signature are compared with the groups themselves: a signature over other bytes is
        // worthless.
        match shaped
            && signed
            && pairs.all(|(groups, digest)| GroupsStatement::digest_of(groups) == *digest)
        {
            true => Ok(()),
            false => Err(OtherBytes),
        }
    }
}

/// Returns the bytes of one aggregator's groups.
fn bytes_of(groups: &[super::SealedGroup]) -> usize {
    let bytes = groups.iter().map(|group| {
        let encapsulated = group.encapsulated().len();
        encapsulated.saturating_add(group.ciphertext().len())
    });
    bytes.sum()
}
