//! Whether a query is in the log that everybody sees (protocol.md §16).

use std::time::Duration;

use dispers_core::{
    ask::Ask,
    log::{LogError, MAX_PROOF, Root, SignedHead, VerifiedHead, check_consistency},
};
use dispers_proto::v1::LogSizes;

use tokio::time::timeout;

use crate::{Answerer, Error};

/// Longest wait for a proof.
const PATIENCE: Duration = Duration::from_secs(10);
/// Heads that may come between, before an ask is given up.
const TRIES: usize = 8;

impl Answerer {
    /// Checks that the manifest is in the log, under a head that continues, or is continued by, the
    /// latest that this stack saw. No home is looked at before.
    ///
    /// # Errors
    /// [`Error::Log`]; two different heads of one size are both kept as evidence. [`Error::NoProof`] where
    /// nobody gives the proof.
    pub(crate) async fn check_log(&self, ask: &Ask) -> Result<(), Error> {
        let signed = &ask.inclusion.head;
        let head = ask.inclusion.verify(&ask.manifest, &self.node.directory)?;
        if self.heads.is_known(&head.root) {
            return Ok(());
        }
        // Another ask may keep a head in between: then this one is compared with that.
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

    /// Checks that a head and the largest that was seen are of one log.
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

    async fn proof(&self, older: u64, newer: u64) -> Result<Vec<u8>, Error> {
        let sizes = LogSizes { older, newer };
        let asked = self
            .relay
            .through(|mut target| async move { target.log_consistency(sizes).await });
        // Who gives no proof holds up nobody else's ask for long.
        let proof = timeout(PATIENCE, asked).await.map_err(|_| Error::NoProof)?;
        let proof = proof.map_err(|_| Error::NoProof)?.into_inner().body;
        match proof.len() <= MAX_PROOF {
            true => Ok(proof),
            false => Err(Error::NoProof),
        }
    }
}
