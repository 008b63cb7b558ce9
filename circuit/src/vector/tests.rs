//! Tests of vectors and of the proof of digits.

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{CryptoRng, SeedableRng};

use super::shape::MAX_SECTIONS;
use super::*;
use crate::MAX_COORDINATES;

fn circuit(bits: u8, sections: &[usize]) -> Vector {
    Vector::compile(&VectorShape {
        bits,
        sections: sections.iter().map(|n| Section::centred(*n)).collect(),
        runs: Vec::new(),
        norm: 1,
    })
    .unwrap()
}

/// Returns whether an input, legal or not, passes with a proof that was made from this input.
fn proves(circuit: &Vector, input: &[u64]) -> bool {
    let mut rng = StdRng::seed_from_u64(7);
    let proof = circuit.digits.prove(input, &[3; 32], &mut rng);
    passes(circuit, input, &proof, &[3; 32])
}

fn passes(circuit: &Vector, input: &[u64], proof: &[u64], joint: &[u8; 32]) -> bool {
    let verifier = circuit.digits.verifier(&[9; 32]);
    let mut message = vec![0; circuit.digits.message_len()];
    verifier.write_message(&[input, proof].concat(), &mut message);
    circuit.digits.accepts(&message, joint)
}

/// Draws levels for the first section, and for about half of the others.
fn row(shape: &VectorShape, rng: &mut impl CryptoRng) -> VectorRow {
    let sections = shape.sections.iter().enumerate().map(|(number, section)| {
        let present = number == 0 || rng.next_u32().is_multiple_of(2);
        present.then(|| {
            (0..section.len())
                .map(|_| u64::from(rng.next_u32()) % (1 << shape.bits))
                .collect()
        })
    });
    VectorRow {
        sections: sections.collect(),
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
        let shape = VectorShape {
            bits: 4 * digits,
            sections: sections
                .iter()
                .map(|&(centred, counted)| Section { centred, counted })
                .collect(),
            runs: Vec::new(),
            norm: 1,
        };
        let circuit = Vector::compile(&shape).unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        let row = row(&shape, &mut rng);
        let input = circuit.encode(Some(&row));
        prop_assert!(proves(&circuit, &input));
        prop_assert!(proves(&circuit, &circuit.encode(None)));
        let outputs = circuit.outputs.iter().map(|output| output.form.evaluate(&input));
        let outputs: Vec<u64> = outputs.collect();
        let mut expected = vec![1];
        for (number, (section, (centred, counted))) in
            row.sections.iter().zip(&sections).enumerate()
        {
            if number > 0 {
                expected.push(u64::from(section.is_some()));
            }
            let Some(levels) = section else {
                expected.extend(vec![0; centred + counted]);
                continue;
            };
            for (place, level) in levels.iter().enumerate() {
                let middle = if place < *centred { 1 << (4 * digits - 1) } else { 0 };
                expected.push(field::sub(*level, middle));
            }
        }
        prop_assert_eq!(outputs, expected);
        prop_assert_eq!(circuit.outputs[0].guard, 0);
    }
}

#[test]
fn every_single_change_of_a_vector_is_rejected() {
    let circuit = circuit(8, &[3, 2, 1]);
    let mut rng = StdRng::seed_from_u64(1);
    let row = VectorRow {
        sections: vec![Some(vec![255, 0, 17]), None, Some(vec![200])],
    };
    let input = circuit.encode(Some(&row));
    assert!(proves(&circuit, &input));
    for element in 0..circuit.digits.elements() {
        for forged in [16, field::neg(1), field::random(&mut rng)] {
            let mut input = input.to_vec();
            input[element] = forged;
            assert!(!proves(&circuit, &input), "element {element} as {forged}");
        }
    }
    let proof = circuit.digits.prove(&input, &[3; 32], &mut rng);
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
    for coordinates in [50, 1000, 10_000] {
        let digits = circuit(8, &[coordinates]).digits;
        let root = (digits.elements() as f64).sqrt();
        assert!((digits.proof_len() as f64) < 25.0 * root, "{coordinates}");
    }
    let digits = circuit(8, &[10_000]).digits;
    assert!(digits.proof_len() * 4 < digits.elements());
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
        assert_eq!(Vector::compile(&shape), Err(CircuitError::Vector));
    }
}
