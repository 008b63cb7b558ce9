//! What homes hold and may be asked: doctypes, fields and the concept vocabulary (protocol.md §2).

use borsh::{BorshDeserialize, BorshSerialize};

/// Everything that may be asked, as the directory lists it.
#[derive(Debug, Clone, Default, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Catalogue {
    /// Kinds of documents, by name.
    pub doctypes: Vec<Doctype>,
    /// The concepts that homes may subscribe to, such as `sex>female`. `home>all` is implied.
    pub concepts: Vec<String>,
}

/// One kind of document.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Doctype {
    /// Its name, such as `heartrate` or `io.cozy.bank.operations`.
    pub name: String,
    /// Whether a home may hold more than one.
    pub cardinality: Cardinality,
    /// What a document holds.
    pub fields: Vec<Field>,
}

/// How many documents of a doctype one home holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Cardinality {
    /// At most one.
    One,
    /// Any number.
    Many,
}

/// One field of a doctype.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Type of its values.
    pub kind: FieldKind,
    /// Unit for people, such as `mmHg`; empty where there is none.
    pub unit: String,
    /// Smallest and largest value that is expected, for numbers.
    pub range: Option<(f64, f64)>,
    /// Whether a document may lack it.
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

/// The concept that every home subscribes to; NOT is relative to it.
pub const EVERY_HOME: &str = "home>all";

impl Catalogue {
    /// The doctype of that name, case-insensitively.
    pub fn doctype(&self, name: &str) -> Option<&Doctype> {
        self.doctypes
            .iter()
            .find(|d| d.name.eq_ignore_ascii_case(name))
    }

    /// Whether `concept` may be asked for.
    pub fn has_concept(&self, concept: &str) -> bool {
        concept == EVERY_HOME || self.concepts.iter().any(|c| c == concept)
    }
}

impl Doctype {
    /// The field of that name, case-insensitively.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(name))
    }
}
