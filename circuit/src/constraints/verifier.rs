//! Verifier of constraints: a linear map of shares, compiled once per batch (protocol.md §8).
//!
//! All contributions of a batch have one randomness, so that the query of the proof system is four inner products with
//! the share. Messages of Shamir shares are interpolated at 0. The constants must appear there in full, so each
//! aggregator adds them in full.

use super::Constraints;
use crate::domain::{lagrange, query_point, randomness, roots};
use crate::form::Affine;
use dispers_base::field::{self, Dot};

/// Verifier message of constraints, or a share of it: the compressed outputs of the constraints, then the left wire,
/// the right wire and the gadget polynomial at the query point.
pub type Message = [u64; 4];

/// Returns whether the message at 0 shows that the proof is right: all constraints hold, and the gadget polynomial is
/// the product of the wires'.
pub fn accepts(message: &Message) -> bool {
    let [check, left, right, gadget] = *message;
    check == 0 && field::mul(left, right) == gadget
}

/// Linear map from a share of an input and its proof to the share's message, under one batch's randomness.
pub struct ConstraintsVerifier {
    /// Coefficients of each element of the input in the check and the two wires.
    input: Vec<[u64; 3]>,
    /// Coefficient of each wire's seed.
    seed: u64,
    /// Coefficients that give the gadget polynomial at the query point from its values.
    gadget: Vec<u64>,
    /// Coefficient of each constraint's output in the check.
    check: Vec<u64>,
    /// Constants of the two wires.
    constants: [u64; 2],
}

impl Constraints {
    /// Compiles the verifier under the randomness that `seed` expands to.
    ///
    /// # Security
    /// The seed must be unknown until the shares are frozen, and must not be used for two sharings of one contribution.
    pub fn verifier(&self, seed: &[u8; 32]) -> ConstraintsVerifier {
        let mut random = randomness(seed);
        let check = match self.list.len() {
            // The proof system does not compress the output of a single constraint.
            1 => vec![1],
            several => random.elements(several),
        };
        let point = query_point(&mut random, 2 * self.wire_domain() as u64);
        ConstraintsVerifier::at(self, check, point)
    }

    /// Returns whether the message at 0 shows that the proof is right.
    pub(crate) fn accepts(&self, message: &[u64]) -> bool {
        <&Message>::try_from(message).is_ok_and(accepts)
    }
}

