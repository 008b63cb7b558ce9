//! Errors about a query's text: the problem, and what to write instead.

use std::fmt;

use sqlparser::tokenizer::Location;

/// A place in the SQL text, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

/// SQL that cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Place of the problem in the SQL text, if it is known.
    pub position: Option<Position>,
    /// Description of the problem.
    pub what: String,
    /// Advice on what to write instead, as the end of the sentence that [`fmt::Display`] prints.
    pub instead: String,
}

impl SqlError {
    pub(crate) fn new(
        position: Option<Position>,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) -> Self {
        Self {
            position,
            what: what.into(),
            instead: instead.into(),
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "line {line}, column {column}: ")?;
        }
        write!(f, "{}; {}", self.what, self.instead)
    }
}

impl std::error::Error for SqlError {}

impl Position {
    /// Converts the parser's location. Returns `None` for line 0, which the parser gives where the location
    /// is unknown.
    pub(super) fn of(location: Location) -> Option<Self> {
        (location.line > 0).then_some(Self {
            line: location.line,
            column: location.column,
        })
    }
}
