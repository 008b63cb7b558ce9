//! The committee's randomness: a threshold PRF (protocol.md §8).
