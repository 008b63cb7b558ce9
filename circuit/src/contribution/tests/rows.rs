//! Rows, shared without joint randomness.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::{Contribution, HeldGroup, ShareError, expanded, share};
use crate::{Circuit, Row, Rows, Shape, Variable, Verifier};
use dispers_base::{field, id::MemberNumber};
use dispers_crypto::shamir::{Interpolation, ShamirError};

fn members(numbers: impl IntoIterator<Item = u8>) -> Vec<MemberNumber> {
    numbers
        .into_iter()
        .map(|number| MemberNumber::new(number).unwrap())
        .collect()
}

fn circuit() -> Circuit {
    let variables = [(100, true), (1, false)].map(|(max, nullable)| {
        let variable = Variable {
            max,
            nullable,
            one_hot: false,
        };
        (variable, nullable)
    });
    Rows::compile(&Shape::summing(2, variables)).unwrap().into()
}

fn row(group: usize, level: Option<u64>, flag: u64) -> Option<Row> {
    let levels = vec![level, Some(flag)];
    Some(Row { group, levels })
}

fn rows() -> Vec<Option<Row>> {
    vec![
        row(0, Some(100), 1),
        None,
        row(1, None, 1),
        row(1, Some(37), 0),
        row(0, Some(0), 0),
    ]
}

fn encode(circuit: &Circuit, row: Option<&Row>) -> Vec<u64> {
    circuit.as_rows().unwrap().encode(row).unwrap().to_vec()
}

fn contributions(circuit: &Circuit, points: usize) -> Vec<Contribution> {
    let contributions = (0u32..).zip(rows()).map(|(index, row)| {
        let tags = (0..points).map(|point| [point as u8; 16]).collect();
        Contribution::new(index, tags, &encode(circuit, row.as_ref()))
    });
    contributions.collect()
}

/// Returns the shares that each aggregator decodes.
fn received(circuit: &Circuit, points: &[MemberNumber], needed: usize) -> Vec<Vec<u64>> {
    let mut rng = StdRng::seed_from_u64(5);
    let contributions = contributions(circuit, points.len());
    let groups = share(circuit, &contributions, points, needed, &mut rng).unwrap();
    let groups = groups.into_iter().enumerate().map(|(position, group)| {
        let group = HeldGroup::decode(group.encode(), circuit.share_len(), contributions.len());
        let group = group.unwrap();
        for (index, entry) in group.entries().iter().enumerate() {
            assert_eq!(entry.index as usize, index);
            assert_eq!(entry.tag, [position as u8; 16]);
        }
        group.expand(circuit.share_len()).to_vec()
    });
    groups.collect()
}

fn verdicts(
    circuit: &Circuit,
    points: &[MemberNumber],
    needed: usize,
    shares: &[Vec<u64>],
) -> Vec<bool> {
    let verifier = Verifier::compile(circuit, &[3; 32]);
    let interpolation = Interpolation::new(points, needed).unwrap();
    let verdicts = (0..rows().len()).map(|index| {
        let from = index * circuit.share_len();
        let messages = shares.iter().map(|shares| {
            let mut message = vec![0; circuit.message_len()];
            verifier.write_message(&shares[from..from + circuit.share_len()], &mut message);
            message
        });
        let message = interpolation.open(&messages.collect::<Vec<_>>());
        message.is_some_and(|message| circuit.accepts(&message, &[0; 32]))
    });
    verdicts.collect()
}

#[test]
fn any_quorum_accepts_and_reads_the_sums() {
    let circuit = circuit();
    let mut expected = vec![0; circuit.outputs().len()];
    for row in rows() {
        circuit.add_outputs(&encode(&circuit, row.as_ref()), &mut expected);
    }
    for (needed, all) in [
        (2, members(1..=3)),
        (3, members(1..=5)),
        (2, members([4, 2])),
    ] {
        let received = received(&circuit, &all, needed);
        let sums: Vec<Vec<u64>> = received
            .iter()
            .map(|shares| {
                let mut sums = vec![0; circuit.outputs().len()];
                for share in shares.chunks_exact(circuit.share_len()) {
                    circuit.add_outputs(share, &mut sums);
                }
                sums
            })
            .collect();
        for left_out in 0..=all.len() - needed {
            let quorum = &all[left_out..];
            let shares = &received[left_out..];
            assert_eq!(verdicts(&circuit, quorum, needed, shares), [true; 5]);
            let interpolation = Interpolation::new(quorum, needed).unwrap();
            assert_eq!(
                interpolation.open(&sums[left_out..]).as_ref(),
                Some(&expected)
            );
        }
    }
}

