//! Tests that span several roles.
//!
//! This library holds the code that the fuzzer in `fuzz/` and the replay of its corpora share: every decoder that sees
//! bytes from outside a process.

pub mod decoders;
