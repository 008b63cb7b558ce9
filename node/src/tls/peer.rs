//! Sender of a request, and its permission to call a method.

use dispers_base::id::{Name, Role};
use dispers_trust::directory::Peer;
use tonic::{Request, Status};

use crate::Fault;

/// Peer that a request's connection belongs to. Every request that [`serve`](crate::serve()) passes on has it as an
/// extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo(pub Peer);

/// Returns the sender of a request.
///
/// # Errors
/// An internal status for a request that did not come through [`serve`](crate::serve()).
pub fn peer<T>(request: &Request<T>) -> Result<&Peer, Status> {
    match request.extensions().get::<PeerInfo>() {
        Some(PeerInfo(peer)) => Ok(peer),
        None => Err(Fault::Us.status(&"the connection has no known peer")),
    }
}

/// Returns the name of the sender if it is a node of `role`.
///
/// # Errors
/// `PERMISSION_DENIED`, with the role.
pub fn require_role<T>(request: &Request<T>, role: Role) -> Result<&Name, Status> {
    match peer(request)? {
        Peer::Node { name, role: own } if *own == role => Ok(name),
        other => Err(denied(role, other)),
    }
}

/// Returns the name of the sender if it is a host's stack.
///
/// # Errors
/// `PERMISSION_DENIED`, with the role that is needed.
pub fn require_host<T>(request: &Request<T>) -> Result<&Name, Status> {
    match peer(request)? {
        Peer::Host(name) => Ok(name),
        other => Err(denied(Role::Stack, other)),
    }
}

/// Returns the name of the sender if it is a querier.
///
/// # Errors
/// `PERMISSION_DENIED`, with the role that is needed.
pub fn require_querier<T>(request: &Request<T>) -> Result<&Name, Status> {
    match peer(request)? {
        Peer::Querier(name) => Ok(name),
        other => Err(denied(Role::Querier, other)),
    }
}

/// Returns the sender of a request that any listed peer may send.
///
/// # Errors
/// As [`peer`].
pub fn require_listed<T>(request: &Request<T>) -> Result<&Peer, Status> {
    peer(request)
}

/// Returns the name of the sender if it is a querier or a node of `role`.
///
/// # Errors
/// `PERMISSION_DENIED`, with the role.
pub fn require_querier_or_role<T>(request: &Request<T>, role: Role) -> Result<&Name, Status> {
    require_querier(request).or_else(|_| require_role(request, role))
}

fn denied(needed: Role, peer: &Peer) -> Status {
    let message = format!(
        "only a {needed} may call this, and the directory lists {} as a {}",
        peer.name(),
        peer.role()
    );
    Fault::Denied.status(&message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: Peer) -> Request<()> {
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerInfo(peer));
        request
    }

    #[test]
    fn each_guard_lets_its_own_kind_pass() {
        let name = Name::new("someone").unwrap();
        let role = Role::Conductor;
        let node = request(Peer::Node {
            name: name.clone(),
            role,
        });
        let host = request(Peer::Host(name.clone()));
        let querier = request(Peer::Querier(name.clone()));

        assert_eq!(require_role(&node, role).unwrap(), &name);
        assert_eq!(require_host(&host).unwrap(), &name);
        assert_eq!(require_querier(&querier).unwrap(), &name);

        let refusals = [
            require_role(&node, Role::Target),
            require_role(&host, Role::Stack),
            require_role(&querier, role),
            require_host(&node),
            require_host(&querier),
            require_querier(&node),
            require_querier(&host),
        ];
        for refused in refusals {
            assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
        }
        let refused = require_role(&node, Role::Target).unwrap_err();
        assert!(refused.message().contains("only a target may"));
    }

    #[test]
    fn a_request_without_a_peer_is_our_fault() {
        let refused = peer(&Request::new(())).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Internal);
    }
}
