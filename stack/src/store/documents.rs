//! Documents of the homes, in the stack's own file or in another source of the host.

use std::borrow::Borrow;

use dispers_core::subscription::HomeId;
use dispers_query::local::FieldValue;
use rusqlite::{params, types::ValueRef};
use serde_json::{Map, Value};

use super::Store;
use crate::{Connector, Document, Error, Line, Selector, Sheet};

impl Store {
    /// Adds documents to `doctype`: for each pair in `rows`, the row of `sheet` with that number, as a document of that
    /// home. Returns their number. A home's earlier documents stay.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was added.
    pub fn import<'a>(
        &self,
        doctype: &str,
        sheet: &Sheet,
        rows: impl IntoIterator<Item = (&'a HomeId, usize)>,
    ) -> Result<usize, Error> {
        let documents = rows.into_iter().map(|(home, row)| {
            let fields = sheet.columns().iter().zip(sheet.row(row));
            let fields = fields.map(|(column, value)| (column.name.to_lowercase(), json(value)));
            (home, fields.collect())
        });
        self.add(doctype, documents)
    }

    /// Adds documents to `doctype` and returns their number. The names of their fields must be in lower case. A home's
    /// earlier documents stay.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing was added.
    pub fn import_documents(&self, doctype: &str, documents: Vec<Line>) -> Result<usize, Error> {
        self.add(doctype, documents)
    }

    /// Adds documents, each with its home, in one transaction.
    fn add<H: Borrow<HomeId>>(
        &self,
        doctype: &str,
        documents: impl IntoIterator<Item = (H, Map<String, Value>)>,
    ) -> Result<usize, Error> {
        let doctype = doctype.to_lowercase();
        self.write(|rows| {
            let mut insert = rows
                .prepare_cached("INSERT INTO document (doctype, home, body) VALUES (?1, ?2, ?3)")?;
            let mut count = 0;
            for (home, document) in documents {
                let body = Value::Object(document).to_string();
                insert.execute(params![doctype, home.borrow().0, body])?;
                count += 1;
            }
            Ok(count)
        })
    }

    /// Returns every home that holds a document.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn homes(&self) -> Result<Vec<HomeId>, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.homes();
        }
        self.read(|rows| {
            let mut select = rows.prepare("SELECT DISTINCT home FROM document ORDER BY home")?;
            let homes = select.query_map([], |row| row.get(0).map(HomeId))?;
            Ok(homes.collect::<rusqlite::Result<_>>()?)
        })
    }
}

impl Connector for Store {
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        selector: &Selector,
    ) -> Result<Vec<Document>, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.documents(doctype, fields, homes, selector);
        }
        // The selector is not used: the local query filters again, and here it would save no transfer.
        //
        // Names of fields are parameters too, so that nothing from a manifest becomes a part of the SQL.
        let columns: String = (0..fields.len())
            .map(|i| format!(", json_extract(body, ?{})", i + 3))
            .collect();
        // A quotation mark would end the name inside the JSON path.
        let paths: Vec<String> = fields
            .iter()
            .map(|field| format!("$.\"{}\"", field.to_lowercase().replace('"', "")))
            .collect();
        let doctype = doctype.to_lowercase();
        self.read(|rows| {
            let mut select = rows.prepare_cached(&format!(
                "SELECT rowid{columns} FROM document WHERE doctype = ?1 AND home = ?2"
            ))?;
            let mut documents = Vec::new();
            for (place, home) in (0u32..).zip(homes) {
                let parameters: Vec<&str> = [doctype.as_str(), home.0.as_str()]
                    .into_iter()
                    .chain(paths.iter().map(String::as_str))
                    .collect();
                let mut found = select.query(rusqlite::params_from_iter(parameters))?;
                while let Some(row) = found.next()? {
                    let values = (1..=fields.len())
                        .map(|column| Ok(value(row.get_ref(column)?)))
                        .collect::<rusqlite::Result<_>>()?;
                    documents.push((place, values));
                }
            }
            Ok(documents)
        })
    }

    fn homes(&self) -> Result<Vec<HomeId>, Error> {
        Self::homes(self)
    }

    fn check(&self, home: &HomeId, doctype: &str) -> Result<usize, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.check(home, doctype);
        }
        let selector = Selector::default();
        Ok(self
            .documents(doctype, &[], std::slice::from_ref(home), &selector)?
            .len())
    }

    fn holds(&self, home: &HomeId) -> Result<bool, Error> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.holds(home);
        }
        self.read(|rows| {
            Ok(rows
                .prepare_cached("SELECT 1 FROM document WHERE home = ?1 LIMIT 1")?
                .exists(params![home.0])?)
        })
    }
}

/// Converts a value to JSON.
fn json(value: &FieldValue) -> Value {
    match value {
        FieldValue::Null => Value::Null,
        FieldValue::Integer(integer) => (*integer).into(),
        FieldValue::Real(real) => (*real).into(),
        FieldValue::Text(text) => text.as_str().into(),
    }
}

/// Converts a value of SQLite. Bytes, and text that is not UTF-8, become NULL.
fn value(value: ValueRef<'_>) -> FieldValue {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => FieldValue::Null,
        ValueRef::Integer(integer) => FieldValue::Integer(integer),
        ValueRef::Real(real) => FieldValue::Real(real),
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map_or(FieldValue::Null, |text| FieldValue::Text(text.into()))
        }
    }
}
