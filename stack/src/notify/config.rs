//! Configuration of notices to owners.

use std::{fmt, path::PathBuf};

use dispers_node::LeftOut;
use reqwest::Url;
use serde::Deserialize;

use crate::http;

/// The `[stack.notify]` table of the configuration file.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Address to which a JSON object is posted for each home whose owner is asked. Its fields are `home`, `query`,
    /// `querier`, `purpose`, `decide_by` (Unix milliseconds) and `link`. The address must use HTTPS, or HTTP to this
    /// machine.
    pub webhook: Option<String>,
    /// Mail server, for owners with an e-mail address in their rules.
    pub smtp: Option<Smtp>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a secret, so only a part of it is shown.
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

/// Mail server that sends notices.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Smtp {
    /// Name of the server.
    pub host: String,
    /// Port of the server. The default is 587 for `starttls`, 465 for `tls`, and 25 for `none`.
    pub port: Option<u16>,
    /// Protection of the connection.
    #[serde(default)]
    pub tls: SmtpTls,
    /// Address of the sender.
    pub from: String,
    /// Account at the server, if it requires one.
    pub user: Option<String>,
    /// File with the account's password. Other users must not be able to read it.
    pub password_file: Option<PathBuf>,
}

/// Protection of the connection to a mail server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SmtpTls {
    /// TLS after a plain greeting. Without TLS no mail is sent.
    #[default]
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// No protection, for a server on this machine only.
    None,
}

/// Reason why owners cannot be notified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The webhook is not an address that may be used.
    #[error("webhook in [stack.notify]: {0}")]
    Webhook(String),
    /// The mail server's table is wrong.
    #[error("[stack.notify.smtp]: {0}")]
    Smtp(String),
    /// The build does not contain e-mail.
    #[error(transparent)]
    LeftOut(#[from] LeftOut),
}

/// Parses the webhook's address, and refuses one whose requests could be read on the way.
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
