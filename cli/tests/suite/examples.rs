//! Programs that use the libraries. Each starts a network in its process, and ends without an error.

use std::{path::Path, process::Command};

use crate::DISPERS;

/// Runs an example that `cargo test --workspace` built, and returns what it printed.
fn printed(example: &str) -> String {
    let folder = Path::new(DISPERS).parent().unwrap().join("examples");
    let program = folder.join(example);
    assert!(
        program.exists(),
        "build the examples first: cargo build --workspace --examples"
    );
    let ended = Command::new(program).output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{example}: {stderr}");
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn a_program_asks_and_prints_the_answer() {
    let printed = printed("ask");
    assert!(printed.contains("homes answered"), "{printed}");
}

#[test]
fn a_program_follows_a_question_that_another_part_asked() {
    assert!(!printed("follow").is_empty());
}

#[test]
fn a_program_trains_a_model() {
    assert!(!printed("train").is_empty());
}

#[test]
fn a_host_answers_from_its_own_storage() {
    assert!(!printed("own_storage").is_empty());
}
