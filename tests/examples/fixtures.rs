//! Keeps the messages of a release, for the releases after it:
//! `cargo run -p dispers-tests --example fixtures -- tests/fixtures/VERSION/messages`.
//!
//! For each decoder, the smallest input that it accepts in the fuzzer's corpora is kept.
#![allow(clippy::unwrap_used, reason = "what cannot go on has failed")]

use std::{env, fs, path::Path};

use dispers_tests::decoders::TARGETS;

fn main() {
    let output = env::args().nth(1).expect("give the folder to write to");
    let output = Path::new(&output);
    assert!(
        !output.exists(),
        "{} exists already: fixtures of a release are never changed",
        output.display()
    );
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for target in TARGETS {
        let folder = output.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        let files = fs::read_dir(corpora.join(target.name)).unwrap();
        let inputs: Vec<Vec<u8>> = files
            .map(|file| fs::read(file.unwrap().path()).unwrap())
            .collect();
        for decoder in target.decoders {
            let accepted = inputs.iter().filter_map(|input| {
                let (picked, bytes) = target.pick(input)?;
                (picked.name == decoder.name && (picked.accepts)(bytes)).then_some(bytes)
            });
            let smallest = accepted.min_by_key(|bytes| bytes.len());
            let smallest = smallest.unwrap_or_else(|| panic!("no input for {}", decoder.name));
            fs::write(folder.join(decoder.file_name()), smallest).unwrap();
        }
    }
}
