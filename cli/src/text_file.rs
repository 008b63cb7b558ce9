//! Text files that people write, and how their content is printed.

use std::{fs, path::Path};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use serde::de::DeserializeOwned;

/// Output format of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Printed {
    /// Text for people.
    Table,
    /// One JSON object.
    Json,
}

/// Reads a TOML file.
///
/// # Errors
/// The path, with what is wrong.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

/// Reads a public key from its hexadecimal digits.
///
/// # Errors
/// The text, which is not a key.
pub(crate) fn bytes32(text: &str) -> anyhow::Result<[u8; 32]> {
    let bytes = hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| anyhow!("{text:?} is not a key of 64 hexadecimal digits"))
}
