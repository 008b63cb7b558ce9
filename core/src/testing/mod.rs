//! A small network in memory, for the tests of the state machines.
//!
//! Every key comes from a seed, so that a test repeats. A [`Scene`] is one query with all who take part: a test takes
//! each step by itself and changes what passes between two parties, or lets [`Scene::drive`] run the query and
//! intervenes where it wants. A [`Draft`] holds the contributions of dishonest stacks, which may be arbitrary.

#[cfg(test)]
mod canonical;
mod drive;
mod forge;
mod logged;
#[cfg(test)]
mod model;
mod network;
mod question;
mod scene;
#[cfg(test)]
mod simulation;
#[cfg(test)]
use borsh::{BorshDeserialize, BorshSerialize};

use rand::SeedableRng;
use rand::rngs::StdRng;

use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{AggregatorId, MemberNumber, Name},
};
use dispers_crypto::envelope::{EnvelopePublicKey, EnvelopeSecretKey, Suite};

pub(crate) use drive::{addressee, failed, label, step_error};
pub(crate) use forge::{Draft, Shared};
#[cfg(test)]
pub(crate) use logged::head;
pub(crate) use logged::logged;
pub(crate) use network::{HOUR, NOW, Network, key_of, verified};
pub(crate) use question::{
    Found, Home, LIMITS, Question, Setting, find_by, find_remembering, home, homes, pseudonym,
    segment, upload,
};
pub(crate) use scene::{Scene, same_key};

pub(crate) fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub(crate) fn member(number: u8) -> MemberNumber {
    MemberNumber::new(number).unwrap()
}

/// Returns the aggregator of that number in the first committee.
pub(crate) fn aggregator(number: u8) -> AggregatorId {
    AggregatorId {
        committee: 0,
        member: member(number),
    }
}

/// Copies a value by encoding and decoding it. This works also for types without `Clone`.
pub(crate) fn copy_of<T: BorshSerialize + BorshDeserialize>(value: &T) -> T {
    from_bytes(&to_bytes(value), 1 << 30, "copy").unwrap()
}

/// Returns a key of another suite than the network's.
pub(crate) fn hybrid_key() -> EnvelopePublicKey {
    let mut rng = StdRng::seed_from_u64(3);
    EnvelopeSecretKey::generate(Suite::XWing, &mut rng).public()
}
