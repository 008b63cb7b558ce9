//! Tests of the table of what each role learns and must never learn (protocol.md §1). Every byte that a node receives
//! and every envelope that it opens is searched for planted markers.

use std::collections::{BTreeMap, BTreeSet};

use dispers_base::{
    encoding::from_bytes,
    id::{QueryId, Role},
    labels,
};
use dispers_core::subscription::{EntryContent, HomeTag, Upload};
use dispers_sandbox::{Knowledge, Network, Options};

use crate::{options, plain::write};

/// Income of a home that no byte string contains by accident, in any form that a message could have.
pub(crate) const VALUE: u32 = 1_717_986_919;
/// Step of the query, so that a level differs from its value.
pub(crate) const STEP: u32 = 7;

/// Bytes that all roles received in one run.
pub(crate) struct Run {
    pub(crate) network: Network,
    pub(crate) query: QueryId,
    /// Bytes by role: those that all its nodes received, and those that they opened, as separate entries.
    seen: BTreeMap<Role, Vec<Vec<u8>>>,
    /// Tags of the homes: their random names towards the target finder.
    pub(crate) tags: Vec<HomeTag>,
    /// Pseudonyms of the concepts.
    pub(crate) pseudonyms: BTreeSet<[u8; 32]>,
}

/// Runs one query about 30 homes with recognisable concepts, names and values.
pub(crate) async fn run() -> Run {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("people.csv");
    let row = |home: u32| {
        let value = VALUE + STEP * home;
        format!("home-marker-{home},illness-marker,text-marker-{home},{value}")
    };
    write(&path, "home,illness,note,income", (0..30).map(row));
    let options = Options {
        home_column: Some("home".into()),
        concepts: vec!["illness".into()],
        record: true,
        ..options(vec![path])
    };
    let network = Network::start(&options, |_| {}).await.unwrap();
    let high = VALUE + STEP * 40;
    let sql = format!(
        "SELECT COUNT(*) AS n, SUM(clamp(income, {VALUE}, {high}, {STEP})) AS s, \
         COUNT(CASE WHEN note LIKE '%marker%' THEN 1 END) AS notes \
         FROM people WHERE concept('illness>illness-marker')"
    );
    let result = network.ask(&sql, None, |_| {}).await.unwrap();
    assert_eq!(result.homes.accepted, 30);

    let mut seen: BTreeMap<Role, Vec<Vec<u8>>> = BTreeMap::new();
    let (mut tags, mut pseudonyms) = (Vec::new(), BTreeSet::new());
    for (_, role, record) in network.recording().unwrap().records() {
        let received = record.received();
        let of_role = seen.entry(role).or_default();
        of_role.extend(received.connections.values().cloned());
        for opened in &received.opened {
            of_role.push(opened.plaintext.clone());
            if opened.purpose == labels::ENVELOPE_ENTRY {
                let entry: EntryContent = from_bytes(&opened.plaintext, 4096, "entry").unwrap();
                tags.push(entry.tag);
            }
            if opened.purpose == labels::ENVELOPE_UPLOAD {
                let upload: Upload = from_bytes(&opened.plaintext, 1 << 20, "upload").unwrap();
                pseudonyms.extend(upload.entries.iter().map(|entry| {
                    let bytes = dispers_base::encoding::to_bytes(&entry.pseudonym);
                    <[u8; 32]>::try_from(&bytes[1..33]).unwrap()
                }));
            }
        }
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!((tags.len(), pseudonyms.len()), (30, 2));
    Run {
        network,
        query: result.query,
        seen,
        tags,
        pseudonyms,
    }
}

impl Run {
    /// Returns the roles that received or opened any of `markers`.
    fn who_saw<M: AsRef<[u8]>>(&self, markers: &[M]) -> Vec<Role> {
        let holds = |bytes: &Vec<u8>| {
            markers.iter().any(|marker| {
                let marker = marker.as_ref();
                bytes.windows(marker.len()).any(|window| window == marker)
            })
        };
        let roles = self.seen.iter();
        roles
            .filter(|(_, all)| all.iter().any(holds))
            .map(|(role, _)| *role)
            .collect()
    }
}

/// Returns the encodings of a number that a message could contain.
fn forms(number: u64) -> Vec<Vec<u8>> {
    let mut forms = vec![
        number.to_string().into_bytes(),
        number.to_le_bytes().to_vec(),
        number.to_be_bytes().to_vec(),
        (number as f64).to_le_bytes().to_vec(),
        (number as f64).to_be_bytes().to_vec(),
    ];
    if let Ok(short) = u32::try_from(number) {
        forms.push(short.to_le_bytes().to_vec());
        forms.push(short.to_be_bytes().to_vec());
    }
    forms
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_learns_what_the_protocol_says_and_nothing_else() {
    let run = run().await;

    // The querier wrote the concept, and homes told it to the stacks. No role receives it.
    assert_eq!(run.who_saw(&["illness-marker"]), []);

    // Addresses: the target sees them because it asks, and the stacks because their homes have them.
    assert_eq!(run.who_saw(&["home-marker"]), [Role::Target, Role::Stack]);

    // Values: no role sees them. The lower bound of the clamp is public, and shows that the search finds numbers.
    assert_eq!(run.who_saw(&["text-marker"]), []);
    assert!(run.who_saw(&forms(VALUE.into())).contains(&Role::Conductor));
    for home in 1..30 {
        let value = u64::from(VALUE + STEP * home);
        assert_eq!(run.who_saw(&forms(value)), [], "the value of home {home}");
    }

    // Hosts of homes: the target sees them because it asks them, and an indexor may know which host requests
    // pseudonyms.
    assert_eq!(
        run.who_saw(&["host-1", "host-2", "host-3", "host-4"]),
        [Role::ConceptIndexor, Role::Target]
    );

    // Tags: only the target finder sees these names of homes.
    let tags: Vec<[u8; 16]> = run.tags.iter().map(|tag| tag.0).collect();
    assert_eq!(run.who_saw(&tags), [Role::TargetFinder]);

    // Pseudonyms: the conductor keeps lists under them, and the target finder evaluates the profile.
    let pseudonyms: Vec<[u8; 32]> = run.pseudonyms.iter().copied().collect();
    assert_eq!(
        run.who_saw(&pseudonyms),
        [Role::Conductor, Role::TargetFinder]
    );

    // The result: only the querier could add up the shares, and it receives shares only.
    let levels: u64 = (0..30).sum();
    assert_eq!(
        run.who_saw(&forms(u64::from(VALUE) * 30 + u64::from(STEP) * levels)),
        []
    );
    run.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_envelope_is_opened_by_the_one_role_that_it_is_for() {
    let run = run().await;
    let expected: BTreeMap<&str, Role> = [
        (labels::ENVELOPE_PROFILE, Role::TargetFinder),
        (labels::ENVELOPE_EVALUATION, Role::ConceptIndexor),
        (labels::ENVELOPE_UPLOAD, Role::Conductor),
        (labels::ENVELOPE_ENTRY, Role::TargetFinder),
        (labels::ENVELOPE_LINK, Role::Target),
        (labels::ENVELOPE_TARGETS, Role::Target),
        (labels::ENVELOPE_GROUP, Role::DataAggregator),
        (labels::ENVELOPE_TAG_KEY, Role::DataAggregator),
        (labels::ENVELOPE_PEER, Role::DataAggregator),
        (labels::ENVELOPE_TOTAL, Role::Querier),
    ]
    .into();
    let mut opened: BTreeMap<&str, BTreeSet<Role>> = BTreeMap::new();
    for (_, role, record) in run.network.recording().unwrap().records() {
        for one in &record.received().opened {
            opened.entry(one.purpose).or_default().insert(role);
        }
    }
    let expected: BTreeMap<&str, BTreeSet<Role>> = expected
        .into_iter()
        .map(|(purpose, role)| (purpose, [role].into()))
        .collect();
    assert_eq!(opened, expected);
    run.network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_a_run_is_what_was_recorded() {
    let run = run().await;
    let knowledge = Knowledge::new(run.network.recording().unwrap());
    assert_eq!(knowledge.read_by_several_roles, 0);
    let of = |role| {
        knowledge
            .roles
            .iter()
            .find(|known| known.role == role)
            .unwrap()
    };
    let opened = |role, purpose| of(role).opened.get(purpose).map_or(0, |e| e.count);
    let closed = |role, purpose| of(role).closed.get(purpose).map_or(0, |e| e.count);
    let (finder, target) = (Role::TargetFinder, Role::Target);
    assert_eq!(opened(finder, labels::ENVELOPE_ENTRY), 30);
    assert_eq!(closed(finder, labels::ENVELOPE_LINK), 30);
    assert_eq!(opened(target, labels::ENVELOPE_LINK), 30);
    // A group for each of 3 aggregators from each of 4 stacks passes the target and the conductor.
    for role in [target, Role::Conductor] {
        assert_eq!(closed(role, labels::ENVELOPE_GROUP), 12, "{role}");
        assert_eq!(opened(role, labels::ENVELOPE_GROUP), 0, "{role}");
    }
    assert_eq!(opened(Role::DataAggregator, labels::ENVELOPE_GROUP), 12);
    assert_eq!(closed(Role::Conductor, labels::ENVELOPE_TOTAL), 3);
    assert_eq!(opened(Role::Querier, labels::ENVELOPE_TOTAL), 3);
    let stack = of(Role::Stack);
    assert!(stack.opened.is_empty() && stack.closed.is_empty() && stack.received > 0);
    run.network.stop().await;
}
