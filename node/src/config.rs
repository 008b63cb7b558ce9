//! Configuration files. Each has a `[node]` table, a table of the role, and optional `[metrics]` and `[telemetry]`
//! tables.

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
    MetricsConfig, Node, RoleKeys, TelemetryConfig,
    keyfile::{KeyFileError, NodeKeys, load_share},
    listed::{Unlisted, check_listed},
    now,
    private::{self, Exposed},
};

/// Reasons why a node's files are not usable. Each message names the file and says what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// A file has other content than it should have.
    #[error("{path}: {reason}")]
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Description of the fault, with the text to write instead.
        reason: String,
    },
    /// The directory is refused.
    #[error("{path}: {source}")]
    Directory {
        /// Path of the file.
        path: PathBuf,
        /// Reason for the refusal.
        source: DirectoryError,
    },
    /// The configuration file holds a secret, and other users may read it.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The key file is refused.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The directory does not list these keys.
    #[error("{path}: {source}")]
    Unlisted {
        /// Path of the key file.
        path: PathBuf,
        /// Key that is not listed.
        source: Unlisted,
    },
}

/// Content of the `[node]` table. Paths are relative to the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NodeConfig {
    /// Name of the node in the directory.
    pub name: String,
    /// Address that the node listens on; a querier has none.
    pub listen: Option<SocketAddr>,
    /// Path of the signed directory.
    pub directory: PathBuf,
    /// Pinned root keys, in hexadecimal.
    pub roots: Vec<String>,
    /// Number of root keys that must have signed the directory; more than half of them if `None`.
    pub roots_needed: Option<usize>,
    /// Number of days before the directory expires in which a service that starts logs a warning.
    #[serde(default = "week")]
    pub warn_days: u64,
    /// Seconds that running requests and queries may go on after SIGTERM.
    #[serde(default = "half_a_minute")]
    pub drain_seconds: u64,
    /// Number of computations that run at a time; one per processor if `None`.
    pub workers: Option<NonZero<usize>>,
    /// Path of the database in which a witness keeps the head that it co-signed last; `NAME.witness.db` if `None`.
    pub witness_database: Option<PathBuf>,
    /// Path of the key file that `dispers keys new` made.
    pub keys: PathBuf,
    /// Path of the threshold share, for concept indexors and data aggregators.
    pub share: Option<PathBuf>,
    /// Path of the key file with the pool's keys of the previous key epoch, while the directory lists it; for target
    /// finders and targets.
    pub previous_keys: Option<PathBuf>,
    /// Path of the share of the previous key epoch, while the directory lists it; for concept indexors.
    pub previous_share: Option<PathBuf>,
}

fn week() -> u64 {
    7
}

fn half_a_minute() -> u64 {
    30
}

/// Content of a configuration file.
#[derive(Debug)]
pub struct Config<T> {
    /// Content of the `[node]` table.
    pub node: NodeConfig,
    /// Content of the `[metrics]` table, which may be left out.
    pub metrics: MetricsConfig,
    /// Content of the `[telemetry]` table, which may be left out.
    pub telemetry: TelemetryConfig,
    /// Content of the role's own table.
    pub role: T,
    path: PathBuf,
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    fs::read(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Removes a table from a file and decodes it. A missing table counts as an empty one, so that only defaults apply.
fn take<T: DeserializeOwned>(
    table: &mut toml::Table,
    name: &str,
    path: &Path,
) -> Result<T, ConfigError> {
    let own = table.remove(name);
    let own = own.unwrap_or_else(|| toml::Value::Table(toml::Table::new()));
    own.try_into()
        .map_err(|error: toml::de::Error| content(path, format!("[{name}]: {}", error.message())))
}

/// Reads the tables of a file.
fn tables(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = String::from_utf8(read(path)?).map_err(|error| content(path, error))?;
    // The message names the line and does not quote it, since the line may hold a password.
    let table: toml::Table = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        content(path, format!("line {line}: {}", error.message()))
    })?;
    if !table.contains_key("node") {
        let reason = "there is no [node] table: see deploy/ for samples";
        return Err(content(path, reason));
    }
    Ok(table)
}

fn content(path: &Path, reason: impl ToString) -> ConfigError {
    ConfigError::Content {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Reads the `[telemetry]` table of a file. Callers use it before the rest of the file, so that errors in the rest are
/// logged.
///
/// # Errors
/// [`ConfigError`] with the file and the key.
pub fn load_telemetry(path: &Path) -> Result<TelemetryConfig, ConfigError> {
    take(&mut tables(path)?, "telemetry", path)
}

impl<T: DeserializeOwned> Config<T> {
    /// Reads a file with a `[node]` table and a table named `role`. The table of the role may be left out if all its
    /// values have defaults.
    ///
    /// # Errors
    /// [`ConfigError`] with the file and the key.
    pub fn load(path: &Path, role: &str) -> Result<Self, ConfigError> {
        let mut table = tables(path)?;
        let config = Self {
            node: take(&mut table, "node", path)?,
            metrics: take(&mut table, "metrics", path)?,
            telemetry: take(&mut table, "telemetry", path)?,
            role: take(&mut table, role, path)?,
            path: path.to_owned(),
        };
        // A table that nobody reads is an error: a mistyped name would silently leave its defaults in force.
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
    /// [`ConfigError`] with the file and the key.
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
    /// Resolves a path of the configuration file, which is relative to the folder of that file.
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
        content(&self.path, reason)
    }

    /// Returns the node's name.
    ///
    /// # Errors
    /// [`ConfigError::Content`] if the text is no valid name.
    pub fn name(&self) -> Result<Name, ConfigError> {
        Name::new(&self.node.name).map_err(|error| self.content(error))
    }

    /// Returns the address to listen on.
    ///
    /// # Errors
    /// [`ConfigError::Content`] if the file has none.
    pub fn listen(&self) -> Result<SocketAddr, ConfigError> {
        self.node
            .listen
            .ok_or_else(|| self.content("[node]: write listen = \"0.0.0.0:PORT\""))
    }

    /// Returns the path of the database in which a witness keeps the head that it co-signed last.
    pub fn witness_database(&self) -> PathBuf {
        let file = self.node.witness_database.clone();
        self.resolve(&file.unwrap_or_else(|| format!("{}.witness.db", self.node.name).into()))
    }

    /// Reads and verifies the directory.
    ///
    /// # Errors
    /// [`ConfigError`] if the directory is missing, is refused, or is not signed by the pinned roots.
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

    /// Reads the directory and the keys, and verifies that the directory lists these keys for this node with role
    /// `role`.
    ///
    /// # Errors
    /// [`ConfigError`] with the file to change.
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

    /// Reads the directory and the keys like [`open`](Self::open). Returns the node and the keys of its role.
    ///
    /// # Errors
    /// [`ConfigError`] with the file to change.
    pub fn node(&self, role: Role) -> Result<(Node, RoleKeys), ConfigError> {
        let (directory, keys) = self.open(role)?;
        Ok(Node::new(self.name()?, role, directory, keys))
    }

    /// Reads the key file, the share, and the keys of the previous key epoch, as far as the configuration names them.
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
            // Only the pool's keys have key epochs. The node's own keys are always those of the current file.
            keys.previous.pool_envelope = before.pool_envelope;
            keys.previous.pool_secret = before.pool_secret;
        }
        if let Some(share) = &self.node.previous_share {
            keys.previous.share = Some(load_share(&self.resolve(share))?);
        }
        Ok(keys)
    }
}