impl ConstraintsVerifier {
    /// Compiles the map under these weights of the constraints and at this query point.
    fn at(constraints: &Constraints, check: Vec<u64>, point: u64) -> Self {
        let wire_domain = constraints.wire_domain();
        let wire = lagrange(wire_domain, point);
        let mut map = Self {
            input: vec![[0; 3]; constraints.elements],
            seed: wire[0],
            gadget: gadget_coefficients(2 * wire_domain, point),
            check,
            constants: [0; 2],
        };
        // A wire's value at the first point is its seed. The values of the constraints follow.
        for (index, constraint) in constraints.list.iter().enumerate() {
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

    /// Adds the part of a constraint's form to a wire; `at` is the coefficient of the constraint's point.
    fn add_wire(&mut self, wire: usize, form: &Affine, at: u64) {
        for &(element, coefficient) in form.linear.terms() {
            let sum = &mut self.input[element][1 + wire];
            *sum = field::add(*sum, field::mul(coefficient, at));
        }
        let constant = &mut self.constants[wire];
        *constant = field::add(*constant, field::mul(form.constant, at));
    }

    /// Returns the message of a share of an input and its proof.
    ///
    /// # Panics
    /// If the share is not as long as the constraints say.
    pub fn message(&self, share: &[u64]) -> Message {
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
        // The wires' points are every second point of the gadget polynomial. The first is the seeds', which no
        // constraint uses.
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

/// Returns coefficients that give the gadget polynomial at `point` from its values at the roots of unity of order
/// `size`.
///
/// The last value is not in the proof. The degree is below `size − 1`, so that Σ ω^i · value_i = 0, and the last value
/// is −Σ ω^(i+1) · value_i over the others.
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

#[cfg(test)]
mod tests {
    use prio::flp::Flp;
    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::{Moment, Row, Rows, Shape, Variable};
    use prio::field::Field64;

    fn rows(groups: u16, maxima: &[u64]) -> Rows {
        let variables = maxima.iter().map(|max| {
            let variable = Variable {
                max: *max,
                nullable: max % 2 == 0,
                one_hot: max % 5 == 4 && *max < 100,
            };
            (variable, max % 3 == 0)
        });
        let mut shape = Shape::summing(groups, variables);
        for (number, variable) in (0u16..).zip(&shape.variables) {
            if variable.one_hot {
                shape.moments.push(Moment::Levels {
                    variable: number,
                    merged: false,
                });
            }
        }
        Rows::compile(&shape).unwrap()
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
            let rows = rows(groups, &maxima);
            let constraints = rows.constraints();
            let mut random = randomness(&StdRng::seed_from_u64(seed).random());
            let share = random.elements(constraints.elements() + constraints.proof_size());
            let check = match constraints.count() {
                1 => vec![1],
                several => random.elements(several),
            };
            let point = random.element();

            let compressed = if check.len() > 1 { &check[..] } else { &[] };
            let randomness = field64(&[compressed, &[point]].concat());
            let (input, proof) = share.split_at(constraints.elements());
            let queried = constraints
                .query(&field64(input), &field64(proof), &randomness, &[], 1)
                .unwrap();
            let message = ConstraintsVerifier::at(constraints, check, point).message(&share);
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
            let decided = rows(1, &[]).constraints().decide(&field64(&message)).unwrap();
            prop_assert_eq!(accepts(&message), decided);
            prop_assert_eq!(decided, check == 0 && off == 0);
        }
    }

    /// Returns whether an input, legal or not, passes with a proof that was made from this input.
    fn proves(rows: &Rows, input: &[u64]) -> bool {
        let constraints = rows.constraints();
        let proof = constraints.prove(input, &mut StdRng::seed_from_u64(7));
        let verifier = constraints.verifier(&[9; 32]);
        accepts(&verifier.message(&[input, &proof[..]].concat()))
    }

    #[test]
    fn every_single_change_of_a_contribution_is_rejected() {
        let rows = rows(3, &[6, 9]);
        let row = Row {
            group: 1,
            levels: vec![Some(6), Some(4)],
        };
        let input = rows.encode(Some(&row)).unwrap();
        assert!(proves(&rows, &input));
        for element in 0..rows.constraints().elements() {
            for forged in [2, field::neg(1), field::add(input[element], 1)] {
                let mut input = input.to_vec();
                input[element] = forged;
                assert!(!proves(&rows, &input), "element {element} as {forged}");
            }
        }
        let proof = rows
            .constraints()
            .prove(&input, &mut StdRng::seed_from_u64(7));
        let verifier = rows.constraints().verifier(&[9; 32]);
        for element in 0..rows.constraints().proof_size() {
            let mut share = [&input[..], &proof[..]].concat();
            let forged = &mut share[rows.constraints().elements() + element];
            *forged = field::add(*forged, 1);
            assert!(
                !accepts(&verifier.message(&share)),
                "proof element {element}"
            );
        }
    }

    /// Returns whether the input passes in which these elements are 1 and all products are right.
    fn proves_with(rows: &Rows, set: &[usize]) -> bool {
        let mut input = vec![0; rows.constraints().elements()];
        set.iter().for_each(|&element| input[element] = 1);
        rows.constraints().commit_products(&mut input);
        proves(rows, &input)
    }

    #[test]
    fn two_groups_a_forged_presence_or_bits_without_a_row_are_rejected() {
        let rows = rows(2, &[6]);
        let presence = rows.variables()[0].presence.unwrap();
        let bit = rows.variables()[0].bits.start;
        assert!(proves_with(&rows, &[]));
        assert!(proves_with(&rows, &[1]));
        assert!(proves_with(&rows, &[0, presence, bit]));
        assert!(!proves_with(&rows, &[0, 1]));
        assert!(!proves_with(&rows, &[presence]));
        assert!(!proves_with(&rows, &[bit]));
        assert!(!proves_with(&rows, &[0, bit]));
        assert!(!proves_with(&rows, &[presence, bit]));
    }

    #[test]
    fn the_proof_of_another_contribution_is_rejected() {
        let rows = rows(2, &[]);
        let inputs = [0, 1].map(|group| {
            let levels = vec![];
            rows.encode(Some(&Row { group, levels })).unwrap()
        });
        let constraints = rows.constraints();
        let proof = constraints.prove(&inputs[0], &mut StdRng::seed_from_u64(1));
        let verifier = constraints.verifier(&[1; 32]);
        let accepted =
            inputs.map(|input| accepts(&verifier.message(&[&input[..], &proof[..]].concat())));
        assert_eq!(accepted, [true, false]);
    }

    #[test]
    fn the_largest_circuit_is_proved_and_accepted() {
        let rows = rows(510, &[]);
        let levels = vec![];
        let row = Row { group: 509, levels };
        assert!(proves(&rows, &rows.encode(Some(&row)).unwrap()));
        assert!(proves(&rows, &rows.encode(None).unwrap()));
    }
}
