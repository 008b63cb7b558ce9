//! Connection to the PostgreSQL server: its URL, the password, and TLS.

use std::{
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    pin::Pin,
    str::FromStr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
    tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream},
};
use tokio_rustls::TlsConnector;

use super::error::{PostgresError, Server};

/// Most connections of one Conductor.
const CONNECTIONS: usize = 16;
/// Longest time to open a connection, and longest wait for a free one.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for a sign that a connection which was idle still works.
const PROBE: Duration = Duration::from_secs(5);
/// Time without an answer from the server after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(15);

/// Address of the database, and what a connection needs.
#[derive(Clone)]
pub struct Settings {
    /// `postgres://USER@HOST:PORT/NAME`.
    pub url: String,
    /// Password, which takes precedence over the URL's.
    pub password: Option<String>,
    /// Password that is used if neither `password` nor the URL has one.
    pub fallback: Option<String>,
    /// PEM file with the certificates of the authorities that sign the server's. With it, TLS is required.
    pub ca: Option<PathBuf>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password, so nothing is shown.
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Settings {
    /// Creates a pool of connections, which are opened when they are needed and replaced when they break.
    pub(super) fn pool(&self) -> Result<(Pool, Server), PostgresError> {
        let (config, server) = self.config()?;
        let manager = ManagerConfig {
            // A connection may have broken while it was idle, so each one is tried before it is used.
            recycling_method: RecyclingMethod::Verified,
        };
        let manager = match self.tls()? {
            Some(tls) => Manager::from_config(config, tls, manager),
            None => Manager::from_config(config, NoTls, manager),
        };
        let pool = Pool::builder(manager)
            .runtime(Runtime::Tokio1)
            .max_size(CONNECTIONS)
            .wait_timeout(Some(CONNECT))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(PROBE))
            .build();
        let pool = pool.map_err(|error| PostgresError::Failed {
            server: server.clone(),
            reason: error.to_string(),
        })?;
        Ok((pool, server))
    }

    /// Builds the client's configuration from the URL, the password and the TLS settings.
    fn config(&self) -> Result<(Config, Server), PostgresError> {
        // The client library knows fewer values of `sslmode` than libpq. All of libpq's are accepted here.
        let asked = parameter(&self.url, "sslmode");
        let plain = match &asked {
            Some(mode) => self
                .url
                .replace(&format!("sslmode={mode}"), "sslmode=prefer"),
            None => self.url.clone(),
        };
        let mut config = Config::from_str(&plain).map_err(|_| PostgresError::Url)?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(PostgresError::Url);
        }
        // TLS that does not check the server's certificate would not stop an active attacker, so every TLS mode needs
        // `ca`. An unencrypted connection is allowed only on this machine, or if the URL asks for it.
        config.ssl_mode(match (asked.as_deref(), &self.ca) {
            (Some("disable"), Some(_)) => return Err(PostgresError::Contradiction),
            (Some("disable"), None) => SslMode::Disable,
            (_, Some(_)) => SslMode::Require,
            (Some(mode @ ("require" | "verify-ca" | "verify-full")), None) => {
                return Err(PostgresError::MissingCa(mode.to_owned()));
            }
            (None | Some("allow" | "prefer"), None) if is_here(&config) => SslMode::Disable,
            (None | Some("allow" | "prefer"), None) => {
                return Err(PostgresError::Plain(hosts(&config)));
            }
            (Some(_), None) => return Err(PostgresError::Url),
        });
        let fallback = self.fallback.as_ref();
        let fallback = fallback.filter(|_| config.get_password().is_none());
        if let Some(password) = self.password.as_ref().or(fallback) {
            config.password(password);
        }
        // The Conductor answers once a change is on the disk, so the server's default must not weaken a commit.
        let options = config.get_options().unwrap_or_default();
        let options = format!("{options} -c synchronous_commit=on");
        config
            .options(options.trim())
            .application_name("dispers conductor")
            .connect_timeout(CONNECT)
            .tcp_user_timeout(SILENCE)
            .keepalives_idle(SILENCE);
        let server = Server {
            host: hosts(&config),
            database: config
                .get_dbname()
                .or(config.get_user())
                .unwrap_or_default()
                .to_owned(),
        };
        Ok((config, server))
    }

    /// Builds the TLS settings that trust only the configured authorities. Returns `None` without `ca`.
    fn tls(&self) -> Result<Option<Tls>, PostgresError> {
        let Some(path) = &self.ca else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(path);
        for certificate in certificates.map_err(|error| refused(path, error))? {
            let certificate = certificate.map_err(|error| refused(path, error))?;
            let added = roots.add(certificate);
            added.map_err(|error| refused(path, error))?;
        }
        if roots.is_empty() {
            return Err(refused(path, "it has no certificate"));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(path, error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Some(Tls(TlsConnector::from(Arc::new(config)))))
    }
}

/// Returns the value of a parameter after the URL's `?`.
fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, parameters) = url.rsplit_once('?')?;
    let parameters = parameters.split('&').filter_map(|one| one.split_once('='));
    let mut of_name = parameters.filter(|(key, _)| *key == name);
    of_name.next().map(|(_, value)| value.to_owned())
}

fn refused(path: &Path, reason: impl ToString) -> PostgresError {
    PostgresError::Ca {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Returns whether all addresses of the server are on this machine.
fn is_here(config: &Config) -> bool {
    let named = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            let address: Result<IpAddr, _> = name.parse();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    });
    // The client connects to a `hostaddr` if there is one, and uses the host's name for TLS only.
    let addresses = config.get_hostaddrs();
    addresses.iter().all(IpAddr::is_loopback) && (named || !addresses.is_empty())
}

/// Returns the server's hosts or addresses, for messages.
fn hosts(config: &Config) -> String {
    let ports = config.get_ports();
    let named = config
        .get_hosts()
        .iter()
        .zip(0..)
        .map(|(host, place)| match host {
            Host::Tcp(name) => {
                let port = ports.get(place).or(ports.first()).copied();
                format!("{name}:{}", port.unwrap_or(5432))
            }
            Host::Unix(path) => path.display().to_string(),
        });
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
        return addresses.collect::<Vec<_>>().join(", ");
    }
    named.join(", ")
}

/// TLS settings for the server, whose certificate must be for its name.
#[derive(Clone)]
struct Tls(TlsConnector);

/// TLS handshake with one server.
struct TlsTo(TlsConnector, ServerName<'static>);

/// TLS connection to the server.
struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = TlsTo;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<TlsTo, InvalidDnsNameError> {
        let name = ServerName::try_from(domain.to_owned())?;
        Ok(TlsTo(self.0.clone(), name))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for TlsTo {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.0.connect(self.1, stream).await.map(Encrypted) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        // The certificate alone authenticates the server.
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
