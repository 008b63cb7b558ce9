//! Arithmetic in Field64, the integers modulo p = 2^64 − 2^32 + 1 (protocol.md §7).
//!
//! An element is a `u64` below p, the canonical integer of `prio`'s `Field64`. Every function here expects such
//! arguments and returns such a value. `Field64` itself is used for proving only. An aggregator spends its time in
//! inner products, which are several times faster over plain integers that are reduced once, at the end ([`Dot`]).

use chacha20::cipher::StreamCipher;
use chacha20::{ChaCha20, KeyIvInit};
use rand::CryptoRng;
use zeroize::Zeroize;
use zeroize::Zeroizing;

use crate::encoding;

/// The modulus p.
pub const MODULUS: u64 = 0xffff_ffff_0000_0001;

/// 2^64 modulo p.
const EPSILON: u64 = 0xffff_ffff;

/// Returns `value` modulo p.
pub fn reduce(value: u128) -> u64 {
    // With 2^64 = 2^32 − 1 and 2^96 = −1 modulo p, the value is low + middle·(2^32 − 1) − top.
    let low = value as u64;
    let middle = (value >> 64) as u64 & EPSILON;
    let top = (value >> 96) as u64;
    let (difference, borrow) = low.overflowing_sub(top);
    let difference = difference.wrapping_sub(EPSILON * u64::from(borrow));
    // A borrow added 2^64, and a carry drops 2^64; both are EPSILON modulo p. Neither correction wraps again.
    let (sum, carry) = difference.overflowing_add(middle * EPSILON);
    let sum = sum.wrapping_add(EPSILON * u64::from(carry));
    // The sum is below 2^64 < 2p, so one subtraction is enough.
    sum - MODULUS * u64::from(sum >= MODULUS)
}

/// Returns a + b.
pub fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum.wrapping_sub(MODULUS * u64::from(carry || sum >= MODULUS))
}

/// Returns a − b.
pub fn sub(a: u64, b: u64) -> u64 {
    let (difference, borrow) = a.overflowing_sub(b);
    difference.wrapping_add(MODULUS * u64::from(borrow))
}

/// Returns −a.
pub fn neg(a: u64) -> u64 {
    sub(0, a)
}

/// Returns the representative of `a` that is nearest to zero: noisy sums and centred sums may be negative.
pub fn signed(a: u64) -> i128 {
    match a > MODULUS / 2 {
        true => i128::from(a) - i128::from(MODULUS),
        false => a.into(),
    }
}

/// Returns a · b.
pub fn mul(a: u64, b: u64) -> u64 {
    reduce(u128::from(a) * u128::from(b))
}

/// Returns `base` to the power of `exponent`.
///
/// # Security
/// The running time depends on `exponent`, which must therefore be public.
pub fn power(base: u64, exponent: u64) -> u64 {
    let mut result = 1;
    for bit in (0..u64::BITS - exponent.leading_zeros()).rev() {
        result = mul(result, result);
        if exponent >> bit & 1 == 1 {
            result = mul(result, base);
        }
    }
    result
}

/// Returns 1 / a. For 0 it returns 0; callers exclude that case.
pub fn inverse(a: u64) -> u64 {
    // Fermat: a^(p−1) = 1 for every a other than 0.
    power(a, MODULUS - 2)
}

/// Inner product in progress, reduced modulo p once, at the end. It holds up to 2^32 terms.
#[derive(Clone, Copy, Default, Zeroize)]
pub struct Dot {
    low: u128,
    high: u64,
}

impl Dot {
    /// Adds the term a · b.
    #[inline]
    pub fn add(&mut self, a: u64, b: u64) {
        let (low, carry) = self.low.overflowing_add(u128::from(a) * u128::from(b));
        self.low = low;
        self.high += u64::from(carry);
    }

    /// Returns the sum of all terms modulo p.
    #[inline]
    pub fn total(self) -> u64 {
        // 2^128 = −2^32 modulo p. With at most 2^32 terms there are fewer than 2^32 carries, so that the shifted number
        // is below p, as `sub` requires.
        sub(reduce(self.low), self.high << 32)
    }
}

/// Draws a uniform element.
pub fn random(rng: &mut impl CryptoRng) -> u64 {
    loop {
        // Rejection instead of a reduction, which would make the smallest elements more likely.
        let candidate = rng.next_u64();
        if candidate < MODULUS {
            return candidate;
        }
    }
}

/// Generator of uniform elements from a seed. It reads the ChaCha20 keystream under SHA-256(label, seed) as
/// little-endian 64-bit integers, and skips integers that are not below p.
pub struct Expander {
    cipher: ChaCha20,
    block: Zeroizing<[u8; Self::BLOCK]>,
    read: usize,
}

impl Expander {
    /// Number of bytes of keystream made at a time: 16 blocks, so that the cipher can compute several in parallel.
    const BLOCK: usize = 1024;

