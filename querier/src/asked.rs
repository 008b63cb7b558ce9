//! Questions that were asked: what opens their answers, and how it is kept.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{
    encoding::{Message, decode, to_bytes},
    id::QueryId,
};
use dispers_core::manifest::{SignedManifest, VerifiedManifest};
use dispers_crypto::envelope::EnvelopeSecretKey;
use dispers_sql::{plan::Plan, statement::MAX_SQL};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Error, Querier};

/// Question with a signed manifest and the secret key of its answer. Without that key nobody opens the answer.
#[derive(Clone)]
pub struct Asked {
    pub(crate) sql: String,
    pub(crate) plan: Plan,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) signed: SignedManifest,
    pub(crate) reply: Arc<EnvelopeSecretKey>,
}

/// Question as it is stored until its answer is opened. The plan is left out: `Querier::restore` makes it again from
/// the SQL.
#[derive(BorshSerialize, BorshDeserialize, Zeroize, ZeroizeOnDrop)]
struct Saved {
    #[zeroize(skip)]
    sql: String,
    #[zeroize(skip)]
    manifest: SignedManifest,
    reply: [u8; 32],
}

impl Message for Saved {
    const NAME: &'static str = "kept question";
    // The key and the lengths of the parts need less than 1 KiB.
    const LIMIT: usize = MAX_SQL + SignedManifest::LIMIT + 1024;
}

impl Asked {
    /// Returns the query's id.
    pub fn query(&self) -> QueryId {
        self.manifest.query()
    }

    /// Encodes the question for [`Querier::restore`], for a program that keeps its questions itself. Whoever has the
    /// bytes can open the answer.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(to_bytes(&Saved {
            sql: self.sql.clone(),
            manifest: self.signed.clone(),
            reply: *self.reply.to_seed_bytes(),
        }))
    }
}

impl Querier {
    /// Finds a question that waits in the folder of the configuration. `id` is the text of the query's id.
    ///
    /// # Errors
    /// [`Error::NoQuestion`] if none of this id waits. Otherwise as [`restore`](Self::restore).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// # let path = network.write_querier(folder.path())?;
    /// use dispers_querier::{Error, Querier};
    ///
    /// let querier = Querier::open(path)?;
    /// assert!(matches!(querier.find("c0ffee"), Err(Error::NoQuestion { .. })));
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn find(&self, id: &str) -> Result<Asked, Error> {
        let folder = self.folder()?;
        let asked = self
            .restore(&folder.question(id)?)
            .map_err(|error| folder.in_question(id, error))?;
        match asked.query().to_string() == id {
            true => Ok(asked),
            // A copy under another name would be looked for, and removed, under an id that is not its own.
            false => Err(folder.misnamed(id, asked.query())),
        }
    }

    /// Restores a question from the bytes of [`Asked::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Decode`] for other bytes. [`Error::Changed`] if the catalogue gives its SQL another meaning now. A
    /// query that has expired is restored too, and then has no answer any more.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// use dispers_querier::Question;
    ///
    /// // This querier has no folder.
    /// let querier = network.querier();
    /// let question = Question::new("SELECT COUNT(*) AS people FROM health", "sandbox").exact();
    /// let bytes = querier.detach(&question).await?.to_bytes();
    /// let result = querier.follow(&querier.restore(&bytes)?).await?;
    /// # assert_eq!(result.table.columns, ["people"]);
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn restore(&self, bytes: &[u8]) -> Result<Asked, Error> {
        let saved: Saved = decode(bytes)?;
        // Verified as of the time of signing: a question that has expired must be found to be forgotten.
        let issued = saved.manifest.unverified()?.issued;
        let manifest = saved.manifest.verify(self.directory(), issued)?;
        let plan = self.plan(&saved.sql)?;
        // The plan decodes the answer. A plan of a changed catalogue could read the outputs as other columns.
        if plan.local != manifest.local {
            return Err(Error::Changed);
        }
        let reply = EnvelopeSecretKey::from_bytes(manifest.reply_key.suite(), &saved.reply);
        let reply = reply.map_err(|_| Error::Changed)?;
        if reply.public() != manifest.reply_key {
            return Err(Error::Changed);
        }
        Ok(Asked {
            sql: saved.sql.clone(),
            plan,
            signed: saved.manifest.clone(),
            manifest,
            reply: Arc::new(reply),
        })
    }

    /// Removes the file of a question or session whose answer is not needed any more. Succeeds if there is none.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be removed.
    pub fn forget(&self, query: QueryId) -> Result<(), Error> {
        match &self.folder {
            Some(folder) => folder.forget(query),
            None => Ok(()),
        }
    }

    /// Writes what opens the answer of a question that is about to be submitted.
    pub(crate) fn keep(&self, asked: &Asked) -> Result<(), Error> {
        match &self.folder {
            Some(folder) => folder.keep_question(asked.query(), &asked.to_bytes()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dispers_base::keys::SigningKey;
    use dispers_core::manifest::Manifest;
    use dispers_node::rng;

    use super::*;
    use dispers_base::signed::Signed;

    #[test]
    fn a_question_with_the_largest_manifest_is_read_back() {
        let key = SigningKey::generate(&mut rng());
        let saved = Saved {
            sql: "x".repeat(MAX_SQL),
            manifest: Signed::from_parts(vec![7; Manifest::LIMIT], key.sign("test", b"")).into(),
            reply: [9; 32],
        };
        let again: Saved = decode(&to_bytes(&saved)).unwrap();
        assert_eq!(again.manifest, saved.manifest);
    }
}
