//! Commitments to the shares of an input, which make the joint randomness (protocol.md §7).

use zeroize::Zeroizing;

use dispers_base::{encoding, id::MemberNumber, labels};

/// Returns the commitment to one aggregator's share of an input.
pub(super) fn part(blind: &[u8; 32], index: u32, member: MemberNumber, input: &[u64]) -> [u8; 32] {
    // The blind is one for all contributions of a group, so it is derived for each: equal shares have different
    // commitments.
    let blind = Zeroizing::new(encoding::hash(
        labels::HASH_BLIND,
        &[blind, &index.to_le_bytes()],
    ));
    let mut bytes = Zeroizing::new(Vec::with_capacity(8 * input.len()));
    for element in input {
        bytes.extend_from_slice(&element.to_le_bytes());
    }
    let place = encoding::to_bytes(&(index, member));
    encoding::hash(labels::HASH_JOINT_PART, &[&*blind, &place, &bytes])
}

/// Returns the joint randomness that follows from the commitments to all shares of one input.
pub(super) fn joint(parts: &[[u8; 32]]) -> [u8; 32] {
    let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
    encoding::hash(labels::HASH_JOINT, &parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::members;

    #[test]
    fn no_commitment_tells_the_same_of_the_same_share() {
        let (input, members) = (vec![5; 30], members(9));
        let first = part(&[1; 32], 0, members[0], &input);
        assert_ne!(first, part(&[2; 32], 0, members[0], &input));
        assert_ne!(first, part(&[1; 32], 1, members[0], &input));
        assert_ne!(first, part(&[1; 32], 0, members[1], &input));
    }
}
