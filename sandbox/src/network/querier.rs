//! Querier of a sandbox.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use dispers_base::{id::Role, keys::SigningKey};
use dispers_node::{
    TlsIdentity,
    keyfile::{NodeKeys, PreviousKeys},
    private,
};
use dispers_querier::{PrivacyLoss, QueryResult, Question};

use super::Network;
use crate::Error;

impl Network {
    /// Asks a question as the sandbox's querier.
    ///
    /// # Errors
    /// As [`dispers_querier::Querier::ask`].
    pub async fn ask(
        &self,
        sql: &str,
        min_cohort: Option<u32>,
        mut observe: impl FnMut(&dispers_querier::Progress),
    ) -> Result<QueryResult, dispers_querier::Error> {
        let question = self.question(sql, min_cohort, None);
        let mut asking = self.querier.ask(&question);
        while let Some(progress) = asking.next().await {
            observe(&progress);
        }
        asking.await
    }

    /// Returns a question of the sandbox's querier.
    pub fn question(
        &self,
        sql: &str,
        min_cohort: Option<u32>,
        loss: Option<PrivacyLoss>,
    ) -> Question {
        Question::new(sql, &self.purpose)
            .min_cohort(min_cohort)
            .loss(loss)
    }

    /// Writes the files of the sandbox's querier into `folder`, for programs that open a querier from its files as on
    /// any network. Returns the path of the configuration file.
    ///
    /// # Errors
    /// [`Error::Write`] if a file cannot be written, or is there already.
    pub fn write_querier(&self, folder: &Path) -> Result<PathBuf, Error> {
        let failed = |path: &Path, reason: &dyn fmt::Display| Error::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let write = |name: &str, content: &[u8]| {
            let path = folder.join(name);
            let written = private::write(&path, content);
            written.map_err(|reason| failed(&path, &reason))?;
            Ok(path)
        };
        let path = folder.join("querier.key");
        let keys = NodeKeys {
            tls: TlsIdentity::from_pkcs8(self.querier_node.tls.pkcs8())
                .map_err(|reason| failed(&path, &reason))?,
            signing: SigningKey::from_seed(&self.querier_node.signing.seed()),
            envelope: None,
            pool_envelope: None,
            pool_secret: None,
            share: None,
            previous: PreviousKeys::default(),
        };
        let name = self.querier_node.name.as_str();
        keys.save(&path, self.directory.suite, name, Role::Querier)
            .map_err(|reason| failed(&path, &reason))?;
        write("directory.bin", &self.signed.bytes)?;
        let root: String = self
            .signed
            .root
            .0
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let config = format!(
            "[node]\nname = \"{name}\"\ndirectory = \"directory.bin\"\nroots = [\"{root}\"]\nkeys = \"querier.key\"\n"
        );
        write("querier.toml", config.as_bytes())
    }
}
