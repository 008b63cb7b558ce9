//! Rules of the log's witnesses: enough operators that run no conductor have one (protocol.md §16).

use super::super::{DirectoryBody, DirectoryError};
use super::repeated;

/// Most witnesses that a directory may list.
const MOST: usize = 64;

pub(super) fn check(body: &DirectoryBody) -> Result<(), DirectoryError> {
    let witnesses = &body.witnesses;
    let names = &witnesses.names;
    if names.len() > MOST || repeated(names.iter(), |name| *name).is_some() {
        return Err(DirectoryError::Witnesses(
            "are over 64, or one is listed twice",
        ));
    }
    if names
        .iter()
        .any(|name| !body.nodes.iter().any(|node| node.name == *name))
    {
        return Err(DirectoryError::Witnesses(
            "must be nodes that the directory lists",
        ));
    }
    // A single operator could co-sign two histories together with the conductor.
    if witnesses.needed < 2 {
        return Err(DirectoryError::Witnesses(
            "that are needed must be at least 2",
        ));
    }
    if body.independent(names.iter()).len() < usize::from(witnesses.needed) {
        return Err(DirectoryError::Witnesses(
            "must be of as many operators as are needed, besides those that run a conductor",
        ));
    }
    Ok(())
}
