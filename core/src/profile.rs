//! Target profiles: which homes are asked (protocol.md §6).
