//! A querier: its identity, its connections, and the folder where its questions wait.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use dispers_base::id::Role;
use dispers_node::Node;
use dispers_trust::directory::Directory;

use crate::{Config, ConfigFile, Error, conductors::Conductors, folder::Folder};

/// Querier of one network. A clone shares the connections of the original.
#[derive(Clone)]
pub struct Querier {
    pub(crate) node: Arc<Node>,
    pub(crate) conductors: Arc<Conductors>,
    pub(crate) config: Config,
    /// Place of the questions that wait for their answers. `None` for a querier that keeps none.
    pub(crate) folder: Option<Folder>,
}

impl Querier {
    /// Opens the querier of a configuration file, such as `deploy/querier.toml`: reads the file and the keys, and
    /// verifies the directory. Contacts no node.
    ///
    /// # Errors
    /// [`Error::Config`] names the file that is wrong and says what to change.
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// use dispers_querier::Querier;
    ///
    /// # let path = network.write_querier(folder.path())?;
    /// let querier = Querier::open(path)?;
    /// println!("{} can be asked about", querier.directory().catalogue.doctypes[0].name);
    /// assert!(Querier::open("nowhere.toml").is_err_and(|error| error.is_misuse()));
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::from_config(ConfigFile::load(path.as_ref(), "querier")?)
    }

    /// Opens the querier of a configuration that was loaded before, so that a program can change it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    ///
    /// ```
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let network = dispers_sandbox::Network::start(&dispers_sandbox::Options::small(), |_| {}).await?;
    /// use dispers_querier::{ConfigFile, Querier};
    ///
    /// # let path = network.write_querier(folder.path())?;
    /// let mut config = ConfigFile::load(&path, "querier")?;
    /// config.role.lifetime_ms = 10 * 60 * 1000;
    /// let querier = Querier::from_config(config)?;
    /// # drop(querier);
    /// # network.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_config(config: ConfigFile) -> Result<Self, Error> {
        let (node, _) = config.node(Role::Querier)?;
        let folder = config.resolve(&config.role.queries);
        Ok(Self::new(Arc::new(node), config.role).keeping(folder))
    }

    /// Creates a querier from a node that exists already, as in a sandbox. It keeps no question on the disk.
    pub fn new(node: Arc<Node>, config: Config) -> Self {
        Self {
            conductors: Arc::new(Conductors::new(node.clone())),
            node,
            config,
            folder: None,
        }
    }

    /// Keeps questions and sessions in `folder`, which is made when it is needed.
    #[must_use]
    pub fn keeping(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(Folder::new(folder.into()));
        self
    }

    /// Returns the network's directory, which has its catalogue and its floors.
    pub fn directory(&self) -> &Directory {
        &self.node.directory
    }

    /// Returns the folder of waiting questions.
    pub(crate) fn folder(&self) -> Result<&Folder, Error> {
        self.folder.as_ref().ok_or(Error::NoFolder)
    }
}
