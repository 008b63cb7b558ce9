//! Tests that fewer aggregators than needed see nothing but random numbers of a contribution.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Contribution, share};
use crate::{Circuit, Row, Rows, Shape, Variable};
use dispers_base::{field, id::MemberNumber};

const HOMES: u32 = 2_000;
const BUCKETS: usize = 64;
/// Distance that equal distributions exceed once in a million times, with 63 degrees of freedom.
const UNLIKELY: f64 = 130.0;

fn circuit() -> Circuit {
    let variable = Variable {
        max: 255,
        nullable: true,
        one_hot: false,
    };
    let rows = Rows::compile(&Shape::summing(2, [(variable, false)]));
    rows.unwrap().into()
}

/// Makes homes that are all alike, so that two populations differ as much as they can.
fn population(circuit: &Circuit, row: Option<Row>) -> Vec<Contribution> {
    let input = circuit.as_rows().unwrap().encode(row.as_ref()).unwrap();
    (0..HOMES)
        .map(|home| Contribution::new(home, vec![[0; 16]; 5], &input))
        .collect()
}

/// Counts each remainder in element `place` of every contribution. Elements are below a prime of nearly 2^64, so that
/// the remainders of uniform elements are uniform.
fn histogram(view: &[u64], length: usize, place: usize) -> [f64; BUCKETS] {
    let mut counts = [0.0; BUCKETS];
    for share in view.chunks_exact(length) {
        counts[share[place] as usize % BUCKETS] += 1.0;
    }
    counts
}

/// Returns the shares of a view. Of two shares it adds 2·s₁ − s₂, the value at 0 of the line through them.
fn combined(view: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let mut all = view.to_vec();
    if let [one, two] = view {
        let line = one.iter().zip(two);
        let line = line.map(|(x, y)| field::sub(field::add(*x, *x), *y));
        all.push(line.collect());
    }
    all
}

/// Returns the largest chi-squared distance between two views, over all elements of the shares and their combinations.
fn distance(a: &[Vec<u64>], b: &[Vec<u64>], length: usize) -> f64 {
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

/// Returns the shares that the chosen members get.
fn view(
    contributions: &[Contribution],
    needed: usize,
    chosen: &[usize],
    rng: &mut StdRng,
) -> Vec<Vec<u64>> {
    let members: Vec<MemberNumber> = (1..=5).map(|n| MemberNumber::new(n).unwrap()).collect();
    let circuit = circuit();
    let groups = share(&circuit, contributions, &members, needed, rng).unwrap();
    let length = circuit.share_len();
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
    let nobody = population(&circuit, None);
    let everybody = population(&circuit, Some(highest));
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
    let nobody = population(&circuit, None);
    let everybody = population(&circuit, Some(highest));
    let length = circuit.share_len();
    // Two members see everything that is shared by a line: 2·s₁ − s₂ is the value.
    let a = view(&nobody, 2, &[0, 1], &mut rng);
    let b = view(&everybody, 2, &[0, 1], &mut rng);
    assert!(distance(&a, &b, length) > UNLIKELY);
    // One member sees everything that is not shared.
    let [a, b] = [nobody, everybody].map(|contributions| {
        let inputs = contributions.iter();
        vec![inputs.flat_map(|one| one.input.clone()).collect()]
    });
    assert!(distance(&a, &b, circuit.input_len()) > UNLIKELY);
}
