//! Tests that a process starts only with the keys that the directory lists.

use dispers_base::{id::Role, keys::SigningKey};
use dispers_crypto::envelope::{EnvelopeSecretKey, Suite};
use dispers_node::{Held, TlsIdentity, Unlisted, check_listed, rng};

use crate::network::{Network, name};

fn check(network: &Network, label: &str, held: &Held<'_>) -> Result<(), Unlisted> {
    let name = name(label);
    let role = network.role(&name);
    check_listed(&network.directory(), &name, role, held)
}

const EVERYBODY: [&str; 9] = [
    "c", "tf", "t", "ci1", "ci3", "da1", "da3", "host", "querier",
];

#[test]
fn everybody_holds_what_is_listed() {
    let network = Network::new();
    for label in EVERYBODY {
        assert_eq!(check(&network, label, &network.held(label)), Ok(()));
    }
}

#[test]
fn the_key_that_differs_is_named() {
    let network = Network::new();
    let other = EnvelopeSecretKey::generate(Suite::X25519, &mut rng()).public();
    let refused = |label: &str, change: &dyn Fn(&mut Held<'_>)| {
        let mut held = network.held(label);
        change(&mut held);
        match check(&network, label, &held) {
            Err(Unlisted::Key { key, .. }) => key,
            other => panic!("{label}: {other:?}"),
        }
    };
    let tls_key = TlsIdentity::generate().key();
    let signing_key = SigningKey::generate(&mut rng()).public();
    for label in EVERYBODY {
        assert_eq!(refused(label, &|h| h.tls_key = tls_key), "TLS key");
        let named = refused(label, &|h| h.signing_key = signing_key);
        assert_eq!(named, "signing key");
    }
    for key in [None, Some(other)] {
        for label in ["c", "ci1"] {
            let named = refused(label, &|h| h.envelope_key = key.clone());
            assert_eq!(named, "envelope key");
        }
        for label in ["tf", "t"] {
            let named = refused(label, &|h| h.pool_key = key.clone());
            assert_eq!(named, "pool's envelope key");
        }
    }
    for label in ["ci1", "da3"] {
        assert_eq!(refused(label, &|h| h.share = None), "key share");
    }
}

#[test]
fn a_share_of_another_member_or_key_is_refused() {
    let network = Network::new();
    for (label, of) in [("da1", "da2"), ("da1", "ci1")] {
        let held = Held {
            share: network.held(of).share,
            previous_pool_key: None,
            previous_share: None,
            ..network.held(label)
        };
        assert!(check(&network, label, &held).is_err());
    }
}

#[test]
fn a_name_or_role_that_is_not_listed_is_refused() {
    let network = Network::new();
    let directory = network.directory();
    let held = network.held("t");
    for (label, role) in [
        ("t2", Role::Target),
        ("t", Role::Conductor),
        ("t", Role::Stack),
    ] {
        let refused = check_listed(&directory, &name(label), role, &held);
        assert!(matches!(refused, Err(Unlisted::Name { .. })));
    }
}
