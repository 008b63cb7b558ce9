//! Whether the directory lists the keys that a process holds.
//!
//! Checked at start: a wrong key file would otherwise show as refused handshakes, as envelopes
//! that do not open, or as a member that gets blamed for wrong answers.

use dispers_base::{
    id::{Name, Role},
    keys::VerifyingKey,
};
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopePublicKey};
use dispers_trust::directory::{Directory, Node, TlsKey};

/// The public keys of what a process holds.
#[derive(Debug)]
pub struct Held<'a> {
    /// Of its TLS key.
    pub tls_key: TlsKey,
    /// Of its signing key.
    pub signing_key: VerifyingKey,
    /// Of its own envelope key.
    pub envelope_key: Option<EnvelopePublicKey>,
    /// Of its pool's envelope key.
    pub pool_key: Option<EnvelopePublicKey>,
    /// Its share of a threshold key.
    pub share: Option<&'a KeyShare>,
    /// Of its pool's envelope key of the key epoch before; `None` if it is the same.
    pub previous_pool_key: Option<EnvelopePublicKey>,
    /// Its share of the key epoch before; `None` if it is the same.
    pub previous_share: Option<&'a KeyShare>,
}

/// The directory lists another key, or nobody of that name and role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlisted {
    /// Nobody of that name and role.
    #[error(
        "the directory lists no {role} named {name}: mend the name, or have the directory list it"
    )]
    Name {
        /// The role.
        role: Role,
        /// The name.
        name: Name,
    },
    /// Another key.
    #[error(
        "the {key} of {name} is not the one in the directory: use the key file whose public part was listed, or have the directory list this one"
    )]
    Key {
        /// Which.
        key: &'static str,
        /// Whose.
        name: Name,
    },
}

/// Checks that the directory lists what the node, host or querier `name` holds.
///
/// # Errors
/// [`Unlisted`], naming the first key that differs.
pub fn check_listed(
    directory: &Directory,
    name: &Name,
    role: Role,
    held: &Held<'_>,
) -> Result<(), Unlisted> {
    let node = directory.node(name).filter(|node| node.role == role);
    let listed = match role {
        Role::Stack => directory.host(name).map(|h| (h.tls_key, h.signing_key)),
        Role::Querier => directory.querier(name).map(|q| (q.tls_key, q.signing_key)),
        _ => node.map(|node| (node.tls_key, node.signing_key)),
    };
    let (tls_key, signing_key) = listed.ok_or_else(|| Unlisted::Name {
        role,
        name: name.clone(),
    })?;
    let differs = |key| Unlisted::Key {
        key,
        name: name.clone(),
    };
    if held.tls_key != tls_key {
        return Err(differs("TLS key"));
    }
    if held.signing_key != signing_key {
        return Err(differs("signing key"));
    }
    match node.and_then(|node| difference(directory, node, held)) {
        Some(key) => Err(differs(key)),
        None => Ok(()),
    }
}

/// Which of the keys that only nodes have differs.
fn difference(directory: &Directory, node: &Node, held: &Held<'_>) -> Option<&'static str> {
    if held.envelope_key != node.envelope_key {
        return Some("envelope key");
    }
    let pool = directory.pool(node.role, node.group);
    if held.pool_key.as_ref() != pool.map(|pool| &pool.envelope_key) {
        return Some("pool's envelope key");
    }
    if let Some(previous) = directory.previous_keys() {
        let before = held.previous_pool_key.as_ref().or(held.pool_key.as_ref());
        let pool = previous.pool(node.role, node.group);
        if before != pool.map(|pool| &pool.envelope_key) {
            return Some("pool's envelope key of the previous key epoch (previous-keys)");
        }
        if node.role == Role::ConceptIndexor {
            let listed = node
                .member
                .and_then(|member| previous.indexors.share(member));
            let own = held.previous_share.or(held.share);
            if own.map(KeyShare::public) != listed || own.map(KeyShare::number) != node.member {
                return Some("key share of the previous key epoch (previous-share)");
            }
        }
    }
    let key = match node.role {
        Role::ConceptIndexor => &directory.indexors,
        Role::DataAggregator => directory.committees.get(usize::from(node.group))?,
        _ => return None,
    };
    let listed = node.member.map(|member| (member, key.share(member)));
    let own = held.share.map(|s| (s.number(), Some(s.public())));
    (own != listed).then_some("key share")
}
