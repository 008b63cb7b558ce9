//! Shamir sharing over Field64 (protocol.md §8).
