//! Tests that break each rule of the directory in turn.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use dispers_base::{id::Threshold, keys::SigningKey};
use dispers_crypto::{dealing::deal, envelope::EnvelopeSecretKey};
use dispers_query::catalogue::{Cardinality, Doctype, Field, FieldKind};

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: u64 = 3_600_000;

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// Source of all keys of a small network, drawn from one seed.
struct Forge {
    rng: StdRng,
    keys: u8,
}

impl Forge {
    fn signing_key(&mut self) -> VerifyingKey {
        self.keys += 1;
        SigningKey::from_seed(&[self.keys; 32]).public()
    }

    fn envelope_key(&mut self) -> EnvelopePublicKey {
        EnvelopeSecretKey::generate(Suite::X25519, &mut self.rng).public()
    }

    fn node(&mut self, label: &str, role: Role, group: u16, member: Option<u8>) -> Node {
        let signing_key = self.signing_key();
        let own_key = matches!(role, Role::Conductor | Role::ConceptIndexor);
        Node {
            name: name(label),
            role,
            operator: name(&format!("operator-of-{label}")),
            address: format!("{label}.example.org:7001"),
            tls_key: TlsKey([self.keys; 32]),
            signing_key,
            envelope_key: own_key.then(|| self.envelope_key()),
            group,
            member: member.map(|number| MemberNumber::new(number).unwrap()),
        }
    }

    fn pool(&mut self, role: Role, partition: u16) -> Pool {
        Pool {
            role,
            partition,
            key_epoch: KeyEpoch(3),
            envelope_key: self.envelope_key(),
        }
    }

    fn body(mut self) -> DirectoryBody {
        let mut nodes = vec![
            self.node("c", Role::Conductor, 0, None),
            self.node("tf0", Role::TargetFinder, 0, None),
            self.node("tf1", Role::TargetFinder, 1, None),
            self.node("t", Role::Target, 0, None),
        ];
        for number in 1..=3 {
            let indexor = format!("ci{number}");
            nodes.push(self.node(&indexor, Role::ConceptIndexor, 0, Some(number)));
            for group in 0..2 {
                let aggregator = format!("da{group}-{number}");
                nodes.push(self.node(&aggregator, Role::DataAggregator, group, Some(number)));
            }
        }
        let mut threshold_key = || {
            let threshold = Threshold::new(2, 3).unwrap();
            deal(threshold, &mut self.rng).public
        };
        let indexors = threshold_key();
        let committees = vec![threshold_key(), threshold_key()];
        let pools = vec![
            self.pool(Role::Target, 0),
            self.pool(Role::TargetFinder, 0),
            self.pool(Role::TargetFinder, 1),
        ];
        let (host, querier) = (self.signing_key(), self.signing_key());
        let witnesses = Witnesses::aggregators(&nodes);
        DirectoryBody {
            network: name("test"),
            trial: true,
            epoch: 1,
            issued: NOW,
            expires: NOW.plus(HOUR),
            suite: Suite::X25519,
            key_epoch: KeyEpoch(3),
            nodes,
            pools,
            hosts: vec![Host {
                name: name("host"),
                address: String::new(),
                tls_key: TlsKey([200; 32]),
                signing_key: host,
            }],
            queriers: vec![QuerierEntry {
                name: name("querier"),
                tls_key: TlsKey([201; 32]),
                signing_key: querier,
                purposes: vec!["research".into()],
            }],
            indexors,
            committees,
            transcripts: Vec::new(),
            witnesses,
            floors: Floors {
                min_cohort: 50,
                answer_rate: 800,
                min_verified: 2,
                max_homes: 1_000_000,
                exact: true,
                budget: dispers_privacy::Rho(u64::MAX),
                max_delta: DEFAULT_MAX_DELTA,
                size_noise: 2,
            },
            catalogue: catalogue(),
            previous: None,
        }
    }
}

