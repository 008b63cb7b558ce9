//! Verification of shares, as a linear map that is compiled once per batch (protocol.md §8).
//!
//! The randomness of a batch is common to its contributions, so the whole query of the proof
//! system collapses into four inner products with the share. Messages of Shamir shares are
//! interpolated at 0, where the constants must appear in full: each aggregator adds them in full.

use prio::field::{Field64, NttFriendlyFieldElement};

use super::Circuit;
use super::form::Affine;
use super::vector::VectorVerifier;
use dispers_base::{
    field::{self, Dot, Expander},
    labels,
};

/// A verifier message, or a share of it: the compressed outputs of the constraints, the left
/// wire, the right wire and the gadget at the query point.
pub type Message = [u64; 4];

/// Whether the message at 0 says that the proof is right: all constraints hold, and the gadget
/// polynomial is the product of the wires'.
pub fn accepts(message: &Message) -> bool {
    let [check, left, right, gadget] = *message;
    check == 0 && field::mul(left, right) == gadget
}

/// The linear map from a share to its message, under one batch's randomness.
pub struct Verifier(Map);

enum Map {
    Products(Products),
    Vector(VectorVerifier),
}

/// The map of a circuit of products.
struct Products {
    /// For each element of the input, its coefficients in the check and the two wires.
    input: Vec<[u64; 3]>,
    /// Coefficients of the two wires' seeds.
    seed: u64,
    /// For each value of the gadget polynomial, its coefficient in the polynomial at the point.
    gadget: Vec<u64>,
    /// For each constraint, the coefficient of its output in the check.
    check: Vec<u64>,
    /// Constants of the two wires.
    constants: [u64; 2],
}

impl Verifier {
    /// Compiles the map of `circuit` under the randomness that `seed` expands to.
    ///
    /// # Security
    /// The seed must be unknown until the shares are frozen, and a sharing must meet no second
    /// one.
    pub fn compile(circuit: &Circuit, seed: &[u8; 32]) -> Self {
        let mut random = Expander::new(labels::EXPAND_RANDOMNESS, seed);
        if let Some(layout) = &circuit.vector {
            return Self(Map::Vector(VectorVerifier::compile(layout, &mut random)));
        }
        let check = match circuit.constraints.len() {
            // The output of a single constraint is not compressed.
            1 => vec![1],
            several => random.elements(several),
        };
        let domain = 2 * circuit.wire_domain() as u64;
        let point = loop {
            // At a root of unity a message would be a wire's value in the clear.
            let candidate = random.element();
            if field::power(candidate, domain) != 1 {
                break candidate;
            }
        };
        Self(Map::Products(Products::at(circuit, check, point)))
    }

    /// Writes the message of a share, input, then proof: the circuit's
    /// [`message_len`](Circuit::message_len) elements.
    ///
    /// # Panics
    /// If the share or the message is not as long as the circuit says.
    pub fn write_message(&self, share: &[u64], message: &mut [u64]) {
        match &self.0 {
            Map::Products(map) => message.copy_from_slice(&map.message(share)),
            Map::Vector(map) => map.message(share, message),
        }
    }

    /// The message of a share of a circuit of products.
    ///
    /// # Panics
    /// If the share is not of such a circuit.
    pub fn message(&self, share: &[u64]) -> Message {
        let mut message = Message::default();
        self.write_message(share, &mut message);
        message
    }
}

impl Products {
    fn at(circuit: &Circuit, check: Vec<u64>, point: u64) -> Self {
        let wire_domain = circuit.wire_domain();
        let wire = lagrange(wire_domain, point);
        let mut map = Self {
            input: vec![[0; 3]; circuit.elements],
            seed: wire[0],
            gadget: gadget_coefficients(2 * wire_domain, point),
            check,
            constants: [0; 2],
        };
        // The seed is a wire's value at the first point, then follow those of the constraints.
        for (index, constraint) in circuit.constraints.iter().enumerate() {
            let at = wire[index + 1];
            map.add_wire(0, &constraint.left, at);
            map.add_wire(1, &constraint.right, at);
            if let Some(product) = constraint.product {
                let coefficient = &mut map.input[product][0];
                *coefficient = field::sub(*coefficient, map.check[index]);
            }
        }
        map
    }

