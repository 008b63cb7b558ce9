//! Why a sandbox does not start.

use dispers_base::id::InvalidId;
use dispers_sql::statement::SqlError;
use dispers_stack::ImportError;
use dispers_trust::directory::DirectoryError;

/// Why a sandbox does not start.
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
    /// A concept column is in no data file.
    #[error("no data file has the concept column {column:?}; their columns are {columns}")]
    NoConceptColumn {
        /// What was looked for.
        column: String,
        /// What there is.
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
    /// A node did not start.
    #[error("{node} did not start: {reason}")]
    Start {
        /// Which node.
        node: String,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// Whether the caller's options or files are at fault.
    pub fn is_misuse(&self) -> bool {
        !matches!(
            self,
            Self::Stack(_) | Self::Start { .. } | Self::Directory(_)
        )
    }
}
