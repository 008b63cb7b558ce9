//! Noticing that the file of an open database is no longer the one at its path.
//!
//! A process goes on with the file that it opened, also once that was removed, or replaced by a copy that was
//! restored: what it writes is then on no disk after a restart, and what another process writes at the path,
//! such as an owner's denial, does not reach it.

use std::path::{Path, PathBuf};

use crate::{DatabaseError, private};

/// Device and number of a file.
type Inode = (u64, u64);

#[cfg(unix)]
fn inode(path: &Path) -> Option<Inode> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn inode(path: &Path) -> Option<Inode> {
    std::fs::metadata(path).ok().map(|_| (0, 0))
}

/// The files of an open database, as they were when it was opened.
#[derive(Debug, Default)]
pub struct InPlace {
    role: &'static str,
    files: Vec<(PathBuf, Inode)>,
}

impl InPlace {
    /// Notes the files of the database at `path`, which is open: also SQLite's log and index beside it, which
    /// stay for as long as it is.
    pub fn of(path: &Path, role: &'static str) -> Self {
        let files = private::database_files(path).into_iter();
        Self {
            role,
            files: files
                .filter_map(|file| inode(&file).map(|inode| (file, inode)))
                .collect(),
        }
    }

    /// Refuses a database that is no longer in its place. It costs a look at each file.
    ///
    /// # Errors
    /// [`DatabaseError::Replaced`].
    pub fn check(&self) -> Result<(), DatabaseError> {
        let mut moved = self.files.iter();
        match moved.find(|(path, opened)| inode(path) != Some(*opened)) {
            None => Ok(()),
            Some((path, _)) => Err(DatabaseError::Replaced {
                path: path.clone(),
                role: self.role,
            }),
        }
    }
}
