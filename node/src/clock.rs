//! Time and randomness: what the protocol's functions are passed.

use std::time::{SystemTime, UNIX_EPOCH};

use dispers_base::id::Timestamp;
use rand::CryptoRng;

/// The time.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| since.as_millis() as u64))
}

/// A generator that is seeded, and seeded again, by the operating system.
pub fn rng() -> impl CryptoRng {
    rand::rng()
}
