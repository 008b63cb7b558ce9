//! A plain build, which README's first command makes, says what it lacks and which build has it.
//!
//! A build with everything tests the plain binary that `DISPERS_PLAIN` names, and skips the tests without one;
//! `DISPERS_REQUIRE_PLAIN` makes that a failure.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use crate::{DISPERS, Ended};

/// Returns the plain binary, `None` if there is none.
fn plain() -> Option<OsString> {
    if !cfg!(feature = "full") {
        return Some(DISPERS.into());
    }
    let plain = env::var_os("DISPERS_PLAIN");
    if plain.is_none() {
        assert!(
            env::var_os("DISPERS_REQUIRE_PLAIN").is_none(),
            "DISPERS_PLAIN names no binary"
        );
        println!("skipped: DISPERS_PLAIN names no binary");
    }
    plain
}

/// Checks that a command was refused for lack of `what`.
fn assert_lacks(what: &str, ended: &Ended) {
    assert_eq!(ended.code, Some(64), "{}", ended.stderr);
    let said = format!(
        "this dispers is built without {what}: use a packaged one, or build it with `cargo build --release --features full`"
    );
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    assert!(ended.stdout.is_empty());
}

#[test]
fn a_plain_build_refuses_a_format_that_it_lacks_before_anybody_is_asked() {
    let Some(plain) = plain() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result");
    for format in ["arrow", "parquet"] {
        let refused = Command::new(&plain)
            .args([
                "sandbox",
                "SELECT COUNT(*) AS homes FROM nhefs",
                "--format",
                format,
                "--output",
            ])
            .arg(&file)
            .output()
            .unwrap();
        assert_lacks("Arrow and Parquet", &Ended::of(refused));
        assert!(!file.exists());
    }
}

#[test]
fn a_plain_build_refuses_to_serve_with_what_it_lacks() {
    let Some(plain) = plain() else { return };
    let folder = tempfile::tempdir().unwrap();
    let network = folder.path().join("network");
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/setup.sh");
    let made = Command::new("bash")
        .arg(setup)
        .arg(&network)
        .env("DISPERS", &plain)
        .output()
        .unwrap();
    let made = Ended::of(made);
    assert_eq!(made.code, Some(0), "{}", made.stderr);

    let serve = |role: &str, sample: &str, from: &str, to: &str| {
        let text = fs::read_to_string(network.join(sample)).unwrap();
        assert!(text.contains(from), "{sample} lacks {from}");
        let edited = network.join(format!("edited-{sample}"));
        dispers_node::private::write(&edited, text.replace(from, to)).unwrap();
        let refused = Command::new(&plain)
            .args(["serve", role, "--config"])
            .arg(edited)
            .output()
            .unwrap();
        Ended::of(refused)
    };
    let traces = serve(
        "target",
        "target.toml",
        "[node]",
        "[telemetry]\notlp = \"http://127.0.0.1:4317\"\n\n[node]",
    );
    assert_lacks("traces", &traces);
    let database = "postgres://dispers@127.0.0.1/dispers";
    let shared = serve("conductor", "conductor.toml", "conductor.db", database);
    assert_lacks("PostgreSQL", &shared);
    let mail =
        "[stack.notify.smtp]\nhost = \"mail.example.org\"\nfrom = \"a@example.org\"\n\n[node]";
    let mailing = serve("stack", "host-1.toml", "[node]", mail);
    assert_lacks("e-mail", &mailing);
}
