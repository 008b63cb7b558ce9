//! Files that pass between people: configurations, key files and fragments of them.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, sync::LazyLock};

use dispers_node::{
    Config,
    fragment::combine,
    keyfile::{NodeKeys, load_share},
};
use tempfile::TempDir;

use super::Decoder;

/// Where the files are written that are read again.
static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary folder can be made"));

/// A path of this thread's own.
fn path(name: &str) -> PathBuf {
    let thread = std::thread::current().id();
    FOLDER.path().join(format!("{name}-{thread:?}"))
}

/// A file of this content that only its owner reads.
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
                // What it names is not there.
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

/// Two fragments with an empty line between them.
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