#[test]
fn a_share_that_differs_in_any_element_is_inconsistent() {
    let circuit = circuit();
    let points = members(1..=3);
    let honest = received(&circuit, &points, 2);
    for element in 0..circuit.share_len() {
        let mut shares = honest.clone();
        let changed = &mut shares[2][3 * circuit.share_len() + element];
        *changed = field::add(*changed, 1);
        assert_eq!(
            verdicts(&circuit, &points, 2, &shares),
            [true, true, true, false, true],
            "element {element}"
        );
    }
}

#[test]
fn a_forged_contribution_is_rejected_alone() {
    let circuit = circuit();
    let points = members(1..=3);
    let mut rng = StdRng::seed_from_u64(8);
    let mut contributions = contributions(&circuit, 3);
    // A second group bit, proved as if it were right.
    contributions[0].input[1] = 1;
    let groups = share(&circuit, &contributions, &points, 2, &mut rng).unwrap();
    let shares: Vec<Vec<u64>> = groups
        .into_iter()
        .map(|group| expanded(&group, circuit.share_len()))
        .collect();
    assert_eq!(
        verdicts(&circuit, &points, 2, &shares),
        [false, true, true, true, true]
    );
}

#[test]
fn all_but_the_interpolated_groups_are_a_seed() {
    let circuit = circuit();
    let mut rng = StdRng::seed_from_u64(1);
    let contributions = contributions(&circuit, 5);
    let groups = share(&circuit, &contributions, &members(1..=5), 3, &mut rng).unwrap();
    let lengths: Vec<usize> = groups.iter().map(|group| group.encode().len()).collect();
    let entries = 1 + 4 + 5 * 20 + 1;
    let explicit = entries + 4 + 5 * circuit.share_len() * 8;
    assert_eq!(
        lengths,
        [entries + 32, entries + 32, explicit, explicit, explicit]
    );
}

fn refusal(
    circuit: &Circuit,
    contributions: &[Contribution],
    points: &[MemberNumber],
    needed: usize,
) -> Option<ShareError> {
    let mut rng = StdRng::seed_from_u64(1);
    share(circuit, contributions, points, needed, &mut rng).err()
}

#[test]
fn contributions_that_do_not_belong_together_are_refused() {
    let circuit = circuit();
    let mut contributions = contributions(&circuit, 3);
    assert_eq!(
        refusal(&circuit, &contributions, &members(1..=4), 2),
        Some(ShareError::Tags {
            index: 0,
            tags: 3,
            points: 4
        })
    );
    assert_eq!(
        refusal(&circuit, &contributions, &members(1..=3), 1),
        Some(ShareError::Points(ShamirError::Exposed))
    );
    contributions[2].input.pop();
    assert_eq!(
        refusal(&circuit, &contributions, &members(1..=3), 2),
        Some(ShareError::Length { index: 2 })
    );
}

#[test]
fn two_sharings_of_one_secret_have_nothing_in_common() {
    let circuit = circuit();
    let mut rng = StdRng::seed_from_u64(1);
    let contributions = contributions(&circuit, 3);
    let [first, second] =
        [(), ()].map(|()| share(&circuit, &contributions, &members(1..=3), 2, &mut rng).unwrap());
    for (first, second) in first.iter().zip(&second) {
        let (first, second) = (
            expanded(first, circuit.share_len()),
            expanded(second, circuit.share_len()),
        );
        assert!(first.iter().zip(second.iter()).all(|(a, b)| a != b));
    }
}
