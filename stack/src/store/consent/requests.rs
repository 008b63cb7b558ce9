//! Queries that a stack was asked.

use std::collections::HashMap;

use dispers_base::{
    encoding::{decode, to_bytes},
    id::Timestamp,
};
use dispers_core::{
    consent::Asked,
    manifest::{Manifest, SignedManifest},
};
use rusqlite::{Connection, params};

use super::{
    super::columns::{self, number, time},
    Deciding,
};
use crate::Error;

/// Decodes a stored manifest with its signature, which was verified when the manifest was received.
pub(super) fn decode_signed(bytes: &[u8]) -> Result<SignedManifest, Error> {
    Ok(decode(bytes)?)
}

/// Returns the number of a query's row. Inserts the row if the query is new.
pub(super) fn note_request(
    rows: &Connection,
    deciding: &Deciding<'_>,
    asked: &Asked,
    now: Timestamp,
) -> rusqlite::Result<i64> {
    let (manifest, query) = (deciding.manifest, deciding.signed.query());
    let [pure, gaussian, rho] = columns::loss(deciding.cost);
    rows.prepare_cached(
        "INSERT OR IGNORE INTO request (query, manifest, querier, doctype, key_epoch, epsilon,
         answer_from, received, pure, gaussian, rho)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?
    .execute(params![
        query.0,
        to_bytes(deciding.signed),
        asked.querier,
        asked.doctype.to_lowercase(),
        manifest.key_epoch.0,
        asked.epsilon.map(number),
        time(manifest.answer_from),
        time(now),
        pure,
        gaussian,
        rho,
    ])?;
    rows.prepare_cached("SELECT id FROM request WHERE query = ?1")?
        .query_row([query.0], |row| row.get(0))
}

/// Returns the rows of the querier's other exact queries, of the same doctype and key epoch, with the number of queries
/// that each counts as. Returns none for a noisy query.
pub(super) fn exact_requests(
    rows: &Connection,
    request: i64,
    manifest: &Manifest,
    asked: &Asked,
) -> rusqlite::Result<HashMap<i64, usize>> {
    if asked.epsilon.is_some() {
        return Ok(HashMap::new());
    }
    // The query itself is left out: asking it again in another attempt costs nothing.
    let mut select = rows.prepare_cached(
        "SELECT id, manifest FROM request WHERE epsilon IS NULL AND querier = ?1 AND doctype = ?2
         AND key_epoch = ?3 AND id <> ?4",
    )?;
    let mut found = select.query(params![
        asked.querier,
        asked.doctype.to_lowercase(),
        manifest.key_epoch.0,
        request
    ])?;
    let mut costs = HashMap::new();
    while let Some(row) = found.next()? {
        costs.insert(row.get(0)?, exact_cost(&row.get::<_, Vec<u8>>(1)?));
    }
    Ok(costs)
}

/// Returns the number of exact queries that a stored query counts as.
fn exact_cost(manifest: &[u8]) -> usize {
    let manifest = decode_signed(manifest).and_then(|signed| Ok(signed.unverified()?));
    // A stored manifest that does not decode any more counts as one query.
    manifest.map_or(1, |manifest| Asked::of(&manifest).exact_cost())
}
