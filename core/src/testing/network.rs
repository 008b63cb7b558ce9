//! The parties of a test: the directory and all secrets behind it.

use rand::rngs::StdRng;

use super::{member, name};
use crate::{find::FinderKeys, ticket::PoolSecret};
use dispers_base::{
    encoding,
    id::{KeyEpoch, Name, Role, Threshold, Timestamp},
    keys::SigningKey,
};
use dispers_crypto::{
    dealing::{KeyShare, deal},
    envelope::{EnvelopeSecretKey, Suite},
};
use dispers_query::catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind};
use dispers_trust::directory::{
    Directory, DirectoryBody, Floors, Host, Node, Pool, QuerierEntry, RootKeys, SignedDirectory,
    TlsKey, Witnesses,
};

pub(crate) const NOW: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const HOUR: u64 = 3_600_000;
pub(crate) const HOSTS: [&str; 2] = ["host1", "host2"];

/// Returns the signing key of the party with this name.
pub(crate) fn key_of(name: &str) -> SigningKey {
    SigningKey::from_seed(&encoding::hash("signing key", &[name.as_bytes()]))
}

fn tls_key_of(name: &str) -> TlsKey {
    TlsKey(encoding::hash("tls key", &[name.as_bytes()]))
}

/// Network of one partition and one committee, whose aggregators are `aggregator1`, `aggregator2` and so on.
pub(crate) struct Network {
    pub(crate) directory: Directory,
    pub(crate) shares: Vec<KeyShare>,
    pub(crate) target: EnvelopeSecretKey,
    finder_name: Name,
    other_finder: Name,
    targets: Vec<Name>,
    finder_signing: SigningKey,
    pub(crate) finder: EnvelopeSecretKey,
    pub(crate) secret: PoolSecret,
    /// Scale of the noise of sizes.
    pub(crate) size_noise: u32,
    target_key: dispers_crypto::envelope::EnvelopePublicKey,
}

impl Network {
    pub(crate) fn new(needed: u8, members: u8, rng: &mut StdRng) -> Self {
        let mut fresh = || EnvelopeSecretKey::generate(Suite::X25519, rng);
        let (finder, target) = (fresh(), fresh());
        let own_keys: Vec<_> = (0..4).map(|_| fresh().public()).collect();
        let indexors = deal(Threshold::new(2, 3).unwrap(), rng).public;
        let committee = deal(Threshold::new(needed, members).unwrap(), rng);
        let node = |label: &str, role, number: Option<u8>, envelope_key| Node {
            name: name(label),
            role,
            operator: name(label),
            address: format!("{label}.example.org:7001"),
            tls_key: tls_key_of(label),
            signing_key: key_of(label).public(),
            envelope_key,
            group: 0,
            member: number.map(member),
        };
        let mut nodes = vec![
            node(
                "conductor",
                Role::Conductor,
                None,
                Some(own_keys[0].clone()),
            ),
            node("finder", Role::TargetFinder, None, None),
            node("target", Role::Target, None, None),
        ];
        for number in 1..=3u8 {
            let key = own_keys[usize::from(number)].clone();
            let label = format!("indexor{number}");
            nodes.push(node(&label, Role::ConceptIndexor, Some(number), Some(key)));
        }
        for number in 1..=members {
            let label = format!("aggregator{number}");
            nodes.push(node(&label, Role::DataAggregator, Some(number), None));
        }
        let pool = |role, key: &EnvelopeSecretKey| Pool {
            role,
            partition: 0,
            key_epoch: KeyEpoch(3),
            envelope_key: key.public(),
        };
        let host = |label: &&str| Host {
            name: name(label),
            address: String::new(),
            tls_key: tls_key_of(label),
            signing_key: key_of(label).public(),
        };
        let querier = |label: &str| QuerierEntry {
            name: name(label),
            tls_key: tls_key_of(label),
            signing_key: key_of(label).public(),
            purposes: vec!["research".into()],
        };
        let witnesses = Witnesses::aggregators(&nodes);
        let body = DirectoryBody {
            network: name("test"),
            trial: true,
            epoch: 1,
            issued: NOW,
            expires: NOW.plus(1000 * HOUR),
            suite: Suite::X25519,
            key_epoch: KeyEpoch(3),
            nodes,
            pools: vec![
                pool(Role::TargetFinder, &finder),
                pool(Role::Target, &target),
            ],
            hosts: HOSTS.iter().map(host).collect(),
            queriers: vec![querier("querier"), querier("neighbour")],
            indexors,
            committees: vec![committee.public],
            transcripts: Vec::new(),
            witnesses,
            floors: Floors {
                min_cohort: 4,
                answer_rate: 400,
                min_verified: needed,
                max_homes: 1 << 40,
                exact: true,
                budget: dispers_privacy::Rho(u64::MAX),
                // Large, so that few moments are enough for Gaussian noise.
                max_delta: 0.5,
                // Scenes have few more homes than the cohort. Other tests cover the noise of sizes.
                size_noise: 0,
            },
            catalogue: catalogue(),
            previous: None,
        };
        Self {
            directory: verified(&body),
            size_noise: 0,
            shares: committee.secrets,
            target_key: target.public(),
            target,
            finder,
            finder_name: name("finder"),
            other_finder: name("finder-two"),
            targets: vec![name("target")],
            finder_signing: key_of("finder"),
            secret: PoolSecret::generate(rng),
        }
    }

    pub(crate) fn finder_keys(&self) -> FinderKeys<'_> {
        FinderKeys {
            name: &self.finder_name,
            signing: &self.finder_signing,
            envelope: &self.finder,
            secret: &self.secret,
            target: &self.target_key,
            partitions: 1,
            targets: &self.targets,
        }
    }

    /// Returns the keys of another finder of the pool, which the directory does not list.
    pub(crate) fn other_finder_keys(&self) -> FinderKeys<'_> {
        FinderKeys {
            name: &self.other_finder,
            ..self.finder_keys()
        }
    }
}

/// Signs and verifies the directory of `body`, which must be valid.
pub(crate) fn verified(body: &DirectoryBody) -> Directory {
    let root = key_of("root");
    let mut signed = SignedDirectory::new(body).unwrap();
    signed.sign(&root);
    let roots = RootKeys {
        keys: vec![root.public()],
        needed: 1,
    };
    signed.verify(&roots, NOW).unwrap()
}

fn catalogue() -> Catalogue {
    let field = |label: &str, nullable| Field {
        name: label.into(),
        kind: FieldKind::Integer,
        unit: String::new(),
        range: None,
        nullable,
    };
    Catalogue {
        doctypes: vec![Doctype {
            name: "people".into(),
            cardinality: Cardinality::One,
            fields: vec![field("x", false), field("y", true), field("z", false)],
        }],
        concepts: vec!["sex>female".into(), "asthma>1".into()],
    }
}
