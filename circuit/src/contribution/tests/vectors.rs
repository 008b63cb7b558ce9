//! Vectors, shared under joint randomness.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::{Contribution, share};
use crate::{
    Circuit, Section, VectorRow, VectorShape,
    testing::{aggregate, members},
};
use dispers_base::field;

fn circuit() -> Circuit {
    Circuit::vector(&VectorShape {
        runs: Vec::new(),
        bits: 8,
        sections: [20, 3].map(Section::centred).to_vec(),
        norm: 1,
    })
    .unwrap()
}

fn contributions(circuit: &Circuit, points: usize) -> Vec<Contribution> {
    let flags = [Some(true), None, Some(false)];
    let contributions = (0u32..).zip(flags).map(|(index, flag)| {
        let row = flag.map(|flag| VectorRow {
            sections: vec![Some((0..20).collect()), flag.then(|| vec![1, 2, 255])],
        });
        let input = circuit.as_vector().unwrap().encode(row.as_ref());
        Contribution::new(index, vec![[0; 16]; points], &input)
    });
    contributions.collect()
}

/// Returns for each contribution whether it counts.
fn verdicts(circuit: &Circuit, groups: &[Vec<u8>], needed: usize) -> Vec<bool> {
    aggregate(circuit, groups, 3, needed, None).0
}

fn groups(
    circuit: &Circuit,
    contributions: &[Contribution],
    points: u8,
    needed: usize,
) -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(4);
    let groups = share(circuit, contributions, &members(points), needed, &mut rng).unwrap();
    groups.iter().map(|group| group.encode().to_vec()).collect()
}

#[test]
fn vectors_are_counted_and_a_boosted_one_is_rejected_alone() {
    let circuit = circuit();
    for (points, needed) in [(3, 2), (5, 3)] {
        let mut contributions = contributions(&circuit, points.into());
        assert_eq!(
            verdicts(
                &circuit,
                &groups(&circuit, &contributions, points, needed),
                needed
            ),
            [true; 3]
        );
        // A hundred times as much.
        for element in &mut contributions[0].input[2..] {
            *element = field::mul(*element, 100);
        }
        assert_eq!(
            verdicts(
                &circuit,
                &groups(&circuit, &contributions, points, needed),
                needed
            ),
            [false, true, true]
        );
    }
}

#[test]
fn a_share_that_is_not_the_committed_one_is_noticed_by_who_has_it() {
    let circuit = circuit();
    let honest = groups(&circuit, &contributions(&circuit, 3), 3, 2);
    // An element of the last, explicit group, a commitment, and the blind.
    let elements = 8 * 3 * circuit.share_len();
    let header = honest[2].len() - elements;
    for at in [header + 8, header - 5 - 32, 1 + 4 + 3 * 20 + 1 + 3] {
        let mut groups = honest.clone();
        groups[2][at] ^= 1;
        let verdicts = verdicts(&circuit, &groups, 2);
        assert!(verdicts.iter().any(|counts| !counts), "{at}");
    }
}
