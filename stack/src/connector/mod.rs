//! Sources of documents.

pub mod couch;
mod selector;

use dispers_core::subscription::HomeId;
use dispers_query::local::FieldValue;

use crate::Error;

pub use selector::{Condition, Operator, Selector};

/// Document: the place of its home in the list of asked homes, and the asked fields in order.
pub type Document = (u32, Vec<FieldValue>);

/// Source of homes' documents. It reads the named fields of the named homes and nothing else.
pub trait Connector: Send + Sync + 'static {
    /// Returns the documents of a doctype, in any order. Documents that do not meet `selector` may be missing, since
    /// the local query filters again. A home whose source fails has no documents, and the other homes have theirs.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Source`] if the source as a whole fails.
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        selector: &Selector,
    ) -> Result<Vec<Document>, Error>;

    /// Returns whether a home holds documents, or may hold some.
    ///
    /// # Errors
    /// [`Error::Database`] when the source fails.
    fn holds(&self, home: &HomeId) -> Result<bool, Error>;

    /// Returns every home that holds documents, or may hold some.
    ///
    /// # Errors
    /// [`Error::Database`] when the source fails.
    fn homes(&self) -> Result<Vec<HomeId>, Error>;

    /// Reads a home's documents of a doctype and returns their number. This shows whether they can be read.
    ///
    /// # Errors
    /// [`Error`] that says what to correct.
    fn check(&self, home: &HomeId, doctype: &str) -> Result<usize, Error> {
        let selector = Selector::default();
        let homes = [home.clone()];
        Ok(self.documents(doctype, &[], &homes, &selector)?.len())
    }
}
