//! Catalogue of what queries may read: doctypes, fields and concepts (protocol.md §2).

use borsh::{BorshDeserialize, BorshSerialize};

/// Everything that a query may read or select homes by, as the directory lists it.
#[derive(Debug, Clone, Default, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Catalogue {
    /// Kinds of documents, by name.
    pub doctypes: Vec<Doctype>,
    /// Concepts that homes may subscribe to, such as `sex>female`. `home>all` is implied.
    pub concepts: Vec<String>,
}

/// Kind of documents.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Doctype {
    /// Name, such as `heartrate` or `io.cozy.bank.operations`.
    pub name: String,
    /// Number of documents that a home may hold.
    pub cardinality: Cardinality,
    /// Fields of a document.
    pub fields: Vec<Field>,
}

/// Number of documents of a doctype that one home may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Cardinality {
    /// At most one.
    One,
    /// Any number.
    Many,
}

/// Field of a doctype.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Field {
    /// Name of the field.
    pub name: String,
    /// Type of its values.
    pub kind: FieldKind,
    /// Unit for people, such as `mmHg`; empty if there is none.
    pub unit: String,
    /// Smallest and largest expected value of a number, if the catalogue states them.
    pub range: Option<(f64, f64)>,
    /// True if a document may lack the field.
    pub nullable: bool,
}

/// Type of a field's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum FieldKind {
    /// 64-bit signed integer.
    Integer,
    /// 64-bit floating point number.
    Real,
    /// UTF-8 text.
    Text,
}

/// Concept that every home subscribes to. NOT selects from these homes.
pub const EVERY_HOME: &str = "home>all";

impl Catalogue {
    /// Returns the doctype of this name, in any case of ASCII letters.
    pub fn doctype(&self, name: &str) -> Option<&Doctype> {
        self.doctypes
            .iter()
            .find(|d| d.name.eq_ignore_ascii_case(name))
    }

    /// Returns whether a query may use `concept`.
    pub fn has_concept(&self, concept: &str) -> bool {
        concept == EVERY_HOME || self.concepts.iter().any(|c| c == concept)
    }
}

impl Doctype {
    /// Returns the field of this name, in any case of ASCII letters.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name))
    }
}
