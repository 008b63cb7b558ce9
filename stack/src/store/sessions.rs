//! One-time links and sessions of the page. Only hashes of what owners hold are kept.

use std::fmt;

use dispers_core::subscription::HomeId;
use dispers_node::{now, rng};
use rand::Rng;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::Store;
use crate::Error;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS login (token BLOB PRIMARY KEY, home TEXT NOT NULL, expires INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS session (
    token BLOB PRIMARY KEY, home TEXT NOT NULL, expires INTEGER NOT NULL
);
";

/// How long a link may be used, in milliseconds.
const LINK_LIFE: u64 = 15 * 60_000;
/// How long a session lasts, in milliseconds.
pub(crate) const SESSION_LIFE: u64 = 30 * 86_400_000;

/// What opens a link or a session: whoever has it is the owner.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    fn random() -> Self {
        let mut bytes = [0; 32];
        rng().fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// For a link or a cookie.
    pub fn text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What was in a link or a cookie.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut token = [0; 32];
        for (place, byte) in token.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(Self(token))
    }

    /// Under which it is looked up: what is found says nothing about it.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// What the forms of a session carry, so that no other site can send them.
    pub(crate) fn form(&self) -> String {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"form")
            .chain_update(self.0)
            .finalize()
            .into();
        Self(hash).text()
    }
}

impl Store {
    /// A link for the owner of a home: it opens one session, within a quarter of an hour.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn link(&self, home: &HomeId) -> Result<Token, Error> {
        let token = Token::random();
        let at = now().0;
        let connection = self.connection()?;
        for table in ["login", "session"] {
            connection.execute(
                &format!("DELETE FROM {table} WHERE expires <= ?1"),
                [at as i64],
            )?;
        }
        connection.execute(
            "INSERT INTO login VALUES (?1, ?2, ?3)",
            params![token.hash(), home.0, (at + LINK_LIFE) as i64],
        )?;
        Ok(token)
    }

    /// Opens a session with a link, which is worth nothing afterwards; `None` for one that was used, is
    /// too old or never was.
    pub(crate) fn enter(&self, link: &Token) -> Result<Option<Token>, Error> {
        let at = now().0;
        let mut connection = self.connection()?;
        let rows = connection.transaction()?;
        let home: Option<String> = rows
            .query_row(
                "DELETE FROM login WHERE token = ?1 AND expires > ?2 RETURNING home",
                params![link.hash(), at as i64],
                |row| row.get(0),
            )
            .optional()?;
        let Some(home) = home else {
            return Ok(None);
        };
        let session = Token::random();
        rows.execute(
            "INSERT INTO session VALUES (?1, ?2, ?3)",
            params![session.hash(), home, (at + SESSION_LIFE) as i64],
        )?;
        rows.commit()?;
        Ok(Some(session))
    }

    /// Whose session it is.
    pub(crate) fn session(&self, session: &Token) -> Result<Option<HomeId>, Error> {
        Ok(self
            .connection()?
            .prepare_cached("SELECT home FROM session WHERE token = ?1 AND expires > ?2")?
            .query_row(params![session.hash(), now().0 as i64], |row| {
                row.get(0).map(HomeId)
            })
            .optional()?)
    }

    /// Ends a session.
    pub(crate) fn leave_session(&self, session: &Token) -> Result<(), Error> {
        self.connection()?
            .execute("DELETE FROM session WHERE token = ?1", [session.hash()])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_opens_one_session_of_its_home_and_neither_is_kept_in_clear() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stack.db");
        let store = Store::open(&path).unwrap();
        let home = HomeId("a".into());
        let link = store.link(&home).unwrap();
        let again = Token::parse(&link.text()).unwrap();
        let session = store.enter(&again).unwrap().unwrap();
        assert_eq!(store.enter(&again).unwrap(), None);
        assert_eq!(store.session(&session).unwrap(), Some(home));
        assert_eq!(store.session(&link).unwrap(), None);
        assert_ne!(session.form(), session.text());
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            for secret in [&link, &session] {
                assert!(!bytes.windows(32).any(|window| window == secret.0));
            }
        }
        store.leave_session(&session).unwrap();
        assert_eq!(store.session(&session).unwrap(), None);
        for text in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert!(Token::parse(text).is_none());
        }
    }

    #[test]
    fn a_link_that_is_too_old_opens_nothing() {
        let store = Store::in_memory().unwrap();
        let link = store.link(&HomeId("a".into())).unwrap();
        let aged = "UPDATE login SET expires = ?1";
        store
            .connection()
            .unwrap()
            .execute(aged, [now().0 as i64])
            .unwrap();
        assert_eq!(store.enter(&link).unwrap(), None);
    }
}
