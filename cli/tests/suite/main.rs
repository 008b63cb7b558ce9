//! The built binary: what it prints, where, and how it exits; and a network of one process per role.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod command_line;
#[cfg(feature = "postgres")]
mod conductors;
mod editions;
mod examples;
mod fingerprints;
mod fixtures;
mod hosts;
mod left_out;
mod network;
mod output;
#[cfg(unix)]
mod private;
mod processes;
mod stopping;
mod survival;
mod training;

use std::process::{Command, Output};

/// The binary under test.
const DISPERS: &str = env!("CARGO_BIN_EXE_dispers");

/// The question of the README.
const EXAMPLE: &str = "SELECT CASE WHEN age < 40 THEN '25-39' WHEN age < 55 THEN '40-54' ELSE '55+' \
    END AS band, COUNT(*) AS homes, COUNT(sbp) AS measured, AVG(clamp(sbp, 80, 230, 1)) AS mean_sbp \
    FROM nhefs GROUP BY band";

/// Exit code and output of a run of the binary.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Parses stdout, which must be one JSON object.
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert_eq!(self.stdout.lines().count(), 1, "{}", self.stdout);
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// Returns the binary, started by a shell whose umask would let everybody read and write new files.
fn command() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\"", DISPERS]);
    command
}

/// Runs `dispers` with these arguments.
fn dispers(arguments: &[&str]) -> Ended {
    Ended::of(command().args(arguments).output().unwrap())
}

/// Asserts that `reported` can be the report of `homes` homes in a network with the default noise of sizes.
fn assert_about(reported: &serde_json::Value, homes: u64) {
    let reported = reported.as_u64().unwrap();
    assert!(is_about(reported, homes), "{reported} of {homes}");
}

/// Returns whether `reported` can be the report of `homes` homes. The noise lowers the number by at most 56, and the
/// noise of homes without an answer by 28 more. The result is rounded down to a multiple of the cohort.
fn is_about(reported: u64, homes: u64) -> bool {
    reported.is_multiple_of(20) && ((homes - 84) / 20 * 20..=homes).contains(&reported)
}

/// Compares the rows of the example with a plain computation over the file.
fn assert_is_the_example(answer: &serde_json::Value) {
    let expected = [
        // 647 homes: the number is withheld, since it would reveal the 19 homes without a measurement, fewer than the
        // cohort.
        ("25-39", None, 628, 120.719_745),
        ("40-54", Some(635), 611, 132.117_840),
        ("55+", Some(347), 313, 138.086_262),
    ];
    let rows = answer["rows"].as_array().unwrap();
    assert_eq!(rows.len(), expected.len());
    for (row, (band, homes, measured, mean)) in rows.iter().zip(expected) {
        assert_eq!(row["band"], band);
        assert_eq!(row["homes"].as_u64(), homes);
        assert_eq!(row["measured"], measured);
        assert!((row["mean_sbp"].as_f64().unwrap() - mean).abs() < 1e-6);
    }
}
