//! Results as files, drawings and explanations, from the built binary.

use std::fs;

use serde_json::Value;

use crate::{assert_about, dispers};

const COUNT: &str = "SELECT sex = 'male' AS male, COUNT(*) AS n FROM nhefs GROUP BY male";

#[test]
fn a_result_is_written_whole_in_the_format_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let formats = [
        ("csv", &b"male,n,n_low,n_high,n_se"[..]),
        ("parquet", b"PAR1"),
        ("arrow", b"ARROW1"),
    ];
    let formats = &formats[..if cfg!(feature = "files") { 3 } else { 1 }];
    for &(format, begins) in formats {
        let (file, plot) = (path(format), path(&format!("{format}.svg")));
        let ended = dispers(&[
            "sandbox",
            COUNT,
            "--suite",
            "x25519",
            "--epsilon",
            "2",
            "--format",
            format,
            "--output",
            &file,
            "--plot",
            &plot,
        ]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.is_empty());
        assert!(fs::read(&file).unwrap().starts_with(begins), "{format}");
        assert!(fs::read_to_string(&plot).unwrap().contains("</svg>"));
    }
    // No partly written file is left.
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2 * formats.len()
    );
}

#[test]
fn a_file_that_cannot_be_written_is_found_out_before_anybody_is_asked() {
    for option in ["--output", "--plot"] {
        let ended = dispers(&["sandbox", COUNT, option, "/no/such/folder/result"]);
        assert_eq!(ended.code, Some(64), "{}", ended.stderr);
        assert!(ended.stderr.contains("cannot write /no/such/folder/result"));
        assert!(!ended.stderr.contains("start"), "{}", ended.stderr);
    }
}

#[test]
fn a_noisy_result_tells_its_intervals_row_by_row() {
    let answer = dispers(&[
        "sandbox",
        COUNT,
        "--suite",
        "x25519",
        "--epsilon",
        "2",
        "--delta",
        "1e-6",
        "--format",
        "json",
    ]);
    let answer = answer.json();
    let rows = answer["rows"].as_array().unwrap();
    let intervals = answer["intervals"].as_array().unwrap();
    assert_eq!((rows.len(), intervals.len()), (2, 2));
    for (row, interval) in rows.iter().zip(intervals) {
        let (low, high) = (&interval["n"][0], &interval["n"][1]);
        let n = row["n"].as_f64().unwrap();
        assert!(low.as_f64().unwrap() < n && n < high.as_f64().unwrap());
        assert_eq!(interval["male"], Value::Null);
    }
    assert_eq!(answer["standard_errors"].as_array().unwrap().len(), 2);
    assert_about(&answer["homes"]["accepted"], 1629);
}

#[test]
fn a_question_is_explained_and_nobody_is_asked() {
    let words = ["explain", COUNT, "--epsilon", "1", "--format", "json"];
    let explained = dispers(&words).json();
    assert_eq!(explained["groups"], 2);
    assert_eq!(explained["homes"], 1600);
    assert_eq!(explained["circuit"]["sums"], 2);
    assert_eq!(explained["noise"]["mechanism"], "discrete Laplace");
    assert_eq!(explained["noise"]["rho"], 0.5);
    let error = explained["noise"]["standard_errors"]["n"].as_f64().unwrap();
    assert!(error > 1.0 && error < 4.0, "{error}");
    assert!(explained["bytes_per_home"].as_u64().unwrap() > 100);
    // Without noise, every aggregator reads the exact number of homes of each group.
    let exact = dispers(&["explain", COUNT, "--epsilon", "off", "--format", "json"]).json();
    let counts = exact["circuit"]["counts_that_aggregators_read"]
        .as_u64()
        .unwrap();
    let table = dispers(&["explain", COUNT, "--epsilon", "off"]).stdout;
    let line = format!("every one reads {counts} exact counts of people");
    assert!(counts == 2 && table.contains(&line), "{table}");
    assert!(
        table.contains("that colludes with you tells you"),
        "{table}"
    );
    // A result that would be mostly noise is reported, with the figure.
    let few = dispers(&["explain", COUNT, "--epsilon", "0.001"]);
    assert_eq!(few.code, Some(0));
    assert!(
        few.stdout.contains("would be mostly noise"),
        "{}",
        few.stdout
    );
}

#[test]
fn what_protects_nobody_or_has_no_meaning_is_misuse() {
    for (words, reason) in [
        (&["--epsilon", "0"][..], "epsilon must be at least"),
        (&["--epsilon", "-1"], "epsilon must be at least"),
        (&["--epsilon", "many"], "write one such as 1, or off"),
        (&["--epsilon", "1", "--delta", "1"], "delta must be above 0"),
        (&["--epsilon", "off", "--delta", "0.1"], "no meaning"),
        (&["--delta", "0.1"], "--epsilon"),
        (&["--regress", "sbp ~ age"], "--from"),
    ] {
        let ended = dispers(&[&["explain"][..], words, &[COUNT]].concat());
        assert_eq!(ended.code, Some(64), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(reason), "{words:?}: {}", ended.stderr);
    }
    let asked = dispers(&["query", COUNT, "--config", "none.toml", "--purpose", "p"]);
    assert_eq!(asked.code, Some(64));
}
