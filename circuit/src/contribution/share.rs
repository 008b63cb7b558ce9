//! Proving and sharing (protocol.md §7 and §8).

use rand::CryptoRng;
use zeroize::Zeroizing;

use super::commitment::{joint, part};
use super::group::{Entry, GroupShare, Joint, Shares, expand_seed};
use super::{Contribution, ShareError};
use crate::Circuit;
use crate::circuit::System;
use dispers_base::id::MemberNumber;
use dispers_crypto::shamir::Sharing;

/// Proves `contributions` to `circuit` and shares them among `points`, so that any `needed` can read: one group per
/// point, in order.
///
/// # Errors
/// [`ShareError`] for unusable points, or contributions to another circuit.
///
/// # Security
/// An input that the circuit does not allow is shared all the same, with a proof that aggregators reject.
pub fn share(
    circuit: &Circuit,
    contributions: &[Contribution],
    points: &[MemberNumber],
    needed: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<GroupShare>, ShareError> {
    let sharing = Sharing::new(points, needed)?;
    check(circuit, contributions, points)?;
    let (input_len, share_len) = (circuit.input_len(), circuit.share_len());
    let all = contributions.len() * share_len;
    // A seed in place of a share: t − 1 of the groups have 32 bytes, however many homes a stack has.
    let seeds: Vec<_> = (0..sharing.uniform()).map(|_| random(rng)).collect();
    // A blind that several aggregators know would let one of them test guesses of another's share.
    let blinds: Vec<_> = points.iter().map(|_| random(rng)).collect();
    let expanded: Vec<_> = seeds.iter().map(|seed| expand_seed(seed, all)).collect();
    let explicit = sharing.uniform()..points.len();
    let mut explicit: Vec<_> = explicit
        .map(|_| Zeroizing::new(Vec::with_capacity(all)))
        .collect();
    let mut parts = Vec::new();
    for (number, contribution) in contributions.iter().enumerate() {
        let start = number * share_len;
        let (proof_start, end) = (start + input_len, start + share_len);
        let uniform: Vec<&[u64]> = expanded
            .iter()
            .map(|all| &all[start..proof_start])
            .collect();
        let others = complete(&sharing, &contribution.input, &uniform);
        let proof = match circuit.system() {
            System::Constraints(constraints) => constraints.prove(&contribution.input, rng),
            System::Digits(digits) => {
                // The joint randomness follows from the shares of the input: a proof that is made before they are fixed
                // could be made for randomness of the home's choice (protocol.md §7).
                let others = others.iter().map(|share| &share[..]);
                let shares = uniform.iter().copied().chain(others);
                let committed = parts.len();
                for ((share, blind), point) in shares.zip(&blinds).zip(points) {
                    parts.push(part(blind, contribution.index, *point, share));
                }
                digits.prove(&contribution.input, &joint(&parts[committed..]), rng)
            }
        };
        let uniform: Vec<&[u64]> = expanded.iter().map(|all| &all[proof_start..end]).collect();
        let proofs = complete(&sharing, &proof, &uniform);
        for ((all, input), proof) in explicit.iter_mut().zip(&others).zip(&proofs) {
            all.extend_from_slice(input);
            all.extend_from_slice(proof);
        }
    }
    let shares = seeds
        .into_iter()
        .map(Shares::Seed)
        .chain(explicit.into_iter().map(Shares::Explicit));
    let groups = shares.zip(blinds).enumerate();
    let groups = groups.map(|(position, (shares, blind))| GroupShare {
        entries: entries(contributions, position),
        joint: circuit.has_joint_randomness().then(|| Joint {
            blind,
            parts: parts.clone(),
        }),
        shares,
    });
    Ok(groups.collect())
}

/// Checks that every contribution is to `circuit`, and has a tag for each point.
fn check(
    circuit: &Circuit,
    contributions: &[Contribution],
    points: &[MemberNumber],
) -> Result<(), ShareError> {
    let input_len = circuit.input_len();
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
    Ok(())
}

/// Returns the shares of `secret` for the points without a seed.
fn complete(sharing: &Sharing, secret: &[u64], uniform: &[&[u64]]) -> Vec<Zeroizing<Vec<u64>>> {
    let shares = sharing.complete(secret, uniform);
    shares.map(Zeroizing::new).collect()
}

/// Returns the entries of the group for the point at `position`.
fn entries(contributions: &[Contribution], position: usize) -> Vec<Entry> {
    let entries = contributions.iter().map(|contribution| Entry {
        index: contribution.index,
        tag: contribution.tags[position],
    });
    entries.collect()
}

fn random(rng: &mut impl CryptoRng) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    rng.fill_bytes(&mut bytes[..]);
    bytes
}
