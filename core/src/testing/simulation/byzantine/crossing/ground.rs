//! A network of two partitions and two committees, with its homes and the query that they are asked.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::Course;
use super::homes::{CONCEPTS, HOMES, partition, row};
use crate::{
    find::{FindError, FindRequest, FinderKeys, Memory, ProfileOpening},
    manifest::{Manifest, Terms},
    offer::{Offer, OfferBody},
    testing::{
        Found, HOUR, Home, NOW, Network, Question, Setting, aggregator, find_remembering, homes,
        key_of, logged, member, name, pseudonym, same_key, verified,
    },
    ticket::PoolSecret,
};
use dispers_base::{
    encoding,
    id::{AggregatorId, Name, Role, Threshold},
    keys::SigningKey,
};
use dispers_circuit::Row;
use dispers_crypto::{
    dealing::{KeyShare, ThresholdKey, deal},
    envelope::{EnvelopePublicKey, EnvelopeSecretKey, Sealed, Suite, reader},
};
use dispers_query::profile::Profile;
use dispers_trust::directory::{self, Directory, DirectoryBody, Node, TlsKey};

/// Number of partitions, and of committees.
pub(super) const EACH: u16 = 2;
/// Members needed of a committee, and number of members.
const COMMITTEE: (u8, u8) = (2, 3);
/// Question for a count and two sums. Each home has its own bit in one of the two sums.
const SQL: &str = "SELECT COUNT(*) AS n, SUM(clamp(x, 0, 1048575, 1)) AS s, \
     SUM(clamp(z, 0, 1048575, 1)) AS t FROM people";

/// The finders of a partition.
pub(super) struct Pool {
    name: Name,
    signing: SigningKey,
    pub(super) envelope: EnvelopeSecretKey,
    pub(super) secret: PoolSecret,
}

/// All keys, homes and the query.
pub(super) struct Ground {
    pub(super) network: Network,
    /// One per partition.
    pub(super) pools: Vec<Pool>,
    pub(super) homes: Vec<Home>,
    pub(super) question: Question,
    /// Secrets of the offered keys.
    pub(super) offered: BTreeMap<AggregatorId, EnvelopeSecretKey>,
    pub(super) signing: BTreeMap<AggregatorId, SigningKey>,
    pub(super) shares: BTreeMap<AggregatorId, KeyShare>,
    pub(super) rng: StdRng,
}

/// Returns the name of an aggregator's node. Those of the second committee continue the numbers of the first.
fn label(at: AggregatorId) -> String {
    let number = at.committee * u16::from(COMMITTEE.1) + u16::from(at.member.point());
    format!("aggregator{number}")
}

/// Returns the name of a partition's finder.
pub(super) fn finder(partition: u16) -> String {
    match partition {
        0 => "finder".into(),
        _ => format!("finder{partition}"),
    }
}

impl Ground {
    pub(super) fn new(course: &Course) -> Self {
        let mut rng = StdRng::seed_from_u64(course.seed ^ 0xc055);
        let (needed, members) = COMMITTEE;
        let mut network = Network::new(needed, members, &mut rng);
        let pools = (0..EACH).map(|partition| Pool {
            name: name(&finder(partition)),
            signing: key_of(&finder(partition)),
            envelope: EnvelopeSecretKey::generate(Suite::X25519, &mut rng),
            secret: PoolSecret::generate(&mut rng),
        });
        let pools: Vec<Pool> = pools.collect();
        let second = deal(Threshold::new(needed, members).unwrap(), &mut rng);
        network.directory = listed(&network, &pools, &second.public);

        let rows: Vec<Option<Row>> = (0..HOMES).map(|home| Some(row(home))).collect();
        let mut homes = homes(&rows, &mut rng);
        for (place, home) in homes.iter_mut().enumerate() {
            home.tag.0[0] = home.tag.0[0] & !1 | partition(place) as u8;
        }
        let mut offered = BTreeMap::new();
        let mut signing = BTreeMap::new();
        let first = std::mem::take(&mut network.shares);
        let mut shares = BTreeMap::new();
        let numbers: Vec<u8> = (1..=members).collect();
        for (committee, of) in [(0, first), (1, second.secrets)] {
            for (number, share) in numbers.iter().zip(of) {
                let at = AggregatorId {
                    committee,
                    member: member(*number),
                };
                shares.insert(at, share);
                signing.insert(at, key_of(&label(at)));
                let secret = EnvelopeSecretKey::generate(Suite::X25519, &mut rng);
                offered.insert(at, secret);
            }
        }
        let terms = terms(&second.public, &offered, &signing);
        let setting = Setting {
            committee: COMMITTEE,
            min_verified: course.min_verified,
            sql: SQL,
            profile: Some(Profile::atom(pseudonym(CONCEPTS[0]))),
            ..Setting::default()
        };
        let change = |manifest: &mut Manifest| manifest.committees.push(terms);
        let question = Question::posed(&network, &setting, change, &mut rng).unwrap();
        for (number, secret) in numbers.iter().zip(&question.offered) {
            offered.insert(aggregator(*number), same_key(secret.as_ref().unwrap()));
        }
        Self {
            network,
            pools,
            homes,
            question,
            offered,
            signing,
            shares,
            rng,
        }
    }

