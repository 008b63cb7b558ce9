//! Embedded engine: evaluates a local query for all asked homes at once, in memory.
//!
//! The documents of a batch go into one temporary table, one SELECT answers for all homes, and the table is rolled
//! back. A value that does not have its field's type becomes NULL, for its home alone.

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

/// Longest text in a document that is used, in bytes. A longer text becomes NULL.
const MAX_TEXT: usize = 64 * 1024;
/// Longest time that one batch may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Number of steps of SQLite between two checks of the time.
const STEPS: i32 = 10_000;

/// Reason why a batch was not evaluated. None of its homes has an answer then.
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

/// Engine in memory. It holds documents only while it evaluates them.
pub struct Engine {
    connection: Connection,
    time_limit: Duration,
}

impl Engine {
    /// Creates an engine with the default time limit of a minute per batch.
    ///
    /// # Errors
    /// [`EngineError`] if SQLite cannot be opened.
    pub fn open_in_memory() -> Result<Self, EngineError> {
        Self::with_time_limit(TIME_LIMIT)
    }

    /// Creates an engine that gives up on a batch after `time_limit`.
    ///
    /// # Errors
    /// [`EngineError`] if SQLite cannot be opened.
    pub fn with_time_limit(time_limit: Duration) -> Result<Self, EngineError> {
        let connection = Connection::open_in_memory()?;
        // Documents must not reach a disk, and must not stay in freed pages.
        connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA secure_delete = ON")?;
        functions::register(&connection)?;
        Ok(Self {
            connection,
            time_limit,
        })
    }

    /// Evaluates a valid `query` over `documents`. Each document has the place of its home, and its values in the order
    /// of [`LocalQuery::fields`]. Homes without a row are missing from the result.
    ///
    /// # Errors
    /// [`EngineError`]. The content of a document never causes one.
    pub fn evaluate(
        &mut self,
        query: &LocalQuery,
        documents: impl IntoIterator<Item = (u32, Vec<FieldValue>)>,
    ) -> Result<Vec<(u32, RawRow)>, EngineError> {
        self.run(query, &render(query), documents, select)
    }

    /// Evaluates a valid `query` document by document. Returns the home and the measured values of each document that
    /// meets the condition.
    ///
    /// # Errors
    /// [`EngineError`]. The content of a document never causes one.
    pub fn measure(
        &mut self,
        query: &LocalQuery,
        documents: impl IntoIterator<Item = (u32, Vec<FieldValue>)>,
    ) -> Result<Vec<(u32, Document)>, EngineError> {
        self.run(query, &render_as(query, true), documents, cells)
    }

    /// Evaluates `statements` over `documents` within the time limit, and takes the result with `read`.
    fn run<T>(
        &mut self,
        query: &LocalQuery,
        statements: &Statements,
        documents: impl IntoIterator<Item = (u32, Vec<FieldValue>)>,
        read: impl FnOnce(&Connection, &Statements, &LocalQuery) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let deadline = Instant::now() + self.time_limit;
        // SQLite calls the handler after every `STEPS` steps, and interrupts the statement if it returns true. So a
        // slow query holds its worker for a bounded time.
        self.connection
            .progress_handler(STEPS, Some(move || Instant::now() > deadline))?;
        // Rolled back, also on an error, so that no document outlives the call.
        let transaction = self.connection.transaction()?;
        transaction.execute_batch(&statements.create)?;
        insert(&transaction, statements, query, documents)?;
        let rows = read(&transaction, statements, query)?;
        transaction.rollback()?;
        Ok(rows)
    }
}

/// Inserts documents into the temporary table.
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

/// Reads one row per home: the positions of its categories, and its measured values.
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
                // A measured text only counts as present, so that its value does not matter.
                ValueRef::Text(_) => Some(0.0),
                ValueRef::Null | ValueRef::Blob(_) => None,
            });
        }
        rows.push((row.get(0)?, RawRow { categories, values }));
    }
    Ok(rows)
}

/// Reads one row per document: its measured values.
fn cells(
    connection: &Connection,
    statements: &Statements,
    query: &LocalQuery,
) -> Result<Vec<(u32, Document)>, EngineError> {
    let mut select = connection.prepare(&statements.select)?;
    let mut found = select.query(params_from_iter(&statements.parameters))?;
    let mut documents = Vec::new();
    while let Some(row) = found.next()? {
        let cells = (0..query.measures.len()).map(|column| {
            Ok::<_, rusqlite::Error>(match row.get_ref(1 + column)? {
                ValueRef::Integer(value) => Cell::Number(value as f64),
                ValueRef::Real(value) if value.is_finite() => Cell::Number(value),
                ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Real(_) | ValueRef::Null | ValueRef::Blob(_) => Cell::Null,
            })
        });
        documents.push((row.get(0)?, cells.collect::<Result<_, _>>()?));
    }
    Ok(documents)
}

/// Returns a document's value with its field's type, or NULL if it does not have that type.
fn stored(value: FieldValue, kind: FieldKind) -> Value {
    match (kind, value) {
        (FieldKind::Integer, FieldValue::Integer(value)) => Value::Integer(value),
        // JSON has one type of number, so that an integer may arrive as 3.0. From 2^53 on, a double does not name one
        // integer.
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
