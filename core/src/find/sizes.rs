//! Numbers of homes with noise, for decisions and for the status of noisy queries (protocol.md §6).
//!
//! A querier may ask about any set of concepts, and a refused find costs no budget. So no exact number may decide:
//! whoever moves the bound would find the number by bisection. The noise is a function of the set, keyed with the
//! pool's secret: the same set always has the same noise, whoever asks, so that asking again reveals nothing new.

use borsh::{BorshDeserialize, BorshSerialize};
use chacha20::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{subscription::HomeTag, ticket::PoolSecret};
use dispers_base::{
    encoding,
    id::KeyEpoch,
    labels,
    weakness::{self, Weakness},
};
use dispers_trust::directory::{MAX_SIZE_NOISE, half_noise, most_noise};

/// Digest of a set of homes in any order: the exclusive or of a keyed digest of each home. The exclusive or of two
/// fingerprints is therefore the fingerprint of the homes that are in one set and not in the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Decodes what [`as_bytes`](Self::as_bytes) returned.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the fingerprint of the homes that are in one of the two sets and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut difference = *self;
        difference.toggle(&other.0);
        difference
    }

    fn toggle(&mut self, digest: &[u8; 32]) {
        let bytes = self.0.iter_mut().zip(digest);
        bytes.for_each(|(byte, other)| *byte ^= other);
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Noisy number of homes that a find chose, for the status of a noisy query.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NoisySize {
    homes: u64,
    /// Scale of the noise.
    scale: u32,
    /// Seed of the noise of numbers of silent homes.
    seed: [u8; 32],
}

impl NoisySize {
    /// Returns whether the number has noise. Only networks of trials may do without.
    pub fn has_noise(&self) -> bool {
        self.scale > 0
    }

    /// Returns whether the noise has this scale, which the directory sets. A smaller scale reveals more, and noise of
    /// an enormous one takes forever to draw.
    pub fn has_scale(&self, scale: u32) -> bool {
        self.scale == scale
    }

    /// Returns the noisy number of homes, which is at most the exact one.
    pub fn homes(&self) -> u64 {
        self.homes
    }

    /// Returns an upper bound of the exact number of homes.
    pub fn at_most(&self) -> u64 {
        self.homes.saturating_add(most_noise(self.scale))
    }

    /// Returns the noisy number of homes that the finds of all partitions chose for the committee `place` of `parts`,
    /// each of which has an even part.
    pub fn asked<'t>(finds: impl IntoIterator<Item = &'t Self>, place: u16, parts: u16) -> u64 {
        let (place, parts) = (u64::from(place), u64::from(parts.max(1)));
        let homes = finds.into_iter().map(|find| find.homes);
        let homes = homes.fold(0, u64::saturating_add);
        // The remainder goes to the first committees, so that the parts add up.
        homes / parts + u64::from(place < homes % parts)
    }

    /// Returns the noisy number of homes that answered, where `silent` did not.
    pub fn answered<'t>(
        finds: impl IntoIterator<Item = &'t Self> + Clone,
        place: u16,
        parts: u16,
        silent: u64,
    ) -> u64 {
        let asked = Self::asked(finds.clone(), place, parts);
        // All partitions together have one number of silent homes: one draw is enough, and more would add up to more
        // noise.
        let Some(first) = finds.into_iter().next() else {
            return 0;
        };
        let place = [place, parts].map(u16::to_le_bytes).concat();
        // The noise is a function of the set and of the number of silent homes: asking for the status again gives no
        // second draw.
        let parts = [&first.seed[..], &place, &silent.to_le_bytes()];
        let noise = two_sided(
            encoding::hash(labels::HASH_SILENT_NOISE, &parts),
            first.scale,
        );
        let silent = (silent + noise).saturating_sub(half_noise(first.scale));
        asked.saturating_sub(silent)
    }
}

impl std::fmt::Debug for NoisySize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoisySize({})", self.homes)
    }
}

/// Source of the noise of one pool in one key epoch.
pub struct Sizes {
    key: Zeroizing<[u8; 32]>,
    /// Scale of the noise, in homes.
    scale: u32,
}

