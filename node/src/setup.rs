//! Parts from which a role's service is set up: its keys, and the place of its database.
//!
//! Each role crate has one function that sets its service up from these. `dispers serve` and the sandbox both call it, so
//! that a sandbox runs what an operator runs.

use std::path::PathBuf;

use dispers_core::ticket::PoolSecret;
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopeSecretKey};

use crate::{Database, DatabaseError, Schema, keyfile::PreviousKeys};

/// Keys of a role, beside those that every node has.
#[derive(Debug, Default)]
pub struct RoleKeys {
    /// Envelope key of a concept indexor, or the one that all conductors share.
    pub envelope: Option<EnvelopeSecretKey>,
    /// Envelope key of the pool, for target finders and targets.
    pub pool_envelope: Option<EnvelopeSecretKey>,
    /// Secret of the pool, from which finds derive, for target finders.
    pub pool_secret: Option<PoolSecret>,
    /// Threshold share, for concept indexors and data aggregators.
    pub share: Option<KeyShare>,
    /// Secrets of the previous key epoch, during the grace.
    pub previous: PreviousKeys,
}

impl RoleKeys {
    /// Takes the envelope key.
    ///
    /// # Errors
    /// [`SetUpError::MissingKey`].
    pub fn envelope(&mut self) -> Result<EnvelopeSecretKey, SetUpError> {
        needed(self.envelope.take(), "the envelope key")
    }

    /// Takes the pool's envelope key.
    ///
    /// # Errors
    /// [`SetUpError::MissingKey`].
    pub fn pool_envelope(&mut self) -> Result<EnvelopeSecretKey, SetUpError> {
        needed(self.pool_envelope.take(), "the pool's envelope key")
    }

    /// Takes the pool's secret.
    ///
    /// # Errors
    /// [`SetUpError::MissingKey`].
    pub fn pool_secret(&mut self) -> Result<PoolSecret, SetUpError> {
        needed(self.pool_secret.take(), "the pool's secret")
    }

    /// Takes the threshold share.
    ///
    /// # Errors
    /// [`SetUpError::MissingKey`].
    pub fn share(&mut self) -> Result<KeyShare, SetUpError> {
        needed(
            self.share.take(),
            "the threshold share (share = \"FILE\" in [node])",
        )
    }
}

fn needed<T>(key: Option<T>, what: &'static str) -> Result<T, SetUpError> {
    key.ok_or(SetUpError::MissingKey(what))
}

/// Place of a role's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// File, which the role makes if there is none.
    File(PathBuf),
    /// Memory, which ends with the service; for sandboxes and tests.
    Memory,
}

impl Storage {
    /// Opens the database.
    ///
    /// # Errors
    /// [`DatabaseError`] for a file that cannot be used.
    pub fn open(&self, schema: &'static Schema) -> Result<Database, DatabaseError> {
        match self {
            Self::File(path) => Database::open(path, schema),
            Self::Memory => Database::in_memory(schema),
        }
    }
}

/// Reason why a role's service cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The role needs a key that it was not given.
    #[error("the configuration or key file lacks {0}")]
    MissingKey(&'static str),
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The role refuses its keys or its configuration.
    #[error(transparent)]
    Role(Box<dyn std::error::Error + Send + Sync>),
}

impl SetUpError {
    /// Creates the error of a role that refuses its keys or its configuration.
    pub fn role(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Role(Box::new(error))
    }
}
