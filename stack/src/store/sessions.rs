//! One-time links and sessions of the owners' page. The store has only hashes of the secrets that owners hold.

use std::fmt;

use dispers_core::subscription::HomeId;
use dispers_node::{now, rng};
use rand::Rng;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::{Store, columns::time};
use crate::Error;

/// Lifetime of a link, in milliseconds.
const LINK_LIFE: u64 = 15 * 60_000;
/// Lifetime of a session, in milliseconds.
pub(crate) const SESSION_LIFE: u64 = 30 * 86_400_000;

/// Secret of a link or a session. Whoever has it is taken for the owner.
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

    /// Returns the text for a link or a cookie.
    pub fn text(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Parses the text of a link or a cookie.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        // `from_str_radix` would also accept a sign, and the slices below must not cut a character.
        if bytes.len() != 64 || !bytes.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut token = [0; 32];
        for (place, byte) in token.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(Self(token))
    }

    /// Returns the hash under which the store has the token. Nobody learns the token from the stored hash.
    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// Returns the value that the forms of a session carry, so that no other site can send them.
    pub(crate) fn form(&self) -> String {
        // A hash of the token, since the page's text shows it, while only the cookie may hold the token itself.
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"form")
            .chain_update(self.0)
            .finalize()
            .into();
        Self(hash).text()
    }
}

impl Store {
    /// Creates a link for the owner of a home. It opens one session, within a quarter of an hour.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn link(&self, home: &HomeId) -> Result<Token, Error> {
        let (token, now) = (Token::random(), now());
        self.write(|rows| {
            // Expired rows are deleted with every new link, so that the tables stay small.
            for table in ["login", "session"] {
                let delete = format!("DELETE FROM {table} WHERE expires <= ?1");
                rows.execute(&delete, [time(now)])?;
            }
            rows.execute(
                "INSERT INTO login VALUES (?1, ?2, ?3)",
                params![token.hash(), home.0, time(now.plus(LINK_LIFE))],
            )?;
            Ok(())
        })?;
        Ok(token)
    }

    /// Opens a session with a link, which cannot be used again. Returns `None` for a link that was used, is too old, or
    /// never existed.
    pub(crate) fn enter(&self, link: &Token) -> Result<Option<Token>, Error> {
        let now = now();
        self.write(|rows| {
            // One statement checks and deletes, so that two requests at once cannot both use the link.
            let home: Option<String> = rows
                .query_row(
                    "DELETE FROM login WHERE token = ?1 AND expires > ?2 RETURNING home",
                    params![link.hash(), time(now)],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(home) = home else {
                return Ok(None);
            };
            let session = Token::random();
            rows.execute(
                "INSERT INTO session VALUES (?1, ?2, ?3)",
                params![session.hash(), home, time(now.plus(SESSION_LIFE))],
            )?;
            Ok(Some(session))
        })
    }

    /// Returns the home whose owner opened the session, while the session lasts.
    pub(crate) fn session(&self, session: &Token) -> Result<Option<HomeId>, Error> {
        self.read(|rows| {
            Ok(rows
                .prepare_cached("SELECT home FROM session WHERE token = ?1 AND expires > ?2")?
                .query_row(params![session.hash(), time(now())], |row| {
                    row.get(0).map(HomeId)
                })
                .optional()?)
        })
    }

    /// Ends a session.
    pub(crate) fn leave_session(&self, session: &Token) -> Result<(), Error> {
        self.write(|rows| {
            rows.execute("DELETE FROM session WHERE token = ?1", [session.hash()])?;
            Ok(())
        })
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
        let aging = store
            .database
            .write(|rows| rows.execute(aged, [time(now())]));
        assert_eq!(aging.unwrap(), 1);
        assert_eq!(store.enter(&link).unwrap(), None);
    }
}
