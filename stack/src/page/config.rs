//! Address of the owners' page.

use std::net::SocketAddr;

use reqwest::Url;
use serde::Deserialize;

/// The `[stack.page]` table of the configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address on which the page is served over plain HTTP. A proxy adds TLS, unless owners use this machine.
    pub listen: SocketAddr,
    /// Address by which owners reach the page, such as `https://consent.example.org`. Plain HTTP is for this machine
    /// only.
    pub url: String,
}

/// Reason why the page cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "url in [stack.page]: {0:?} must be an https address without a path, or http to this machine"
)]
pub struct PageError(String);

impl Config {
    /// Checks that nobody on the way can read what owners see.
    ///
    /// # Errors
    /// [`PageError`] that says what to write.
    pub fn check(&self) -> Result<(), PageError> {
        let url = Url::parse(&self.url).ok();
        let fits = url.is_some_and(|url| {
            let host = url.host_str().unwrap_or_default();
            let here = crate::http::is_here(host);
            let safe = url.scheme() == "https" || (url.scheme() == "http" && here);
            // Cookies and redirects of the page assume that it begins at the root.
            url.path() == "/" && safe && !crate::http::has_credentials(&url)
        });
        match fits {
            true => Ok(()),
            false => Err(PageError(crate::http::shown(&self.url))),
        }
    }

    /// Returns the address of a path of the page.
    pub fn place(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }
}
