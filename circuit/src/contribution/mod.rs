//! A home's contribution, shared among the aggregators (protocol.md §8).
//!
//! What is shared is the circuit's input and its proof. A stack shares all homes of a batch at
//! once, as one group per aggregator: the groups of the first t − 1 aggregators are a seed, those
//! of the others hold every value.

mod group;
#[cfg(test)]
mod limits;
mod vector;
#[cfg(test)]
mod view;

use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use group::{Entry, GroupShare, HeldGroup};
pub use vector::{VectorContribution, share_vectors};

use crate::{Circuit, EncodeError, Row};
use dispers_base::id::MemberNumber;
use dispers_crypto::shamir::{ShamirError, Sharing};
use group::{Shares, expand_seed};

/// τ: what one aggregator knows a contribution's ticket by.
pub type Tag = [u8; 16];

/// What one home contributes to a batch, before it is shared. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Contribution {
    index: u32,
    tags: Vec<Tag>,
    secret: Vec<u64>,
}

impl Contribution {
    /// Encodes and proves `row`, or the absence of one, for the home with this ticket: its index
    /// in the batch and one tag per sharing point, in order.
    ///
    /// # Errors
    /// [`EncodeError`] for a row that the circuit does not admit.
    pub fn prove(
        circuit: &Circuit,
        index: u32,
        tags: Vec<Tag>,
        row: Option<&Row>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, EncodeError> {
        let input = circuit.encode(row)?;
        Ok(Self::of(circuit, index, tags, &input, rng))
    }

    /// Proves elements that satisfy the circuit.
    pub fn of(
        circuit: &Circuit,
        index: u32,
        tags: Vec<Tag>,
        input: &[u64],
        rng: &mut impl CryptoRng,
    ) -> Self {
        let proof = circuit.prove(input, rng);
        let secret = [input, &proof[..]].concat();
        Self {
            index,
            tags,
            secret,
        }
    }
}

/// Contributions that cannot be shared together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The points or the number needed are unusable.
    #[error(transparent)]
    Points(#[from] ShamirError),
    /// A contribution without exactly one tag per point.
    #[error("contribution {index} has {tags} tags for {points} aggregators")]
    Tags {
        /// Its index in the batch.
        index: u32,
        /// How many tags it has.
        tags: usize,
        /// How many points there are.
        points: usize,
    },
    /// A contribution that is not of the others' circuit.
    #[error("contribution {index} is of another circuit")]
    Length {
        /// Its index in the batch.
        index: u32,
    },
}

/// Shares `contributions`, all of one circuit, among `points`, so that any `needed` can read:
/// one group per point, in order.
///
/// # Errors
/// [`ShareError`] for unusable points, or contributions that do not belong together.
pub fn share_group(
    contributions: &[Contribution],
    points: &[MemberNumber],
    needed: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<GroupShare>, ShareError> {
    let sharing = Sharing::new(points, needed)?;
    let length = contributions.first().map_or(0, |first| first.secret.len());
    for contribution in contributions {
        let index = contribution.index;
        if contribution.tags.len() != points.len() {
            return Err(ShareError::Tags {
                index,
                tags: contribution.tags.len(),
                points: points.len(),
            });
        }
        if contribution.secret.len() != length {
            return Err(ShareError::Length { index });
        }
    }

    let mut secret = Zeroizing::new(Vec::with_capacity(contributions.len() * length));
    for contribution in contributions {
        secret.extend_from_slice(&contribution.secret);
    }
    let seeds: Vec<Zeroizing<[u8; 32]>> = (0..sharing.uniform())
        .map(|_| {
            let mut seed = Zeroizing::new([0; 32]);
            rng.fill_bytes(&mut seed[..]);
            seed
        })
        .collect();
    let expanded: Vec<Zeroizing<Vec<u64>>> = seeds
        .iter()
        .map(|seed| expand_seed(seed, secret.len()))
        .collect();
    let uniform: Vec<&[u64]> = expanded.iter().map(|share| &share[..]).collect();
    let explicit = sharing.complete(&secret, &uniform);

    let shares = seeds
        .into_iter()
        .map(Shares::Seed)
        .chain(explicit.map(|share| Shares::Explicit(Zeroizing::new(share))));
    let group = |(position, shares)| {
        let entry = |contribution: &Contribution| Entry {
            index: contribution.index,
            tag: contribution.tags[position],
        };
        GroupShare {
            entries: contributions.iter().map(entry).collect(),
            joint: None,
            shares,
        }
    };
    Ok(shares.enumerate().map(group).collect())
}

/// What the aggregator of a group reads from it.
#[cfg(test)]
fn expanded(group: &GroupShare, share_len: usize) -> Vec<u64> {
    let group = HeldGroup::decode(group.encode(), share_len, group.entries.len());
    group.unwrap().expand(share_len).to_vec()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::{Message, Shape, Variable, Verifier, accepts};
    use dispers_base::field;
    use dispers_crypto::shamir::Interpolation;

    fn members(numbers: impl IntoIterator<Item = u8>) -> Vec<MemberNumber> {
        numbers
            .into_iter()
            .map(|number| MemberNumber::new(number).unwrap())
            .collect()
    }

    fn circuit() -> Circuit {
        let variable = |max, nullable| Variable {
            max,
            nullable,
            one_hot: false,
        };
        let variables = [(variable(100, true), true), (variable(1, false), false)];
        Circuit::compile(&Shape::summing(2, variables)).unwrap()
    }

    fn rows() -> Vec<Option<Row>> {
        let row = |group, level, flag| {
            Some(Row {
                group,
                levels: vec![level, Some(flag)],
            })
        };
        vec![
            row(0, Some(100), 1),
            None,
            row(1, None, 1),
            row(1, Some(37), 0),
            row(0, Some(0), 0),
        ]
    }

    fn contributions(circuit: &Circuit, points: usize, rng: &mut StdRng) -> Vec<Contribution> {
        let contribution = |(index, row): (usize, Option<Row>)| {
            let tags = (0..points).map(|point| [point as u8; 16]).collect();
            Contribution::prove(circuit, index as u32, tags, row.as_ref(), rng).unwrap()
        };
        rows().into_iter().enumerate().map(contribution).collect()
    }

    /// What each aggregator decodes from what is sealed for it.
    fn received(circuit: &Circuit, points: &[MemberNumber], needed: usize) -> Vec<Vec<u64>> {
        let mut rng = StdRng::seed_from_u64(5);
        let contributions = contributions(circuit, points.len(), &mut rng);
        let groups = share_group(&contributions, points, needed, &mut rng).unwrap();
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
        let contribution = |index: usize| {
            let from = index * circuit.share_len();
            let messages: Vec<Message> = shares
                .iter()
                .map(|shares| verifier.message(&shares[from..from + circuit.share_len()]))
                .collect();
            let message = interpolation.open_array(&messages);
            message.is_some_and(|message| accepts(&message))
        };
        (0..rows().len()).map(contribution).collect()
    }

    #[test]
    fn any_quorum_accepts_and_reads_the_sums() {
        let circuit = circuit();
        let mut expected = vec![0; circuit.outputs().len()];
        for row in rows() {
            let input = circuit.encode(row.as_ref()).unwrap();
            circuit.add_outputs(&input, &mut expected);
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
        let mut contributions = contributions(&circuit, 3, &mut rng);
        // A second group bit, proved as if it were right.
        let mut input = circuit.encode(rows()[0].as_ref()).unwrap();
        input[1] = 1;
        let proof = circuit.prove(&input, &mut rng);
        contributions[0].secret = [&input[..], &proof[..]].concat();
        let groups = share_group(&contributions, &points, 2, &mut rng).unwrap();
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
        let contributions = contributions(&circuit, 5, &mut rng);
        let groups = share_group(&contributions, &members(1..=5), 3, &mut rng).unwrap();
        let lengths: Vec<usize> = groups.iter().map(|group| group.encode().len()).collect();
        let entries = 1 + 4 + 5 * 20 + 1;
        let explicit = entries + 4 + 5 * circuit.share_len() * 8;
        assert_eq!(
            lengths,
            [entries + 32, entries + 32, explicit, explicit, explicit]
        );
    }

    #[test]
    fn contributions_that_do_not_belong_together_are_refused() {
        let circuit = circuit();
        let mut rng = StdRng::seed_from_u64(1);
        let mut contributions = contributions(&circuit, 3, &mut rng);
        let mut refusal = |contributions: &[Contribution], points: &[MemberNumber], needed| {
            share_group(contributions, points, needed, &mut rng).err()
        };
        assert_eq!(
            refusal(&contributions, &members(1..=4), 2),
            Some(ShareError::Tags {
                index: 0,
                tags: 3,
                points: 4
            })
        );
        assert_eq!(
            refusal(&contributions, &members(1..=3), 1),
            Some(ShareError::Points(ShamirError::Exposed))
        );
        contributions[2].secret.pop();
        assert_eq!(
            refusal(&contributions, &members(1..=3), 2),
            Some(ShareError::Length { index: 2 })
        );
    }

    #[test]
    fn two_sharings_of_one_secret_have_nothing_in_common() {
        let circuit = circuit();
        let mut rng = StdRng::seed_from_u64(1);
        let contributions = contributions(&circuit, 3, &mut rng);
        let mut shares = |point: usize| {
            let mut groups = share_group(&contributions, &members(1..=3), 2, &mut rng).unwrap();
            expanded(&groups.swap_remove(point), circuit.share_len())
        };
        for point in 0..3 {
            let (first, second) = (shares(point), shares(point));
            assert!(first.iter().zip(second.iter()).all(|(a, b)| a != b));
        }
    }
}
