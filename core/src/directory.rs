//! The directory: the trust root (protocol.md §2).
