//! Envelopes: what only one reader can open (protocol.md §3).
