//! The stated limits are where they are said to be (protocol.md §8 and §13): what t aggregators
//! together read, and what one of them forges with a home's help when just t verify.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Contribution, share_group};
use crate::{Circuit, Message, Row, Shape, Variable, Verifier, accepts};
use dispers_base::{field, id::MemberNumber};
use dispers_crypto::shamir::Interpolation;

fn circuit() -> Circuit {
    let variable = Variable {
        max: 100,
        nullable: false,
        one_hot: false,
    };
    Circuit::compile(&Shape::summing(1, [(variable, false)])).unwrap()
}

fn members(numbers: &[u8]) -> Vec<MemberNumber> {
    let numbers = numbers.iter().map(|&number| MemberNumber::new(number));
    numbers.collect::<Result<_, _>>().unwrap()
}

/// The shares of one contribution, 2 of 3.
fn shares(circuit: &Circuit, contribution: Contribution, rng: &mut StdRng) -> Vec<Vec<u64>> {
    let groups = share_group(&[contribution], &members(&[1, 2, 3]), 2, rng).unwrap();
    let expand = |group| super::expanded(group, circuit.share_len());
    groups.iter().map(expand).collect()
}

#[test]
fn t_aggregators_together_read_a_value() {
    let (circuit, mut rng) = (circuit(), StdRng::seed_from_u64(1));
    let row = Row {
        group: 0,
        levels: vec![Some(73)],
    };
    let contribution = Contribution::prove(&circuit, 0, vec![[0; 16]; 3], Some(&row), &mut rng);
    let contribution = contribution.unwrap();
    let secret = contribution.secret.clone();
    let shares = shares(&circuit, contribution, &mut rng);
    let together = Interpolation::new(&members(&[1, 3]), 2).unwrap();
    let read: Vec<u64> = shares[0]
        .iter()
        .zip(&shares[2])
        .map(|(one, three)| together.at_zero(&[*one, *three]))
        .collect();
    assert_eq!(read, secret);
}

/// A home that claims a bit of 7, and an aggregator that says whatever makes the proof accept.
fn forged(verifying: &[u8]) -> bool {
    let (circuit, mut rng) = (circuit(), StdRng::seed_from_u64(2));
    let mut input = circuit.encode(None).unwrap();
    input[0] = 7;
    let proof = circuit.prove(&input, &mut rng);
    let contribution = Contribution {
        index: 0,
        tags: vec![[0; 16]; 3],
        secret: [&input[..], &proof[..]].concat(),
    };
    let shares = shares(&circuit, contribution, &mut rng);
    let verifier = Verifier::compile(&circuit, &[9; 32]);
    let honest: Vec<Message> = shares.iter().map(|share| verifier.message(share)).collect();
    // The home told the first aggregator every share: it knows what the second will say, and says
    // what puts an accepting message at 0. On the line through 1 and 2: f(0) = 2·f(1) − f(2).
    let accepting: Message = [0, 1, 1, 1];
    let half = field::inverse(2);
    let lie: Message = std::array::from_fn(|element| {
        field::mul(field::add(accepting[element], honest[1][element]), half)
    });
    let said: Vec<Message> = verifying
        .iter()
        .map(|&number| match number {
            1 => lie,
            other => honest[usize::from(other) - 1],
        })
        .collect();
    let quorum = Interpolation::new(&members(verifying), 2).unwrap();
    quorum
        .open_array(&said)
        .is_some_and(|message| accepts(&message))
}

#[test]
fn with_just_t_verifying_an_aggregator_and_a_home_forge() {
    assert!(forged(&[1, 2]));
}

#[test]
fn one_more_that_verifies_sees_the_forgery() {
    assert!(!forged(&[1, 2, 3]));
}
