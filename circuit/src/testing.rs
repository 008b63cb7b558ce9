//! Work of aggregators on shared vectors, without the messages between them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[cfg(test)]
use crate::circuit::System;
use crate::{Circuit, Verifier, contribution::HeldGroup};
use dispers_base::id::MemberNumber;
use dispers_crypto::shamir::Interpolation;

/// Returns the first `count` aggregators.
pub fn members(count: u8) -> Vec<MemberNumber> {
    let numbers = (1..=count).map(MemberNumber::new);
    numbers.collect::<Result<_, _>>().unwrap()
}

/// Returns whether an input, legal or not, passes with a proof that was made from this input.
#[cfg(test)]
pub(crate) fn proves(circuit: &Circuit, input: &[u64], rng: &mut impl rand::CryptoRng) -> bool {
    let joint = [3; 32];
    let proof = match circuit.system() {
        System::Constraints(constraints) => constraints.prove(input, rng),
        System::Digits(digits) => digits.prove(input, &joint, rng),
    };
    let mut message = vec![0; circuit.message_len()];
    let verifier = Verifier::compile(circuit, &[7; 32]);
    verifier.write_message(&[input, &proof[..]].concat(), &mut message);
    circuit.accepts(&message, &joint)
}

/// Returns for each contribution whether it counts, and the sums of those that count. There is one group for each
/// aggregator, in order, of contributions numbered from 0. With `trusted` these verdicts replace those of the proofs.
pub fn aggregate(
    circuit: &Circuit,
    groups: &[Vec<u8>],
    count: usize,
    needed: usize,
    trusted: Option<Vec<bool>>,
) -> (Vec<bool>, Vec<u64>) {
    let points = members(groups.len() as u8);
    let verifier = Verifier::compile(circuit, &[3; 32]);
    let length = circuit.message_len();
    let mut messages = vec![vec![vec![0; length]; points.len()]; count];
    let mut joints = vec![Vec::new(); count];
    let mut outputs = vec![Vec::new(); count];
    for (position, bytes) in groups.iter().enumerate() {
        let group = HeldGroup::decode(bytes.clone().into(), circuit.share_len(), count).unwrap();
        let mut place = 0;
        group.for_each(circuit.share_len(), |entry, share| {
            let index = entry.index as usize;
            verifier.write_message(share, &mut messages[index][position]);
            let input = &share[..circuit.input_len()];
            joints[index].push(group.joint(place, position, points[position], input));
            let mut output = vec![0; circuit.outputs().len()];
            circuit.add_outputs(share, &mut output);
            outputs[index].push(output);
            place += 1;
        });
    }
    let interpolation = Interpolation::new(&points, needed).unwrap();
    let messages = messages.iter().zip(&joints);
    let verdicts = messages.map(|(messages, joints)| {
        let Some(Some(joint)) = joints.first() else {
            return false;
        };
        let message = interpolation.open(messages);
        joints.iter().all(|other| other.as_ref() == Some(joint))
            && message.is_some_and(|message| circuit.accepts(&message, joint))
    });
    let verdicts = trusted.unwrap_or_else(|| verdicts.collect());
    let mut sums = vec![vec![0; circuit.outputs().len()]; points.len()];
    for (shares, _) in outputs.iter().zip(&verdicts).filter(|(_, counts)| **counts) {
        for (sums, share) in sums.iter_mut().zip(shares) {
            for (sum, value) in sums.iter_mut().zip(share) {
                *sum = dispers_base::field::add(*sum, *value);
            }
        }
    }
    let sums = interpolation.open(&sums).unwrap();
    (verdicts, sums)
}
