//! Notices to owners that a query waits for their word: by the host's webhook, by e-mail, or both.
//!
//! A notice says who asks, for which purpose, and until when the owner can decide. The question itself is on the page,
//! behind its login. A notice that cannot be sent never fails an ask: the home refuses if its owner says nothing in
//! time.

mod config;
#[cfg(feature = "mail")]
mod mail;

use std::{sync::Arc, time::Duration};

use dispers_base::id::Timestamp;
use dispers_core::{manifest::VerifiedManifest, subscription::HomeId};
use dispers_node::Patience;
use reqwest::Url;
use serde_json::json;
use tokio::sync::Semaphore;

pub use config::{Config, NotifyError, Smtp, SmtpTls};
#[cfg(feature = "mail")]
use mail::Mailer;

use crate::{
    http::{self, Clients},
    page,
};

/// Number of notices that are sent at the same time, over all queries.
const PARALLEL: usize = 4;
/// Tries for each notice.
const TRIES: Patience = Patience::new(Duration::from_secs(1), Duration::from_secs(2)).tries(3);
/// Longest wait for the host's webhook or mail server.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Contents of a notice for the owner of one home.
#[derive(Clone)]
pub(crate) struct Notice {
    pub(crate) home: HomeId,
    pub(crate) email: Option<String>,
    pub(crate) query: String,
    pub(crate) querier: String,
    pub(crate) purpose: String,
    pub(crate) decide_by: Timestamp,
}

impl Notice {
    pub(crate) fn of(manifest: &VerifiedManifest, home: HomeId, email: Option<String>) -> Self {
        Self {
            home,
            email,
            query: manifest.query().to_string(),
            querier: manifest.querier.to_string(),
            purpose: manifest.purpose.clone(),
            // From then on homes answer, and an owner who said nothing refuses.
            decide_by: manifest.answer_from,
        }
    }
}

/// Sender of notices to owners.
pub struct Notifier {
    webhook: Option<(Clients, Url)>,
    mailer: Option<Mailer>,
    page: Option<page::Config>,
    slots: Semaphore,
}

impl Notifier {
    /// Creates a notifier. `page` is the page on which owners decide, for the links in notices.
    ///
    /// # Errors
    /// [`NotifyError`] that says what to write in the configuration.
    pub fn new(config: &Config, page: Option<&page::Config>) -> Result<Self, NotifyError> {
        let webhook = config.webhook.as_deref().map(|url| {
            let url = config::webhook(url)?;
            let tls = http::tls(http::usual_roots());
            let tls = tls.map_err(|error| NotifyError::Webhook(error.to_string()))?;
            let clients = Clients::new(&tls, TIMEOUT);
            let clients = clients.map_err(|error| NotifyError::Webhook(error.to_string()))?;
            Ok::<_, NotifyError>((clients, url))
        });
        Ok(Self {
            webhook: webhook.transpose()?,
            mailer: config.smtp.as_ref().map(Mailer::new).transpose()?,
            page: page.cloned(),
            slots: Semaphore::new(PARALLEL),
        })
    }

    /// Sends notices, and returns when each was sent or given up. Must run on an executor.
    pub(crate) async fn tell(self: Arc<Self>, notices: Vec<Notice>) {
        let (all, mut failed) = (notices.len(), 0usize);
        for notice in notices {
            // The slots are shared, so that many announcements at once do not open many connections.
            let Ok(_slot) = self.slots.acquire().await else {
                return;
            };
            failed += usize::from(!self.tell_one(&notice).await);
        }
        if failed > 0 {
            tracing::warn!(
                failed,
                all,
                "owners were not told of a query that waits for them"
            );
        }
    }

    /// Sends a notice by every way that is configured. Returns whether one of them succeeded.
    async fn tell_one(&self, notice: &Notice) -> bool {
        let mut told = false;
        if let Some((client, url)) = &self.webhook {
            told |= repeatedly(|| self.post(client, url, notice)).await;
        }
        if let Some((mailer, email)) = self.mailer.as_ref().zip(notice.email.as_deref()) {
            let link = self.link(notice);
            told |= repeatedly(|| mailer.send(email, notice, link.as_deref())).await;
        }
        told
    }

    /// Returns the address of the query on the owners' page, if there is a page.
    fn link(&self, notice: &Notice) -> Option<String> {
        let page = self.page.as_ref()?;
        Some(page.place(&format!("/request/{}", notice.query)))
    }

    /// Posts a notice to the webhook.
    async fn post(&self, client: &Clients, url: &Url, notice: &Notice) -> Result<(), String> {
        let body = json!({
            "home": notice.home.0,
            "query": notice.query,
            "querier": notice.querier,
            "purpose": notice.purpose,
            "decide_by": notice.decide_by.0,
            "link": self.link(notice),
        });
        let request = client
            .post(url.clone())
            .header("content-type", "application/json")
            .body(body.to_string());
        let reply = request.send().await.map_err(|error| error.to_string())?;
        match reply.status().is_success() {
            true => Ok(()),
            false => Err(reply.status().to_string()),
        }
    }
}

/// Tries to send until it succeeds, under [`TRIES`]. Drops the reason of a failure, since it may name the home.
async fn repeatedly<F: Future<Output = Result<(), String>>>(send: impl Fn() -> F) -> bool {
    TRIES.retry(|_| true, send).await.is_ok()
}

/// Placeholder for the mailer in a build without e-mail. No value of it exists.
#[cfg(not(feature = "mail"))]
enum Mailer {}

#[cfg(not(feature = "mail"))]
impl Mailer {
    fn new(_: &Smtp) -> Result<Self, NotifyError> {
        Err(dispers_node::LeftOut("e-mail").into())
    }

    async fn send(&self, _: &str, _: &Notice, _: Option<&str>) -> Result<(), String> {
        match *self {}
    }
}

#[cfg(test)]
mod tests;
