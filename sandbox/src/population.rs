//! Homes of a sandbox and their documents, from CSV files.

use std::{collections::BTreeMap, path::PathBuf};

use dispers_core::subscription::HomeId;
use dispers_query::catalogue::Catalogue;
use dispers_stack::{Sheet, Store};

use crate::Error;

/// Data of 1,629 adults from the NHEFS study, see `examples/README.md`.
const EXAMPLE: &str = include_str!("../../examples/nhefs.csv");

/// Documents of one doctype, with the home of each row.
struct Documents {
    doctype: String,
    sheet: Sheet,
    homes: Vec<HomeId>,
}

/// Homes of a sandbox, split evenly over hosts.
pub(crate) trait Population: Send + Sync {
    /// Number of homes.
    fn len(&self) -> usize;

    /// Returns the catalogue of the homes' data.
    fn catalogue(&self) -> Catalogue;

    /// Gives `store`, the empty store of one of `hosts` hosts, the documents of its homes: every `hosts`-th home,
    /// beginning with home number `host`.
    ///
    /// # Errors
    /// [`Error::Stack`] if the store fails.
    fn settle(&self, host: usize, hosts: usize, store: Store) -> Result<Store, Error>;

    /// Returns the homes of one host, each with the concepts that it subscribes to.
    fn homes(&self, host: usize, hosts: usize) -> BTreeMap<HomeId, Vec<String>>;
}

/// Homes whose documents are read from CSV files.
pub(crate) struct Sheets {
    documents: Vec<Documents>,
    concepts: BTreeMap<HomeId, Vec<String>>,
}

impl Sheets {
    /// Reads the data files, or the example if there are none.
    ///
    /// # Errors
    /// [`Error`] naming the file or column.
    pub(crate) fn read(
        files: &[PathBuf],
        home_column: Option<&str>,
        concept_columns: &[String],
    ) -> Result<Self, Error> {
        let mut documents = Vec::new();
        if files.is_empty() {
            let sheet = Sheet::parse("examples/nhefs.csv", EXAMPLE.as_bytes())?;
            documents.push(("nhefs".to_owned(), sheet));
        }
        for file in files {
            let stem = file.file_stem().and_then(|stem| stem.to_str());
            let stem = stem.filter(|stem| !stem.is_empty());
            let doctype = stem.ok_or_else(|| Error::NoDoctype(file.display().to_string()))?;
            documents.push((doctype.to_owned(), Sheet::read(file)?));
        }
        let documents: Vec<Documents> = documents
            .into_iter()
            .map(|(doctype, sheet)| {
                let homes = sheet.homes(home_column)?;
                Ok(Documents {
                    doctype,
                    sheet,
                    homes,
                })
            })
            .collect::<Result<_, Error>>()?;
        // Names of doctypes are compared without case, as SQL does it, so two files may not differ in case only.
        for (place, one) in documents.iter().enumerate() {
            let mut before = documents[..place].iter();
            if before.any(|other| other.doctype.eq_ignore_ascii_case(&one.doctype)) {
                return Err(Error::SameDoctype(one.doctype.clone()));
            }
        }
        let concepts = concepts(&documents, concept_columns)?;
        Ok(Self {
            documents,
            concepts,
        })
    }
}

impl Population for Sheets {
    fn len(&self) -> usize {
        self.concepts.len()
    }

    fn catalogue(&self) -> Catalogue {
        let mut concepts: Vec<String> = self.concepts.values().flatten().cloned().collect();
        concepts.sort_unstable();
        concepts.dedup();
        Catalogue {
            doctypes: self
                .documents
                .iter()
                .map(|one| one.sheet.doctype(&one.doctype, &one.homes))
                .collect(),
            concepts,
        }
    }

    fn settle(&self, host: usize, hosts: usize, store: Store) -> Result<Store, Error> {
        let homes = self.homes(host, hosts);
        for one in &self.documents {
            let rows = one.homes.iter().zip(0..);
            let mine = rows.filter(|(home, _)| homes.contains_key(home));
            store.import(&one.doctype, &one.sheet, mine)?;
        }
        Ok(store)
    }

    fn homes(&self, host: usize, hosts: usize) -> BTreeMap<HomeId, Vec<String>> {
        // `settle` uses this split as well, so that a host subscribes the homes whose documents it has.
        let mine = self.concepts.iter().skip(host).step_by(hosts);
        mine.map(|(home, concepts)| (home.clone(), concepts.clone()))
            .collect()
    }
}

/// Returns the concepts of each home: for each column `column>value` from the home's first document that has the
/// column.
fn concepts(
    documents: &[Documents],
    columns: &[String],
) -> Result<BTreeMap<HomeId, Vec<String>>, Error> {
    // Homes without a concept stay in the map: they are homes all the same.
    let mut concepts: BTreeMap<HomeId, Vec<String>> = documents
        .iter()
        .flat_map(|one| &one.homes)
        .map(|home| (home.clone(), Vec::new()))
        .collect();
    for column in columns {
        let found = documents
            .iter()
            .find_map(|one| Some((one, one.sheet.column(column)?)));
        let (one, place) = found.ok_or_else(|| Error::NoConceptColumn {
            column: column.clone(),
            columns: documents
                .iter()
                .flat_map(|one| one.sheet.columns())
                .map(|column| column.name.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        let mut first: BTreeMap<&HomeId, usize> = BTreeMap::new();
        for (row, home) in one.homes.iter().enumerate() {
            first.entry(home).or_insert(row);
        }
        for (home, row) in first {
            if let (Some(concept), Some(of_home)) =
                (one.sheet.concept(place, row), concepts.get_mut(home))
            {
                of_home.push(concept);
            }
        }
    }
    Ok(concepts)
}
