//! Tests that span several roles.
//!
//! Here is what the fuzzer in `fuzz/` and the replay of its corpora share: every decoder that sees
//! bytes from outside a process.

pub mod decoders;
