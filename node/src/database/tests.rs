//! Tests of the database of a node.

use super::*;

static SCHEMA: Schema = Schema {
    role: "data aggregator",
    application: 0x7465_7374,
    migrations: &["CREATE TABLE offer (id BLOB PRIMARY KEY, expires INTEGER, body BLOB)"],
    damaged: "move it away",
};

fn refusal(path: &Path) -> String {
    let opened = Database::open_within(path, &SCHEMA, Duration::ZERO);
    opened.err().expect("it is refused").to_string()
}

#[test]
fn a_file_that_is_made_opens_again_and_for_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let insert = "INSERT INTO offer VALUES (x'01', 1, x'02')";
    let database = Database::open(&path, &SCHEMA).unwrap();
    database.write(|row| row.execute(insert, [])).unwrap();
    assert!(refusal(&path).contains("in use by another process"));
    drop(database);
    let database = Database::open(&path, &SCHEMA).unwrap();
    let again = database.write(|row| row.execute(insert, []));
    assert!(matches!(again, Err(DatabaseError::Failed { .. })));
}

#[test]
fn a_file_that_is_none_of_ours_or_newer_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    let notes = "what to buy: ".repeat(1000);
    private::write(&text, &notes).unwrap();
    assert!(refusal(&text).contains("is not the database of a data aggregator"));
    assert_eq!(std::fs::read_to_string(&text).unwrap(), notes);

    let other = folder.path().join("other.db");
    let connection = connect(&other).unwrap().unwrap();
    connection.execute_batch("CREATE TABLE t (a)").unwrap();
    drop(connection);
    let before = std::fs::read(&other).unwrap();
    assert!(refusal(&other).contains("is not the database of a data aggregator"));
    assert_eq!(std::fs::read(&other).unwrap(), before);

    let newer = folder.path().join("newer.db");
    drop(Database::open(&newer, &SCHEMA).unwrap());
    let connection = Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 9).unwrap();
    drop(connection);
    assert!(refusal(&newer).contains("newer dispers (version 9, this one knows 1)"));
}

#[cfg(unix)]
#[test]
fn a_database_is_private_and_one_that_others_may_read_is_refused_and_left_alone() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let database = Database::open(&path, &SCHEMA).unwrap();
    let wal = private::database_files(&path)[1].clone();
    for file in [&path, &wal] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    drop(database);
    fs::write(&wal, "").unwrap();
    for file in [&path, &wal] {
        fs::set_permissions(&wal, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::read(&path).unwrap();
        let refusal = refusal(&path);
        assert!(
            refusal.ends_with(&format!("run chmod 600 {}", file.display())),
            "{refusal}"
        );
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    Database::open(&path, &SCHEMA).unwrap();
}

#[test]
fn a_file_that_was_removed_or_replaced_is_neither_read_nor_written_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let [file, wal, _] = private::database_files(&path);
    let database = Database::open(&path, &SCHEMA).unwrap();
    let insert = || {
        database.write(|row| row.execute("INSERT INTO offer VALUES (randomblob(9), 1, x'02')", []))
    };
    let away = folder.path().join("away");
    for moved in [&file, &wal] {
        insert().unwrap();
        std::fs::rename(moved, &away).unwrap();
        let refused = || {
            let read = database.read(|_| Ok(())).unwrap_err().to_string();
            let erased = database.erase(|_| Ok(())).unwrap_err().to_string();
            let written = insert().unwrap_err().to_string();
            assert_eq!((&read, &erased), (&written, &written));
            for words in ["was removed or replaced", "restart the data aggregator"] {
                assert!(written.contains(words), "{written}");
            }
        };
        refused();
        // A copy with the same bytes is another file.
        std::fs::copy(&away, moved).unwrap();
        refused();
        std::fs::rename(&away, moved).unwrap();
    }
    insert().unwrap();
    let count = "SELECT COUNT(*) FROM offer";
    let count = database.read(|row| row.query_one(count, [], |row| row.get::<_, i64>(0)));
    assert_eq!(count.unwrap(), 3);
}

#[test]
fn a_file_that_cannot_be_made_says_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere/aggregator.db");
    assert!(refusal(&nowhere).contains("does its folder exist"));
    assert!(refusal(folder.path()).contains("cannot open"));
}

#[test]
fn a_file_that_is_full_or_read_only_keeps_what_it_had() {
    let database = Database::in_memory(&SCHEMA).unwrap();
    let pragma = |name: &str, value: &str| {
        let connection = database.connection.lock().unwrap();
        connection.pragma_update(None, name, value).unwrap();
    };
    let fill = || {
        database
            .write(|row| row.execute("INSERT INTO offer VALUES (x'03', 1, zeroblob(100000))", []))
    };
    pragma("max_page_count", "10");
    assert!(fill().unwrap_err().to_string().contains("no space is left"));
    pragma("max_page_count", "1000");
    pragma("query_only", "ON");
    assert!(fill().unwrap_err().to_string().contains("is read-only"));
    pragma("query_only", "OFF");
    let count = "SELECT COUNT(*) FROM offer";
    let count = database.write(|row| row.query_one(count, [], |row| row.get::<_, i64>(0)));
    assert_eq!(count.unwrap(), 0);
    assert!(fill().is_ok());
}

