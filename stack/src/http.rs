//! HTTP requests with credentials or other secrets. They reach the address that the host configured, and no other
//! server on the way or behind it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use reqwest::{Client, ClientBuilder, RequestBuilder, Url, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

/// HTTP clients that follow no redirect: a repeated request would send its credentials to the other address.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    /// Client without a proxy, even if the environment names one.
    direct: Client,
    /// Client that tunnels TLS through the proxy that the environment names, if any.
    through: Client,
}

impl Clients {
    /// Creates the clients. A request with its reply may take `timeout`.
    pub(crate) fn new(tls: &ClientConfig, timeout: Duration) -> reqwest::Result<Self> {
        Ok(Self {
            direct: builder(tls, timeout).no_proxy().build()?,
            through: builder(tls, timeout).build()?,
        })
    }

    /// Begins a request. Only HTTPS may use a proxy, which could read plain HTTP, and for which loopback is its own
    /// machine.
    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        let here = url.host_str().is_none_or(is_here);
        match url.scheme() == "https" && !here {
            true => self.through.post(url),
            false => self.direct.post(url),
        }
    }
}

fn builder(tls: &ClientConfig, timeout: Duration) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(Policy::none())
        .timeout(timeout)
}

/// Returns whether a host name stands for this machine.
pub(crate) fn is_here(host: &str) -> bool {
    // `Url` keeps the brackets around an IPv6 address.
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// Returns whether requests to an address cannot be read on the way.
pub(crate) fn is_confidential(url: &Url) -> bool {
    match (url.scheme(), url.host_str()) {
        ("https", Some(_)) => true,
        ("http", Some(host)) => is_here(host),
        _ => false,
    }
}

/// Returns whether an address contains a user or a password.
pub(crate) fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Returns an address for messages, without user, password, query and fragment, any of which may be a secret.
pub(crate) fn shown(url: &str) -> String {
    // Cut by hand, since the text may be a template or no valid address at all.
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (rest, more) = rest.split_at(end);
    // The last @ ends the credentials: a password may contain another one.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let colon = if scheme.is_empty() { "" } else { "://" };
    let more = if more.is_empty() { "" } else { "?…" };
    format!("{scheme}{colon}{rest}{more}")
}

/// Returns the public web's root certificates.
pub(crate) fn usual_roots() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

/// Creates a TLS configuration that trusts `roots`.
pub(crate) fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        net::TcpListener,
        process::Command,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    /// Runs a test of this crate in a process whose environment names a proxy for all requests. The test must pass
    /// without a connection to the proxy.
    fn passes_beside_a_proxy(test: &str) {
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", proxy.local_addr().unwrap());
        let came = Arc::new(AtomicUsize::new(0));
        let count = came.clone();
        thread::spawn(move || {
            // Each connection is closed at once, so that a request through the proxy fails.
            for _ in proxy.incoming() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args([test, "--exact"])
            .env_remove("NO_PROXY")
            .env_remove("no_proxy");
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            child.env(name, &address);
        }
        let ended = child.output().unwrap();
        let output = String::from_utf8_lossy(&ended.stdout);
        assert!(
            ended.status.success() && output.contains("1 passed"),
            "{output}"
        );
        assert_eq!(came.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn no_proxy_of_the_environment_gets_a_home_s_credentials_or_who_is_asked() {
        for test in [
            "connector::couch::tests::a_home_whose_source_fails_has_no_documents_and_the_others_have_theirs",
            "connector::couch::tests::a_cozy_is_asked_at_its_own_address_for_its_doctype",
            "notify::tests::an_owner_is_told_by_webhook",
            #[cfg(feature = "mail")]
            "notify::tests::mail::an_owner_is_told_by_webhook_and_by_e_mail",
        ] {
            passes_beside_a_proxy(test);
        }
    }

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (url, expected) in [
            ("https://u:hush@x.org/a", "https://x.org/a"),
            ("https://u:h@ush@x.org/a?key=hush#hush", "https://x.org/a?…"),
            ("u:hush@x.org", "x.org"),
            ("https://x.org/{home}", "https://x.org/{home}"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
