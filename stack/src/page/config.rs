//! Where the page is.

use std::net::SocketAddr;

use reqwest::Url;
use serde::Deserialize;

/// The `[stack.page]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where the page is served, over plain HTTP: a proxy with TLS stands before it, unless owners are on
    /// this machine.
    pub listen: SocketAddr,
    /// How owners reach it, such as `https://consent.example.org`; plain http for this machine only.
    pub url: String,
}

/// Why the page cannot be served so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "url in [stack.page]: {0:?} must be an https address without a path, or http to this machine"
)]
pub struct PageError(String);

impl Config {
    /// Checks that nobody on the way reads what owners see.
    ///
    /// # Errors
    /// [`PageError`] that says what to write.
    pub fn check(&self) -> Result<(), PageError> {
        let url = Url::parse(&self.url).ok();
        let fits = url.is_some_and(|url| {
            let host = url.host_str().unwrap_or_default();
            let here = crate::http::is_here(host);
            let safe = url.scheme() == "https" || (url.scheme() == "http" && here);
            url.path() == "/" && safe && !crate::http::has_credentials(&url)
        });
        match fits {
            true => Ok(()),
            false => Err(PageError(crate::http::shown(&self.url))),
        }
    }

    /// The address of a place on the page.
    pub fn place(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }
}
