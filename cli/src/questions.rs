//! Questions that wait for their answers, one file each. Only this file can open the answer.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context, anyhow};
use dispers_base::id::Role;
use dispers_node::{
    Activity, Config, Node,
    keyfile::{read_secret, write_secret},
    private,
};
use dispers_querier::{Asked, Querier};

use zeroize::Zeroizing;

use crate::exit::Exit;

/// A querier with its folder of waiting questions.
pub(crate) struct Desk {
    pub(crate) querier: Querier,
    folder: PathBuf,
}

impl Desk {
    /// Opens the querier of the configuration file at `path`.
    ///
    /// # Errors
    /// [`Exit`] if the configuration, a key or the directory is refused.
    pub(crate) fn open(path: &std::path::Path) -> Result<Self, Exit> {
        let config: Config<dispers_querier::Config> = Config::load(path, "querier")?;
        let (directory, keys) = config.open(Role::Querier)?;
        let node = Node {
            name: config.name()?,
            directory: Arc::new(directory),
            signing: keys.signing,
            tls: keys.tls,
            watcher: None,
            activity: Activity::new(Role::Querier),
        };
        Ok(Self {
            folder: config.resolve(&config.role.queries),
            querier: Querier::new(Arc::new(node), config.role),
        })
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.query"))
    }

    /// Writes the secrets that open the answer. This must happen before the question is submitted.
    pub(crate) fn keep(&self, asked: &Asked) -> Result<String, Exit> {
        let id = asked.query().to_string();
        private::create_folder(&self.folder)
            .with_context(|| format!("cannot make {}", self.folder.display()))
            .map_err(Exit::other)?;
        let text = hex::encode(&*asked.to_bytes());
        write_secret(&self.path(&id), &text).map_err(Exit::other)?;
        Ok(id)
    }

    /// Reads a question that was kept.
    pub(crate) fn find(&self, id: &str) -> Result<Asked, Exit> {
        let path = self.path(id);
        // The id becomes part of a path. Only hexadecimal digits are allowed, so that it cannot leave the
        // folder.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) || !path.exists() {
            return Err(Exit::misuse(anyhow!(
                "no question {id:?} waits in {}: give the id that `dispers query --detach` printed",
                self.folder.display()
            )));
        }
        let text = read_secret(&path).map_err(Exit::misuse)?;
        let bytes = hex::decode(text.trim())
            .with_context(|| format!("{} is damaged", path.display()))
            .map_err(Exit::misuse)?;
        Ok(self.querier.restore(&bytes)?)
    }

    fn session_path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.training"))
    }

    /// Writes the present state of a training session, completely or not at all.
    pub(crate) fn keep_session(&self, id: &str, kept: &[u8]) -> Result<(), Exit> {
        let path = self.session_path(id);
        let cannot = || format!("cannot write {}", path.display());
        private::create_folder(&self.folder)
            .with_context(cannot)
            .map_err(Exit::other)?;
        let text = Zeroizing::new(hex::encode(kept));
        // A session is written many times, and `write_secret` never replaces a file.
        private::write(&path, text.as_bytes())
            .with_context(cannot)
            .map_err(Exit::other)
    }

    /// Reads a training session that was kept.
    pub(crate) fn session(&self, id: &str) -> Result<Zeroizing<Vec<u8>>, Exit> {
        let path = self.session_path(id);
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) || !path.exists() {
            return Err(Exit::misuse(anyhow!(
                "no session {id:?} is kept in {}: give the id that `dispers train` told",
                self.folder.display()
            )));
        }
        let text = read_secret(&path).map_err(Exit::misuse)?;
        let bytes = hex::decode(text.trim())
            .with_context(|| format!("{} is damaged", path.display()))
            .map_err(Exit::misuse)?;
        Ok(Zeroizing::new(bytes))
    }

    /// Removes a session that has ended.
    pub(crate) fn forget_session(&self, id: &str) {
        // A failure is ignored: a file that stays reveals only sums that were printed.
        let _ = fs::remove_file(self.session_path(id));
    }

    /// Removes a question whose answer was printed, or that has no answer.
    pub(crate) fn forget(&self, id: &str) -> Result<(), Exit> {
        let path = self.path(id);
        fs::remove_file(&path)
            .with_context(|| format!("cannot remove {}", path.display()))
            .map_err(Exit::other)
    }
}
