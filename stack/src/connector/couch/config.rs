//! Configuration of homes' databases and their credentials.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
};

use dispers_core::subscription::HomeId;
use dispers_node::keyfile::read_secret;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::place::{Taken, check_template};
use crate::http;

/// The `[stack.documents]` table of the configuration file. Without it, documents are in the stack's own file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Kind of server.
    pub kind: Kind,
    /// Address of the database of a home. `{home}` and, for CouchDB, `{doctype}` are replaced and required, so that
    /// each home and each doctype has its own address. In the names of CouchDB's databases, which have no dots, the
    /// doctype's dots become hyphens. Examples are `https://couch.example.org:6984/{home}-{doctype}`, and
    /// `https://{home}` for Cozys. The address must use HTTPS, or HTTP to this machine, and contain no user or
    /// password. A home may have its own address in `homes`, where `{home}` may be left out.
    pub url: String,
    /// TOML file with the homes and their credentials. Other users must not be able to read it. It has a table
    /// `[home."ID"]` per home, with `user` and `password`, or `token`, and with `url` if the home has its own address.
    pub homes: PathBuf,
    /// Certificates in PEM that are trusted instead of the usual ones.
    pub ca: Option<PathBuf>,
    /// Longest wait for one page, in milliseconds.
    #[serde(default = "ten_seconds")]
    pub timeout_ms: u64,
    /// Longest wait for all homes of an ask, in milliseconds.
    #[serde(default = "half_a_minute")]
    pub deadline_ms: u64,
    /// Number of documents per page.
    #[serde(default = "thousand")]
    pub page_size: usize,
    /// Most documents of a home that one query reads. A home with more answers as if it had none.
    #[serde(default = "hundred_thousand")]
    pub max_documents: usize,
    /// Most bytes of a home that one query reads. A home with more answers as if it had none.
    #[serde(default = "megabytes")]
    pub max_bytes: usize,
    /// Number of homes that are read at the same time.
    #[serde(default = "thirty_two")]
    pub parallel: usize,
}

fn ten_seconds() -> u64 {
    10_000
}

fn half_a_minute() -> u64 {
    30_000
}

fn thousand() -> usize {
    1000
}

fn hundred_thousand() -> usize {
    100_000
}

fn megabytes() -> usize {
    64 << 20
}

fn thirty_two() -> usize {
    32
}

/// Kind of server that keeps documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A CouchDB, or a server with the same API: `POST {url}/_find`.
    Couchdb,
    /// A Cozy: `POST {url}/data/{doctype}/_find`.
    Cozy,
}

/// Address and credentials of one home.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Home {
    pub(super) url: Option<String>,
    pub(super) user: Option<String>,
    pub(super) password: Option<Zeroizing<String>>,
    pub(super) token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No field is shown, since each may be a secret or name the home's owner.
        f.write_str("Home")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Homes {
    #[serde(default)]
    home: BTreeMap<String, Home>,
}

/// Reason why documents cannot be read with this configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CouchError {
    /// The `[stack.documents]` table is wrong.
    #[error("[stack.documents]: {0}")]
    Content(String),
    /// The file of homes is wrong.
    #[error("{path}: {reason}")]
    Homes {
        /// Path of the file.
        path: PathBuf,
        /// Mistake in the file.
        reason: String,
    },
}

impl Config {
    /// Returns the configuration with the paths that `resolve` gives.
    #[must_use]
    pub fn resolved(mut self, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        self.homes = resolve(&self.homes);
        self.ca = self.ca.map(|ca| resolve(&ca));
        self
    }

    /// Reads and checks the file of homes.
    pub(super) fn read_homes(&self) -> Result<BTreeMap<HomeId, Home>, CouchError> {
        check_template(self.kind, &self.url, true).map_err(CouchError::Content)?;
        if self.page_size == 0 || self.max_documents == 0 {
            return Err(CouchError::Content(
                "page-size and max-documents must be above 0".into(),
            ));
        }
        let text =
            read_secret(&self.homes).map_err(|error| CouchError::Content(error.to_string()))?;
        // The error's message does not quote the line, which may hold a password.
        let read: Homes =
            toml::from_str(&text).map_err(|error| self.wrong_homes(error.message().to_owned()))?;
        let mut homes = BTreeMap::new();
        let mut taken = Taken::default();
        for (id, home) in read.home {
            let credentials = matches!(
                (&home.user, &home.password, &home.token),
                (Some(_), Some(_), None) | (None, None, _)
            );
            if !credentials || (home.token.is_none() && self.kind == Kind::Cozy) {
                return Err(self.wrong_homes(format!(
                    "home {id:?} needs {}",
                    match self.kind {
                        Kind::Couchdb => "user and password, or token",
                        Kind::Cozy => "token",
                    }
                )));
            }
            if let Some(url) = &home.url {
                check_template(self.kind, url, false)
                    .map_err(|reason| self.wrong_homes(format!("home {id:?}: {reason}")))?;
            }
            let url = home.url.as_ref().unwrap_or(&self.url);
            // If two homes had one address, one person's documents would be read for the other.
            taken
                .take(self.kind, url, &id)
                .map_err(|reason| self.wrong_homes(reason))?;
            homes.insert(HomeId(id), home);
        }
        Ok(homes)
    }

    fn wrong_homes(&self, reason: String) -> CouchError {
        CouchError::Homes {
            path: self.homes.clone(),
            reason,
        }
    }

    /// Returns a TLS configuration that trusts the usual roots, or those in `ca` alone.
    pub(super) fn tls(&self) -> Result<ClientConfig, CouchError> {
        let mut roots = http::usual_roots();
        if let Some(ca) = &self.ca {
            let pem = fs::read(ca).map_err(|error| wrong_ca(ca, error))?;
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
            let certificates = read.map_err(|error| wrong_ca(ca, error))?;
            // The usual roots are dropped: a host that runs its own authority trusts no other for its homes'
            // credentials.
            roots = RootCertStore::empty();
            if roots.add_parsable_certificates(certificates).0 == 0 {
                return Err(wrong_ca(ca, "there is no certificate in it"));
            }
        }
        http::tls(roots).map_err(|error| CouchError::Content(error.to_string()))
    }
}

fn wrong_ca(ca: &Path, reason: impl std::fmt::Display) -> CouchError {
    CouchError::Content(format!("{}: {reason}", ca.display()))
}
