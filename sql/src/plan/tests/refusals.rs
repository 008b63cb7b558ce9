//! Queries that are refused, and the advice in their errors.

use proptest::prelude::*;

use super::plan;

/// SQL, a text that its error must contain, and advice that its error must contain.
const BAD: &[(&str, &str, &str)] = &[
    ("", "empty", "SELECT"),
    (" -- nothing\n", "empty", "SELECT"),
    ("SELEC 1", "line 1, column 1: this is not SQL", "SELECT"),
    (
        "SELECT COUNT(*)\nFROM nhefs WHERE (age > 1",
        "line 2, column 26",
        "SELECT",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE sex = 'a",
        "line 1, column 40",
        "single quotes",
    ),
    ("SELECT a b c FROM nhefs", "line 1, column 12", "SELECT"),
    (
        "SELECT COUNT(*) FROM nhefs END x",
        "END is not expected",
        "end the query",
    ),
    (
        "SELECT COUNT(*) FROM nhefs; SELECT 1",
        "several statements",
        "of its own",
    ),
    ("DELETE FROM nhefs", "only SELECT", "write SELECT"),
    ("SELECT COUNT(*)", "FROM is missing", "FROM"),
    ("SELECT * FROM nhefs", "SELECT *", "COUNT(*)"),
    (
        "SELECT COUNT(*) FROM nhef",
        "line 1, column 22: there is no doctype nhef",
        "did you mean nhefs",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE agee > 1",
        "no field agee",
        "did you mean age",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE sex = \"male\"",
        "no field male",
        "'single quotes'",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE concept('sex>femal')",
        "no concept",
        "did you mean sex>female",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE concept(sex)",
        "takes the name",
        "concept('a>b')",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE concept('sex>male') OR age > 3",
        "OR",
        "by AND",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE NOT (concept('sex>male') AND age > 3)",
        "NOT",
        "by AND",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE concept('sex>male') = TRUE",
        "chooses homes",
        "by AND",
    ),
    (
        "SELECT COUNT(*) FROM nhefs, heartrate",
        "joins",
        "one doctype",
    ),
    (
        "SELECT COUNT(*) FROM nhefs JOIN heartrate ON TRUE",
        "joins",
        "one doctype",
    ),
    (
        "SELECT COUNT(*) FROM heartrate",
        "several documents",
        "(SELECT AVG(bpm) AS bpm FROM heartrate) AS home",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT bpm FROM heartrate) h",
        "every document",
        "AVG(bpm)",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT AVG(bpm) AS b FROM heartrate GROUP BY day) h",
        "GROUP BY in the inner",
        "leave it out",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT * FROM heartrate) h",
        "*",
        "AVG(x) AS x",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT AVG(bpm) AS b FROM (SELECT 1) i) h",
        "inner SELECT inside",
        "aggregate",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT STDDEV(bpm) AS b FROM heartrate) h",
        "STDDEV",
        "AVG",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT AVG(bpm) AS b FROM heartrate) h WHERE bpm > 1",
        "no column bpm",
        "did you mean b",
    ),
    (
        "WITH a AS (SELECT 1) SELECT COUNT(*) FROM a",
        "WITH",
        "FROM (SELECT",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE age > (SELECT 1)",
        "SELECT inside",
        "FROM",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE age IN (SELECT 1)",
        "SELECT inside",
        "FROM",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE EXISTS (SELECT 1)",
        "SELECT inside",
        "FROM",
    ),
    (
        "SELECT COUNT(*) FROM nhefs UNION SELECT 1",
        "UNION",
        "of its own",
    ),
    (
        "SELECT COUNT(*) FROM nhefs HAVING COUNT(*)",
        "integer where a condition is needed",
        "comparison",
    ),
    (
        "SELECT COUNT(*) FROM nhefs HAVING age > 3",
        "neither in GROUP BY",
        "domain(age",
    ),
    (
        "SELECT COUNT(*) FROM nhefs ORDER BY 2",
        "no column 2",
        "1 to 1",
    ),
    (
        "SELECT COUNT(*) FROM nhefs ORDER BY age",
        "neither in GROUP BY",
        "GROUP BY",
    ),
    (
        "SELECT COUNT(*) FROM nhefs LIMIT 1 + 2",
        "LIMIT 1 + 2 is not a whole number",
        "LIMIT 10",
    ),
    (
        "SELECT COUNT(*) FROM nhefs FETCH FIRST 3 ROWS ONLY",
        "FETCH",
        "LIMIT n",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT SUM(bpm) AS s FROM heartrate LIMIT 3) AS h",
        "LIMIT inside",
        "end of the outer",
    ),
    (
        "SELECT AVG(clamp(sbp, 0, 300)) + age FROM nhefs",
        "neither in GROUP BY",
        "AVG(clamp(age",
    ),
    (
        "SELECT AVG(clamp(COUNT(*), 0, 300)) FROM nhefs",
        "cannot stand inside",
        "one not inside another",
    ),
    (
        "SELECT CORR(clamp(sbp, 0, 300)) FROM nhefs",
        "1 argument",
        "CORR(clamp(y, lo, hi), clamp(x, lo, hi))",
    ),
    (
        "SELECT CORR(sbp, clamp(age, 0, 99)) FROM nhefs",
        "CORR(sbp) needs bounds",
        "clamp(sbp, 80, 230, 1)",
    ),
    (
        "SELECT MEDIAN(clamp(sbp, 0, 300, 0.1)) FROM nhefs",
        "3001 levels is too fine",
        "clamp(sbp, 0, 300, 1)",
    ),
    (
        "SELECT PERCENTILE_CONT(1.5) WITHIN GROUP (ORDER BY clamp(sbp, 0, 300)) FROM nhefs",
        "percentile 1.5 is outside [0, 1]",
        "0.9",
    ),
    (
        "SELECT PERCENTILE_CONT(0.5) FROM nhefs",
        "does not say of what",
        "WITHIN GROUP",
    ),
    (
        "SELECT PERCENTILE_DISC(0.5) WITHIN GROUP (ORDER BY clamp(sbp, 0, 300)) FROM nhefs",
        "PERCENTILE_DISC",
        "PERCENTILE_CONT",
    ),
    (
        "SELECT AVG(clamp(sbp, 0, 300)) WITHIN GROUP (ORDER BY age) FROM nhefs",
        "does not take WITHIN GROUP",
        "MODE()",
    ),
    (
        "SELECT MODE() WITHIN GROUP (ORDER BY sbp) FROM nhefs",
        "no bounded set of values",
        "domain(sbp",
    ),
    (
        "SELECT MODE(domain(sex, 'male')) + 1 FROM nhefs",
        "MODE of a single value",
        "two values",
    ),
    (
        "SELECT HISTOGRAM(clamp(sbp, 0, 300), 1) FROM nhefs",
        "1 is no number of bins",
        "from 2 to 256",
    ),
    (
        "SELECT HISTOGRAM(clamp(sbp, 0, 300), 2000) FROM nhefs",
        "2000 is no number of bins",
        "from 2 to 256",
    ),
    (
        "SELECT HISTOGRAM(sbp, 10) FROM nhefs",
        "needs bounds",
        "clamp(sbp, 80, 230, 1)",
    ),
    (
        "SELECT HISTOGRAM(clamp(sbp, 0, 300), 10) + 1 FROM nhefs",
        "inside an expression",
        "column of its own",
    ),
    (
        "SELECT HISTOGRAM(clamp(sbp, 0, 300), 9), HISTOGRAM(clamp(age, 0, 99), 9) FROM nhefs",
        "two histograms",
        "a query of its own",
    ),
    (
        "SELECT SHARE(age) FROM nhefs",
        "integer where a condition is needed",
        "comparison",
    ),
    (
        "SELECT STRING_AGG(sex) FROM nhefs",
        "single values",
        "domain",
    ),
    (
        "SELECT APPROX_COUNT_DISTINCT(sex) FROM nhefs",
        "not on the list",
        "MEDIAN",
    ),
    (
        "SELECT ABS(age) FILTER (WHERE age > 3) FROM nhefs",
        "does not take FILTER",
        "CASE",
    ),
    ("SELECT DISTINCT age FROM nhefs", "DISTINCT", "GROUP BY"),
    (
        "SELECT COUNT(DISTINCT age) FROM nhefs",
        "DISTINCT",
        "GROUP BY",
    ),
    ("SELECT COUNT(*) OVER () FROM nhefs", "window", "GROUP BY"),
    (
        "SELECT COUNT(*) FILTER (WHERE age) FROM nhefs",
        "integer where a condition is needed",
        "comparison",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY ROLLUP(age < 3)",
        "not supported",
        "write",
    ),
    (
        "SELECT SUM(sbp) FROM nhefs",
        "needs bounds",
        "SUM(clamp(sbp, 80, 230, 1))",
    ),
    (
        "SELECT AVG(weight_kg) FROM nhefs",
        "needs bounds",
        "AVG(clamp(weight_kg, 30, 180))",
    ),
    (
        "SELECT AVG(b) FROM (SELECT AVG(bpm) AS b FROM heartrate) h",
        "needs bounds",
        "AVG(clamp(b, 30, 220))",
    ),
    (
        "SELECT AVG(age + 1) FROM nhefs",
        "needs bounds",
        "clamp(age + 1, lo, hi)",
    ),
    (
        "SELECT MIN(age) FROM nhefs",
        "needs bounds",
        "MIN(clamp(age",
    ),
    ("SELECT clamp(age, 0, 1) FROM nhefs", "clamp", "AVG(clamp"),
    (
        "SELECT AVG(clamp(age)) FROM nhefs",
        "clamp(…)",
        "clamp(x, lo, hi)",
    ),
    (
        "SELECT AVG(clamp(age, sbp, 3)) FROM nhefs",
        "not a number",
        "numbers",
    ),
    (
        "SELECT AVG(clamp(sex, 1, 3)) FROM nhefs",
        "is text",
        "domain",
    ),
    (
        "SELECT AVG(clamp(age, 5, 5)) FROM nhefs",
        "below",
        "clamp(age, 5, hi)",
    ),
    (
        "SELECT AVG(clamp(age, 9, 5)) FROM nhefs",
        "line 1, column 23",
        "clamp(age, 5, 9)",
    ),
    (
        "SELECT AVG(clamp(age, 0, 10, 3)) FROM nhefs",
        "on the grid",
        "9 or 12",
    ),
    (
        "SELECT AVG(clamp(age, 0, 10, -1)) FROM nhefs",
        "above 0",
        "such as 1",
    ),
    (
        "SELECT AVG(clamp(age, 0, 1e12, 1)) FROM nhefs",
        "2^32",
        "at least 250",
    ),
    (
        "SELECT SUM(clamp(age, 0, 4294967295, 1)) FROM nhefs",
        "",
        "",
    ),
    (
        "SELECT VARIANCE(clamp(age, 0, 1000000, 1)) FROM nhefs",
        "overflow",
        "clamp(age, 0, 1000000, 20)",
    ),
    (
        "SELECT age FROM nhefs",
        "neither in GROUP BY nor",
        "AVG(clamp(age",
    ),
    (
        "SELECT sex, COUNT(*) FROM nhefs GROUP BY sex",
        "no bounded set",
        "domain(sex, 'a', 'b')",
    ),
    (
        "SELECT COUNT(*), domain(sex, 'a') AS Sex FROM nhefs GROUP BY sex",
        "the column of that name, not the alias",
        "GROUP BY 2",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY age + 1",
        "no bounded set",
        "domain(age + 1",
    ),
    (
        "SELECT age < 3, COUNT(*) FROM nhefs",
        "neither in GROUP BY nor",
        "GROUP BY",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY 2",
        "no column 2",
        "1 to 1",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY COUNT(*)",
        "aggregate",
        "GROUP BY",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY domain(sex)",
        "domain(…)",
        "domain(x, 'a', 'b')",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY domain(sex, 'a', 'a')",
        "twice",
        "once",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY domain(weight_kg, 1.5)",
        "no text",
        "domain",
    ),
    (
        "SELECT COUNT(*) FROM nhefs GROUP BY domain(sex, 1)",
        "integer where text",
        "one type",
    ),
    (
        "SELECT SUM(clamp(age, 0, 9)) / sex FROM nhefs",
        "neither in GROUP BY",
        "domain(sex",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE COUNT(*) > 1",
        "inside an expression",
        "HAVING",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE sqrt(age) > 1",
        "sqrt is not on the list",
        "ABS",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE age",
        "a condition is needed",
        "comparison",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE age > 'x'",
        "'x' is not integer",
        "number",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE age = sex",
        "text where integer",
        "one type",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE sex + 1 > 2",
        "integer where text",
        "one type",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE NOT age",
        "AND, OR and NOT",
        "convert",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE age % 2 = 0",
        "%",
        "a / b * b",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE sex ILIKE 'm%'",
        "ILIKE",
        "LOWER",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE sex || 'a' = 'ma'",
        "||",
        "compare",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE current_date > DATE '2020-01-01'",
        "dates",
        "2026-10-01",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE CAST(age AS TEXT) = '1'",
        "CAST to TEXT",
        "INTEGER",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE weight_kg > 1e999",
        "64 bits",
        "smaller",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE LENGTH(sex, 1) > 1",
        "2 arguments",
        "LENGTH(x)",
    ),
    (
        "SELECT COUNT(*) FROM nhefs WHERE ROUND(weight_kg, 1) > 1",
        "2 arguments",
        "ROUND(x)",
    ),
];