    fn add_wire(&mut self, wire: usize, form: &Affine, at: u64) {
        for &(element, coefficient) in form.linear.terms() {
            let sum = &mut self.input[element][1 + wire];
            *sum = field::add(*sum, field::mul(coefficient, at));
        }
        let constant = &mut self.constants[wire];
        *constant = field::add(*constant, field::mul(form.constant, at));
    }

    /// The message of a share: input, then proof.
    fn message(&self, share: &[u64]) -> Message {
        assert_eq!(
            share.len(),
            self.input.len() + 2 + self.gadget.len(),
            "a share of this circuit"
        );
        let (input, proof) = share.split_at(self.input.len());
        let (seeds, values) = proof.split_at(2);
        let [mut check, mut left, mut right, mut gadget] = [Dot::default(); 4];
        for (&element, coefficients) in input.iter().zip(&self.input) {
            check.add(element, coefficients[0]);
            left.add(element, coefficients[1]);
            right.add(element, coefficients[2]);
        }
        left.add(seeds[0], self.seed);
        right.add(seeds[1], self.seed);
        for (&value, &coefficient) in values.iter().zip(&self.gadget) {
            gadget.add(value, coefficient);
        }
        // The wires' points are every second of the gadget's; the first is that of the seeds.
        for (&value, &coefficient) in values[2..].iter().step_by(2).zip(&self.check) {
            check.add(value, coefficient);
        }
        [
            check.total(),
            field::add(left.total(), self.constants[0]),
            field::add(right.total(), self.constants[1]),
            gadget.total(),
        ]
    }
}

/// Coefficients that give a polynomial's value at `point` from its values at the roots of unity
/// of order `size`, of which the point is none: (point^size − 1)/size · ω^i/(point − ω^i).
pub(super) fn lagrange(size: usize, point: u64) -> Vec<u64> {
    let scale = field::mul(
        field::sub(field::power(point, size as u64), 1),
        field::inverse(size as u64),
    );
    let coefficient = |root| {
        let rest = field::mul(root, field::inverse(field::sub(point, root)));
        field::mul(scale, rest)
    };
    roots(size).map(coefficient).collect()
}

/// The same for the gadget polynomial, whose last value is not in the proof: the degree is below
/// `size − 1`, so Σ ω^i · value_i = 0, and value_(size−1) = −Σ ω^(i+1) · value_i over the others.
fn gadget_coefficients(size: usize, point: u64) -> Vec<u64> {
    let mut coefficients = lagrange(size, point);
    let last = coefficients
        .pop()
        .expect("a domain has at least two points");
    for (coefficient, root) in coefficients.iter_mut().zip(roots(size).skip(1)) {
        *coefficient = field::sub(*coefficient, field::mul(last, root));
    }
    coefficients
}

/// The roots of unity of order `size`, a power of two: 1, ω, ω², …
fn roots(size: usize) -> impl Iterator<Item = u64> {
    let root = root(size.ilog2() as usize);
    std::iter::successors(Some(1), move |&power| Some(field::mul(power, root))).take(size)
}

/// The root of unity of order 2^log.
pub(super) fn root(log: usize) -> u64 {
    Field64::root(log)
        .expect("a circuit's domain is far below 2^20")
        .into()
}

#[cfg(test)]
mod tests {
    use prio::flp::Flp;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::{Moment, Row, Shape, Variable};
    use super::*;

    fn circuit(groups: u16, maxima: &[u64]) -> Circuit {
        let variable = |&max: &u64| {
            let variable = Variable {
                max,
                nullable: max % 2 == 0,
                one_hot: max % 5 == 4 && max < 100,
            };
            (variable, max % 3 == 0)
        };
        let mut shape = Shape::summing(groups, maxima.iter().map(variable));
        for (number, variable) in (0u16..).zip(&shape.variables) {
            if variable.one_hot {
                shape.moments.push(Moment::Levels {
                    variable: number,
                    merged: false,
                });
            }
        }
        Circuit::compile(&shape).unwrap()
    }

