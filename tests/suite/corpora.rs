//! Replays of the fuzzer's first inputs and earlier findings through the same decoders (`docs/testing.md`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use dispers_tests::decoders::{TARGETS, Target};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

/// Returns the inputs of a target's corpus, with their paths.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = fuzz().join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_input_of_the_corpora_is_refused_or_canonical() {
    for target in TARGETS {
        for (path, input) in corpus(target) {
            let outcome = std::panic::catch_unwind(|| target.run(&input));
            assert!(outcome.is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn every_decoder_accepts_an_input_of_its_corpus() {
    for target in TARGETS {
        let accepted: BTreeSet<&str> = corpus(target)
            .iter()
            .filter_map(|(_, input)| target.pick(input))
            .filter(|(decoder, bytes)| (decoder.accepts)(bytes))
            .map(|(decoder, _)| decoder.name)
            .collect();
        let all: BTreeSet<&str> = target.decoders.iter().map(|d| d.name).collect();
        assert_eq!(accepted, all, "{}", target.name);
    }
}

#[test]
fn every_target_is_fuzzed() {
    let names = |folder: PathBuf| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    assert_eq!(names(fuzz().join("fuzz_targets")), targets);
    assert_eq!(names(fuzz().join("corpus")), targets);
}

#[test]
fn the_corpora_stay_small() {
    let sizes = TARGETS.iter().flat_map(corpus);
    let bytes: usize = sizes.map(|(_, input)| input.len()).sum();
    assert!(bytes < 2 << 20, "{bytes} bytes");
}
