//! Transcripts of the binary: results on stdout, everything else on stderr, and the exit code.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::{EXAMPLE, assert_about, assert_is_the_example, dispers};

#[test]
fn the_sandbox_answers_the_example_in_every_format() {
    let answer = dispers(&["sandbox", EXAMPLE, "--format", "json"]).json();
    assert_is_the_example(&answer);
    let keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "query",
            "columns",
            "rows",
            "suppressed_groups",
            "withheld",
            "homes",
            "aggregators",
            "notes",
            "phases_ms"
        ]
    );
    assert_eq!(
        answer["columns"],
        json!(["band", "homes", "measured", "mean_sbp"])
    );
    assert_eq!(answer["suppressed_groups"], json!([]));
    assert_eq!(answer["withheld"], json!([{"row": 0, "column": "homes"}]));
    for step in ["targeted", "asked", "answered", "accepted"] {
        assert_about(&answer["homes"][step], 1629);
    }
    assert_eq!(answer["homes"]["about"], true);
    assert_eq!(answer["aggregators"], json!({"needed": 2, "verified": 3}));
    assert_eq!(answer["query"].as_str().unwrap().len(), 32);

    // Without a question, the sandbox answers the example.
    let csv = dispers(&["sandbox", "--format", "csv", "--suite", "x25519"]);
    assert_eq!(csv.code, Some(0), "{}", csv.stderr);
    let lines: Vec<&str> = csv.stdout.lines().collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0], "band,homes,measured,mean_sbp");
    assert!(lines[2].starts_with("40-54,635,611,132.1178"));

    let table = dispers(&["sandbox"]);
    assert_eq!(
        table.stdout,
        "band   homes  measured  mean_sbp\n\
         -----  -----  --------  --------\n\
         25-39              628  120.7197\n\
         40-54    635       611  132.1178\n\
         55+      347       313  138.0863\n"
    );
    assert!(
        table.stderr.contains("\nhomes: about 1"),
        "{}",
        table.stderr
    );
    let summary = " accepted\n\
        1 cell is withheld: fewer people than the minimum cohort are behind each, or would follow from it and \
        other numbers of this result\n\
        3 aggregators verified every answer; 2 would have to collude to learn one\n";
    assert!(table.stderr.contains(summary), "{}", table.stderr);
    for phase in ["find", "ask", "release"] {
        assert!(table.stderr.contains(phase), "{}", table.stderr);
    }
}

#[test]
fn suppressed_groups_and_withheld_cells_are_listed() {
    let answer = dispers(&[
        "sandbox",
        "SELECT domain(sex, 'female', 'male') AS who, age < 27 AS young, \
         AVG(clamp(weight82_kg, 30, 200, 0.01)) AS weight, COUNT(*) AS n \
         FROM nhefs WHERE weight_kg > 70 AND smoking_years < 12 GROUP BY who, young",
        "--min-cohort",
        "26",
        "--format",
        "json",
    ])
    .json();
    // Of 27 such men under 27, 25 were weighed again: the mean is withheld. There are 30 such women.
    let rows = &answer["rows"];
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(
        (&rows[0]["who"], &rows[0]["young"]),
        (&json!("male"), &json!(false))
    );
    // Two of the 40 other men have no weight: their number of rows is withheld instead of the mean.
    assert_eq!(rows[0]["n"], json!(null));
    assert!((rows[0]["weight"].as_f64().unwrap() - 87.770_789_473_684).abs() < 1e-9);
    assert_eq!(
        rows[1],
        json!({"who": "male", "young": true, "weight": null, "n": 27})
    );
    assert_eq!(
        answer["withheld"],
        json!([{"row": 0, "column": "n"}, {"row": 1, "column": "weight"}])
    );
    assert_eq!(
        answer["suppressed_groups"],
        json!([
            {"who": "female", "young": false},
            {"who": "female", "young": true},
            {"who": null, "young": false},
            {"who": null, "young": true},
        ])
    );
}

