//! Range of the noise on numbers of homes (protocol.md §6).

/// Largest scale of the noise that a directory may set, in homes.
pub const MAX_SIZE_NOISE: u32 = 100_000;

/// Returns the most homes that noise of this scale subtracts from a number of homes.
pub fn most_noise(scale: u32) -> u64 {
    2 * half_noise(scale)
}

/// Returns half of the range of the noise. The range is so wide that the noise reaches an end of it with a probability
/// below 1.1·10⁻⁵.
pub fn half_noise(scale: u32) -> u64 {
    match scale {
        0 => 0,
        scale => 12 * u64::from(scale) + 4,
    }
}
