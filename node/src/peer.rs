//! Who sent a request, and whether that role may.

use dispers_core::{
    directory::Peer,
    id::{Name, Role},
};
use tonic::{Request, Status};

use crate::tls::ConnectedPeer;

fn peer<T>(request: &Request<T>) -> Result<&Peer, Status> {
    request
        .extensions()
        .get::<ConnectedPeer>()
        .map(|connected| &connected.0)
        .ok_or_else(|| Status::unauthenticated("the connection has no verified peer"))
}

/// The name of the node that sent the request, which must have this role.
///
/// # Errors
/// `PERMISSION_DENIED` for anybody else.
pub fn require_role<T>(request: &Request<T>, role: Role) -> Result<&Name, Status> {
    match peer(request)? {
        Peer::Node { name, role: theirs } if *theirs == role => Ok(name),
        _ => Err(Status::permission_denied(format!("only a {role} may"))),
    }
}

/// The name of the host that sent the request.
///
/// # Errors
/// `PERMISSION_DENIED` for anybody else.
pub fn require_host<T>(request: &Request<T>) -> Result<&Name, Status> {
    match peer(request)? {
        Peer::Host(name) => Ok(name),
        _ => Err(Status::permission_denied("only a host may")),
    }
}

/// The name of the querier that sent the request.
///
/// # Errors
/// `PERMISSION_DENIED` for anybody else.
pub fn require_querier<T>(request: &Request<T>) -> Result<&Name, Status> {
    match peer(request)? {
        Peer::Querier(name) => Ok(name),
        _ => Err(Status::permission_denied("only a querier may")),
    }
}

/// The name of the querier, or of the node of this role, that sent the request.
///
/// # Errors
/// `PERMISSION_DENIED` for anybody else.
pub fn require_querier_or_role<T>(request: &Request<T>, role: Role) -> Result<&Name, Status> {
    require_querier(request).or_else(|_| {
        require_role(request, role)
            .map_err(|_| Status::permission_denied(format!("only a querier or a {role} may")))
    })
}
