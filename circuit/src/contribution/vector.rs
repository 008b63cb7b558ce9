//! Vectors, shared under joint randomness (protocol.md §7).
//!
//! The input is shared first. A commitment to each aggregator's share of it, under a blind that only that
//! aggregator gets, makes the joint randomness; then the input is proved, and the proof is shared.

use rand::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::group::{Entry, GroupShare, Joint, Shares, expand_seed};
use super::{ShareError, Tag};
use crate::{Circuit, VectorRow};
use dispers_base::{encoding, id::MemberNumber, labels};
use dispers_crypto::shamir::Sharing;

/// What one home contributes to a batch of vectors, before it is shared. Wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct VectorContribution {
    index: u32,
    tags: Vec<Tag>,
    input: Vec<u64>,
}

impl VectorContribution {
    /// Encodes `row`, or the absence of one, for the home with this ticket: its index in the batch and one
    /// tag per sharing point, in order.
    ///
    /// # Panics
    /// If the circuit is no vector's, or the row not of it.
    pub fn new(circuit: &Circuit, index: u32, tags: Vec<Tag>, row: Option<&VectorRow>) -> Self {
        Self {
            index,
            tags,
            input: circuit.encode_vector(row).to_vec(),
        }
    }

    /// One with these elements, legal or not.
    pub fn of_elements(index: u32, tags: Vec<Tag>, input: Vec<u64>) -> Self {
        Self { index, tags, input }
    }
}

/// The commitment to one aggregator's share of an input.
pub(super) fn part(blind: &[u8; 32], index: u32, member: MemberNumber, input: &[u64]) -> [u8; 32] {
    let blind = Zeroizing::new(encoding::hash(
        labels::EXPAND_BLINDS,
        &[blind, &index.to_le_bytes()],
    ));
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * input.len()));
    for element in input {
        bytes.extend_from_slice(&element.to_le_bytes());
    }
    let place = encoding::to_bytes(&(index, member));
    encoding::hash(labels::HASH_JOINT_PART, &[&*blind, &place, &bytes])
}

/// The joint randomness that one vector's commitments make.
pub(super) fn joint(parts: &[[u8; 32]]) -> [u8; 32] {
    let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
    encoding::hash(labels::HASH_JOINT, &parts)
}

/// Shares, commits and proves `contributions` among `points`, so that any `needed` can read: one group per
/// point, in order.
///
/// # Errors
/// [`ShareError`] for unusable points, or contributions that are not of the circuit.
pub fn share_vectors(
    circuit: &Circuit,
    contributions: &[VectorContribution],
    points: &[MemberNumber],
    needed: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<GroupShare>, ShareError> {
    let sharing = Sharing::new(points, needed)?;
    let (input_len, length) = (circuit.input_len(), circuit.share_len());
    for contribution in contributions {
        let index = contribution.index;
        if contribution.tags.len() != points.len() {
            return Err(ShareError::Tags {
                index,
                tags: contribution.tags.len(),
                points: points.len(),
            });
        }
        if contribution.input.len() != input_len {
            return Err(ShareError::Length { index });
        }
    }
    let mut secret = || {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut bytes[..]);
        bytes
    };
    let blinds: Vec<_> = points.iter().map(|_| secret()).collect();
    let seeds: Vec<_> = (0..sharing.uniform()).map(|_| secret()).collect();
    let expanded: Vec<_> = seeds
        .iter()
        .map(|seed| expand_seed(seed, contributions.len() * length))
        .collect();
    let all = contributions.len() * length;
    let mut explicit: Vec<Zeroizing<Vec<u64>>> = (sharing.uniform()..points.len())
        .map(|_| Zeroizing::new(Vec::with_capacity(all)))
        .collect();
    let mut parts = Vec::with_capacity(contributions.len() * points.len());
    for (number, contribution) in contributions.iter().enumerate() {
        let (start, inputs) = (number * length, number * length + input_len);
        let uniform: Vec<&[u64]> = expanded.iter().map(|share| &share[start..inputs]).collect();
        let others: Vec<_> = sharing
            .complete(&contribution.input, &uniform)
            .map(Zeroizing::new)
            .collect();
        let shares = uniform
            .iter()
            .copied()
            .chain(others.iter().map(|share| &share[..]));
        let committed = parts.len();
        for ((share, blind), point) in shares.zip(&blinds).zip(points) {
            parts.push(part(blind, contribution.index, *point, share));
        }
        let randomness = joint(&parts[committed..]);
        let proof = circuit.prove_vector(&contribution.input, &randomness, rng);
        let uniform: Vec<&[u64]> = expanded
            .iter()
            .map(|share| &share[inputs..start + length])
            .collect();
        let proofs = sharing.complete(&proof, &uniform).map(Zeroizing::new);
        for ((all, input), proof) in explicit.iter_mut().zip(&others).zip(proofs) {
            all.extend_from_slice(input);
            all.extend_from_slice(&proof);
        }
    }
    let shares = seeds
        .into_iter()
        .map(Shares::Seed)
        .chain(explicit.into_iter().map(Shares::Explicit));
    let group = |(position, (shares, blind))| {
        let entry = |contribution: &VectorContribution| Entry {
            index: contribution.index,
            tag: contribution.tags[position],
        };
        GroupShare {
            entries: contributions.iter().map(entry).collect(),
            joint: Some(Joint {
                blind,
                parts: parts.clone(),
            }),
            shares,
        }
    };
    Ok(shares.zip(blinds).enumerate().map(group).collect())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::{
        Section, VectorShape,
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

    fn contributions(circuit: &Circuit, points: usize) -> Vec<VectorContribution> {
        let row = |flag: bool| VectorRow {
            sections: vec![Some((0..20).collect()), flag.then(|| vec![1, 2, 255])],
        };
        [Some(row(true)), None, Some(row(false))]
            .iter()
            .zip(0u32..)
            .map(|(row, index)| {
                let tags = vec![[0; 16]; points];
                VectorContribution::new(circuit, index, tags, row.as_ref())
            })
            .collect()
    }

    /// For each contribution whether it counts.
    fn verdicts(circuit: &Circuit, groups: &[Vec<u8>], needed: usize) -> Vec<bool> {
        aggregate(circuit, groups, 3, needed, None).0
    }

    fn groups(
        circuit: &Circuit,
        of: &[VectorContribution],
        points: u8,
        needed: usize,
    ) -> Vec<Vec<u8>> {
        let mut rng = StdRng::seed_from_u64(4);
        let groups = share_vectors(circuit, of, &members(points), needed, &mut rng).unwrap();
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

    #[test]
    fn no_commitment_tells_the_same_of_the_same_share() {
        let circuit = circuit();
        let input = vec![5; circuit.input_len()];
        let of = |blind, index, member| part(&[blind; 32], index, members(9)[member], &input);
        assert_ne!(of(1, 0, 0), of(2, 0, 0));
        assert_ne!(of(1, 0, 0), of(1, 1, 0));
        assert_ne!(of(1, 0, 0), of(1, 0, 1));
    }
}