#[test]
fn every_refusal_says_what_and_what_to_write_instead() {
    let mut failures = Vec::new();
    for (sql, what, instead) in BAD {
        if what.is_empty() {
            assert!(plan(sql).is_ok(), "{sql}");
            continue;
        }
        let error = match plan(sql) {
            Ok(_) => {
                failures.push(format!("{sql}\n  is planned"));
                continue;
            }
            Err(error) => error,
        };
        let text = error.to_string();
        if !text.contains(what) || !error.instead.contains(instead) {
            failures.push(format!(
                "{sql}
  {text}"
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "AS",
    "nhefs",
    "age",
    "sbp",
    "sex",
    "COUNT(*)",
    "AVG(",
    "clamp(",
    "domain(",
    "concept('sex>male')",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "(",
    ")",
    ",",
    "+",
    "-",
    "/",
    "<",
    "=",
    "AND",
    "OR",
    "NOT",
    "IS NULL",
    "IN (",
    "BETWEEN",
    "LIKE",
    "'é'",
    "1",
    "0.5",
    "-1e9",
    "NULL",
    "TRUE",
    "heartrate",
    "bpm",
    "CAST(",
    "AS INTEGER)",
    ";",
    ".",
    "\"x\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_words_in_any_order_do_harm(picks in prop::collection::vec(0..WORDS.len(), 0..25)) {
        let words: Vec<&str> = picks.iter().map(|i| WORDS[*i]).collect();
        let text = words.join(" ");
        let _ = plan(&text);
        let _ = plan(&format!("SELECT COUNT(*) FROM nhefs WHERE {text}"));
        let _ = plan(&format!("SELECT COUNT(*) FROM nhefs GROUP BY {text}"));
        let _ = plan(&format!("SELECT AVG(clamp({text}, 0, 9)) FROM nhefs"));
    }
}
