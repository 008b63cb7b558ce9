//! Tests that messages of earlier releases can be read (`tests/fixtures`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use dispers_tests::decoders::Target;

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn every_message_of_an_earlier_release_is_accepted() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let releases: Vec<PathBuf> = entries(&fixtures);
    let messages = releases.iter().map(|release| release.join("messages"));
    let mut read = 0;
    for folder in messages
        .filter(|folder| folder.exists())
        .flat_map(|folder| entries(&folder))
    {
        let target = Target::named(name(&folder)).unwrap_or_else(|| panic!("no target {folder:?}"));
        for file in entries(&folder) {
            let mut decoders = target.decoders.iter();
            let decoder = decoders.find(|decoder| decoder.file_name() == name(&file));
            let decoder = decoder.unwrap_or_else(|| panic!("no decoder for {file:?}"));
            assert!((decoder.accepts)(&fs::read(&file).unwrap()), "{file:?}");
            read += 1;
        }
    }
    assert!(read > 50, "{read} messages");
}
