//! The circuit of a vector: many bounded coordinates under one row bit (protocol.md §7).
//!
//! What training adds up: gradients, counts, moments. A contribution is the row bit, one flag for each
//! section but the first, and for each coordinate its digits in base 16. Proved is that the row bit and the
//! flags are bits, that each digit is below 16, and that without the row all is zero.
//!
//! The digits are laid out in rows of L, and one gadget checks a row at a time:
//!
//! > G(w, x, y) = Σ α_j·P(x_j) + (1 − w)·Σ γ_j·x_j + Σ δ_j·y_j·(y_j − w) + ε·w·(w − 1)
//!
//! where w is the row bit, x are digits, y are flags, and P(x) = x·(x−1)···(x−15). So a proof has a seed for
//! each wire and the coefficients of the gadget polynomial, and grows with the square root of the vector
//! where each coordinate proved by itself would double it. The coefficients α, γ, δ, ε are the **joint
//! randomness**: they follow from commitments to all shares of the input, so that they are not known before
//! the input is chosen. There are two independent sets of them, and two gadget polynomials: a home that
//! tries until the coefficients suit it succeeds with 2^-128 each time. Field64 with two sets is several
//! times cheaper, and half as long, as a field of 128 bits with one.

use dispers_query::shape::MAX_COORDINATES;
use std::ops::Range;

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::form::LinearForm;
use super::transform::Transform;
use super::{Circuit, CircuitError, Output, Shape};
use dispers_base::{
    field::{self, Dot, Expander},
    labels,
};

/// Bits of a digit.
pub(super) const DIGIT_BITS: u8 = 4;
/// Degree of the digit polynomial.
const DEGREE: usize = 1 << DIGIT_BITS;
/// Most sections of a vector.
pub(super) const MAX_SECTIONS: usize = 1024;
/// Most bits of a coordinate.
pub(super) const MAX_COORDINATE_BITS: u8 = 24;
/// Sets of joint randomness.
const SETS: usize = 2;

/// The public description of a vector's circuit. Outputs, in order: the number of rows; then for each section
/// its number of flags (none for the first, of which the rows are the count) and each of its coordinates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorShape {
    /// Bits of a coordinate, a multiple of 4.
    pub bits: u8,
    /// What is in each section.
    pub sections: Vec<Section>,
    /// Ranges of sections without coordinates that are released in runs, each half separately where both reach the
    /// cohort: none, or the scores of two classes. Two sections follow the ranges: one counts the homes in the lower
    /// half of the first range or the upper half of the second, the other counts all other homes.
    pub runs: Vec<Range<usize>>,
    /// Longest vector of an honest home, in levels as they are summed: what noise must cover.
    pub norm: u64,
}

/// The coordinates of a section, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Those that are summed in levels from the middle of their range, as what is on either side of zero: below
    /// zero, a sum is above half of the field.
    pub centred: usize,
    /// Those that are summed in levels from the lower end, as what is zero for most.
    pub counted: usize,
}

impl Section {
    /// Coordinates on either side of zero alone.
    pub fn centred(centred: usize) -> Self {
        Self {
            centred,
            counted: 0,
        }
    }

    /// Number of coordinates; `None` if there are more than any number.
    fn checked_len(&self) -> Option<usize> {
        self.centred.checked_add(self.counted)
    }

