//! Structured logs on stderr. Never a concept, address, home, share or value.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Logs to stderr what `DISPERS_LOG` selects, or `default`.
pub fn init(default: &str, json: bool) {
    let filter = match std::env::var("DISPERS_LOG") {
        Err(_) => default.into(),
        Ok(text) => EnvFilter::try_new(&text).unwrap_or_else(|error| {
            eprintln!("warning: DISPERS_LOG is no filter ({error}): logging {default} instead");
            default.into()
        }),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call, as in tests, leaves the first in place.
    let _ = if json {
        registry.with(layer.json()).try_init()
    } else {
        registry.with(layer).try_init()
    };
}