    fn field64(elements: &[u64]) -> Vec<Field64> {
        elements.iter().map(|&element| element.into()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_compiled_map_is_the_query_of_the_proof_system(
            groups in 0u16..5,
            maxima in prop::collection::vec(0u64..5000, 0..4),
            seed: u64,
        ) {
            let circuit = circuit(groups, &maxima);
            let mut rng = StdRng::seed_from_u64(seed);
            let mut random = |count| -> Vec<u64> {
                (0..count).map(|_| field::random(&mut rng)).collect()
            };
            let share = random(circuit.share_len());
            let check = match circuit.constraints.len() {
                1 => vec![1],
                several => random(several),
            };
            let point = random(1)[0];

            let compressed = if check.len() > 1 { &check[..] } else { &[] };
            let randomness = field64(&[compressed, &[point]].concat());
            let (input, proof) = share.split_at(circuit.input_len());
            let queried = circuit
                .query(&field64(input), &field64(proof), &randomness, &[], 1)
                .unwrap();
            let message = Products::at(&circuit, check, point).message(&share);
            prop_assert_eq!(field64(&message), queried);
        }

        #[test]
        fn messages_are_accepted_as_the_proof_system_decides(
            left in 0..field::MODULUS,
            right in 0..field::MODULUS,
            off in 0u64..2,
            check in 0u64..2,
        ) {
            let message = [check, left, right, field::add(field::mul(left, right), off)];
            let decided = circuit(1, &[]).decide(&field64(&message)).unwrap();
            prop_assert_eq!(accepts(&message), decided);
            prop_assert_eq!(decided, check == 0 && off == 0);
        }
    }

    /// Whether a proof made from `input` itself, whatever it is, passes.
    fn proves(circuit: &Circuit, input: &[u64]) -> bool {
        let proof = circuit.prove(input, &mut StdRng::seed_from_u64(7));
        let verifier = Verifier::compile(circuit, &[9; 32]);
        accepts(&verifier.message(&[input, &proof[..]].concat()))
    }

    #[test]
    fn every_single_change_of_a_contribution_is_rejected() {
        let circuit = circuit(3, &[6, 9]);
        let row = Row {
            group: 1,
            levels: vec![Some(6), Some(4)],
        };
        let input = circuit.encode(Some(&row)).unwrap();
        assert!(proves(&circuit, &input));
        for element in 0..circuit.input_len() {
            for forged in [2, field::neg(1), field::add(input[element], 1)] {
                let mut input = input.to_vec();
                input[element] = forged;
                assert!(!proves(&circuit, &input), "element {element} as {forged}");
            }
        }
        let proof = circuit.prove(&input, &mut StdRng::seed_from_u64(7));
        let verifier = Verifier::compile(&circuit, &[9; 32]);
        for element in 0..circuit.proof_len() {
            let mut share = [&input[..], &proof[..]].concat();
            let forged = &mut share[circuit.input_len() + element];
            *forged = field::add(*forged, 1);
            assert!(
                !accepts(&verifier.message(&share)),
                "proof element {element}"
            );
        }
    }

    #[test]
    fn two_groups_a_forged_presence_or_bits_without_a_row_are_rejected() {
        let circuit = circuit(2, &[6]);
        let proves_with = |set: &[usize]| {
            let mut input = vec![0; circuit.input_len()];
            set.iter().for_each(|&element| input[element] = 1);
            circuit.commit_products(&mut input);
            proves(&circuit, &input)
        };
        let presence = circuit.variables[0].presence.unwrap();
        let bit = circuit.variables[0].bits.start;
        assert!(proves_with(&[]));
        assert!(proves_with(&[1]));
        assert!(proves_with(&[0, presence, bit]));
        assert!(!proves_with(&[0, 1]));
        assert!(!proves_with(&[presence]));
        assert!(!proves_with(&[bit]));
        assert!(!proves_with(&[0, bit]));
        assert!(!proves_with(&[presence, bit]));
    }

    #[test]
    fn the_proof_of_another_contribution_is_rejected() {
        let circuit = circuit(2, &[]);
        let of = |group| {
            let levels = vec![];
            circuit.encode(Some(&Row { group, levels })).unwrap()
        };
        let proof = circuit.prove(&of(0), &mut StdRng::seed_from_u64(1));
        let verifier = Verifier::compile(&circuit, &[1; 32]);
        let accepted = |input: &[u64]| accepts(&verifier.message(&[input, &proof[..]].concat()));
        assert!(accepted(&of(0)));
        assert!(!accepted(&of(1)));
    }

    #[test]
    fn the_largest_circuit_is_proved_and_accepted() {
        let circuit = circuit(510, &[]);
        let levels = vec![];
        let row = Row { group: 509, levels };
        assert!(proves(&circuit, &circuit.encode(Some(&row)).unwrap()));
        assert!(proves(&circuit, &circuit.encode(None).unwrap()));
    }
}
