//! Sources of time and randomness, which are passed to the functions of the protocol.

use std::time::{SystemTime, UNIX_EPOCH};

use dispers_base::id::Timestamp;
use rand::CryptoRng;

/// Returns the present time.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 counts as 1970, so that a directory is refused as not yet valid.
    Timestamp(since.map_or(0, |since| since.as_millis() as u64))
}

/// Returns a random generator that the operating system seeds, and seeds again.
pub fn rng() -> impl CryptoRng {
    rand::rng()
}
