//! Errors of starting a sandbox.

use std::path::PathBuf;

use dispers_base::id::InvalidId;
use dispers_sql::statement::SqlError;
use dispers_stack::ImportError;
use dispers_trust::directory::DirectoryError;

/// Errors of starting a sandbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is out of its range.
    #[error("{0}")]
    Option(String),
    /// A threshold or name is refused.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// A data file is refused.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Two data files have the same name.
    #[error("two data files would both be doctype {0:?}: rename one")]
    SameDoctype(String),
    /// A data file has no usable name.
    #[error("{0:?} gives no doctype name: name the file like people.csv")]
    NoDoctype(String),
    /// The column for concepts is in no data file.
    #[error("no data file has the concept column {column:?}; their columns are {columns}")]
    NoConceptColumn {
        /// Name of the column.
        column: String,
        /// Names of the existing columns.
        columns: String,
    },
    /// The directory is refused.
    #[error("the sandbox's directory is refused: {0}")]
    Directory(#[from] DirectoryError),
    /// The question cannot be asked of this data.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A stack failed.
    #[error(transparent)]
    Stack(#[from] dispers_stack::Error),
    /// A file of the querier cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the failure.
        reason: String,
    },
    /// A node did not start.
    #[error("{node} did not start: {reason}")]
    Start {
        /// Name of the node.
        node: String,
        /// Reason of the failure.
        reason: String,
    },
}

impl Error {
    /// Returns the error of a node that does not start.
    pub(crate) fn start(node: &str, reason: impl ToString) -> Self {
        Self::Start {
            node: node.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Returns whether the caller's options or files are at fault.
    pub fn is_misuse(&self) -> bool {
        !matches!(
            self,
            Self::Stack(_) | Self::Start { .. } | Self::Directory(_)
        )
    }
}
