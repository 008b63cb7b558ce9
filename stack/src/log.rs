//! Whether a query is in the log that everybody sees (protocol.md §16).

use dispers_core::{
    ask::Ask,
    log::{LogError, MAX_PROOF, SignedHead, VerifiedHead, check_consistency},
};
use dispers_proto::v1::LogSizes;

use crate::{Answerer, Error, subscribe::remote};

impl Answerer {
    /// Checks that the manifest is in the log, under a head that continues, or is continued by, the
    /// latest that this stack saw. No home is looked at before.
    ///
    /// # Errors
    /// [`Error::Log`]; of two heads that contradict each other both are kept. [`Error::Remote`] where
    /// nobody gives the proof.
    pub(crate) async fn check_log(&self, ask: &Ask) -> Result<(), Error> {
        let signed = &ask.inclusion.head;
        let head = ask.inclusion.verify(&ask.manifest, &self.node.directory)?;
        if self.heads.is_known(&head.root) {
            return Ok(());
        }
        let store = &self.store;
        let Some((last, kept)) = store.last_head(head.log)? else {
            return self.note(signed, &head);
        };
        let (older, newer) = match last.size <= head.root.size {
            true => (&last, &head.root),
            false => (&head.root, &last),
        };
        let proof = match older.size == newer.size {
            true => Vec::new(),
            false => self.proof(older.size, newer.size).await?,
        };
        if let Err(error) = check_consistency(older, newer, &proof) {
            if error == LogError::Forked {
                store.keep_fork(&kept, signed)?;
                tracing::error!(
                    node = %self.node.name,
                    seen = last.size,
                    shown = head.root.size,
                    "the log was shown with two histories: both heads are kept, tell the network's operators"
                );
            }
            return Err(error.into());
        }
        self.note(signed, &head)
    }

    fn note(&self, signed: &SignedHead, head: &VerifiedHead) -> Result<(), Error> {
        self.store.keep_head(head.log, &head.root, signed)?;
        self.heads.learn(head.root);
        Ok(())
    }

    async fn proof(&self, older: u64, newer: u64) -> Result<Vec<u8>, Error> {
        let sizes = LogSizes { older, newer };
        let proof = self
            .relay
            .through(|mut target| async move { target.log_consistency(sizes).await });
        let proof = proof.await.map_err(remote("proving that the log is one"))?;
        let proof = proof.into_inner().body;
        match proof.len() <= MAX_PROOF {
            true => Ok(proof),
            false => Err(LogError::Forked.into()),
        }
    }
}
