//! Queries and decisions for tests.

use dispers_base::{
    id::{BatchId, KeyEpoch, Name, Timestamp},
    keys::SigningKey,
};
use dispers_core::{
    consent::Place,
    manifest::{Manifest, SignedManifest},
    subscription::HomeId,
    ticket::FindId,
};
use dispers_crypto::envelope::{EnvelopeSecretKey, Suite};
use dispers_node::{now, rng};
use dispers_privacy::{Loss, Mechanism, Privacy};
use dispers_query::catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind};
use dispers_sql::plan::{Plan, PlanLimits};

use crate::{Bounds, Outcome, Store, store::Deciding};

pub(crate) const BOUNDS: Bounds = Bounds {
    exact_queries: 2,
    max_delta: 1e-5,
};

/// Returns a query with ε in millionths, told apart by `number`. Owners can decide until `answer_from`.
pub(crate) fn query(
    number: u32,
    epsilon: Option<u64>,
    answer_from: u64,
) -> (SignedManifest, Manifest) {
    let catalogue = Catalogue {
        doctypes: vec![Doctype {
            name: "Heart".into(),
            cardinality: Cardinality::One,
            fields: vec![Field {
                name: "rate".into(),
                kind: FieldKind::Integer,
                unit: String::new(),
                range: None,
                nullable: true,
            }],
        }],
        concepts: Vec::new(),
    };
    let sql = "SELECT AVG(clamp(rate, 0, 200, 1)) FROM heart";
    let plan = Plan::new(sql, &catalogue, &PlanLimits::default()).unwrap();
    let manifest = Manifest {
        network: Name::new("network").unwrap(),
        key_epoch: KeyEpoch(1),
        querier: Name::new("lab").unwrap(),
        purpose: "research".into(),
        local: plan.local,
        training: None,
        min_cohort: 20,
        answer_rate: 500,
        min_verified: 2,
        max_homes: number.into(),
        committees: Vec::new(),
        notary: Name::new("finder").unwrap(),
        privacy: epsilon.map(|epsilon| Privacy {
            epsilon,
            delta: 0.0,
            mechanism: Mechanism::Laplace,
        }),
        rounds: 1,
        attempts: 1,
        reply_key: EnvelopeSecretKey::generate(Suite::default(), &mut rng()).public(),
        issued: Timestamp(now().0),
        answer_from: Timestamp(answer_from),
        answer_by: Timestamp(now().0 + 3_600_000),
        expires: Timestamp(now().0 + 3_600_000),
        profile_commitment: [0; 32],
    };
    let signed = manifest.sign(&SigningKey::generate(&mut rng()));
    (signed, manifest)
}

pub(crate) fn decide(
    store: &Store,
    (signed, manifest): &(SignedManifest, Manifest),
    announced: bool,
    homes: &[&str],
) -> Vec<Outcome> {
    let outcomes = decide_at(store, (signed, manifest), place(), announced, homes);
    outcomes.into_iter().flatten().collect()
}

/// Returns the place at which queries of tests reach homes.
pub(crate) fn place() -> Place {
    Place {
        find: FindId([1; 32]),
        batch: BatchId {
            partition: 1,
            committee: 0,
            number: 2,
        },
    }
}

/// Returns the decisions of homes that a query reaches at `place`.
pub(crate) fn decide_at(
    store: &Store,
    (signed, manifest): (&SignedManifest, &Manifest),
    place: Place,
    announced: bool,
    homes: &[&str],
) -> Vec<Option<Outcome>> {
    let deciding = Deciding {
        signed,
        manifest,
        cost: Loss::of(manifest.privacy.as_ref(), 1),
        place,
        announced,
        bounds: BOUNDS,
    };
    let homes: Vec<(HomeId, bool)> = homes
        .iter()
        .map(|name| (home(name), !name.starts_with("left")))
        .collect();
    store.decide(&deciding, &homes).unwrap().outcomes
}

pub(crate) fn home(name: &str) -> HomeId {
    HomeId(name.into())
}

pub(crate) fn later() -> u64 {
    now().0 + 60_000
}