fn catalogue() -> Catalogue {
    let field = |label: &str, kind, range| Field {
        name: label.into(),
        kind,
        unit: "bpm".into(),
        range,
        nullable: false,
    };
    Catalogue {
        doctypes: vec![Doctype {
            name: "heartrate".into(),
            cardinality: Cardinality::Many,
            fields: vec![
                field("day", FieldKind::Text, None),
                field("bpm", FieldKind::Real, Some((30.0, 220.0))),
            ],
        }],
        concepts: vec!["sex>female".into(), "asthma>1".into()],
    }
}

fn valid() -> DirectoryBody {
    Forge {
        rng: StdRng::seed_from_u64(5),
        keys: 0,
    }
    .body()
}

/// Returns the error of a valid body after `change`.
fn refusal(change: impl FnOnce(&mut DirectoryBody)) -> DirectoryError {
    let mut body = valid();
    change(&mut body);
    body.check().expect_err("the changed body must be refused")
}

fn node<'a>(body: &'a mut DirectoryBody, label: &str) -> &'a mut Node {
    let found = body.nodes.iter_mut().find(|n| n.name.as_str() == label);
    found.expect("the forge made this node")
}

fn remove(body: &mut DirectoryBody, label: &str) {
    body.nodes.retain(|n| n.name.as_str() != label);
}

fn root(number: u8) -> SigningKey {
    SigningKey::from_seed(&[0x80 + number; 32])
}

fn roots(needed: usize) -> RootKeys {
    RootKeys {
        keys: (1..=3).map(|number| root(number).public()).collect(),
        needed,
    }
}

#[test]
fn a_directory_that_enough_roots_signed_is_searched_by_name_key_and_number() {
    let mut signed = SignedDirectory::new(&valid()).unwrap();
    signed.sign(&root(1));
    signed.sign(&root(3));
    let received = SignedDirectory::from_bytes(&signed.to_bytes()).unwrap();
    let directory = received.verify(&roots(2), NOW).unwrap();

    assert_eq!(directory.network, name("test"));
    let conductor = directory.node(&name("c")).unwrap();
    assert_eq!(
        Some(directory.conductor_key()),
        conductor.envelope_key.as_ref()
    );
    assert_eq!(directory.nodes(Role::DataAggregator).count(), 6);
    assert_eq!(directory.partitions(), 2);
    let second = MemberNumber::new(2).unwrap();
    let member = directory.member(Role::DataAggregator, 1, second).unwrap();
    assert_eq!(member.name, name("da1-2"));
    assert!(directory.member(Role::DataAggregator, 2, second).is_none());
    assert!(directory.pool(Role::TargetFinder, 1).is_some());
    assert!(directory.pool(Role::Target, 1).is_none());
    assert!(directory.host(&name("host")).is_some() && directory.host(&name("t")).is_none());
    assert!(directory.node(&name("t")).is_some() && directory.querier(&name("t")).is_none());

    let peer = directory.peer(&member.tls_key).unwrap();
    assert_eq!((peer.role(), peer.name()), (member.role, &member.name));
    let host = directory.peer(&TlsKey([200; 32]));
    assert_eq!(host, Some(&Peer::Host(name("host"))));
    assert_eq!(directory.peer(&TlsKey([0; 32])), None);
}

#[test]
fn the_largest_directory_is_read_back_with_all_its_signatures() {
    let mut signed = SignedDirectory::new(&valid()).unwrap();
    signed.body = vec![7; LIMIT];
    signed.sign(&root(1));
    signed.signatures = vec![signed.signatures[0]; 100];
    let again = SignedDirectory::from_bytes(&signed.to_bytes()).unwrap();
    assert_eq!(again.body, signed.body);
}

#[test]
fn signatures_of_enough_different_pinned_keys_are_needed() {
    let mut signed = SignedDirectory::new(&valid()).unwrap();
    let signatures = |signed| DirectoryError::Signatures { needed: 2, signed };
    let verify = |signed: &SignedDirectory| signed.verify(&roots(2), NOW).map(|_| ());
    assert_eq!(verify(&signed), Err(signatures(0)));

    signed.sign(&root(1));
    signed.sign(&root(1));
    signed.signatures.push(signed.signatures[0]);
    signed.sign(&root(9));
    assert_eq!(verify(&signed), Err(signatures(1)));

    signed.sign(&root(2));
    assert_eq!(verify(&signed), Ok(()));
    let last = signed.body.len() - 1;
    signed.body[last] ^= 1;
    assert_eq!(verify(&signed), Err(signatures(0)));
}