impl Sizes {
    /// Derives the source of a pool and key epoch. `scale` is in homes; at 0 every number is exact.
    pub fn new(secret: &PoolSecret, epoch: KeyEpoch, scale: u32) -> Self {
        Self {
            key: secret.size_key(epoch),
            scale,
        }
    }

    /// Returns the fingerprint of the homes with these tags.
    pub fn fingerprint<'t>(&self, tags: impl IntoIterator<Item = &'t HomeTag>) -> Fingerprint {
        let mut set = Fingerprint([0; 32]);
        for tag in tags {
            let hash = Sha256::new().chain_update(*self.key).chain_update(tag.0);
            set.toggle(&hash.finalize().into());
        }
        set
    }

    /// Returns the noisy number of homes of a set: at most `homes`, and at least `homes` − [`most`](Self::most).
    ///
    /// # Security
    /// The function subtracts half of the range plus two-sided geometric noise with P(z) ∝ q^abs(z), q = s/(s+1),
    /// clamped to the range. For two sets that differ by one home, the probabilities of any result differ by at most
    /// the factor 1/q, except for a probability of 1.1·10⁻⁵. Everything that depends on the size must follow from this
    /// one number: two draws for one set could be averaged.
    pub fn noisy(&self, set: &Fingerprint, homes: u64) -> u64 {
        homes.saturating_sub(self.drawn(set))
    }

    /// Returns the noisy number of homes of a set as the querier of a noisy query may learn it.
    pub fn report(&self, set: &Fingerprint, homes: u64) -> NoisySize {
        let scale = match weakness::off(Weakness::SizesExact) {
            true => 0,
            false => self.scale,
        };
        NoisySize {
            homes: self.noisy(set, homes),
            scale,
            seed: encoding::hash(labels::HASH_SILENT_SEED, &[&*self.key, &set.0]),
        }
    }

    /// Returns the most that [`noisy`](Self::noisy) subtracts.
    pub fn most(&self) -> u64 {
        most_noise(self.scale)
    }

    fn drawn(&self, set: &Fingerprint) -> u64 {
        if self.scale == 0 || weakness::off(Weakness::SizesExact) {
            return 0;
        }
        let seed = encoding::hash(labels::HASH_SIZE_NOISE, &[&*self.key, &set.0]);
        two_sided(seed, self.scale)
    }
}

/// Draws two-sided geometric noise of this scale, centred on half of its range and clamped to the range.
fn two_sided(seed: [u8; 32], scale: u32) -> u64 {
    // The scale comes from a finder, which may send any number. The time to draw grows with it.
    let scale = scale.min(MAX_SIZE_NOISE);
    if scale == 0 {
        return 0;
    }
    let mut rng = ChaCha20Rng::from_seed(seed);
    let (more, less) = (geometric(&mut rng, scale), geometric(&mut rng, scale));
    (half_noise(scale) + more)
        .saturating_sub(less)
        .min(most_noise(scale))
}

