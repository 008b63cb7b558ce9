//! The embedded engine: a local query for all asked homes at once, in memory.
//!
//! The documents of a batch go into one temporary table, one SELECT answers for all homes, and
//! the table is rolled back. A value that is not of its field's type is missing, for its home
//! alone.

mod functions;

use std::time::{Duration, Instant};

use dispers_query::{
    catalogue::FieldKind,
    local::{FieldValue, LocalQuery, RawRow},
};
use dispers_training::{Cell, Document};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, params_from_iter};

use crate::render::{Statements, render, render_as};

/// Longest text of a document that is looked at, in bytes; a longer one is missing.
const MAX_TEXT: usize = 64 * 1024;
/// How long one batch may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Number of SQLite's steps between two looks at the time.
const STEPS: i32 = 10_000;

/// Why a batch was not evaluated; no home has an answer then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The query took longer than a batch may.
    #[error("the local query took too long")]
    TooLong,
    /// The query does not fit the engine, or the machine is out of memory.
    #[error("the embedded engine failed: {0}")]
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for EngineError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => Self::TooLong,
            _ => Self::Sqlite(error),
        }
    }
}

/// An engine in memory. Documents stay only while they are evaluated.
pub struct Engine {
    connection: Connection,
    time_limit: Duration,
}

impl Engine {
    /// # Errors
    /// [`EngineError`] if SQLite cannot be opened.
    pub fn open_in_memory() -> Result<Self, EngineError> {
        Self::with_time_limit(TIME_LIMIT)
    }

    /// An engine that gives up on a batch after `time_limit`.
    ///
    /// # Errors
    /// [`EngineError`] if SQLite cannot be opened.
    pub fn with_time_limit(time_limit: Duration) -> Result<Self, EngineError> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON")?;
        functions::register(&connection)?;
        Ok(Self {
            connection,
            time_limit,
        })
    }

    /// Evaluates a valid `query` over `documents`: for each its home, and its values in the order
    /// of [`LocalQuery::fields`]. Homes without a row are not in the result.
    ///
    /// # Errors
    /// [`EngineError`], never because of what a document holds.
    pub fn evaluate(
        &mut self,
        query: &LocalQuery,
        documents: impl IntoIterator<Item = (u32, Vec<FieldValue>)>,
    ) -> Result<Vec<(u32, RawRow)>, EngineError> {
        self.run(query, &render(query), documents, select)
    }

    /// Evaluates a valid query that measures each document: for each that meets the condition its home, and
    /// what is measured.
    ///
    /// # Errors
    /// [`EngineError`], never because of what a document holds.
    pub fn measure(
        &mut self,
        query: &LocalQuery,
        documents: impl IntoIterator<Item = (u32, Vec<FieldValue>)>,
    ) -> Result<Vec<(u32, Document)>, EngineError> {
        self.run(query, &render_as(query, true), documents, cells)
    }

    fn run<T>(
        &mut self,
        query: &LocalQuery,
        statements: &Statements,
        documents: impl IntoIterator<Item = (u32, Vec<FieldValue>)>,
        read: impl FnOnce(&Connection, &Statements, &LocalQuery) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let deadline = Instant::now() + self.time_limit;
        self.connection
            .progress_handler(STEPS, Some(move || Instant::now() > deadline))?;
        // Dropped without a commit: no document outlives the call.
        let transaction = self.connection.transaction()?;
        transaction.execute_batch(&statements.create)?;
        insert(&transaction, statements, query, documents)?;
        let rows = read(&transaction, statements, query)?;
        transaction.rollback()?;
        Ok(rows)
    }
}

fn insert(
    connection: &Connection,
    statements: &Statements,
    query: &LocalQuery,
    documents: impl IntoIterator<Item = (u32, Vec<FieldValue>)>,
) -> Result<(), EngineError> {
    let mut insert = connection.prepare(&statements.insert)?;
    for (home, values) in documents {
        let mut values = values.into_iter();
        let fields = query
            .fields
            .iter()
            .map(|field| stored(values.next().unwrap_or(FieldValue::Null), field.kind));
        insert.execute(params_from_iter(
            std::iter::once(Value::Integer(home.into())).chain(fields),
        ))?;
    }
    Ok(())
}

fn select(
    connection: &Connection,
    statements: &Statements,
    query: &LocalQuery,
) -> Result<Vec<(u32, RawRow)>, EngineError> {
    let mut select = connection.prepare(&statements.select)?;
    let mut found = select.query(params_from_iter(&statements.parameters))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let mut categories = Vec::with_capacity(query.keys.len());
        for column in 0..query.keys.len() {
            let position: Option<u32> = row.get(1 + column)?;
            categories.push(position.map(|p| p as usize));
        }
        let mut values = Vec::with_capacity(query.measures.len());
        for column in 0..query.measures.len() {
            values.push(match row.get_ref(1 + query.keys.len() + column)? {
                ValueRef::Integer(value) => Some(value as f64),
                ValueRef::Real(value) => Some(value).filter(|v| v.is_finite()),
                // Only whether there is one counts.
                ValueRef::Text(_) => Some(0.0),
                ValueRef::Null | ValueRef::Blob(_) => None,
            });
        }
        rows.push((row.get(0)?, RawRow { categories, values }));
    }
    Ok(rows)
}

fn cells(
    connection: &Connection,
    statements: &Statements,
    query: &LocalQuery,
) -> Result<Vec<(u32, Document)>, EngineError> {
    let mut select = connection.prepare(&statements.select)?;
    let mut found = select.query(params_from_iter(&statements.parameters))?;
    let mut documents = Vec::new();
    while let Some(row) = found.next()? {
        let cell = |column| {
            Ok::<_, rusqlite::Error>(match row.get_ref(1 + column)? {
                ValueRef::Integer(value) => Cell::Number(value as f64),
                ValueRef::Real(value) if value.is_finite() => Cell::Number(value),
                ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Real(_) | ValueRef::Null | ValueRef::Blob(_) => Cell::Null,
            })
        };
        let cells = (0..query.measures.len()).map(cell);
        documents.push((row.get(0)?, cells.collect::<Result<_, _>>()?));
    }
    Ok(documents)
}

/// A document's value as its field's type, or NULL if it is not of it.
fn stored(value: FieldValue, kind: FieldKind) -> Value {
    match (kind, value) {
        (FieldKind::Integer, FieldValue::Integer(value)) => Value::Integer(value),
        // JSON knows one kind of number.
        (FieldKind::Integer, FieldValue::Real(value))
            if value.fract() == 0.0 && value.abs() < (1u64 << 53) as f64 =>
        {
            Value::Integer(value as i64)
        }
        (FieldKind::Real, FieldValue::Integer(value)) => Value::Real(value as f64),
        (FieldKind::Real, FieldValue::Real(value)) if value.is_finite() => Value::Real(value),
        (FieldKind::Text, FieldValue::Text(text)) if text.len() <= MAX_TEXT => Value::Text(text),
        _ => Value::Null,
    }
}
