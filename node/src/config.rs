//! Configuration files: a `[node]` table that every role has, one of its own, and two that may be left
//! out.

use std::{
    fs,
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
};

use dispers_base::{
    id::{Name, Role},
    keys::VerifyingKey,
};
use dispers_trust::directory::{Directory, DirectoryError, RootKeys, SignedDirectory};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    MetricsConfig, TelemetryConfig,
    keyfile::{KeyFileError, NodeKeys, load_share},
    listed::{Unlisted, check_listed},
    now,
    private::{self, Exposed},
};

/// Why a node's files are not usable. Each says which file, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {reason}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to write.
        reason: String,
    },
    /// The directory is refused.
    #[error("{path}: {source}")]
    Directory {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: DirectoryError,
    },
    /// The configuration file holds a secret, and other users may read it.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The key file is refused.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The keys are not the ones that the directory lists.
    #[error("{path}: {source}")]
    Unlisted {
        /// The key file.
        path: PathBuf,
        /// Which key.
        source: Unlisted,
    },
}

/// The `[node]` table. Paths are relative to the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeConfig {
    /// The node's name in the directory.
    pub name: String,
    /// Where it listens; a querier does not.
    pub listen: Option<SocketAddr>,
    /// The signed directory.
    pub directory: PathBuf,
    /// The pinned root keys, in hexadecimal.
    pub roots: Vec<String>,
    /// Number of roots that must have signed the directory; more than half of them if `None`.
    pub roots_needed: Option<usize>,
    /// A service that starts fewer days before the directory expires says so in its log.
    #[serde(default = "week")]
    pub warn_days: u64,
    /// How long what runs may go on after SIGTERM.
    #[serde(default = "half_a_minute")]
    pub drain_seconds: u64,
    /// How many computations run at a time; one per processor if `None`.
    pub workers: Option<NonZero<usize>>,
    /// Where a witness of the log keeps what it co-signed last; `NAME.witness.db` if `None`.
    pub witness_database: Option<PathBuf>,
    /// The key file that `dispers keys new` made.
    pub keys: PathBuf,
    /// The threshold share that a dealing made: concept indexors and data aggregators.
    pub share: Option<PathBuf>,
    /// The key file with the pool's keys of the key epoch before, while the directory lists it: target
    /// finders and targets.
    pub previous_keys: Option<PathBuf>,
    /// The share of the key epoch before, while the directory lists it: concept indexors.
    pub previous_share: Option<PathBuf>,
}

fn week() -> u64 {
    7
}

fn half_a_minute() -> u64 {
    30
}

/// A configuration file, read.
#[derive(Debug)]
pub struct Config<T> {
    /// The `[node]` table.
    pub node: NodeConfig,
    /// The `[metrics]` table, which may be left out.
    pub metrics: MetricsConfig,
    /// The `[telemetry]` table, which may be left out.
    pub telemetry: TelemetryConfig,
    /// The role's own table.
    pub role: T,
    path: PathBuf,
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Takes a table out of a file; one that is left out is empty.
fn take<T: DeserializeOwned>(
    table: &mut toml::Table,
    name: &str,
    path: &Path,
) -> Result<T, ConfigError> {
    let own = table.remove(name);
    let own = own.unwrap_or_else(|| toml::Value::Table(toml::Table::new()));
    own.try_into()
        .map_err(|error: toml::de::Error| ConfigError::Content {
            path: path.to_owned(),
            reason: format!("[{name}]: {}", error.message()),
        })
}

/// The tables of a file.
fn tables(path: &Path) -> Result<toml::Table, ConfigError> {
    let content = |reason: String| ConfigError::Content {
        path: path.to_owned(),
        reason,
    };
    let text = String::from_utf8(read(path)?).map_err(|error| content(error.to_string()))?;
    // Without the line itself, which may hold a password.
    let malformed = |error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        content(format!("line {line}: {}", error.message()))
    };
    let table: toml::Table = toml::from_str(&text).map_err(malformed)?;
    if !table.contains_key("node") {
        return Err(content(
            "there is no [node] table: see deploy/ for samples".into(),
        ));
    }
    Ok(table)
}

/// The `[telemetry]` table of a file, before anything else of it is used.
///
/// # Errors
/// [`ConfigError`] naming the file and the key.
pub fn load_telemetry(path: &Path) -> Result<TelemetryConfig, ConfigError> {
    take(&mut tables(path)?, "telemetry", path)
}