#[test]
fn root_keys_that_can_never_be_enough_are_refused() {
    let mut signed = SignedDirectory::new(&valid()).unwrap();
    signed.sign(&root(1));
    let verify = |roots: &RootKeys| signed.verify(roots, NOW).unwrap_err();
    let refused = |needed, roots| DirectoryError::Roots { needed, roots };
    assert_eq!(verify(&roots(0)), refused(0, 3));
    let twice = RootKeys {
        keys: vec![root(1).public(); 2],
        needed: 2,
    };
    assert_eq!(verify(&twice), refused(2, 1));
}

#[test]
fn more_than_half_of_the_roots_are_needed_where_nothing_else_is_said() {
    let key = |n| root(n).public();
    let needed = |keys: Vec<VerifyingKey>| RootKeys::new(keys, None).needed;
    assert_eq!(needed(vec![key(1)]), 1);
    assert_eq!(needed(vec![key(1), key(2)]), 2);
    assert_eq!(needed(vec![key(1), key(2), key(3)]), 2);
    assert_eq!(needed((1..=4).map(key).collect()), 3);
    // A key that is listed twice counts once.
    assert_eq!(needed(vec![key(1), key(1), key(1)]), 1);
    assert_eq!(RootKeys::new(vec![key(1), key(2)], Some(1)).needed, 1);
    let mut signed = SignedDirectory::new(&valid()).unwrap();
    signed.sign(&root(1));
    let three = RootKeys::new(vec![key(1), key(2), key(3)], None);
    assert!(signed.verify(&three, NOW).is_err());
    signed.sign(&root(2));
    signed.verify(&three, NOW).unwrap();
}

#[test]
fn a_directory_holds_between_its_times_only() {
    let mut signed = SignedDirectory::new(&valid()).unwrap();
    signed.sign(&root(1));
    let at = |time| signed.verify(&roots(1), time).map(|_| ());
    let end = NOW.plus(HOUR);
    assert_eq!(at(end.plus(Timestamp::SKEW)), Ok(()));
    let late = end.plus(Timestamp::SKEW + 1);
    assert_eq!(at(late), Err(DirectoryError::Expired(end)));
    let early = Timestamp(NOW.0 - Timestamp::SKEW - 1);
    assert_eq!(at(early), Err(DirectoryError::NotYetValid(NOW)));
    let reversed = refusal(|b| b.expires = b.issued);
    assert_eq!(reversed, DirectoryError::Validity);
    let directory = signed.verify(&roots(1), end).unwrap();
    assert!(directory.has_expired(late) && !directory.has_expired(end));
}

#[test]
fn what_is_no_directory_is_malformed() {
    let bytes = SignedDirectory::new(&valid()).unwrap().to_bytes();
    for bad in [&[][..], &bytes[1..], &bytes[..bytes.len() - 1], &[1; 100]] {
        let refused = SignedDirectory::from_bytes(bad).unwrap_err();
        assert_eq!(refused, DirectoryError::Malformed);
    }
    let mut signed = SignedDirectory {
        body: vec![1, 2, 3],
        signatures: Vec::new(),
    };
    signed.sign(&root(1));
    let refused = signed.verify(&roots(1), NOW).unwrap_err();
    assert_eq!(refused, DirectoryError::Malformed);
    signed.signatures = vec![signed.signatures[0]; 101];
    assert!(SignedDirectory::from_bytes(&signed.to_bytes()).is_err());
}

