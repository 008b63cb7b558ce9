//! Where documents come from.

use dispers_core::{local::FieldValue, subscription::HomeId};

use crate::Error;

/// One document: the place of its home in the asked list, and the asked fields in order.
pub type Document = (u32, Vec<FieldValue>);

/// A source of homes' documents. It reads the named fields of the named homes and nothing else.
pub trait Connector: Send + Sync + 'static {
    /// The documents of a doctype, in any order.
    ///
    /// # Errors
    /// [`Error::Database`] when the source fails.
    fn documents(
        &self,
        doctype: &str,
        fields: &[&str],
        homes: &[HomeId],
    ) -> Result<Vec<Document>, Error>;

    /// Whether a home holds any document.
    ///
    /// # Errors
    /// [`Error::Database`] when the source fails.
    fn holds(&self, home: &HomeId) -> Result<bool, Error>;
}
