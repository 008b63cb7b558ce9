//! What fewer aggregators than needed see of a contribution: numbers that say nothing.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Contribution, share_group};
use crate::{Circuit, Row, Shape, Variable};
use dispers_base::{field, id::MemberNumber};

const HOMES: u32 = 2_000;
const BUCKETS: usize = 64;
/// 63 degrees of freedom: above this by chance once in a million times.
const UNLIKELY: f64 = 130.0;

fn circuit() -> Circuit {
    let variable = Variable {
        max: 255,
        nullable: true,
        one_hot: false,
    };
    Circuit::compile(&Shape::summing(2, [(variable, false)])).unwrap()
}

/// Everybody alike, so that two populations could not differ more.
fn population(circuit: &Circuit, row: Option<Row>, rng: &mut StdRng) -> Vec<Contribution> {
    (0..HOMES)
        .map(|home| Contribution::prove(circuit, home, vec![[0; 16]; 5], row.as_ref(), rng))
        .collect::<Result<_, _>>()
        .unwrap()
}

/// How often each remainder occurs in element `place` of every contribution. Elements are below a
/// prime of nearly 2^64, so that the remainders of uniform ones are uniform.
fn histogram(view: &[u64], length: usize, place: usize) -> [f64; BUCKETS] {
    let mut counts = [0.0; BUCKETS];
    for share in view.chunks_exact(length) {
        counts[share[place] as usize % BUCKETS] += 1.0;
    }
    counts
}

/// The largest chi-squared distance between two views over all elements, and of their sums and
/// differences where a view holds two shares.
fn distance(a: &[Vec<u64>], b: &[Vec<u64>], length: usize) -> f64 {
    // Joint views are compared by a combination too: 2·s₁ − s₂ is where a line through them ends.
    let combined = |view: &[Vec<u64>]| -> Vec<Vec<u64>> {
        let mut all = view.to_vec();
        if let [one, two] = view {
            let line = one.iter().zip(two);
            all.push(
                line.map(|(x, y)| field::sub(field::add(*x, *x), *y))
                    .collect(),
            );
        }
        all
    };
    let mut largest: f64 = 0.0;
    for (a, b) in combined(a).iter().zip(&combined(b)) {
        for place in 0..length {
            let (a, b) = (histogram(a, length, place), histogram(b, length, place));
            let chi: f64 = a
                .iter()
                .zip(&b)
                .filter(|(a, b)| *a + *b > 0.0)
                .map(|(a, b)| (a - b).powi(2) / (a + b))
                .sum();
            largest = largest.max(chi);
        }
    }
    largest
}

/// The shares that the chosen members get.
fn view(
    contributions: &[Contribution],
    needed: usize,
    chosen: &[usize],
    rng: &mut StdRng,
) -> Vec<Vec<u64>> {
    let members: Vec<MemberNumber> = (1..=5).map(|n| MemberNumber::new(n).unwrap()).collect();
    let groups = share_group(contributions, &members, needed, rng).unwrap();
    let length = circuit().share_len();
    let mut shares: Vec<Vec<u64>> = Vec::new();
    for group in groups {
        shares.push(super::expanded(&group, length));
    }
    chosen.iter().map(|&index| shares[index].clone()).collect()
}

#[test]
fn two_of_five_see_the_same_of_different_populations() {
    let circuit = circuit();
    let mut rng = StdRng::seed_from_u64(41);
    let highest = Row {
        group: 1,
        levels: vec![Some(255)],
    };
    let nobody = population(&circuit, None, &mut rng);
    let everybody = population(&circuit, Some(highest), &mut rng);
    let length = circuit.share_len();
    for chosen in [[0, 1], [0, 4], [2, 3]] {
        let a = view(&nobody, 3, &chosen, &mut rng);
        let b = view(&everybody, 3, &chosen, &mut rng);
        let far = distance(&a, &b, length);
        assert!(far < UNLIKELY, "{chosen:?}: {far}");
    }
}

#[test]
fn the_comparison_sees_a_broken_sharing() {
    let circuit = circuit();
    let mut rng = StdRng::seed_from_u64(42);
    let highest = Row {
        group: 1,
        levels: vec![Some(255)],
    };
    let nobody = population(&circuit, None, &mut rng);
    let everybody = population(&circuit, Some(highest), &mut rng);
    let length = circuit.share_len();
    // Shared by a line, two see everything: 2·s₁ − s₂ is the value.
    let a = view(&nobody, 2, &[0, 1], &mut rng);
    let b = view(&everybody, 2, &[0, 1], &mut rng);
    assert!(distance(&a, &b, length) > UNLIKELY);
    // Not shared at all, one sees everything.
    let open = |contributions: &[Contribution]| -> Vec<Vec<u64>> {
        vec![
            contributions
                .iter()
                .flat_map(|c| c.secret.clone())
                .collect(),
        ]
    };
    assert!(distance(&open(&nobody), &open(&everybody), length) > UNLIKELY);
}
