//! Comparison of the keys that a process holds with those that the directory lists.
//!
//! It is made at start. A wrong key file would otherwise show as refused handshakes, as envelopes that do not open, or
//! as a member that is blamed for wrong answers.

use dispers_base::{
    id::{Name, Role},
    keys::VerifyingKey,
};
use dispers_crypto::{dealing::KeyShare, envelope::EnvelopePublicKey};
use dispers_trust::directory::{Directory, Node, TlsKey};

/// Public keys of the secrets that a process holds.
#[derive(Debug)]
pub struct Held<'a> {
    /// Hash of the TLS key.
    pub tls_key: TlsKey,
    /// Public signing key.
    pub signing_key: VerifyingKey,
    /// Public envelope key of the node itself.
    pub envelope_key: Option<EnvelopePublicKey>,
    /// Public envelope key of the pool.
    pub pool_key: Option<EnvelopePublicKey>,
    /// Share of a threshold key.
    pub share: Option<&'a KeyShare>,
    /// Public envelope key of the pool in the previous key epoch; `None` if it is the same.
    pub previous_pool_key: Option<EnvelopePublicKey>,
    /// Share in the previous key epoch; `None` if it is the same.
    pub previous_share: Option<&'a KeyShare>,
}

/// Error for a process that the directory does not list with its keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unlisted {
    /// The directory has no entry of that name and role.
    #[error(
        "the directory lists no {role} named {name}: mend the name, or have the directory list it"
    )]
    Name {
        /// Role of the process.
        role: Role,
        /// Name of the process.
        name: Name,
    },
    /// The directory lists another key.
    #[error(
        "the {key} of {name} is not the one in the directory: use the key file whose public part was listed, or have the directory list this one"
    )]
    Key {
        /// Description of the key.
        key: &'static str,
        /// Name of the process.
        name: Name,
    },
}

/// Verifies that the directory lists the keys that the node, host or querier `name` holds.
///
/// # Errors
/// [`Unlisted`] with the first key that differs.
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
    // Hosts and queriers have no further keys in the directory.
    let different = if held.tls_key != tls_key {
        Some("TLS key")
    } else if held.signing_key != signing_key {
        Some("signing key")
    } else {
        node.and_then(|node| difference(directory, node, held))
    };
    match different {
        None => Ok(()),
        Some(key) => Err(Unlisted::Key {
            key,
            name: name.clone(),
        }),
    }
}

/// Returns the first key that differs, among those that only nodes have.
fn difference(directory: &Directory, node: &Node, held: &Held<'_>) -> Option<&'static str> {
    if held.envelope_key != node.envelope_key {
        return Some("envelope key");
    }
    let pool = directory.pool(node.role, node.group);
    if held.pool_key.as_ref() != pool.map(|pool| &pool.envelope_key) {
        return Some("pool's envelope key");
    }
    if let Some(previous) = directory.previous_keys() {
        // A pool may keep its key in the next epoch (protocol.md §2), so that no key file of the previous one is
        // needed.
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
            // The number is compared too: a share of another member has a public share that is listed, for that member.
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
