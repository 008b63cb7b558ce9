//! Proof that many elements are digits in base 16 and others are bits, all under one row bit (protocol.md §7).
//!
//! An input is the row bit w, then flags, then digits. The proof shows that the row bit and the flags are bits, that
//! each digit is below 16, and that everything is zero without the row.
//!
//! Digits and flags are laid out over wires, and one gadget checks the wires at one position at a time:
//!
//! > G(w, x, y) = Σ α_j·P(x_j) + (1 − w)·Σ γ_j·x_j + Σ δ_j·y_j·(y_j − w) + ε·w·(w − 1)
//!
//! where x are digits, y are flags, and P(x) = x·(x−1)···(x−15). So a proof has a seed for each wire and the
//! coefficients of the gadget polynomial, and its length grows with the square root of the input's. Proving each
//! coordinate by itself would double the input. The coefficients α, γ, δ, ε are the **joint randomness**: they follow
//! from commitments to all shares of the input, so that they are unknown before the input is chosen. There are two
//! independent sets of coefficients, and two gadget polynomials: a home that tries inputs until the coefficients suit
//! it succeeds with probability 2^-128 per try. Field64 with two sets is several times cheaper, and half as long, as a
//! field of 128 bits with one.

mod gadget;
mod prove;
mod verifier;

pub(crate) use verifier::DigitsVerifier;

use crate::levels::DIGIT_BITS;

/// Degree of the digit polynomial.
const DEGREE: usize = 1 << DIGIT_BITS;
/// Number of independent sets of joint randomness.
const SETS: usize = 2;
/// Largest logarithm of the order of the wires' domain. With the degree of the gadget, the domain of the gadget
/// polynomial is far below the largest of the field.
const MAX_LOG: usize = 12;

/// Layout of the elements of an input over wires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digits {
    digits: usize,
    flags: usize,
    /// Number of wires for digits.
    digit_wires: usize,
    /// Number of wires for flags.
    flag_wires: usize,
    /// Logarithm of the order of the wires' domain. The first point is the seed's, and each other point is a call's.
    log: usize,
}

impl Digits {
    /// Lays out so many digits and flags in the way that costs the fewest bytes.
    pub(crate) fn new(digits: usize, flags: usize) -> Self {
        let layouts = (1..=MAX_LOG).map(|log| {
            let calls = (1 << log) - 1;
            Self {
                digits,
                flags,
                digit_wires: digits.div_ceil(calls),
                flag_wires: flags.div_ceil(calls),
                log,
            }
        });
        // A home uploads a proof for each aggregator, and the aggregators exchange a message each.
        layouts
            .min_by_key(|layout| layout.proof_len() + 3 * layout.message_len())
            .expect("the range of logarithms is not empty")
    }

    /// Returns the number of elements of an input.
    pub(crate) fn elements(&self) -> usize {
        1 + self.flags + self.digits
    }

    /// Returns the place of the first digit.
    pub(crate) fn first_digit(&self) -> usize {
        1 + self.flags
    }

    /// Returns the number of elements of a proof.
    pub(crate) fn proof_len(&self) -> usize {
        self.wires() + SETS * self.coefficients()
    }

    /// Returns the number of elements of a verifier message: the check, the gadget polynomials at the query point, then
    /// the wires there.
    pub(crate) fn message_len(&self) -> usize {
        1 + SETS + self.wires()
    }

    /// Returns the number of calls of the gadget.
    fn calls(&self) -> usize {
        (1 << self.log) - 1
    }

    /// Returns the number of wires, with that of the row bit.
    fn wires(&self) -> usize {
        1 + self.digit_wires + self.flag_wires
    }

    /// Returns the number of coefficients of a gadget polynomial.
    fn coefficients(&self) -> usize {
        DEGREE * self.calls() + 1
    }

    /// Returns the place of the element that a wire, counted after the row's, takes at a call. `None` stands for 0.
    fn element(&self, wire: usize, call: usize) -> Option<usize> {
        let (first, count, wire) = match wire.checked_sub(self.digit_wires) {
            None => (self.first_digit(), self.digits, wire),
            Some(wire) => (1, self.flags, wire),
        };
        let place = wire * self.calls() + call;
        (place < count).then_some(first + place)
    }
}