#[test]
fn names_and_keys_belong_to_one_entry() {
    use DirectoryError as E;
    let host = || name("host");
    assert_eq!(
        refusal(|b| b.hosts[0].name = name("t")),
        E::RepeatedName(name("t"))
    );
    assert_eq!(
        refusal(|b| b.hosts[0].tls_key = b.nodes[0].tls_key),
        E::RepeatedTlsKey(host())
    );
    assert_eq!(
        refusal(|b| b.hosts[0].signing_key = b.nodes[0].signing_key),
        E::RepeatedSigningKey(host())
    );
    assert_eq!(
        refusal(|b| b.pools[0].envelope_key = b.pools[1].envelope_key.clone()),
        E::RepeatedEnvelopeKey(Role::TargetFinder)
    );
    assert_eq!(
        refusal(|b| b.committees[1] = b.indexors.clone()),
        E::RepeatedThresholdKey
    );
    assert_eq!(
        refusal(|b| b.suite = Suite::XWing),
        E::Suite(Role::Conductor)
    );
}

#[test]
fn a_node_has_what_its_role_has() {
    use DirectoryError as E;
    assert_eq!(
        refusal(|b| node(b, "t").address = "t".into()),
        E::Address(name("t"))
    );
    assert_eq!(
        refusal(|b| b.hosts[0].address = "https://host".into()),
        E::Address(name("host"))
    );
    assert_eq!(
        refusal(|b| node(b, "t").role = Role::Stack),
        E::NotANode(name("t"), Role::Stack)
    );
    assert_eq!(
        refusal(|b| node(b, "ci1").envelope_key = None),
        E::MissingEnvelopeKey(name("ci1"))
    );
    assert_eq!(
        refusal(|b| {
            let key = node(b, "ci1").envelope_key.take();
            node(b, "t").envelope_key = key;
        }),
        E::StrayEnvelopeKey(name("t"), Role::Target)
    );
    assert_eq!(
        refusal(|b| node(b, "t").group = 1),
        E::StrayGroup(name("t"), 1, Role::Target)
    );
    assert_eq!(
        refusal(|b| node(b, "t").member = MemberNumber::new(1).ok()),
        E::StrayMember(name("t"), Role::Target)
    );
}

#[test]
fn every_role_has_its_nodes_and_conductors_share_their_envelope_key() {
    use DirectoryError as E;
    assert_eq!(refusal(|b| remove(b, "c")), E::MissingRole(Role::Conductor));
    let second = refusal(|b| {
        let key = node(b, "ci1").envelope_key.take();
        let node = node(b, "t");
        (node.role, node.envelope_key) = (Role::Conductor, key);
    });
    assert!(matches!(second, E::MissingEnvelopeKey(_)), "{second}");
    let other_key = refusal(|b| {
        node(b, "ci1").role = Role::Conductor;
        node(b, "ci1").member = None;
    });
    assert_eq!(other_key, E::ConductorKey(name("ci1")));
    let add = |b: &mut DirectoryBody| {
        let mut second = node(b, "c").clone();
        second.name = name("c2");
        second.address = "c2:1".into();
        second.tls_key = TlsKey([202; 32]);
        second.signing_key = root(9).public();
        b.nodes.push(second);
    };
    let mut body = valid();
    add(&mut body);
    body.check().unwrap();
    // The key that conductors share must be no other reader's.
    let shared = refusal(|b| {
        add(b);
        node(b, "ci1").envelope_key = node(b, "c").envelope_key.clone();
    });
    assert!(matches!(shared, E::RepeatedEnvelopeKey(_)), "{shared}");
    // The operator of a second conductor must not run the target.
    let colluding = refusal(|b| {
        add(b);
        node(b, "c2").operator = node(b, "t").operator.clone();
    });
    assert!(matches!(colluding, E::Collusion { .. }), "{colluding}");
    assert_eq!(refusal(|b| remove(b, "t")), E::MissingRole(Role::Target));
}

