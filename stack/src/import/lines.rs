//! Documents from JSON lines, with one object per line.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use dispers_core::subscription::{HomeId, MAX_HOME_ID};
use serde_json::{Map, Value};

use super::{ImportError, unread};

/// Document with its home.
pub type Line = (HomeId, Map<String, Value>);

/// Longest line, in bytes.
const MAX_LINE: usize = 16 << 20;

/// Reads documents, each with its home: the value of the field that `home` names, or the number of the line if it names
/// none. Objects inside a document become fields with dots, such as `author.name`.
///
/// # Errors
/// [`ImportError`] naming the line.
pub fn lines(path: &Path, home: Option<&str>) -> Result<Vec<Line>, ImportError> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| unread(&shown, error))?;
    let file = BufReader::new(file);
    let mut documents = Vec::new();
    for (line, number) in file.lines().zip(1..) {
        let line = line.map_err(|error| unread(&shown, error))?;
        if line.trim().is_empty() {
            continue;
        }
        if line.len() > MAX_LINE {
            return Err(wrong(&shown, number, "it is longer than 16 MiB"));
        }
        let document: Value =
            serde_json::from_str(&line).map_err(|error| wrong(&shown, number, error))?;
        let Value::Object(document) = document else {
            return Err(wrong(&shown, number, "it is no JSON object"));
        };
        let mut flat = Map::new();
        flatten("", document, &mut flat);
        let id = match home {
            None => number.to_string(),
            // The id of the home is not a field of its documents.
            Some(column) => match flat.remove(&column.to_lowercase()) {
                Some(Value::String(id)) => id,
                Some(Value::Number(id)) => id.to_string(),
                _ => {
                    let reason = format!("it has no {column:?} to tell its home");
                    return Err(wrong(&shown, number, reason));
                }
            },
        };
        if id.is_empty() || id.len() > MAX_HOME_ID {
            return Err(ImportError::NoHome {
                path: shown.clone(),
                line: number,
            });
        }
        documents.push((HomeId(id), flat));
    }
    match documents.is_empty() {
        true => Err(ImportError::Empty(shown)),
        false => Ok(documents),
    }
}

fn wrong(path: &str, line: usize, reason: impl ToString) -> ImportError {
    ImportError::Line {
        path: path.to_owned(),
        line,
        reason: reason.to_string(),
    }
}

/// Copies the fields of an object into `flat`. Their names get `prefix`, and are in lower case.
fn flatten(prefix: &str, object: Map<String, Value>, flat: &mut Map<String, Value>) {
    for (name, value) in object {
        let name = format!("{prefix}{}", name.to_lowercase());
        match value {
            Value::Object(inner) => flatten(&format!("{name}."), inner, flat),
            value => {
                flat.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use dispers_query::local::FieldValue;

    use super::*;
    use crate::{Connector, Selector, Store};

    fn read(text: &str, home: Option<&str>) -> Result<Vec<Line>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, text).unwrap();
        lines(&path, home).map_err(|error| error.to_string())
    }

    #[test]
    fn each_line_is_a_document_of_its_home() {
        let text = "{\"home\": \"a\", \"Amount\": 3, \"by\": {\"Name\": \"x\"}}\n\n{\"home\": 7, \"amount\": null}\n";
        let documents = read(text, Some("Home")).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!((&*documents[0].0.0, &*documents[1].0.0), ("a", "7"));
        let store = Store::in_memory().unwrap();
        assert_eq!(store.import_documents("Bank", documents).unwrap(), 2);
        let homes = [HomeId("a".into()), HomeId("7".into())];
        let fields = ["amount", "by.name"];
        let read = store.documents("bank", &fields, &homes, &Selector::default());
        use FieldValue::{Integer, Null, Text};
        let expected = [
            (0, vec![Integer(3), Text("x".into())]),
            (1, vec![Null, Null]),
        ];
        assert!(read.unwrap() == expected);
    }

    #[test]
    fn what_is_no_document_is_named_with_its_line() {
        for (text, home, said) in [
            ("{}\n{\"a\": \n", None, "line 2"),
            ("[1]\n", None, "line 1: it is no JSON object"),
            ("{\"a\": 1}\n", Some("home"), "line 1: it has no \"home\""),
            (
                "{\"home\": \"\"}\n",
                Some("home"),
                "line 1: the home column is empty",
            ),
            ("\n", None, "has no rows"),
        ] {
            let error = read(text, home).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
