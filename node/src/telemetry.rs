//! Structured logs on stderr, and traces to an OpenTelemetry collector where one is configured. Neither has a concept,
//! address, home, share or value.
//!
//! A trace has a span for every request between nodes, with method, role and gRPC code, and nothing else. Log lines are
//! not part of it, since they may name a query.

#[cfg(feature = "otlp")]
mod otlp;

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, prelude::*};

#[cfg(feature = "otlp")]
pub(crate) use otlp::{TARGET, continues, passes_on};
#[cfg(not(feature = "otlp"))]
pub(crate) use without::{TARGET, continues, passes_on};

/// Content of the `[telemetry]` table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TelemetryConfig {
    /// Address of a collector that takes traces over OTLP, such as `http://127.0.0.1:4317`. Without one there are no
    /// traces.
    pub otlp: Option<String>,
}

/// Error for a feature that this program is built without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this dispers is built without {0}: use a packaged one, or build it with `cargo build --release --features full`"
)]
pub struct LeftOut(
    /// Name of the feature, such as "PostgreSQL".
    pub &'static str,
);

/// Reasons why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The collector's address is malformed.
    #[error("traces cannot be sent to {0:?}: write otlp = \"http://HOST:4317\" in [telemetry]")]
    Address(String),
    /// This program is built without traces.
    #[error(transparent)]
    LeftOut(#[from] LeftOut),
}

/// Guard of the traces. It sends the remaining ones when it is dropped.
#[must_use = "traces end with it"]
pub struct Traces {
    #[cfg(feature = "otlp")]
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

#[cfg(feature = "otlp")]
impl Drop for Traces {
    fn drop(&mut self) {
        // A collector that does not answer must not hold up the end of the process.
        if let Some(provider) = self.provider.take()
            && let Err(error) = provider.shutdown_with_timeout(std::time::Duration::from_secs(2))
        {
            tracing::debug!(%error, "the last traces were not sent");
        }
    }
}

/// Writes logs to stderr, as `DISPERS_LOG` selects them, or else `default`.
pub fn init(default: &str, json: bool) {
    subscribe(vec![logs(default, json)]);
}

/// Writes logs as [`init`] does, and sends traces to the collector of `config` in the name of the node `name`.
///
/// # Errors
/// [`TelemetryError`]. Logs are then written all the same.
///
/// # Panics
/// If `config` names a collector and there is no tokio runtime.
pub fn init_with(
    default: &str,
    json: bool,
    config: &TelemetryConfig,
    name: &str,
) -> Result<Traces, TelemetryError> {
    let logs = logs(default, json);
    let Some(address) = &config.otlp else {
        subscribe(vec![logs]);
        return Ok(Traces {
            #[cfg(feature = "otlp")]
            provider: None,
        });
    };
    #[cfg(feature = "otlp")]
    match otlp::traces(address, name) {
        Ok((layer, provider)) => {
            subscribe(vec![logs, layer]);
            Ok(Traces {
                provider: Some(provider),
            })
        }
        Err(_) => {
            subscribe(vec![logs]);
            // The address is shown without the user and password that may precede the host.
            let shown = address
                .rsplit_once('@')
                .map_or(&**address, |(_, host)| host);
            Err(TelemetryError::Address(shown.to_owned()))
        }
    }
    #[cfg(not(feature = "otlp"))]
    {
        let _ = (address, name);
        subscribe(vec![logs]);
        Err(LeftOut("traces").into())
    }
}

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

fn subscribe(layers: Vec<BoxedLayer>) {
    // A second call, as in tests, leaves the first subscriber in place.
    let _ = tracing_subscriber::registry().with(layers).try_init();
}

fn logs(default: &str, json: bool) -> BoxedLayer {
    let filter = match std::env::var("DISPERS_LOG") {
        Err(_) => default.into(),
        Ok(text) => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            eprintln!("warning: DISPERS_LOG is no filter ({error}): logging {default} instead");
            default.into()
        }),
    };
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if json {
        layer.json().with_filter(filter).boxed()
    } else {
        layer.with_filter(filter).boxed()
    }
}

/// Stand-ins of a program that is built without traces.
#[cfg(not(feature = "otlp"))]
mod without {
    use tonic::codegen::http::HeaderMap;
    use tracing::Span;

    pub(crate) const TARGET: &str = "dispers::trace";

    pub(crate) fn continues(_: &Span, _: &HeaderMap) {}

    pub(crate) fn passes_on(_: &Span, _: &mut HeaderMap) {}
}
