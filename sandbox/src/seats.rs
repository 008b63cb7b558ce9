//! Nodes of a sandbox before they run: names, keys, sockets, and the directory that lists them.

use std::sync::Arc;

use dispers_base::{
    id::{KeyEpoch, MemberNumber, Name, Role},
    keys::{SigningKey, VerifyingKey},
};
use dispers_core::ticket::PoolSecret;
use dispers_crypto::{
    dealing::{Dealing, KeyShare, ThresholdKey},
    envelope::{EnvelopePublicKey, EnvelopeSecretKey, Suite},
};
use dispers_node::{Activity, Node, TlsIdentity, Watcher, now, rng};
use dispers_trust::directory::{
    DEFAULT_MAX_DELTA, Directory, DirectoryBody, Floors, Host, Pool, QuerierEntry, RootKeys,
    SignedDirectory, TlsKey, Witnesses,
};
use tokio::net::TcpListener;

use crate::{Error, Options, options::MAX_HOMES, population::Population};

/// Life of a sandbox's directory, in milliseconds.
const DIRECTORY_LIFE: u64 = 30 * 24 * 3_600_000;

/// Service before it runs: its name in the directory, its keys and its socket.
pub(crate) struct Seat {
    pub(crate) name: Name,
    tls: TlsIdentity,
    signing: SigningKey,
    listener: TcpListener,
    address: String,
}

impl Seat {
    /// Creates the keys of a service and binds its socket.
    async fn take(name: &str) -> Result<Self, Error> {
        // The socket is bound before the directory is signed, since the directory lists its port.
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|error| Error::start(name, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| Error::start(name, error))?;
        Ok(Self {
            name: Name::new(name)?,
            tls: TlsIdentity::generate(),
            signing: SigningKey::generate(&mut rng()),
            listener,
            address: address.to_string(),
        })
    }

    /// Returns the service's entry in the directory.
    fn entry(
        &self,
        role: Role,
        group: u16,
        member: Option<MemberNumber>,
        envelope_key: Option<EnvelopePublicKey>,
    ) -> dispers_trust::directory::Node {
        dispers_trust::directory::Node {
            name: self.name.clone(),
            role,
            // The directory's rules forbid that one operator has certain roles together, so each node has its own
            // (§2).
            operator: self.name.clone(),
            address: self.address.clone(),
            tls_key: self.tls.key(),
            signing_key: self.signing.public(),
            envelope_key,
            group,
            member,
        }
    }

    /// Turns the seat into a node of `directory` and its socket.
    pub(crate) fn sit(
        self,
        directory: &Arc<Directory>,
        role: Role,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> (Arc<Node>, TcpListener) {
        let node = Node {
            name: self.name,
            directory: directory.clone(),
            signing: self.signing,
            tls: self.tls,
            watcher,
            activity: Activity::new(role),
        };
        (Arc::new(node), self.listener)
    }
}

/// Returns the name of a node at one place of several. The first has no number.
fn numbered(name: &str, place: u16) -> String {
    match place {
        0 => name.to_owned(),
        _ => format!("{name}-{}", place + 1),
    }
}

/// Target Finders of one partition, with the keys that they share.
pub(crate) struct FinderPool {
    pub(crate) seats: Vec<Seat>,
    pub(crate) envelope: EnvelopeSecretKey,
    pub(crate) secret: PoolSecret,
}

/// Seats of a network, with the keys that several nodes share or that a role needs beside its node's.
pub(crate) struct Seats {
    pub(crate) conductor: (Seat, EnvelopeSecretKey),
    pub(crate) indexors: Vec<(Seat, EnvelopeSecretKey, KeyShare)>,
    /// Finders, one pool per partition.
    pub(crate) finders: Vec<FinderPool>,
    /// Targets, which share `target_key`.
    pub(crate) targets: Vec<Seat>,
    pub(crate) target_key: EnvelopeSecretKey,
    /// Aggregators, by committee.
    pub(crate) aggregators: Vec<Vec<(Seat, KeyShare)>>,
    pub(crate) stacks: Vec<Seat>,
}

impl Seats {
    /// Creates the seats that the options ask for.
    pub(crate) async fn new(
        options: &Options,
        indexors: Dealing,
        committees: Vec<Dealing>,
    ) -> Result<Self, Error> {
        let suite = options.suite;
        let mut plan = Self {
            conductor: (Seat::take("conductor").await?, fresh_key(suite)),
            indexors: Vec::new(),
            finders: Vec::new(),
            targets: Vec::new(),
            target_key: fresh_key(suite),
            aggregators: Vec::new(),
            stacks: Vec::new(),
        };
        for share in indexors.secrets {
            let seat = Seat::take(&format!("concept-indexor-{}", share.number())).await?;
            plan.indexors.push((seat, fresh_key(suite), share));
        }
        for partition in 0..options.partitions {
            let name = numbered("target-finder", partition);
            let mut seats = vec![Seat::take(&name).await?];
            // Finders of one partition have letters, and partitions have numbers.
            for other in b'b'..b'a' + options.finders {
                let name = format!("{name}-{}", char::from(other));
                seats.push(Seat::take(&name).await?);
            }
            plan.finders.push(FinderPool {
                seats,
                envelope: fresh_key(suite),
                secret: PoolSecret::generate(&mut rng()),
            });
        }
        for place in 0..options.targets {
            plan.targets
                .push(Seat::take(&numbered("target", place)).await?);
        }
        for (place, committee) in (0u16..).zip(committees) {
            let mut members = Vec::new();
            for share in committee.secrets {
                let name = numbered("data-aggregator", place);
                let seat = Seat::take(&format!("{name}-{}", share.number())).await?;
                members.push((seat, share));
            }
            plan.aggregators.push(members);
        }
        for host in 1..=options.hosts {
            plan.stacks.push(Seat::take(&format!("host-{host}")).await?);
        }
        Ok(plan)
    }

