//! Tests of calls to any node of a role.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
};

use dispers_base::id::Role;
use dispers_node::{AnyOf, Channels};
use dispers_trust::directory::TlsKey;
use tonic::{Code, Status};

use crate::{
    network::{Network, name},
    service::node,
};

/// Returns a querier's caller of three conductors.
fn conductors() -> AnyOf {
    let mut network = Network::new();
    let first = network.body.nodes[0].clone();
    assert_eq!(first.role, Role::Conductor);
    for number in [2, 3] {
        let mut another = first.clone();
        another.name = name(&format!("c{number}"));
        another.tls_key = TlsKey([number; 32]);
        another.signing_key = dispers_base::keys::SigningKey::from_seed(&[number; 32]).public();
        network.body.nodes.push(another);
    }
    let node = Arc::new(node(&network, "querier", Role::Querier));
    AnyOf::new(node.clone(), Channels::new(node), Role::Conductor)
}

/// Calls `any` with tries that end as `script` says. Returns the result and the number of tries.
async fn called(any: &AnyOf, script: Vec<Result<u8, Status>>) -> (Result<u8, Status>, usize) {
    let length = script.len();
    let script = Mutex::new(VecDeque::from(script));
    let next = || script.lock().unwrap().pop_front().expect("no more tries");
    let answer = any.call(|_| async { next() }).await;
    let left = script.lock().unwrap().len();
    (answer, length - left)
}

/// Returns the status of a connection that broke.
fn broken() -> Status {
    Status::from_error(Box::new(io::Error::other("the connection broke")))
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_passed_over_and_what_one_says_is_taken() {
    let any = conductors();
    let away = || Status::unavailable("it is stopping");
    let (answer, tries) = called(&any, vec![Err(broken()), Err(away()), Ok(7)]).await;
    assert_eq!((answer.unwrap(), tries), (7, 3));
    let (answer, tries) = called(&any, vec![Ok(8), Ok(9)]).await;
    assert_eq!((answer.unwrap(), tries), (8, 1));
    let refusal = Status::not_found("no such query");
    let (answer, tries) = called(&any, vec![Err(broken()), Err(refusal), Ok(9)]).await;
    assert_eq!((answer.unwrap_err().code(), tries), (Code::NotFound, 2));
}

#[tokio::test]
async fn where_nobody_can_be_reached_what_one_says_goes_before_what_broke() {
    let any = conductors();
    let away = || Status::unavailable("the indexor is away");
    for script in [
        [broken(), away(), broken()],
        [away(), broken(), broken()],
        [broken(), broken(), away()],
    ] {
        let script = script.map(Err).to_vec();
        let (answer, tries) = called(&any, script).await;
        assert_eq!(answer.unwrap_err().message(), "the indexor is away");
        assert_eq!(tries, 3);
    }
}