impl<T: DeserializeOwned> Config<T> {
    /// Reads a file with a `[node]` table and a table named `role`, which may be left out where it
    /// has defaults.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file and the key.
    pub fn load(path: &Path, role: &str) -> Result<Self, ConfigError> {
        let mut table = tables(path)?;
        let config = Self {
            node: take(&mut table, "node", path)?,
            metrics: take(&mut table, "metrics", path)?,
            telemetry: take(&mut table, "telemetry", path)?,
            role: take(&mut table, role, path)?,
            path: path.to_owned(),
        };
        match table.keys().next() {
            Some(other) => Err(config.content(format!(
                "{other:?} does not belong here: a {role} has [node], [{role}], [metrics] and [telemetry]"
            ))),
            None => Ok(config),
        }
    }
}

impl Config<()> {
    /// Reads the `[node]` table of a file of any role.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file and the key.
    pub fn load_any(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self {
            node: take(&mut tables(path)?, "node", path)?,
            metrics: MetricsConfig::default(),
            telemetry: TelemetryConfig::default(),
            role: (),
            path: path.to_owned(),
        })
    }
}

impl<T> Config<T> {
    /// A path of the file, relative to the file.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(path)
    }

    /// Checks that no other user may use the file, for roles whose table holds a secret such as a password in a URL.
    ///
    /// # Errors
    /// [`ConfigError::Exposed`].
    pub fn check_private(&self) -> Result<(), ConfigError> {
        Ok(private::check(&self.path)?)
    }

    fn content(&self, reason: impl ToString) -> ConfigError {
        ConfigError::Content {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }

    /// The node's name.
    ///
    /// # Errors
    /// [`ConfigError::Content`] when it is not one.
    pub fn name(&self) -> Result<Name, ConfigError> {
        Name::new(&self.node.name).map_err(|error| self.content(error))
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// [`ConfigError::Content`] when there is none.
    pub fn listen(&self) -> Result<SocketAddr, ConfigError> {
        self.node
            .listen
            .ok_or_else(|| self.content("[node]: write listen = \"0.0.0.0:PORT\""))
    }

    /// Where a witness of the log keeps what it co-signed last.
    pub fn witness_database(&self) -> PathBuf {
        let default = || format!("{}.witness.db", self.node.name).into();
        self.resolve(&self.node.witness_database.clone().unwrap_or_else(default))
    }

    /// Reads and verifies the directory.
    ///
    /// # Errors
    /// [`ConfigError`] when it is missing, or not signed by the pinned roots.
    pub fn directory(&self) -> Result<Directory, ConfigError> {
        let keys = self
            .node
            .roots
            .iter()
            .map(|text| {
                let bytes = hex::decode(text)
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok());
                bytes.map(VerifyingKey).ok_or_else(|| {
                    self.content("[node]: roots are public keys of 64 hexadecimal digits")
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let roots = RootKeys::new(keys, self.node.roots_needed);
        let path = self.resolve(&self.node.directory);
        SignedDirectory::from_bytes(&read(&path)?)
            .and_then(|signed| signed.verify(&roots, now()))
            .map_err(|source| ConfigError::Directory { path, source })
    }

    /// Reads directory and keys, and checks that they are those of a `role` and belong together.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file to mend.
    pub fn open(&self, role: Role) -> Result<(Directory, NodeKeys), ConfigError> {
        let directory = self.directory()?;
        let keys = self.keys()?;
        match check_listed(&directory, &self.name()?, role, &keys.held()) {
            Ok(()) => Ok((directory, keys)),
            Err(source) => Err(ConfigError::Unlisted {
                path: self.resolve(&self.node.keys),
                source,
            }),
        }
    }

    /// Reads the key file, and the share if there is one.
    ///
    /// # Errors
    /// [`ConfigError::Keys`].
    pub fn keys(&self) -> Result<NodeKeys, ConfigError> {
        let mut keys = NodeKeys::load(&self.resolve(&self.node.keys))?;
        if let Some(share) = &self.node.share {
            keys.load_share(&self.resolve(share))?;
        }
        if let Some(previous) = &self.node.previous_keys {
            let before = NodeKeys::load(&self.resolve(previous))?;
            keys.previous.pool_envelope = before.pool_envelope;
            keys.previous.pool_secret = before.pool_secret;
        }
        if let Some(share) = &self.node.previous_share {
            keys.previous.share = Some(load_share(&self.resolve(share))?);
        }
        Ok(keys)
    }
}