#[test]
fn what_each_role_learnt_is_shown_in_half_a_screen() {
    let shown = dispers(&[
        "sandbox",
        "--show-knowledge",
        "--format",
        "csv",
        "--suite",
        "x25519",
    ]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(
        shown.stdout.lines().count(),
        4,
        "the answer alone goes to stdout"
    );
    let (_, told) = shown.stderr.split_once("What each role received").unwrap();
    assert!(told.lines().count() <= 25, "{told}");
    let said = [
        "opened  4 subscription uploads",
        "opened  1629 subscriptions (random tags), 1 target profile",
        "closed  1629 homes' addresses",
        "opened  1629 homes' addresses, 1 batch of targets",
        "each was read by one role only",
        "2 aggregators would have to put theirs together",
    ];
    for words in said {
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn a_split_key_is_restored_by_any_of_its_fragments_that_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (key, restored) = (at("node.key"), at("restored.key"));
    let made = dispers(&["keys", "new", "target", "--name", "t", "--output", &key]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let split = dispers(&["keys", "split", "--shares", "5", "--threshold", "4", &key]);
    assert_eq!(split.code, Some(0), "{}", split.stderr);
    let fragments: Vec<&str> = split.stdout.lines().collect();
    assert_eq!(fragments.len(), 5);
    let combine = |some: &[&str]| {
        let arguments = [&["keys", "combine", "--output", &restored], some].concat();
        dispers(&arguments)
    };
    let few = combine(&fragments[..3]);
    assert_eq!(few.code, Some(64));
    assert!(
        few.stderr
            .contains("3 fragments are given and 4 are needed"),
        "{}",
        few.stderr
    );
    let enough = combine(&fragments[1..]);
    assert_eq!(enough.code, Some(0), "{}", enough.stderr);
    assert_eq!(fs::read(&restored).unwrap(), fs::read(&key).unwrap());
}

/// Questions that must be refused with exit code 64, before any home is asked, and words that each error must
/// contain.
const REFUSED: [(&str, &[&str]); 20] = [
    ("", &["the query is empty"]),
    ("SELEC COUNT(*) FROM nhefs", &["line 1, column 1"]),
    ("SELECT COUNT(*)\nFROM nhefs WHERE", &["line 2"]),
    ("SELECT AVG(sbp) FROM nhefs", &["clamp(sbp, "]),
    (
        "SELECT sex, COUNT(*) FROM nhefs GROUP BY sex",
        &["domain(sex, ", "CASE"],
    ),
    ("SELECT COUNT(*) FROM persons", &["persons", "nhefs"]),
    (
        "SELECT COUNT(cholestrol) FROM nhefs",
        &["cholestrol", "cholesterol"],
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE concept('city>lyon')",
        &["city>lyon"],
    ),
    (
        "SELECT AVG(clamp(sbp, 230, 80)) FROM nhefs",
        &["clamp(sbp, 80, 230)"],
    ),
    (
        "SELECT AVG(clamp(sbp, 80, 80)) FROM nhefs",
        &["below the upper bound"],
    ),
    (
        "SELECT AVG(clamp(sbp, 0, 5000000000, 1)) FROM nhefs",
        &["2^32", "step of at least 2"],
    ),
    (
        "SELECT STDDEV(clamp(sbp, 0, 4000000000, 1)) FROM nhefs",
        &["10000000 homes", "step of at least 5000"],
    ),
    (
        "SELECT COUNT(*) FROM nhefs JOIN other ON 1 = 1",
        &["joins", "write one doctype"],
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE age > (SELECT 1)",
        &["only FROM may hold one"],
    ),
    ("SELECT MEDIAN(age) FROM nhefs", &["MEDIAN(clamp(age"]),
    (
        "SELECT COUNT(*) FROM nhefs; SELECT 1",
        &["several statements"],
    ),
    ("SELECT * FROM nhefs", &["SELECT *", "COUNT(*)"]),
    ("SELECT COUNT(*) FROM nhefs ORDER BY 2", &["no column 2"]),
    ("DELETE FROM nhefs", &["only SELECT"]),
    (
        "SELECT COUNT(*) FROM nhefs WHERE concept('home>all') OR age > 3",
        &["under OR or NOT", "AND"],
    ),
];

#[test]
fn a_question_that_cannot_be_asked_is_misuse_and_says_what_to_write() {
    for (sql, words) in REFUSED {
        let refused = dispers(&["sandbox", sql]);
        assert_eq!(refused.code, Some(64), "{sql}: {}", refused.stderr);
        assert!(refused.stdout.is_empty(), "{sql}");
        assert!(
            refused.stderr.starts_with("error: "),
            "{sql}: {}",
            refused.stderr
        );
        for word in words {
            assert!(refused.stderr.contains(word), "{sql}: {}", refused.stderr);
        }
        // The refusal came before any service was started.
        assert!(!refused.stderr.contains("starting"), "{sql}");
    }
}

#[test]
fn options_out_of_range_are_misuse() {
    let refused: [(&[&str], &str); 12] = [
        (&["--threshold", "1"], "at least 2"),
        (&["--threshold", "3"], "below the number of aggregators"),
        (&["--aggregators", "5"], "more than half"),
        (
            &["--indexor-threshold", "4"],
            "at most the number of members",
        ),
        (&["--min-cohort", "1"], "at least 2"),
        (&["--hosts", "0"], "--hosts must be 1 to 1629"),
        (&["--hosts", "1630"], "--hosts must be 1 to 1629"),
        (&["--concepts", "smoker"], "concept column \"smoker\""),
        (&["--data", "/no/such/people.csv"], "/no/such/people.csv"),
        (&["--home-column", "person"], "\"person\""),
        (&["--format", "xml"], "xml"),
        (&["--suite", "rsa"], "rsa"),
    ];
    for (options, words) in refused {
        let arguments = [&["sandbox"], options].concat();
        let ended = dispers(&arguments);
        assert_eq!(ended.code, Some(64), "{options:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(words),
            "{options:?}: {}",
            ended.stderr
        );
        assert!(ended.stdout.is_empty(), "{options:?}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    for (argument, words) in [("--help", "sandbox"), ("--version", "dispers")] {
        let told = dispers(&[argument]);
        assert_eq!(told.code, Some(0));
        assert!(told.stdout.contains(words) && told.stderr.is_empty());
    }
    assert_eq!(dispers(&[]).code, Some(64));
    assert_eq!(dispers(&["sandbox", "--no-such-option"]).code, Some(64));
}

#[test]
fn a_cohort_below_the_minimum_is_refused_by_the_finder() {
    let folder = people(19);
    let file = folder.path().join("people.csv");
    let refused = dispers(&[
        "sandbox",
        "SELECT COUNT(*) FROM people",
        "--data",
        file.to_str().unwrap(),
    ]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let words = "fewer than the minimum cohort of 20";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    assert!(refused.stdout.is_empty());
}

#[test]
fn data_files_that_are_no_tables_are_misuse() {
    let folder = tempfile::tempdir().unwrap();
    let bad = [
        ("empty.csv", "", "has no rows"),
        ("header.csv", "a,b\n", "has no rows"),
        ("ragged.csv", "a,b\n1\n", "ragged.csv"),
        ("twice.csv", "a,A\n1,2\n", "column 2"),
    ];
    for (name, text, words) in bad {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let refused = dispers(&[
            "sandbox",
            "SELECT COUNT(*) FROM x",
            "--data",
            file.to_str().unwrap(),
        ]);
        assert_eq!(refused.code, Some(64), "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{name}: {}", refused.stderr);
    }
}

#[test]
fn keys_are_never_overwritten_and_are_private() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.key");
    let new = || {
        dispers(&[
            "keys",
            "new",
            "target",
            "--name",
            "t",
            "--output",
            file.to_str().unwrap(),
        ])
    };
    let made = new();
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.contains("pool-envelope-key"));
    assert!(
        made.stderr.starts_with("fingerprints of target t"),
        "{}",
        made.stderr
    );
    let secret = fs::read(&file).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let again = new();
    assert_eq!(again.code, Some(64));
    assert!(again.stderr.contains("never overwritten"));
    assert_eq!(fs::read(&file).unwrap(), secret);
}

/// Creates a folder with `people.csv`, of `count` people.
fn people(count: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows: String = (0..count)
        .map(|row| format!("{row},{}\n", 20 + row % 50))
        .collect();
    fs::write(folder.path().join("people.csv"), format!("id,age\n{rows}")).unwrap();
    folder
}
