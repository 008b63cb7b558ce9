//! Tests of the stated limits (protocol.md §8 and §13): t aggregators together read a value, and one aggregator forges
//! a contribution with a home's help where just t verify.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Contribution, share};
use crate::{Circuit, Message, Row, Rows, Shape, Variable, accepts};
use dispers_base::{field, id::MemberNumber};
use dispers_crypto::shamir::Interpolation;

fn rows() -> Rows {
    let variable = Variable {
        max: 100,
        nullable: false,
        one_hot: false,
    };
    Rows::compile(&Shape::summing(1, [(variable, false)])).unwrap()
}

fn members(numbers: &[u8]) -> Vec<MemberNumber> {
    let numbers = numbers.iter().map(|&number| MemberNumber::new(number));
    numbers.collect::<Result<_, _>>().unwrap()
}

/// Returns the shares of one input, 2 of 3.
fn shares(rows: &Rows, input: &[u64], rng: &mut StdRng) -> Vec<Vec<u64>> {
    let circuit = Circuit::from(rows.clone());
    let contribution = Contribution::new(0, vec![[0; 16]; 3], input);
    let groups = share(&circuit, &[contribution], &members(&[1, 2, 3]), 2, rng).unwrap();
    let groups = groups.iter();
    groups
        .map(|group| super::expanded(group, circuit.share_len()))
        .collect()
}

#[test]
fn t_aggregators_together_read_a_value() {
    let (rows, mut rng) = (rows(), StdRng::seed_from_u64(1));
    let row = Row {
        group: 0,
        levels: vec![Some(73)],
    };
    let input = rows.encode(Some(&row)).unwrap();
    let shares = shares(&rows, &input, &mut rng);
    let together = Interpolation::new(&members(&[1, 3]), 2).unwrap();
    let read: Vec<u64> = shares[0]
        .iter()
        .zip(&shares[2])
        .map(|(one, three)| together.at_zero(&[*one, *three]))
        .collect();
    assert_eq!(read[..input.len()], input[..]);
    assert!(accepts(
        &rows.constraints().verifier(&[9; 32]).message(&read)
    ));
}

/// Returns whether these aggregators count a home that claims a bit of 7, where the first aggregator sends whatever
/// makes the proof accept.
fn forged(verifying: &[u8]) -> bool {
    let (rows, mut rng) = (rows(), StdRng::seed_from_u64(2));
    let mut input = rows.encode(None).unwrap();
    input[0] = 7;
    let shares = shares(&rows, &input, &mut rng);
    let verifier = rows.constraints().verifier(&[9; 32]);
    let honest: Vec<Message> = shares.iter().map(|share| verifier.message(share)).collect();
    // The home told the first aggregator every share. So it knows the second's message, and sends the message that
    // makes the value at 0 accepted. On the line through 1 and 2: f(0) = 2·f(1) − f(2).
    let accepting: Message = [0, 1, 1, 1];
    let half = field::inverse(2);
    let lie: Message = std::array::from_fn(|element| {
        field::mul(field::add(accepting[element], honest[1][element]), half)
    });
    let sent: Vec<Message> = verifying
        .iter()
        .map(|&number| match number {
            1 => lie,
            other => honest[usize::from(other) - 1],
        })
        .collect();
    let quorum = Interpolation::new(&members(verifying), 2).unwrap();
    quorum
        .open_array(&sent)
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