    /// Returns the body of the directory that lists these seats.
    pub(crate) fn body(
        &self,
        options: &Options,
        population: &dyn Population,
        (indexors, committees): (ThresholdKey, Vec<ThresholdKey>),
        querier_tls: TlsKey,
        querier_signing: VerifyingKey,
    ) -> Result<DirectoryBody, Error> {
        let key_epoch = KeyEpoch(1);
        let (conductor, envelope) = &self.conductor;
        let mut nodes = vec![conductor.entry(Role::Conductor, 0, None, Some(envelope.public()))];
        for (seat, envelope, share) in &self.indexors {
            nodes.push(seat.entry(
                Role::ConceptIndexor,
                0,
                Some(share.number()),
                Some(envelope.public()),
            ));
        }
        let mut pools = vec![Pool {
            role: Role::Target,
            partition: 0,
            key_epoch,
            envelope_key: self.target_key.public(),
        }];
        for (partition, finders) in (0u16..).zip(&self.finders) {
            for seat in &finders.seats {
                nodes.push(seat.entry(Role::TargetFinder, partition, None, None));
            }
            pools.push(Pool {
                role: Role::TargetFinder,
                partition,
                key_epoch,
                envelope_key: finders.envelope.public(),
            });
        }
        for seat in &self.targets {
            nodes.push(seat.entry(Role::Target, 0, None, None));
        }
        for (committee, members) in (0u16..).zip(&self.aggregators) {
            for (seat, share) in members {
                let number = Some(share.number());
                nodes.push(seat.entry(Role::DataAggregator, committee, number, None));
            }
        }
        let witnesses = Witnesses::aggregators(&nodes);
        let issued = now();
        Ok(DirectoryBody {
            network: Name::new("sandbox")?,
            // One dealer makes the threshold keys, and no transcript shows otherwise. Only a trial may have such keys
            // (§2).
            trial: true,
            epoch: 1,
            issued,
            expires: issued.plus(DIRECTORY_LIFE),
            suite: options.suite,
            key_epoch,
            nodes,
            pools,
            hosts: self
                .stacks
                .iter()
                .enumerate()
                .map(|(host, seat)| Host {
                    name: seat.name.clone(),
                    // A host without an address cannot be dialled, and attaches itself.
                    address: if host < options.attached {
                        String::new()
                    } else {
                        seat.address.clone()
                    },
                    tls_key: seat.tls.key(),
                    signing_key: seat.signing.public(),
                })
                .collect(),
            queriers: vec![QuerierEntry {
                name: Name::new("querier")?,
                tls_key: querier_tls,
                signing_key: querier_signing,
                purposes: vec![options.purpose.clone()],
            }],
            witnesses,
            floors: Floors {
                min_cohort: options.min_cohort,
                // In thousandths: half of the asked homes must contribute.
                answer_rate: 500,
                min_verified: options.threshold,
                max_homes: MAX_HOMES,
                exact: true,
                // Unlimited, so that a sandbox can be asked again and again.
                budget: dispers_privacy::Rho(u64::MAX),
                max_delta: DEFAULT_MAX_DELTA,
                size_noise: options.size_noise,
            },
            indexors,
            committees,
            transcripts: Vec::new(),
            catalogue: population.catalogue(),
            previous: None,
        })
    }
}

/// Directory of a sandbox, with what a node needs to verify it.
pub(crate) struct Signed {
    pub(crate) directory: Arc<Directory>,
    /// Encoding of the signed directory.
    pub(crate) bytes: Vec<u8>,
    pub(crate) root: VerifyingKey,
}

/// Signs the directory with a fresh root key that is dropped afterwards, and verifies the directory as every node
/// does.
pub(crate) fn sign(body: &DirectoryBody) -> Result<Signed, Error> {
    let root = SigningKey::generate(&mut rng());
    let mut signed = SignedDirectory::new(body)?;
    signed.sign(&root);
    let roots = RootKeys {
        keys: vec![root.public()],
        needed: 1,
    };
    Ok(Signed {
        directory: Arc::new(signed.verify(&roots, now())?),
        bytes: signed.to_bytes(),
        root: root.public(),
    })
}

fn fresh_key(suite: Suite) -> EnvelopeSecretKey {
    EnvelopeSecretKey::generate(suite, &mut rng())
}