/// Draws from the geometric distribution with this mean. It uses no floating point, so that all nodes of a pool draw
/// the same value.
fn geometric(rng: &mut ChaCha20Rng, mean: u32) -> u64 {
    let stops = u64::from(mean) + 1;
    let most = most_noise(mean);
    // The remainder's bias is below 2^-46.
    (0..most)
        .find(|_| rng.next_u64().is_multiple_of(stops))
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(noise: u32) -> Sizes {
        Sizes::new(&PoolSecret::from_bytes([5; 32]), KeyEpoch(1), noise)
    }

    fn tag(home: u64) -> HomeTag {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&home.to_le_bytes());
        HomeTag(tag)
    }

    fn set(sizes: &Sizes, homes: std::ops::Range<u64>) -> Fingerprint {
        let tags: Vec<HomeTag> = homes.map(tag).collect();
        sizes.fingerprint(&tags)
    }

    #[test]
    fn a_fingerprint_is_that_of_the_set_and_differences_are_sets() {
        let sizes = sizes(4);
        let reversed: Vec<HomeTag> = (0..50).rev().map(tag).collect();
        assert_eq!(set(&sizes, 0..50), sizes.fingerprint(&reversed));
        let difference = set(&sizes, 0..50).difference(&set(&sizes, 20..60));
        let (left, right) = (set(&sizes, 0..20), set(&sizes, 50..60));
        assert_eq!(difference, left.difference(&right));
        assert_ne!(set(&sizes, 0..50), set(&sizes, 0..51));
    }

    #[test]
    fn no_more_homes_are_told_than_there_are_and_the_same_set_is_told_the_same() {
        let sizes = sizes(4);
        for homes in 0..200 {
            let noisy = sizes.noisy(&set(&sizes, 0..homes), homes);
            assert!(noisy <= homes && noisy + sizes.most() >= homes);
            let again = self::sizes(4);
            assert_eq!(again.noisy(&set(&again, 0..homes), homes), noisy);
        }
    }

    #[test]
    fn the_noise_is_two_sided_and_never_beyond_its_range() {
        let sizes = sizes(2);
        let drawn: Vec<f64> = (0..4000)
            .map(|set| sizes.drawn(&self::set(&sizes, set..set + 1)) as f64)
            .collect();
        let mean = drawn.iter().sum::<f64>() / 4000.0;
        let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
        // 2q/(1 − q)² = 12 for q = 2/3; four deviations of the mean, and of a variance of heavy tails.
        assert!((mean - 28.0).abs() < 0.22, "{mean}");
        assert!((variance - 12.0).abs() < 2.0, "{variance}");
        assert!(drawn.iter().all(|x| *x <= 56.0));
        assert!(self::sizes(0).drawn(&set(&sizes, 0..9)) == 0);
    }

    #[test]
    fn about_how_many_answered_is_told_with_noise_and_adds_up() {
        let noisy = sizes(2);
        let report = |homes: u64| noisy.report(&set(&noisy, 0..homes), homes);
        let finds = [report(1000), report(501)];
        let parts: u64 = (0..3).map(|place| NoisySize::asked(&finds, place, 3)).sum();
        assert_eq!(parts, NoisySize::asked(&finds, 0, 1));
        assert!(parts <= 1501 && finds[0].at_most() + finds[1].at_most() >= 1501);
        let mut off = std::collections::BTreeSet::new();
        for silent in 0..60 {
            let answered = NoisySize::answered(&finds, 0, 1, silent);
            assert!(answered <= parts);
            assert_eq!(NoisySize::answered(&finds, 0, 1, silent), answered);
            off.insert((parts - answered).abs_diff(silent));
        }
        assert!(off.len() > 4 && off.iter().all(|off| *off <= 28), "{off:?}");
        let exact = sizes(0);
        let find = [exact.report(&set(&exact, 0..40), 40)];
        assert_eq!(NoisySize::answered(&find, 0, 1, 3), 37);
    }

    #[test]
    fn what_is_reported_of_1199_homes_is_reported_of_1200_nearly_as_often() {
        let mut counts = [const { std::collections::BTreeMap::<u64, u32>::new() }; 2];
        for pool in 0..3000u32 {
            let mut secret = [0; 32];
            secret[..4].copy_from_slice(&pool.to_le_bytes());
            let sizes = Sizes::new(&PoolSecret::from_bytes(secret), KeyEpoch(1), 2);
            for (count, homes) in counts.iter_mut().zip([1199u64, 1200]) {
                // Any fingerprint serves: computing that of all tags is slow here.
                let set = set(&sizes, homes..homes + 1);
                *count.entry(sizes.noisy(&set, homes)).or_default() += 1;
            }
        }
        let [fewer, more] = counts;
        for (number, count) in &fewer {
            let other = more.get(number).copied().unwrap_or_default();
            // 1/q is 1.5; counts from 100 on are within a third of their mean.
            if *count >= 100 {
                let ratio = f64::from(other) / f64::from(*count);
                assert!((0.4..2.3).contains(&ratio), "{number}: {count} {other}");
            }
        }
        assert!(!fewer.contains_key(&1199) && !more.contains_key(&1200));
    }
}
