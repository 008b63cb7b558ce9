//! Detection of an open database whose file is no longer at its path.
//!
//! A process keeps using the file that it opened, even after that file was removed or replaced by a restored copy. Its
//! writes would be lost at the next restart, and it would not see what another process writes at the path, such as an
//! owner's denial.

use std::path::{Path, PathBuf};

use crate::{DatabaseError, private};

/// Device and inode number of a file.
type Inode = (u64, u64);

#[cfg(unix)]
fn inode(path: &Path) -> Option<Inode> {
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn inode(path: &Path) -> Option<Inode> {
    // Without inode numbers, only a removed file is noticed.
    std::fs::metadata(path).ok().map(|_| (0, 0))
}

/// Identities of the files of a database when it was opened.
#[derive(Debug, Default)]
pub struct InPlace {
    role: &'static str,
    files: Vec<(PathBuf, Inode)>,
}

impl InPlace {
    /// Records the files of the open database at `path`, including SQLite's log and index beside it, which exist as
    /// long as the database is open.
    pub fn of(path: &Path, role: &'static str) -> Self {
        let files = private::database_files(path).into_iter();
        Self {
            role,
            files: files
                .filter_map(|file| inode(&file).map(|inode| (file, inode)))
                .collect(),
        }
    }

    /// Checks that the files are still in their place. Costs one `stat` per file.
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