    /// Number of coordinates.
    pub fn len(&self) -> usize {
        self.centred + self.counted
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl VectorShape {
    /// The level in the middle, from which centred coordinates count.
    pub fn middle(&self) -> u64 {
        1 << (self.bits - 1)
    }

    /// Number of coordinates.
    pub fn len(&self) -> usize {
        self.sections.iter().map(Section::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What noise must cover of the counts, the rows and every flag.
    pub(super) fn count_norm(&self) -> u64 {
        let counts = self.sections.len() as u64;
        counts.isqrt() + u64::from(counts.isqrt().pow(2) < counts)
    }
}

/// One home's vector. A home without a row contributes all zeros.
pub struct VectorRow {
    /// For each section its levels, one per coordinate; `None` where its flag is not set.
    pub sections: Vec<Option<Vec<u64>>>,
}

/// Where the elements of a vector are, and how they are proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    shape: VectorShape,
    /// Digits of a coordinate.
    digits_each: usize,
    /// Number of digits, and of flags.
    digits: usize,
    flags: usize,
    /// Wires for digits, and for flags.
    digit_wires: usize,
    flag_wires: usize,
    /// The wires' points are roots of unity of order 2^log: the seed's, then one for each call.
    log: usize,
}

impl Layout {
    fn of(shape: &VectorShape) -> Self {
        let digits_each = usize::from(shape.bits / DIGIT_BITS);
        let digits = shape.len() * digits_each;
        let flags = shape.sections.len() - 1;
        let with = |log: usize| {
            let calls = (1 << log) - 1;
            Self {
                shape: shape.clone(),
                digits_each,
                digits,
                flags,
                digit_wires: digits.div_ceil(calls),
                flag_wires: flags.div_ceil(calls),
                log,
            }
        };
        // What a home uploads, and three times what aggregators exchange.
        let cost = |layout: &Self| layout.proof_len() + 3 * layout.message_len();
        let layouts = (1..=12).map(with);
        layouts
            .min_by_key(cost)
            .expect("the range of logarithms is not empty")
    }

    fn calls(&self) -> usize {
        (1 << self.log) - 1
    }

    fn wires(&self) -> usize {
        1 + self.digit_wires + self.flag_wires
    }

    /// Coefficients of a gadget polynomial.
    fn coefficients(&self) -> usize {
        DEGREE * self.calls() + 1
    }

    pub(super) fn proof_len(&self) -> usize {
        self.wires() + SETS * self.coefficients()
    }

    /// The check, the gadgets, then the wires at the query point.
    pub(super) fn message_len(&self) -> usize {
        1 + SETS + self.wires()
    }

    pub(super) fn sections(&self) -> &VectorShape {
        &self.shape
    }

    /// Elements of the input that a wire takes at each call, by wire after the row's; `None` is 0.
    fn element(&self, wire: usize, call: usize) -> Option<usize> {
        let (first, count, wire) = match wire.checked_sub(self.digit_wires) {
            None => (1 + self.flags, self.digits, wire),
            Some(wire) => (1, self.flags, wire),
        };
        let place = wire * self.calls() + call;
        (place < count).then_some(first + place)
    }
}

impl Circuit {
    /// The circuit of a vector.
    ///
    /// # Errors
    /// [`CircuitError::Vector`] for one without coordinates, or beyond the bounds.
    pub fn vector(shape: &VectorShape) -> Result<Self, CircuitError> {
        Self::vector_within(shape, MAX_COORDINATES)
    }

    /// The circuit of a vector of at most so many coordinates.
    pub(super) fn vector_within(shape: &VectorShape, most: usize) -> Result<Self, CircuitError> {
        let coordinates = shape.sections.iter().try_fold(0usize, |sum, section| {
            sum.checked_add(section.checked_len()?)
        });
        let coordinates = coordinates.filter(|sum| (1..=most).contains(sum));
        let fits = (1..=MAX_SECTIONS).contains(&shape.sections.len())
            && matches!(shape.runs.len(), 0 | 2)
            && shape
                .runs
                .last()
                .is_none_or(|run| run.end + 2 == shape.sections.len())
            && shape.runs.iter().all(|run| {
                let sections = shape.sections.get(run.clone());
                run.start > 0 && sections.is_some_and(|all| all.iter().all(Section::is_empty))
            })
            && shape.bits > 0
            && shape.bits <= MAX_COORDINATE_BITS
            && shape.bits.is_multiple_of(DIGIT_BITS);
        let Some(coordinates) = coordinates.filter(|_| fits) else {
            return Err(CircuitError::Vector);
        };
        let layout = Layout::of(shape);
        let each = layout.digits_each;
        let mut outputs = Vec::with_capacity(1 + layout.flags + coordinates);
        outputs.push(Output {
            form: LinearForm::element(0),
            guard: 0,
        });
        let mut digit = 1 + layout.flags;
        for (number, section) in shape.sections.iter().enumerate() {
            let mut guard = 0;
            if number > 0 {
                guard = outputs.len();
                outputs.push(Output {
                    form: LinearForm::element(number),
                    guard,
                });
            }
            for place in 0..section.len() {
                let weights = (0..each).map(|place| 1 << (place * usize::from(DIGIT_BITS)));
                let middle = (number, field::neg(shape.middle()));
                let middle = (place < section.centred).then_some(middle);
                outputs.push(Output {
                    form: LinearForm::weighted((digit..digit + each).zip(weights).chain(middle)),
                    guard,
                });
                digit += each;
            }
        }
        // A section without coordinates is one output, its count.
        let starts = |section: usize| {
            outputs
                .iter()
                .position(|o: &Output| o.form == LinearForm::element(section))
        };
        let runs = shape.runs.iter().filter_map(|run| {
            let start = starts(run.start)?;
            Some(start..start + run.len())
        });
        let runs = runs.collect();
        // Every element is a wire by itself: the rank is full.
        Ok(Self {
            shape: Shape::summing(0, []),
            elements: digit,
            variables: Vec::new(),
            constraints: Vec::new(),
            outputs,
            runs,
            vector: Some(layout),
        })
    }

    /// The elements of a vector's contribution; all zeros without a row. Levels that are too high are the
    /// highest.
    ///
    /// # Panics
    /// If this is no vector's circuit, or the row does not have its sections.
    pub fn encode_vector(&self, row: Option<&VectorRow>) -> Zeroizing<Vec<u64>> {
        let layout = self.vector.as_ref().expect("a vector's circuit");
        let mut elements = Zeroizing::new(vec![0; self.elements]);
        let Some(row) = row else {
            return elements;
        };
        assert_eq!(row.sections.len(), layout.shape.sections.len());
        elements[0] = 1;
        let most = (1u64 << layout.shape.bits) - 1;
        let mut place = 1 + layout.flags;
        for (number, (section, levels)) in
            layout.shape.sections.iter().zip(&row.sections).enumerate()
        {
            let end = place + section.len() * layout.digits_each;
            if let Some(levels) = levels {
                assert_eq!(levels.len(), section.len());
                if number > 0 {
                    elements[number] = 1;
                }
                let digits = elements[place..end].chunks_exact_mut(layout.digits_each);
                for (digits, level) in digits.zip(levels) {
                    let mut level = (*level).min(most);
                    for digit in digits {
                        *digit = level % DEGREE as u64;
                        level >>= DIGIT_BITS;
                    }
                }
            }
            place = end;
        }
        elements
    }

    /// A proof that `input` is a legal vector, under the joint randomness that `joint` expands to.
    ///
    /// # Panics
    /// If this is no vector's circuit, or `input` not of it.
    pub fn prove_vector(
        &self,
        input: &[u64],
        joint: &[u8; 32],
        rng: &mut impl CryptoRng,
    ) -> Zeroizing<Vec<u64>> {
        let layout = self.vector.as_ref().expect("a vector's circuit");
        assert_eq!(input.len(), self.elements, "an input of this circuit");
        let sets = Joint::expand(layout, joint);
        let small = 1 << layout.log;
        let large = DEGREE * small;
        let (inward, outward) = (Transform::new(layout.log), Transform::new(layout.log + 4));
        let mut proof = Zeroizing::new(Vec::with_capacity(layout.proof_len()));
        // The coefficients of a wire's polynomial.
        let mut wire = |values: &mut dyn FnMut(usize) -> u64, proof: &mut Vec<u64>| {
            let mut wire = Zeroizing::new(vec![0; small]);
            let seed = field::random(rng);
            proof.push(seed);
            wire[0] = seed;
            for call in 0..layout.calls() {
                wire[1 + call] = values(call);
            }
            inward.inverse(&mut wire);
            wire
        };
        let mut row = Zeroizing::new(vec![0; large]);
        outward.extend(&wire(&mut |_| input[0], &mut proof), &mut row);
        let mut values = Zeroizing::new(vec![0; large]);
        let mut sums = Zeroizing::new(vec![[Dot::default(); SETS]; large]);
        let mut masked = vec![Zeroizing::new(vec![0; small]); SETS];
        for number in 0..layout.digit_wires + layout.flag_wires {
            let value = &mut |call| layout.element(number, call).map_or(0, |at| input[at]);
            let coefficients = wire(value, &mut proof);
            outward.extend(&coefficients, &mut values);
            let weights = if let Some(flag) = number.checked_sub(layout.digit_wires) {
                for (y, w) in values.iter_mut().zip(row.iter()) {
                    *y = field::mul(*y, field::sub(*y, *w));
                }
                sets.each_ref().map(|set| set.flags[flag])
            } else {
                for x in values.iter_mut() {
                    *x = digit(*x);
                }
                for (set, masked) in sets.iter().zip(&mut masked) {
                    for (sum, coefficient) in masked.iter_mut().zip(coefficients.iter()) {
                        let term = field::mul(set.masks[number], *coefficient);
                        *sum = field::add(*sum, term);
                    }
                }
                sets.each_ref().map(|set| set.digits[number])
            };
            for (sums, value) in sums.iter_mut().zip(values.iter()) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    sum.add(*value, weight);
                }
            }
        }
        for (number, (set, masked)) in sets.iter().zip(&masked).enumerate() {
            outward.extend(masked, &mut values);
            for ((value, w), sums) in values.iter_mut().zip(row.iter()).zip(sums.iter()) {
                let rest = field::sub(*value, field::mul(set.row, *w));
                let rest = field::mul(field::sub(1, *w), rest);
                *value = field::add(sums[number].total(), rest);
            }
            outward.inverse(&mut values);
            proof.extend_from_slice(&values[..layout.coefficients()]);
        }
        proof
    }
}

/// x·(x−1)···(x−15), which is zero for digits alone.
fn digit(x: u64) -> u64 {
    // With u = x·(x − 15), the factors i and 15 − i are u + i·(15 − i).
    let u = field::mul(x, field::sub(x, 15));
    let at = |c| field::add(u, c);
    let low = field::mul(field::mul(u, at(14)), field::mul(at(26), at(36)));
    let high = field::mul(field::mul(at(44), at(50)), field::mul(at(54), at(56)));
    field::mul(low, high)
}

/// One set of joint randomness.
struct Joint {
    digits: Vec<u64>,
    masks: Vec<u64>,
    flags: Vec<u64>,
    row: u64,
}

impl Joint {
    fn expand(layout: &Layout, seed: &[u8; 32]) -> [Self; SETS] {
        let mut random = Expander::new(labels::EXPAND_JOINT, seed);
        let set = |_: usize| Self {
            digits: random.elements(layout.digit_wires),
            masks: random.elements(layout.digit_wires),
            flags: random.elements(layout.flag_wires),
            row: random.element(),
        };
        std::array::from_fn(set)
    }

