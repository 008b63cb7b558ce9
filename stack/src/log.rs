//! Check that a query is in the log that everybody sees (protocol.md §16).

use std::time::Duration;

use dispers_core::{
    ask::Ask,
    log::{LogError, MAX_PROOF, Root, SignedHead, VerifiedHead, check_consistency},
};
use dispers_proto::v1::LogSizes;

use tokio::time::timeout;

use crate::{Answerer, Error};

/// Longest wait for a consistency proof.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most tries to store a head, each of which may find that another ask has stored one meanwhile.
const TRIES: usize = 8;

impl Answerer {
    /// Checks that the manifest is in the log, under a head that continues the largest head that this stack saw, or is
    /// continued by it. Looks at no home.
    ///
    /// [`Error::Log`] if a proof or signature does not hold; two different heads of one size are both stored as
    /// evidence. [`Error::NoProof`] if nobody gives the consistency proof.
    pub(crate) async fn check_log(&self, ask: &Ask) -> Result<(), Error> {
        let signed = &ask.inclusion.head;
        let head = ask.inclusion.verify(&ask.manifest, &self.node.directory)?;
        // A head that was accepted before needs no second proof, which would cost a call to the Conductor.
        if self.heads.is_known(&head.root) {
            return Ok(());
        }
        // Another ask may store a head in between. This head is then compared with the new one.
        for _ in 0..TRIES {
            let last = self.store.last_head(head.log)?;
            if let Some((last, kept)) = &last {
                self.compare(last, kept, signed, &head).await?;
            }
            let with = last.as_ref().map(|(last, _)| last);
            if self.store.keep_head(head.log, with, &head.root, signed)? {
                self.heads.learn(head.root);
                return Ok(());
            }
        }
        Err(Error::NoProof)
    }

    /// Checks that a head and the largest head that was seen are of one log.
    async fn compare(
        &self,
        last: &Root,
        kept: &SignedHead,
        signed: &SignedHead,
        head: &VerifiedHead,
    ) -> Result<(), Error> {
        let (older, newer) = match last.size <= head.root.size {
            true => (last, &head.root),
            false => (&head.root, last),
        };
        // Heads of one size must be equal, which needs no proof.
        let proof = match older.size == newer.size {
            true => Vec::new(),
            false => self.proof(older.size, newer.size).await?,
        };
        if let Err(error) = check_consistency(older, newer, &proof) {
            if error == LogError::Forked {
                self.store.keep_fork(kept, signed)?;
                tracing::error!(
                    node = %self.node.name,
                    seen = last.size,
                    shown = head.root.size,
                    "the log was shown with two histories: both heads are kept, tell the network's operators"
                );
            } else {
                // A wrong proof is no evidence. It must not fill the places for evidence, or a relay could crowd real
                // evidence out.
                tracing::warn!(
                    node = %self.node.name,
                    seen = last.size,
                    shown = head.root.size,
                    "nothing shows that the log continues what was seen: the query is not answered"
                );
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// Fetches the proof that a log of `newer` leaves continues one of `older` leaves, from a Conductor by way of a
    /// Target.
    async fn proof(&self, older: u64, newer: u64) -> Result<Vec<u8>, Error> {
        let sizes = LogSizes { older, newer };
        let asked = self
            .relay
            .through(|mut target| async move { target.log_consistency(sizes).await });
        // A node that gives no proof must not hold up the ask for long.
        let proof = timeout(PATIENCE, asked).await.map_err(|_| Error::NoProof)?;
        let proof = proof.map_err(|_| Error::NoProof)?.into_inner().body;
        match proof.len() <= MAX_PROOF {
            true => Ok(proof),
            false => Err(Error::NoProof),
        }
    }
}
