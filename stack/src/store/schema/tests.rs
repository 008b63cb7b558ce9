//! Files of release 0.1.0, and files that are none of a stack's.

use dispers_base::id::{KeyEpoch, QueryId};
use dispers_core::subscription::{Handle, HomeId};
use dispers_node::private;

use super::{super::Store, *};
use crate::{Connector, Outcome, Rules, rule_file, testing::query};

/// Statements with which release 0.1.0 opened every file.
const OPENED_BY_0_1_0: &str = "
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS document (
    doctype TEXT NOT NULL, home TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS document_home ON document (doctype, home);
CREATE TABLE IF NOT EXISTS secret (
    home TEXT NOT NULL, key_epoch INTEGER NOT NULL, tag BLOB NOT NULL, key BLOB NOT NULL,
    PRIMARY KEY (home, key_epoch)
);
CREATE TABLE IF NOT EXISTS subscription (
    home TEXT NOT NULL, key_epoch INTEGER NOT NULL, concept TEXT NOT NULL, handle BLOB NOT NULL,
    PRIMARY KEY (home, key_epoch, concept)
);
CREATE TABLE IF NOT EXISTS leaving (handle BLOB PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sending (handle BLOB PRIMARY KEY, since INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS answered (work BLOB PRIMARY KEY, expires INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answered_expires ON answered (expires);
CREATE TABLE IF NOT EXISTS answered_last (
    query BLOB NOT NULL, batch INTEGER NOT NULL, last INTEGER NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (query, batch)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answered_last_expires ON answered_last (expires);
PRAGMA user_version = 4;
CREATE TABLE IF NOT EXISTS rules (id INTEGER PRIMARY KEY, body TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS home_rules (home TEXT PRIMARY KEY, rules INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS request (
    id INTEGER PRIMARY KEY, query BLOB NOT NULL UNIQUE, manifest BLOB NOT NULL, querier TEXT NOT NULL,
    doctype TEXT NOT NULL, key_epoch INTEGER NOT NULL, epsilon INTEGER, answer_from INTEGER NOT NULL,
    received INTEGER NOT NULL, pure INTEGER NOT NULL, gaussian INTEGER NOT NULL, rho INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS request_exact ON request (querier, doctype, key_epoch) WHERE epsilon IS NULL;
CREATE TABLE IF NOT EXISTS decision (
    home TEXT NOT NULL, request INTEGER NOT NULL, outcome INTEGER NOT NULL, rule INTEGER,
    at INTEGER NOT NULL, batch INTEGER NOT NULL, pure INTEGER NOT NULL, gaussian INTEGER NOT NULL,
    rho INTEGER NOT NULL, place BLOB NOT NULL,
    PRIMARY KEY (home, request)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sent (
    request INTEGER NOT NULL, batch INTEGER NOT NULL, at INTEGER NOT NULL, homes INTEGER NOT NULL,
    groups TEXT NOT NULL, PRIMARY KEY (request, batch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS login (token BLOB PRIMARY KEY, home TEXT NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS session (
    token BLOB PRIMARY KEY, home TEXT NOT NULL, expires INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS log_head (
    log INTEGER PRIMARY KEY, size INTEGER NOT NULL, hash BLOB NOT NULL, head BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS log_fork (
    number INTEGER PRIMARY KEY, seen BLOB NOT NULL, shown BLOB NOT NULL, at INTEGER NOT NULL
);
";

/// One row in every table that release 0.1.0 wrote. `?1` is an encoded manifest, and `?2` its query.
const ROWS: [&str; 15] = [
    "INSERT INTO document VALUES ('people', 'a', '{\"age\":40}')",
    "INSERT INTO secret VALUES ('a', 1, zeroblob(16), zeroblob(32))",
    "INSERT INTO subscription VALUES ('a', 1, 'home>all', zeroblob(16))",
    "INSERT INTO leaving VALUES (x'01010101010101010101010101010101')",
    "INSERT INTO sending VALUES (x'02020202020202020202020202020202', 9223372036854775807)",
    "INSERT INTO answered_last VALUES (zeroblob(32), 5, 0, 9223372036854775807)",
    "INSERT INTO rules VALUES (3, 'otherwise = \"ask\"\n')",
    "INSERT INTO home_rules VALUES ('a', 3)",
    "INSERT INTO request VALUES (7, ?2, ?1, 'lab', 'heart', 1, 1000000, 1, 2, 3, 4, 5)",
    "INSERT INTO decision VALUES ('a', 7, 0, 6, 11, 13, 1000, 2000, 3000, x'00')",
    "INSERT INTO sent VALUES (7, 13, 12, 20, '[{\"aggregator\":\"da-1\",\"bytes\":9}]')",
    "INSERT INTO login VALUES (zeroblob(32), 'a', 9223372036854775807)",
    "INSERT INTO session VALUES (zeroblob(32), 'a', 9223372036854775807)",
    "INSERT INTO log_head VALUES (1, 5, zeroblob(32), x'00')",
    "INSERT INTO log_fork VALUES (1, x'00', x'01', 1)",
];

/// Makes a file of release 0.1.0 with a row in every table. Returns the query in it.
fn write_0_1_0(path: &Path) -> QueryId {
    private::write(path, "").unwrap();
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(OPENED_BY_0_1_0).unwrap();
    let (signed, _) = query(1, Some(1_000_000), 0);
    let (manifest, query) = (dispers_base::encoding::to_bytes(&signed), signed.query());
    for row in ROWS {
        let mut insert = connection.prepare(row).unwrap();
        match insert.parameter_count() {
            0 => insert.execute([]).unwrap(),
            _ => insert.execute((&manifest, query.0)).unwrap(),
        };
    }
    query
}

/// Returns the columns of the only row of a table, as SQL text.
fn row(store: &Store, table: &str) -> String {
    let columns =
        format!("SELECT group_concat(quote(name), ', ') FROM pragma_table_info('{table}')");
    let read = store.database.read(|rows| {
        let columns: String = rows.query_one(&columns, [], |row| row.get(0))?;
        let columns = columns.replace('\'', "");
        let list = columns.replace(", ", ") || ', ' || quote(");
        rows.query_one(&format!("SELECT quote({list}) FROM {table}"), [], |row| {
            row.get(0)
        })
    });
    read.unwrap()
}

#[test]
fn a_file_of_release_0_1_0_opens_with_all_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.db");
    let query = write_0_1_0(&path);
    // The second time, the file is one of this version.
    for _ in 0..2 {
        let store = Store::open(&path).unwrap();
        for table in TABLES_OF_0_1_0.iter().filter(|table| **table != "answered") {
            assert!(!row(&store, table).is_empty(), "{table}");
        }
        assert_eq!(row(&store, "document"), r#"'people', 'a', '{"age":40}'"#);
        assert_eq!(row(&store, "home_rules"), "'a', 3, 6");
        let spent = "'a', 7, 0, 6, 11, 13, 1000, 2000, 3000, X'00'";
        assert_eq!(row(&store, "decision"), spent);
        let a = HomeId("a".into());
        assert_eq!(store.homes().unwrap(), std::slice::from_ref(&a));
        assert!(store.holds(&a).unwrap());
        assert_eq!(store.subscriptions(&a, KeyEpoch(1)).unwrap(), ["home>all"]);
        assert!(matches!(
            store.asked(&a, KeyEpoch(1)).unwrap(),
            Some((_, true))
        ));
        assert_eq!(store.leaving().unwrap(), [Handle([1; 16])]);
        assert_eq!(
            store.rules(&a).unwrap(),
            rule_file::parse("otherwise = 'ask'").unwrap()
        );
        let entry = store.entry(&a, query).unwrap().unwrap();
        assert_eq!(
            (entry.outcome, entry.rule),
            (Outcome::from_number(0), Some(6))
        );
        assert_eq!(entry.sent.unwrap().1[0].bytes, 9);
    }
    // A rule that is new gets a number that no rule of the home had.
    let store = Store::open(&path).unwrap();
    let a = HomeId("a".into());
    let add = |rules: &mut Rules| rules.rules.push(crate::Rule::new(crate::Effect::Deny));
    store.change_rules([&a], add).unwrap();
    assert_eq!(store.rules(&a).unwrap().rules[0].number, 7);
}

#[test]
fn several_processes_that_open_a_file_of_release_0_1_0_at_once_all_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.db");
    write_0_1_0(&path);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(Store::open(&path).unwrap().homes().unwrap().len(), 1));
        }
    });
}

/// Returns why a file is refused, and checks that it stays as it is.
fn refusal(path: &Path) -> String {
    let before = std::fs::read(path).unwrap();
    let refused = Store::open(path).err().unwrap();
    assert_eq!(std::fs::read(path).unwrap(), before);
    let refused = refused.to_string();
    assert!(refused.contains(&path.display().to_string()), "{refused}");
    refused
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.db");
    drop(Store::open(&path).unwrap());
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    drop(connection);
    let refused = refusal(&path);
    assert!(
        refused.contains("newer dispers (version 9, this one knows 2): run that one"),
        "{refused}"
    );
}

#[test]
fn a_file_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    // The second has the version of release 0.1.0 too, and the third its tables, but another application's mark.
    for (name, statements) in [
        ("other.db", "CREATE TABLE document (a)".to_owned()),
        (
            "same-version.db",
            "CREATE TABLE document (a); PRAGMA user_version = 4".to_owned(),
        ),
        (
            "marked.db",
            format!("{OPENED_BY_0_1_0}; PRAGMA application_id = 77; PRAGMA journal_mode = DELETE"),
        ),
    ] {
        let path = folder.path().join(name);
        private::write(&path, "").unwrap();
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(&statements).unwrap();
        drop(connection);
        let refused = refusal(&path);
        assert!(
            refused.contains("is not the database of a stack: set `database`"),
            "{refused}"
        );
    }
    let text = folder.path().join("notes.txt");
    private::write(&text, "what to buy: ".repeat(1000)).unwrap();
    assert!(refusal(&text).contains("is not the database of a stack"));
}

#[test]
fn a_file_that_lost_its_end_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stack.db");
    drop(Store::open(&path).unwrap());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let refused = refusal(&path);
    for words in ["cannot be read", "put a backup in its place"] {
        assert!(refused.contains(words), "{refused}");
    }
}