    /// The gadget for wires, that of the row first.
    fn gadget(&self, layout: &Layout, wires: &[u64]) -> u64 {
        let (w, rest) = (wires[0], &wires[1..]);
        let (digits, flags) = rest.split_at(layout.digit_wires);
        let (mut sum, mut masked) = (Dot::default(), Dot::default());
        for ((x, alpha), gamma) in digits.iter().zip(&self.digits).zip(&self.masks) {
            sum.add(digit(*x), *alpha);
            masked.add(*x, *gamma);
        }
        for (y, delta) in flags.iter().zip(&self.flags) {
            sum.add(field::mul(*y, field::sub(*y, w)), *delta);
        }
        let rest = field::sub(masked.total(), field::mul(self.row, w));
        field::add(sum.total(), field::mul(field::sub(1, w), rest))
    }
}

impl Layout {
    /// Whether the message at 0 says that the proof is right.
    pub(super) fn accepts(&self, message: &[u64], joint: &[u8; 32]) -> bool {
        let [check, rest @ ..] = message else {
            return false;
        };
        let (gadgets, wires) = rest.split_at(SETS);
        let sets = Joint::expand(self, joint);
        *check == 0
            && sets
                .iter()
                .zip(gadgets)
                .all(|(set, gadget)| set.gadget(self, wires) == *gadget)
    }
}

/// The linear map from a share of a vector to its message, under one batch's randomness.
pub(super) struct VectorVerifier {
    layout: Layout,
    /// Coefficients of a wire's seed and of its value at each call.
    wire: Vec<u64>,
    /// Powers of the query point.
    powers: Vec<u64>,
    /// For each set, what a coefficient is worth in the check, by its place modulo the wires' domain.
    checks: Vec<Vec<u64>>,
}

impl VectorVerifier {
    pub(super) fn compile(layout: &Layout, random: &mut Expander) -> Self {
        let small = 1u64 << layout.log;
        let point = loop {
            // At a root of unity a message would be a wire's value in the clear.
            let candidate = random.element();
            if field::power(candidate, small) != 1 {
                break candidate;
            }
        };
        let root = super::verifier::root(layout.log);
        let check = |_| {
            // Σ β_c·G(ω^c) over the calls c, which stand at 1, 2, …
            let weights = random.elements(layout.calls());
            let at = |place: u64| {
                let step = field::power(root, place);
                let mut power = step;
                let mut sum = Dot::default();
                for weight in &weights {
                    sum.add(*weight, power);
                    power = field::mul(power, step);
                }
                sum.total()
            };
            (0..small).map(at).collect()
        };
        Self {
            checks: (0..SETS).map(check).collect(),
            wire: super::verifier::lagrange(1 << layout.log, point),
            powers: std::iter::successors(Some(1), |power| Some(field::mul(*power, point)))
                .take(layout.coefficients())
                .collect(),
            layout: layout.clone(),
        }
    }

