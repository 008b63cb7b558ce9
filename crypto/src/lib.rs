//! Cryptography on which the protocol stands: envelopes (protocol.md §3), Shamir's sharing, threshold keys, and the
//! oblivious pseudonym function (§4).
//!
//! Everything here is a function of keys and messages. Who may have which key is decided in `dispers_trust`.

pub mod aead;
pub mod dealing;
pub mod dleq;
pub mod envelope;
pub mod oprf;
pub mod prf;
pub mod ristretto;
pub mod shamir;