    /// Starts the sequence of `seed`. The label names the use, so that two uses of a seed have unrelated sequences.
    pub fn new(label: &str, seed: &[u8; 32]) -> Self {
        let key = Zeroizing::new(encoding::hash(label, &[seed]));
        Self {
            // A key serves one sequence only, so a constant nonce never repeats under it.
            cipher: ChaCha20::new((&*key).into(), &[0; 12].into()),
            block: Zeroizing::new([0; Self::BLOCK]),
            read: Self::BLOCK,
        }
    }

    /// Returns the next element.
    pub fn element(&mut self) -> u64 {
        loop {
            self.refill();
            let mut word = [0; 8];
            word.copy_from_slice(&self.block[self.read..self.read + 8]);
            self.read += 8;
            let candidate = u64::from_le_bytes(word);
            if candidate < MODULUS {
                return candidate;
            }
        }
    }

    /// Returns the next `count` elements.
    pub fn elements(&mut self, count: usize) -> Vec<u64> {
        let mut elements = vec![0; count];
        self.fill(&mut elements);
        elements
    }

    /// Fills `elements` with the next elements of the sequence.
    pub fn fill(&mut self, elements: &mut [u64]) {
        let mut filled = 0;
        while filled < elements.len() {
            self.refill();
            // Everything that is left of the block in one loop: a call of `element` for each would be slower.
            let end = Self::BLOCK.min(self.read + 8 * (elements.len() - filled));
            for bytes in self.block[self.read..end].chunks_exact(8) {
                let mut word = [0; 8];
                word.copy_from_slice(bytes);
                let candidate = u64::from_le_bytes(word);
                elements[filled] = candidate;
                // A skipped integer stays at this place only until the next one overwrites it: no branch is needed.
                filled += usize::from(candidate < MODULUS);
            }
            self.read = end;
        }
    }

    /// Computes the next block if the current one has been read to its end.
    fn refill(&mut self) {
        if self.read == Self::BLOCK {
            self.block.fill(0);
            self.cipher.apply_keystream(&mut self.block[..]);
            self.read = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use prio::field::{Field64, FieldElement, FieldElementWithInteger};
    use proptest::prelude::*;

    use super::*;

    fn edges() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..MODULUS,
            Just(0),
            Just(1),
            Just(EPSILON),
            Just(EPSILON + 1),
            Just(MODULUS - 1),
            Just(MODULUS - EPSILON),
        ]
    }

    fn inner_product(a: &[u64], b: &[u64]) -> u64 {
        let mut dot = Dot::default();
        a.iter().zip(b).for_each(|(&a, &b)| dot.add(a, b));
        dot.total()
    }

    #[test]
    fn the_modulus_is_that_of_field64() {
        assert_eq!(Field64::modulus(), MODULUS);
    }

    proptest! {
        #[test]
        fn arithmetic_agrees_with_field64(a in edges(), b in edges()) {
            let (x, y) = (Field64::from(a), Field64::from(b));
            prop_assert_eq!(add(a, b), u64::from(x + y));
            prop_assert_eq!(sub(a, b), u64::from(x - y));
            prop_assert_eq!(neg(a), u64::from(-x));
            prop_assert_eq!(mul(a, b), u64::from(x * y));
            if a != 0 {
                prop_assert_eq!(inverse(a), u64::from(x.inv()));
            }
        }

        #[test]
        fn any_double_word_is_reduced(value: u128) {
            prop_assert_eq!(u128::from(reduce(value)), value % u128::from(MODULUS));
        }

        #[test]
        fn an_inner_product_reduced_once_is_the_inner_product(
            pairs in prop::collection::vec((edges(), edges()), 0..40),
        ) {
            let (a, b): (Vec<u64>, Vec<u64>) = pairs.into_iter().unzip();
            let expected = a.iter().zip(&b).fold(0, |sum, (&a, &b)| add(sum, mul(a, b)));
            prop_assert_eq!(inner_product(&a, &b), expected);
        }
    }

    #[test]
    fn the_largest_products_do_not_overflow_the_accumulator() {
        let largest = vec![MODULUS - 1; 1000];
        assert_eq!(inner_product(&largest, &largest), 1000);
        assert_eq!(reduce(u128::MAX), (u128::MAX % u128::from(MODULUS)) as u64);
    }

    #[test]
    fn a_seed_and_a_label_name_one_sequence() {
        let elements = |label, seed| Expander::new(label, &[seed; 32]).elements(300);
        assert_eq!(elements("a", 1), elements("a", 1));
        assert_ne!(elements("a", 1), elements("b", 1));
        assert_ne!(elements("a", 1), elements("a", 2));
        assert!(elements("a", 1).iter().all(|&element| element < MODULUS));
        let mut pieces = Expander::new("a", &[1; 32]);
        let mut joined = pieces.elements(131);
        joined.extend(pieces.elements(169));
        assert_eq!(joined, elements("a", 1));
    }
}
