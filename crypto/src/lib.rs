//! Cryptographic primitives of the protocol: envelopes (protocol.md §3), the oblivious pseudonym function (§4), and
//! Shamir's sharing, threshold keys and the threshold PRF (§8).
//!
//! Everything here is a function of keys and messages. `dispers_trust` decides which party a key belongs to.

pub mod aead;
pub mod dealing;
pub mod dleq;
pub mod envelope;
pub mod oprf;
pub mod prf;
pub mod ristretto;
pub mod shamir;
