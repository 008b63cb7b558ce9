//! The SQL that DISPERS understands (protocol.md §10).