    /// Returns the keys of a partition's finder.
    fn keys<'a>(&'a self, partition: u16, target: &'a TargetKeys) -> FinderKeys<'a> {
        let pool = &self.pools[usize::from(partition)];
        FinderKeys {
            name: &pool.name,
            signing: &pool.signing,
            envelope: &pool.envelope,
            secret: &pool.secret,
            target: &target.0,
            partitions: EACH,
            targets: &target.1,
        }
    }

    /// Runs the find of a partition over these segments.
    pub(super) fn find(
        &mut self,
        partition: u16,
        batch_size: u32,
        segments: &[Vec<u8>],
    ) -> Result<Found, FindError> {
        let (signed, opening) = (&self.question.signed, self.question.opening());
        let pool = &self.pools[usize::from(partition)];
        let request = FindRequest {
            manifest: signed.clone(),
            profile: Sealed::<reader::TargetFinder, _>::seal(
                &opening,
                &pool.envelope.public(),
                &ProfileOpening::context(signed.query()),
                &mut self.rng,
            ),
            partition,
            batch_size,
            lists: opening.profile.atoms().copied().collect(),
            inclusion: logged(&self.network, signed),
        };
        let target = TargetKeys(self.network.target.public(), vec![name("target")]);
        let keys = self.keys(partition, &target);
        let memory = &mut Memory::default();
        find_remembering(
            &keys,
            memory,
            &self.network,
            &self.question,
            &request,
            segments,
        )
    }
}

/// The key of the targets, and their names.
struct TargetKeys(EnvelopePublicKey, Vec<Name>);

/// Returns the directory with the finders of the second partition and the second committee.
fn listed(network: &Network, pools: &[Pool], second: &ThresholdKey) -> Directory {
    let mut body = (*network.directory).clone();
    let mut nodes = vec![node_like(&body, "finder", finder(1))];
    for number in 1..=COMMITTEE.1 {
        let first = aggregator(number);
        let second = AggregatorId {
            committee: 1,
            ..first
        };
        nodes.push(node_like(&body, &label(first), label(second)));
    }
    body.nodes.extend(nodes);
    let second_pool = directory::Pool {
        partition: 1,
        ..body.pools[0].clone()
    };
    body.pools.push(second_pool);
    for pool in &mut body.pools {
        if pool.role == Role::TargetFinder {
            let keys = &pools[usize::from(pool.partition)];
            pool.envelope_key = keys.envelope.public();
        }
    }
    body.committees.push(second.clone());
    verified(&body)
}

/// Returns a node of the second group, with the role and number of this one.
fn node_like(body: &DirectoryBody, of: &str, label: String) -> Node {
    let mut nodes = body.nodes.iter();
    let node = nodes.find(|node| node.name == name(of)).unwrap();
    Node {
        name: name(&label),
        operator: name(&label),
        signing_key: key_of(&label).public(),
        tls_key: TlsKey(encoding::hash("tls key", &[label.as_bytes()])),
        address: format!("{label}.example.org:7001"),
        group: 1,
        ..node.clone()
    }
}

/// Returns the manifest's terms of the second committee.
fn terms(
    key: &ThresholdKey,
    offered: &BTreeMap<AggregatorId, EnvelopeSecretKey>,
    signing: &BTreeMap<AggregatorId, SigningKey>,
) -> Terms {
    let mut offers = Vec::new();
    for (at, secret) in offered.iter().filter(|(at, _)| at.committee == 1) {
        let body = OfferBody {
            aggregator: name(&label(*at)),
            key: secret.public(),
            querier: name("querier"),
            expires: NOW.plus(HOUR),
        };
        offers.push(Some(Offer::new(body, &signing[at])));
    }
    Terms {
        needed: COMMITTEE.0,
        key: *key.key(),
        offers,
    }
}
