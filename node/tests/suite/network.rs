//! Small network: the keys of all parties, and the directory that lists them.

use std::sync::Arc;

use dispers_base::{
    id::{KeyEpoch, MemberNumber, Name, Role, Threshold, Timestamp},
    keys::SigningKey,
};
use dispers_crypto::{
    dealing::{KeyShare, deal},
    envelope::{EnvelopeSecretKey, Suite},
};
use dispers_node::{Held, TlsIdentity, now, rng};
use dispers_query::catalogue::Catalogue;
use dispers_trust::directory::{
    DEFAULT_MAX_DELTA, Directory, DirectoryBody, Floors, Host, Node, Pool, QuerierEntry, RootKeys,
    SignedDirectory, Witnesses,
};

pub(crate) const HOUR: u64 = 3_600_000;

pub(crate) fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// Keys of one entry.
pub(crate) struct Keys {
    name: Name,
    pub(crate) tls: TlsIdentity,
    signing: SigningKey,
}

pub(crate) struct Network {
    keys: Vec<Keys>,
    indexors: Vec<KeyShare>,
    aggregators: Vec<KeyShare>,
    pub(crate) body: DirectoryBody,
    root: SigningKey,
}

impl Network {
    pub(crate) fn new() -> Self {
        let mut rng = rng();
        let threshold = Threshold::new(2, 3).unwrap();
        let envelope = || EnvelopeSecretKey::generate(Suite::X25519, &mut dispers_node::rng());
        let mut keys = Vec::new();
        let mut generate = |label: &str| {
            let one = Keys {
                name: name(label),
                tls: TlsIdentity::generate(),
                signing: SigningKey::generate(&mut dispers_node::rng()),
            };
            let public = (one.name.clone(), one.tls.key(), one.signing.public());
            keys.push(one);
            public
        };
        let mut nodes = Vec::new();
        let mut node = |label: &str, role, member: Option<u8>| {
            let (name, tls_key, signing_key) = generate(label);
            let own = matches!(role, Role::Conductor | Role::ConceptIndexor);
            nodes.push(Node {
                operator: name.clone(),
                name,
                role,
                address: "127.0.0.1:7001".into(),
                tls_key,
                signing_key,
                envelope_key: own.then(|| envelope().public()),
                group: 0,
                member: member.map(|number| MemberNumber::new(number).unwrap()),
            });
        };
        node("c", Role::Conductor, None);
        node("tf", Role::TargetFinder, None);
        node("t", Role::Target, None);
        for number in 1..=3 {
            node(&format!("ci{number}"), Role::ConceptIndexor, Some(number));
            node(&format!("da{number}"), Role::DataAggregator, Some(number));
        }
        let host = generate("host");
        let querier = generate("querier");
        let indexors = deal(threshold, &mut rng);
        let aggregators = deal(threshold, &mut rng);
        let key_epoch = KeyEpoch(1);
        let pool = |role| Pool {
            role,
            partition: 0,
            key_epoch,
            envelope_key: envelope().public(),
        };
        let witnesses = Witnesses::aggregators(&nodes);
        let body = DirectoryBody {
            network: name("test"),
            trial: true,
            epoch: 1,
            issued: now(),
            expires: now().plus(HOUR),
            suite: Suite::X25519,
            key_epoch,
            nodes,
            pools: vec![pool(Role::TargetFinder), pool(Role::Target)],
            hosts: vec![Host {
                name: host.0,
                address: "127.0.0.1:7001".into(),
                tls_key: host.1,
                signing_key: host.2,
            }],
            queriers: vec![QuerierEntry {
                name: querier.0,
                tls_key: querier.1,
                signing_key: querier.2,
                purposes: Vec::new(),
            }],
            indexors: indexors.public,
            committees: vec![aggregators.public],
            transcripts: Vec::new(),
            witnesses,
            floors: Floors {
                min_cohort: 2,
                answer_rate: 800,
                min_verified: 2,
                max_homes: 1000,
                exact: true,
                budget: dispers_privacy::Rho(0),
                max_delta: DEFAULT_MAX_DELTA,
                size_noise: 2,
            },
            catalogue: Catalogue::default(),
            previous: None,
        };
        let root = SigningKey::generate(&mut rng);
        Self {
            keys,
            indexors: indexors.secrets,
            aggregators: aggregators.secrets,
            body,
            root,
        }
    }

    pub(crate) fn keys(&self, label: &str) -> &Keys {
        let found = self.keys.iter().find(|keys| keys.name.as_str() == label);
        found.expect("the network has this name")
    }

    pub(crate) fn role(&self, name: &Name) -> Role {
        let key = self.keys(name.as_str()).tls.key();
        self.directory().peer(&key).unwrap().role()
    }

    /// Returns the keys of an entry that the directory lists, and its share.
    pub(crate) fn held(&self, label: &str) -> Held<'_> {
        let keys = self.keys(label);
        let node = self.body.nodes.iter().find(|node| node.name == keys.name);
        let pool = |role| self.body.pools.iter().find(|pool| pool.role == role);
        let shares = match node.map(|node| node.role) {
            Some(Role::ConceptIndexor) => &self.indexors[..],
            Some(Role::DataAggregator) => &self.aggregators,
            _ => &[],
        };
        Held {
            tls_key: keys.tls.key(),
            signing_key: keys.signing.public(),
            envelope_key: node.and_then(|node| node.envelope_key.clone()),
            pool_key: node
                .and_then(|node| pool(node.role))
                .map(|pool| pool.envelope_key.clone()),
            share: node
                .and_then(|node| node.member)
                .map(|number| &shares[number.index()]),
            previous_pool_key: None,
            previous_share: None,
        }
    }

    pub(crate) fn roots(&self) -> RootKeys {
        RootKeys {
            keys: vec![self.root.public()],
            needed: 1,
        }
    }

    pub(crate) fn signed(&self) -> SignedDirectory {
        let mut signed = SignedDirectory::new(&self.body).unwrap();
        signed.sign(&self.root);
        signed
    }

    pub(crate) fn directory_at(&self, now: Timestamp) -> Arc<Directory> {
        Arc::new(self.signed().verify(&self.roots(), now).unwrap())
    }

    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory_at(now())
    }
}
