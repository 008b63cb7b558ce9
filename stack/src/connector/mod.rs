//! Where documents come from.

pub mod couch;
mod selector;

use dispers_core::subscription::HomeId;
use dispers_query::local::FieldValue;

use crate::Error;

pub use selector::{Condition, Operator, Selector};

/// One document: the place of its home in the asked list, and the asked fields in order.
pub type Document = (u32, Vec<FieldValue>);

/// A source of homes' documents. It reads the named fields of the named homes and nothing else.
pub trait Connector: Send + Sync + 'static {
    /// The documents of a doctype, in any order. Those that `selector` leaves out may be missing: the
    /// local query leaves them out, too. A home whose source fails has none, and the others have theirs.
    ///
    /// # Errors
    /// [`Error::Database`] when the source as a whole fails.
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
        selector: &Selector,
    ) -> Result<Vec<Document>, Error>;

    /// Whether a home holds any document, or may.
    ///
    /// # Errors
    /// [`Error::Database`] when the source fails.
    fn holds(&self, home: &HomeId) -> Result<bool, Error>;

    /// Every home that holds documents, or may.
    ///
    /// # Errors
    /// [`Error::Database`] when the source fails.
    fn homes(&self) -> Result<Vec<HomeId>, Error>;

    /// How many documents of a doctype a home holds, at least: whether they can be read.
    ///
    /// # Errors
    /// [`Error`] that says what to mend.
    fn check(&self, home: &HomeId, doctype: &str) -> Result<usize, Error> {
        let selector = Selector::default();
        let homes = [home.clone()];
        Ok(self.documents(doctype, &[], &homes, &selector)?.len())
    }
}