    /// Writes the message of a share: input, then proof.
    pub(super) fn message(&self, share: &[u64], message: &mut [u64]) {
        let layout = &self.layout;
        let proof = &share[share.len() - layout.proof_len()..];
        let (seeds, gadgets) = proof.split_at(layout.wires());
        let mut check = Dot::default();
        let mut coefficients = gadgets.chunks_exact(layout.coefficients());
        for (set, weights) in self.checks.iter().enumerate() {
            let mut gadget = Dot::default();
            let of = coefficients.next().unwrap_or_default();
            for (place, (coefficient, power)) in of.iter().zip(&self.powers).enumerate() {
                gadget.add(*coefficient, *power);
                check.add(*coefficient, weights[place % weights.len()]);
            }
            message[1 + set] = gadget.total();
        }
        message[0] = check.total();
        let wires = &mut message[1 + SETS..];
        let mut row = Dot::default();
        row.add(seeds[0], self.wire[0]);
        for weight in &self.wire[1..] {
            row.add(share[0], *weight);
        }
        wires[0] = row.total();
        let (calls, flags) = (layout.calls(), layout.flags);
        let digits = share[1 + flags..1 + flags + layout.digits].chunks(calls);
        let flags = share[1..1 + flags].chunks(calls);
        for ((values, seed), wire) in digits.chain(flags).zip(&seeds[1..]).zip(&mut wires[1..]) {
            let mut sum = Dot::default();
            sum.add(*seed, self.wire[0]);
            for (value, weight) in values.iter().zip(&self.wire[1..]) {
                sum.add(*value, *weight);
            }
            *wire = sum.total();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::Verifier;
    use super::*;

    fn circuit(bits: u8, sections: &[usize]) -> Circuit {
        Circuit::vector(&VectorShape {
            bits,
            sections: sections.iter().map(|n| Section::centred(*n)).collect(),
            runs: Vec::new(),
            norm: 1,
        })
        .unwrap()
    }

    /// Whether a proof made from `input` itself, whatever it is, passes.
    fn proves(circuit: &Circuit, input: &[u64]) -> bool {
        let proof = circuit.prove_vector(input, &[3; 32], &mut StdRng::seed_from_u64(7));
        passes(circuit, input, &proof, &[3; 32])
    }

    fn passes(circuit: &Circuit, input: &[u64], proof: &[u64], joint: &[u8; 32]) -> bool {
        let verifier = Verifier::compile(circuit, &[9; 32]);
        let mut message = vec![0; circuit.message_len()];
        verifier.write_message(&[input, proof].concat(), &mut message);
        circuit.accepts(&message, joint)
    }

    fn row(circuit: &Circuit, rng: &mut impl CryptoRng) -> VectorRow {
        let shape = circuit.vector.as_ref().unwrap().sections();
        let section = |(number, section): (usize, &Section)| {
            let present = number == 0 || rng.next_u32().is_multiple_of(2);
            let level = |_| u64::from(rng.next_u32()) % (1 << shape.bits);
            present.then(|| (0..section.len()).map(level).collect())
        };
        VectorRow {
            sections: shape.sections.iter().enumerate().map(section).collect(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_vector_is_proved_and_summed(
            digits in 1u8..=6,
            sections in prop::collection::vec((1usize..40, 0usize..10), 1..5),
            seed: u64,
        ) {
            let section = |(centred, counted): &(usize, usize)| {
                let (centred, counted) = (*centred, *counted);
                Section { centred, counted }
            };
            let circuit = Circuit::vector(&VectorShape {
                bits: 4 * digits,
                sections: sections.iter().map(section).collect(),
            runs: Vec::new(),
                norm: 1,
            })
            .unwrap();
            let mut rng = StdRng::seed_from_u64(seed);
            let row = row(&circuit, &mut rng);
            let input = circuit.encode_vector(Some(&row));
            prop_assert!(proves(&circuit, &input));
            prop_assert!(proves(&circuit, &circuit.encode_vector(None)));
            let mut outputs = vec![0; circuit.outputs().len()];
            circuit.add_outputs(&input, &mut outputs);
            let mut expected = vec![1];
            for (number, (section, (centred, counted))) in
                row.sections.iter().zip(&sections).enumerate()
            {
                if number > 0 {
                    expected.push(u64::from(section.is_some()));
                }
                let middle = |place| if place < *centred { 1 << (4 * digits - 1) } else { 0 };
                let level = |(place, level): (usize, &u64)| field::sub(*level, middle(place));
                expected.extend(match section {
                    Some(levels) => levels.iter().enumerate().map(level).collect(),
                    None => vec![0; centred + counted],
                });
            }
            prop_assert_eq!(outputs, expected);
            prop_assert_eq!(circuit.outputs()[0].guard, 0);
        }
    }

    #[test]
    fn every_single_change_of_a_vector_is_rejected() {
        let circuit = circuit(8, &[3, 2, 1]);
        let mut rng = StdRng::seed_from_u64(1);
        let row = VectorRow {
            sections: vec![Some(vec![255, 0, 17]), None, Some(vec![200])],
        };
        let input = circuit.encode_vector(Some(&row));
        assert!(proves(&circuit, &input));
        for element in 0..circuit.input_len() {
            for forged in [16, field::neg(1), field::random(&mut rng)] {
                let mut input = input.to_vec();
                input[element] = forged;
                assert!(!proves(&circuit, &input), "element {element} as {forged}");
            }
        }
        let proof = circuit.prove_vector(&input, &[3; 32], &mut rng);
        assert!(passes(&circuit, &input, &proof, &[3; 32]));
        assert!(!passes(&circuit, &input, &proof, &[4; 32]));
        for element in 0..proof.len() {
            let mut proof = proof.to_vec();
            proof[element] = field::add(proof[element], 1);
            assert!(!passes(&circuit, &input, &proof, &[3; 32]), "{element}");
        }
    }

    #[test]
    fn without_a_row_nothing_can_be_set() {
        let circuit = circuit(4, &[2, 2]);
        assert!(proves(&circuit, &[0; 6]));
        assert!(proves(&circuit, &[1, 1, 15, 0, 1, 7]));
        for place in 1..6 {
            let mut input = vec![0; 6];
            input[place] = 1;
            assert!(!proves(&circuit, &input), "{place}");
        }
    }

    #[test]
    fn the_proof_grows_with_the_square_root() {
        let of = |coordinates| circuit(8, &[coordinates]);
        for coordinates in [50, 1000, 10_000] {
            let circuit = of(coordinates);
            let root = (circuit.input_len() as f64).sqrt();
            assert!((circuit.proof_len() as f64) < 25.0 * root, "{coordinates}");
        }
        assert!(of(10_000).proof_len() * 4 < of(10_000).input_len());
    }

    #[test]
    fn vectors_out_of_bounds_are_refused() {
        for (bits, sections) in [
            (8, vec![]),
            (8, vec![0]),
            (7, vec![1]),
            (0, vec![1]),
            (28, vec![1]),
            (8, vec![MAX_COORDINATES + 1]),
            (8, vec![usize::MAX, 2]),
            (8, vec![1; MAX_SECTIONS + 1]),
        ] {
            let shape = VectorShape {
                bits,
                sections: sections.into_iter().map(Section::centred).collect(),
                runs: Vec::new(),
                norm: 1,
            };
            assert_eq!(Circuit::vector(&shape), Err(CircuitError::Vector));
        }
    }
}