#[test]
fn every_member_of_a_threshold_key_has_one_node() {
    use DirectoryError as E;
    let (role, group) = (Role::DataAggregator, 1);
    let member = MemberNumber::new(3).unwrap();
    assert_eq!(
        refusal(|b| remove(b, "da1-3")),
        E::MissingMember {
            role,
            group,
            member
        }
    );
    assert_eq!(
        refusal(|b| node(b, "da1-2").member = Some(member)),
        E::MissingMember {
            role,
            group,
            member: MemberNumber::new(2).unwrap()
        }
    );
    assert_eq!(
        refusal(|b| {
            let mut twin = Forge {
                rng: StdRng::seed_from_u64(6),
                keys: 100,
            };
            b.nodes.push(twin.node("twin", role, group, Some(3)));
        }),
        E::RepeatedMember {
            role,
            group,
            member
        }
    );
    for number in [None, MemberNumber::new(4).ok()] {
        let refused = refusal(|b| node(b, "ci3").member = number);
        assert_eq!(refused, E::UnknownMember(name("ci3")));
    }
    assert_eq!(
        refusal(|b| node(b, "da1-3").group = 2),
        E::UnknownCommittee(name("da1-3"), 2)
    );
    assert_eq!(refusal(|b| b.committees.clear()), E::NoCommittee);
}

#[test]
fn thresholds_leave_no_one_alone_and_some_to_spare() {
    use DirectoryError as E;
    let dealt = |needed| {
        let threshold = Threshold::new(needed, 3).unwrap();
        deal(threshold, &mut StdRng::seed_from_u64(needed.into())).public
    };
    for needed in [1, 3] {
        let refused = refusal(|b| b.committees[1] = dealt(needed));
        assert!(matches!(refused, E::Threshold(1, _)), "{refused}");
    }
    assert_eq!(refusal(|b| b.indexors = dealt(1)), E::LoneIndexor);
}

#[test]
fn every_partition_has_one_pool_and_a_node() {
    use DirectoryError as E;
    let finder = Role::TargetFinder;
    let (missing, twice) = (E::MissingPool(finder, 1), E::RepeatedPool(finder, 0));
    assert_eq!(refusal(|b| drop(b.pools.pop())), missing);
    assert_eq!(
        refusal(|b| drop(b.pools.remove(0))),
        E::MissingPool(Role::Target, 0)
    );
    assert_eq!(refusal(|b| b.pools[2].partition = 0), twice);
    assert_eq!(refusal(|b| b.pools[2].partition = 2), missing);
    assert_eq!(refusal(|b| remove(b, "tf1")), E::UnservedPool(finder, 1));
    assert_eq!(
        refusal(|b| b.pools[0].key_epoch = KeyEpoch(2)),
        E::PoolEpoch(Role::Target, 0)
    );
    assert_eq!(
        refusal(|b| b.pools[0].role = Role::Conductor),
        E::StrayPool(Role::Conductor)
    );
}

#[test]
fn no_operator_holds_two_of_conductor_finder_and_target() {
    for (one, other) in [("c", "tf1"), ("c", "t"), ("tf0", "t")] {
        let refused = refusal(|b| {
            let operator = node(b, one).operator.clone();
            node(b, other).operator = operator;
        });
        assert!(
            matches!(refused, DirectoryError::Collusion { .. }),
            "{refused}"
        );
    }
    let mut two_finders = valid();
    let operator = node(&mut two_finders, "tf0").operator.clone();
    node(&mut two_finders, "tf1").operator = operator;
    assert_eq!(two_finders.check(), Ok(()));
}

#[test]
fn no_operator_reaches_a_threshold_alone() {
    for (one, other, role) in [
        ("ci1", "ci3", Role::ConceptIndexor),
        ("da1-2", "da1-3", Role::DataAggregator),
    ] {
        let operator = name("greedy");
        let refused = refusal(|b| {
            node(b, one).operator = operator.clone();
            node(b, other).operator = operator.clone();
        });
        let expected = DirectoryError::OperatorThreshold {
            operator: operator.clone(),
            role,
            held: 2,
            needed: 2,
        };
        assert_eq!(refused, expected);
    }
    let mut one_of_each = valid();
    for label in ["c", "ci1", "da0-1", "da1-1"] {
        node(&mut one_of_each, label).operator = name("modest");
    }
    assert_eq!(one_of_each.check(), Ok(()));
}

