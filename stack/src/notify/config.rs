//! How owners are told, as the host configures it.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use reqwest::Url;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use serde::Deserialize;

/// The `[stack.notify]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where a JSON object is posted to for each home whose owner is asked: `home`, `query`, `querier`,
    /// `purpose`, `decide_by` (Unix milliseconds) and `link`. Https, or http to this machine.
    pub webhook: Option<String>,
    /// The mail server, for owners who gave an e-mail address in their rules.
    pub smtp: Option<Smtp>,
}

/// A mail server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Smtp {
    /// Its name.
    pub host: String,
    /// Its port; 587 for `starttls`, 465 for `tls`, 25 for `none` where it is left out.
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: SmtpTls,
    /// The sender's address.
    pub from: String,
    /// The account, where the server wants one.
    pub user: Option<String>,
    /// A file with the account's password, which nobody else may read.
    pub password_file: Option<PathBuf>,
}

/// How a connection to a mail server is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmtpTls {
    /// Plain first, then TLS, which must be there.
    #[default]
    Starttls,
    /// TLS from the beginning.
    Tls,
    /// Plain: to this machine only.
    None,
}

/// Why owners cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The webhook is no address that may be used.
    #[error("webhook in [stack.notify]: {0}")]
    Webhook(String),
    /// The mail server's table is wrong.
    #[error("[stack.notify.smtp]: {0}")]
    Smtp(String),
}

/// Whether a host name means this machine.
pub(crate) fn is_here(host: &str) -> bool {
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// The webhook, if nobody on the way can read what is posted.
pub(super) fn webhook(text: &str) -> Result<Url, NotifyError> {
    let url = Url::parse(text).map_err(|error| NotifyError::Webhook(error.to_string()))?;
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => Ok(url),
        ("http", Some(host)) if is_here(host) => Ok(url),
        _ => Err(NotifyError::Webhook(format!(
            "{text} would send who is asked in clear: write an https address, or one of this machine"
        ))),
    }
}

/// TLS with the usual roots.
pub(super) fn tls() -> Result<ClientConfig, NotifyError> {
    tls_with(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
}

/// TLS that trusts `roots`.
pub(crate) fn tls_with(roots: RootCertStore) -> Result<ClientConfig, NotifyError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| NotifyError::Webhook(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
