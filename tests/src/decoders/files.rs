//! Decoders of files that pass between people: configurations, key files and fragments of them.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::LazyLock};

use dispers_node::{
    Config,
    fragment::combine,
    keyfile::{NodeKeys, load_share},
};
use tempfile::TempDir;

use super::Decoder;

/// Folder for the files that decoders read.
static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary folder can be made"));

/// Returns a path that no other thread uses.
fn path(name: &str) -> PathBuf {
    let thread = std::thread::current().id();
    FOLDER.path().join(format!("{name}-{thread:?}"))
}

/// Writes a file of this content that only its owner can read.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = path(name);
    let written = fs::write(&path, content)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)));
    written.expect("a temporary file can be written");
    path
}

pub(super) const DECODERS: &[Decoder] = &[
    Decoder {
        name: "configuration",
        accepts: |bytes| {
            let path = file("configuration", bytes);
            Config::<toml::Table>::load(&path, "conductor").is_ok_and(|config| {
                // The files that the configuration names do not exist.
                let _ = (config.name(), config.listen());
                assert!(config.keys().is_err() || config.node.keys.is_absolute());
                true
            })
        },
    },
    Decoder {
        name: "key file",
        accepts: |bytes| NodeKeys::load(&file("keys", bytes)).is_ok(),
    },
    Decoder {
        name: "share",
        accepts: |bytes| load_share(&file("share", bytes)).is_ok(),
    },
    Decoder {
        name: "fragments",
        accepts: fragments,
    },
];

/// Combines two fragments that stand with an empty line between them. Returns whether they were accepted.
fn fragments(bytes: &[u8]) -> bool {
    let Some(middle) = bytes.windows(2).position(|end| end == b"\n\n") else {
        return false;
    };
    let parts = [&bytes[..middle + 1], &bytes[middle + 2..]];
    let paths = [file("first", parts[0]), file("second", parts[1])];
    let output = path("restored");
    let restored = combine(&paths, &output).is_ok();
    if restored {
        fs::remove_file(output).expect("the restored file is there");
    }
    restored
}
