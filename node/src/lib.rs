//! What every DISPERS service shares: configuration, TLS pinned to the directory, telemetry, shutdown.
