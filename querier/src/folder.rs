//! Folder of questions and sessions that wait for their answers, one file each. Only such a file can open an answer.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dispers_base::id::QueryId;
use dispers_node::{
    keyfile::{read_secret, write_secret},
    private,
};
use zeroize::Zeroizing;

use crate::Error;

/// End of the name of a question's file.
const QUESTION: &str = "query";
/// End of the name of a training session's file.
const SESSION: &str = "training";
/// End of the name of the file that the process that runs a session locks.
const LOCK: &str = "lock";

/// Folder of waiting questions and sessions. Each file is named for the id, and has hexadecimal digits and mode 0600.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// Returns the error of a file that cannot be made, written or removed.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |reason| Error::File {
        doing,
        path: path.to_owned(),
        reason,
    }
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    fn path(&self, id: &str, end: &str) -> PathBuf {
        self.0.join(format!("{id}.{end}"))
    }

    /// Writes a question that is about to be submitted.
    pub(crate) fn keep_question(&self, query: QueryId, bytes: &[u8]) -> Result<(), Error> {
        private::create_folder(&self.0).map_err(failed("make", &self.0))?;
        let text = Zeroizing::new(hex::encode(bytes));
        write_secret(&self.path(&query.to_string(), QUESTION), &text).map_err(Error::Unwritable)
    }

    /// Reads a question that was kept.
    pub(crate) fn question(&self, id: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.read(id, QUESTION)?.ok_or_else(|| Error::NoQuestion {
            id: id.to_owned(),
            folder: self.0.clone(),
        })
    }

    /// Writes the present state of a training session, completely or not at all.
    pub(crate) fn keep_session(&self, query: QueryId, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(&query.to_string(), SESSION);
        private::create_folder(&self.0).map_err(failed("write", &path))?;
        let text = Zeroizing::new(hex::encode(bytes));
        // A session is written many times, and `write_secret` never replaces a file.
        private::write(&path, text.as_bytes()).map_err(failed("write", &path))
    }

    /// Reads a training session that was kept.
    pub(crate) fn session(&self, id: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.read(id, SESSION)?.ok_or_else(|| Error::NoSession {
            id: id.to_owned(),
            folder: self.0.clone(),
        })
    }

    /// Locks a session until the result is dropped. Two processes that go on with one session would give a round
    /// different parameters, and the loser could never resume.
    pub(crate) fn lock_session(&self, query: QueryId) -> Result<fs::File, Error> {
        let path = self.path(&query.to_string(), LOCK);
        private::create_folder(&self.0).map_err(failed("make", &self.0))?;
        let locked = private::lock(&path).map_err(failed("lock", &path))?;
        locked.ok_or(Error::InUse)
    }

    /// Returns `error` as that of a question's file, if it says that the bytes are not a question.
    pub(crate) fn in_question(&self, id: &str, error: Error) -> Error {
        self.in_file(id, QUESTION, error)
    }

    /// Returns `error` as that of a session's file, if it says that the bytes are not a session.
    pub(crate) fn in_session(&self, id: &str, error: Error) -> Error {
        self.in_file(id, SESSION, error)
    }

    fn in_file(&self, id: &str, end: &str, error: Error) -> Error {
        match error {
            Error::Decode(reason) => Error::Damaged {
                path: self.path(id, end),
                reason: reason.to_string(),
            },
            error => error,
        }
    }

    /// Returns the error of a question's file that holds another question.
    pub(crate) fn misnamed(&self, id: &str, query: QueryId) -> Error {
        Error::Damaged {
            path: self.path(id, QUESTION),
            reason: format!("it holds question {query}: give it that name"),
        }
    }

    /// Removes a question or a session. Succeeds if there is none.
    pub(crate) fn forget(&self, query: QueryId) -> Result<(), Error> {
        for end in [QUESTION, SESSION, LOCK] {
            let path = self.path(&query.to_string(), end);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads a file. Returns `None` if there is none of this id.
    fn read(&self, id: &str, end: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        let path = self.path(id, end);
        // The id becomes part of a path. Only hexadecimal digits are allowed, so that it cannot leave the folder.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) || !path.exists() {
            return Ok(None);
        }
        let text = read_secret(&path).map_err(Error::Unreadable)?;
        match hex::decode(text.trim()) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(reason) => Err(Error::Damaged {
                path,
                reason: reason.to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back_until_it_is_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("queries"));
        let query = QueryId([7; 32]);
        folder.keep_question(query, b"question").unwrap();
        folder.keep_session(query, b"session").unwrap();
        folder.keep_session(query, b"next state").unwrap();
        let id = query.to_string();
        assert_eq!(&folder.question(&id).unwrap()[..], b"question");
        assert_eq!(&folder.session(&id).unwrap()[..], b"next state");
        folder.forget(query).unwrap();
        folder.forget(query).unwrap();
        let gone = folder.question(&id).unwrap_err();
        assert!(matches!(gone, Error::NoQuestion { .. }) && gone.is_misuse());
    }

    #[test]
    fn an_id_cannot_leave_the_folder() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join("a.query"), "00").unwrap();
        let folder = Folder::new(place.path().join("queries"));
        std::fs::create_dir(place.path().join("queries")).unwrap();
        assert!(matches!(
            folder.question("../a"),
            Err(Error::NoQuestion { .. })
        ));
        assert!(matches!(folder.session(""), Err(Error::NoSession { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_what_is_kept() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::new(place.path().join("queries"));
        let query = QueryId([7; 32]);
        folder.keep_question(query, b"question").unwrap();
        folder.keep_session(query, b"session").unwrap();
        for end in [QUESTION, SESSION] {
            let path = folder.path(&query.to_string(), end);
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