#[test]
fn witnesses_are_of_enough_operators_that_run_no_conductor() {
    type Change = fn(&mut DirectoryBody);
    let changes: [(&str, Change); 6] = [
        ("one is listed twice", |b| {
            b.witnesses.names[1] = b.witnesses.names[0].clone()
        }),
        ("nodes that the directory lists", |b| {
            b.witnesses.names[0] = name("nobody")
        }),
        ("nodes that the directory lists", |b| {
            b.witnesses.names[0] = name("host")
        }),
        ("at least 2", |b| b.witnesses.needed = 1),
        ("as many operators as are needed", |b| {
            b.witnesses.needed = 7
        }),
        ("as many operators as are needed", |b| {
            let operator = node(b, "c").operator.clone();
            node(b, "da0-1").operator = operator;
            b.witnesses.names = vec![name("da0-1"), name("da0-2")];
        }),
    ];
    for (expected, change) in changes {
        let refused = refusal(change);
        assert!(matches!(refused, DirectoryError::Witnesses(_)), "{refused}");
        assert!(refused.to_string().contains(expected), "{refused}");
    }
}

#[test]
fn floors_protect_somebody_and_can_be_met() {
    type Change = fn(&mut Floors);
    let changes: [(&str, Change); 9] = [
        ("min_cohort", |f| f.min_cohort = 1),
        ("size_noise", |f| f.size_noise = 100_001),
        ("answer_rate", |f| f.answer_rate = 1001),
        ("max_homes", |f| f.max_homes = 49),
        ("min_verified", |f| f.min_verified = 1),
        ("min_verified", |f| f.min_verified = 4),
        ("max_delta", |f| f.max_delta = 0.0),
        ("max_delta", |f| f.max_delta = 1.0),
        ("max_delta", |f| f.max_delta = f64::NAN),
    ];
    for (expected, change) in changes {
        match refusal(|b| change(&mut b.floors)) {
            DirectoryError::Floor { floor, .. } => assert_eq!(floor, expected),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn only_a_trial_tells_exact_sizes() {
    let mut body = valid();
    body.floors.size_noise = 0;
    assert_eq!(body.check(), Ok(()));
    let refused = refusal(|b| {
        b.trial = false;
        b.floors.size_noise = 0;
    });
    assert!(refused.to_string().contains("size_noise"), "{refused}");
}

#[test]
fn purposes_can_be_stated() {
    for purposes in [
        vec![String::from(" ")],
        vec!["a".into(), "a".into()],
        vec!["a".repeat(257)],
        (0..101).map(|n| n.to_string()).collect(),
    ] {
        let refused = refusal(|b| b.queriers[0].purposes = purposes);
        assert_eq!(refused, DirectoryError::Purposes(name("querier")));
    }
}

#[test]
fn a_catalogue_has_names_that_differ_and_ranges_that_are_ranges() {
    let changes: [fn(&mut Catalogue); 12] = [
        |c| {
            let mut twin = c.doctypes[0].clone();
            twin.name = "HeartRate".into();
            c.doctypes.push(twin);
        },
        |c| c.doctypes[0].name = "heart rate".into(),
        |c| c.doctypes[0].fields.clear(),
        |c| c.doctypes[0].fields[1].name = "DAY".into(),
        |c| c.doctypes[0].fields[1].name = "a".repeat(129),
        |c| c.doctypes[0].fields[1].name = "1st".into(),
        |c| c.doctypes[0].fields[1].unit = "a\nb".into(),
        |c| c.doctypes[0].fields[1].range = Some((2.0, 1.0)),
        |c| c.doctypes[0].fields[1].range = Some((f64::NAN, 1.0)),
        |c| c.doctypes[0].fields[0].range = Some((0.0, 1.0)),
        |c| c.concepts.push("asthma>1".into()),
        |c| c.concepts.push("asthma>".into()),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let refused = refusal(|b| change(&mut b.catalogue));
        let expected = matches!(refused, DirectoryError::Catalogue { .. });
        assert!(expected, "change {index}: {refused}");
    }
}

mod changes;
mod epochs;
mod transcripts;
