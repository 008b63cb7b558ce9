//! How owners are told, as the host configures it.

use std::{fmt, path::PathBuf};

use dispers_node::LeftOut;
use reqwest::Url;
use serde::Deserialize;

use crate::http;

/// The `[stack.notify]` table.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Where a JSON object is posted to for each home whose owner is asked: `home`, `query`, `querier`,
    /// `purpose`, `decide_by` (Unix milliseconds) and `link`. Https, or http to this machine.
    pub webhook: Option<String>,
    /// The mail server, for owners who gave an e-mail address in their rules.
    pub smtp: Option<Smtp>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let webhook = self.webhook.as_deref().map(http::shown);
        f.debug_struct("Config")
            .field("webhook", &webhook)
            .field("smtp", &self.smtp)
            .finish()
    }
}

impl Config {
    /// Returns whether the webhook's address may hold a secret, so that other users must not read the configuration.
    pub fn holds_secret(&self) -> bool {
        let url = self.webhook.as_deref().map(Url::parse);
        url.is_some_and(|url| {
            url.is_ok_and(|url| http::has_credentials(&url) || url.query().is_some())
        })
    }
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
    /// The build has no e-mail.
    #[error(transparent)]
    LeftOut(#[from] LeftOut),
}

/// The webhook, if nobody on the way can read what is posted.
pub(super) fn webhook(text: &str) -> Result<Url, NotifyError> {
    let url = Url::parse(text).map_err(|error| NotifyError::Webhook(error.to_string()))?;
    match http::is_confidential(&url) {
        true => Ok(url),
        false => Err(NotifyError::Webhook(format!(
            "{} would send in clear which homes are asked: write an https address, or one of this machine",
            http::shown(text)
        ))),
    }
}