/// Returns whether one of the files of the database at `path` holds these bytes.
fn on_disk(path: &Path, bytes: &[u8]) -> bool {
    let files = private::database_files(path).map(|file| std::fs::read(file).unwrap_or_default());
    let mut all = files.iter();
    all.any(|file| file.windows(bytes.len()).any(|window| window == bytes))
}

fn open_shared(path: &Path) -> Database {
    Database::open_shared(path, &SCHEMA, |_| Ok(())).unwrap()
}

const ERASED: &[u8] = b"content-to-be-erased";

/// Returns a shared database with one row, and a connection of another process that reads the row.
fn with_a_reader(path: &Path) -> (Database, Connection) {
    let database = open_shared(path);
    let insert = "INSERT INTO offer VALUES (x'01', 1, ?1)";
    database.write(|row| row.execute(insert, [ERASED])).unwrap();
    let reader = Connection::open(path).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM offer;").unwrap();
    (database, reader)
}

fn erase(database: &Database) -> Result<usize, DatabaseError> {
    database.erase(|row| row.execute("DELETE FROM offer", []))
}

#[test]
fn an_erasure_waits_until_other_processes_have_read_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let (database, reader) = with_a_reader(&path);
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(500));
            reader.execute_batch("COMMIT").unwrap();
        });
        assert_eq!(erase(&database).unwrap(), 1);
    });
    assert!(!on_disk(&path, ERASED));
}

#[test]
fn an_erasure_whose_log_stays_in_use_says_so_and_is_completed_later() {
    let folder = tempfile::tempdir().unwrap();
    for reopened in [false, true] {
        let path = folder.path().join(format!("aggregator-{reopened}.db"));
        let (database, reader) = with_a_reader(&path);
        let refused = erase(&database).unwrap_err();
        assert!(matches!(refused, DatabaseError::LogInUse(_)));
        let said = refused.to_string();
        for words in ["is on the disk", "another process", "opened the next time"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(on_disk(&path, ERASED));
        reader.execute_batch("COMMIT").unwrap();
        if reopened {
            // The connection of the reader stays open, so that SQLite does not remove the log by itself.
            drop(database);
            assert!(on_disk(&path, ERASED));
            drop(open_shared(&path));
        } else {
            assert_eq!(erase(&database).unwrap(), 0);
        }
        assert!(!on_disk(&path, ERASED));
    }
}

#[test]
fn a_shared_file_is_used_by_several_processes_and_refused_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let databases = [open_shared(&path), open_shared(&path)];
    thread::scope(|scope| {
        for database in &databases {
            scope.spawn(move || {
                for _ in 0..50 {
                    let insert = "INSERT INTO offer VALUES (randomblob(9), 1, x'02')";
                    database.write(|row| row.execute(insert, [])).unwrap();
                }
            });
        }
    });
    let count = "SELECT COUNT(*) FROM offer";
    let count = databases[0].read(|row| row.query_one(count, [], |row| row.get::<_, i64>(0)));
    assert_eq!(count.unwrap(), 100);
    databases[0]
        .write(|row| row.pragma_update(None, "user_version", 2))
        .unwrap();
    let newer = Database::open_shared(&path, &SCHEMA, |_| Ok(())).err();
    assert!(matches!(newer, Some(DatabaseError::Newer { .. })));
}

#[test]
fn a_file_that_lost_its_end_is_refused_with_the_advice_of_its_role() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("aggregator.db");
    let database = Database::open(&path, &SCHEMA).unwrap();
    let fill = "INSERT INTO offer VALUES (x'03', 1, zeroblob(100000))";
    database.write(|row| row.execute(fill, [])).unwrap();
    drop(database);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(3 * 4096).unwrap();
    let refusal = refusal(&path);
    for words in ["aggregator.db cannot be read", "move it away"] {
        assert!(refusal.contains(words), "{refusal}");
    }
}

#[test]
fn an_error_of_the_caller_rolls_its_transaction_back() {
    let database = Database::in_memory(&SCHEMA).unwrap();
    let refused: Result<(), DatabaseError> = database.try_write(|row| {
        row.execute("INSERT INTO offer VALUES (x'01', 1, x'02')", [])?;
        let refusal = DatabaseError::CannotOpen("elsewhere".into());
        Err(TransactionError::Refused(refusal))
    });
    assert!(matches!(refused, Err(DatabaseError::CannotOpen(_))));
    let count: Result<i64, DatabaseError> = database.try_read(|row| {
        let count = "SELECT COUNT(*) FROM offer";
        Ok(row.query_one(count, [], |row| row.get(0))?)
    });
    assert_eq!(count.unwrap(), 0);
}
