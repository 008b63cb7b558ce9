//! Rules of the catalogue: names that SQL can write, and valid ranges.

use super::super::DirectoryError;
use super::repeated;
use dispers_query::catalogue::{Catalogue, Doctype, Field, FieldKind};

/// Most doctypes in a catalogue, and most fields in a doctype.
const ENTRY_LIMIT: usize = 1_000;
/// Most concepts in a catalogue.
const CONCEPT_LIMIT: usize = 100_000;
/// Longest name or unit, in bytes.
const NAME_LIMIT: usize = 128;
/// Longest concept, in bytes.
const CONCEPT_LENGTH: usize = 256;

pub(super) fn check(catalogue: &Catalogue) -> Result<(), DirectoryError> {
    let doctypes = &catalogue.doctypes;
    if doctypes.len() > ENTRY_LIMIT {
        return refuse("doctypes", "are over 1,000: list fewer");
    }
    // Names in SQL ignore case, so that two names which differ only in case would be one.
    if let Some(twice) = repeated(doctypes.iter(), |d| d.name.to_ascii_lowercase()) {
        return refuse(
            &*twice.name,
            "is listed twice: doctypes differ by more than case",
        );
    }
    doctypes.iter().try_for_each(check_doctype)?;

    let concepts = &catalogue.concepts;
    if concepts.len() > CONCEPT_LIMIT {
        return refuse("concepts", "are over 100,000: list fewer");
    }
    if let Some(twice) = repeated(concepts.iter(), |concept| *concept) {
        return refuse(twice.as_str(), "is listed twice: remove one");
    }
    if let Some(bad) = concepts.iter().find(|concept| !is_concept(concept)) {
        // The concept may be of any length here: the message shows only its beginning.
        let shown: String = bad.chars().take(NAME_LIMIT).collect();
        return refuse(shown, "is no concept: write a path such as sex>female");
    }
    Ok(())
}

fn check_doctype(doctype: &Doctype) -> Result<(), DirectoryError> {
    let Doctype { name, fields, .. } = doctype;
    if !is_identifier(name) {
        let shown: String = name.chars().take(NAME_LIMIT).collect();
        return refuse(
            shown,
            "is no doctype: write letters, digits, '.', '_' and '-'",
        );
    }
    if fields.is_empty() || fields.len() > ENTRY_LIMIT {
        return refuse(name.as_str(), "needs 1 to 1,000 fields");
    }
    if let Some(twice) = repeated(fields.iter(), |f| f.name.to_ascii_lowercase()) {
        return refuse(
            format!("{name}.{}", twice.name),
            "is listed twice: fields differ by more than case",
        );
    }
    for field in fields {
        if let Some(reason) = field_fault(field) {
            let shown: String = field.name.chars().take(NAME_LIMIT).collect();
            return refuse(format!("{name}.{shown}"), reason);
        }
    }
    Ok(())
}

fn refuse(entry: impl Into<String>, reason: &'static str) -> Result<(), DirectoryError> {
    let entry = entry.into();
    Err(DirectoryError::Catalogue { entry, reason })
}

fn field_fault(field: &Field) -> Option<&'static str> {
    if !is_identifier(&field.name) {
        return Some("is no field: write letters, digits, '.', '_' and '-'");
    }
    if field.unit.len() > NAME_LIMIT || field.unit.chars().any(char::is_control) {
        return Some("has an overlong or unprintable unit");
    }
    match (field.kind, field.range) {
        (FieldKind::Text, Some(_)) => Some("is text and has a range: remove it"),
        (_, Some((lo, hi))) if !lo.is_finite() || !hi.is_finite() => {
            Some("has an unbounded range: write finite bounds, or none")
        }
        (_, Some((lo, hi))) if lo > hi => Some("has an empty range: exchange its bounds"),
        _ => None,
    }
}

/// Returns whether a name is an identifier: a letter or `_`, then letters, digits, `.`, `_` and `-`, all ASCII.
fn is_identifier(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME_LIMIT
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Returns whether a text is a concept: a path of segments separated by `>`, none empty.
fn is_concept(concept: &str) -> bool {
    concept.len() <= CONCEPT_LENGTH
        && !concept.chars().any(char::is_control)
        && concept
            .split('>')
            .all(|segment| !segment.is_empty() && segment.trim() == segment)
}
