use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries};

use super::conductor::HonestConductor;
use super::*;

const THREADS: usize = 2;

/// Searches every state. Returns the names of the properties that do not hold.
fn broken(rules: Rules) -> BTreeSet<&'static str> {
    let checker = rules.checker().threads(THREADS).spawn_bfs().join();
    println!("{rules:?}: {} states", checker.unique_state_count());
    checker.assert_any_discovery(RELEASE);
    let mut names: BTreeSet<&str> = checker.discoveries().into_keys().collect();
    names.remove(RELEASE);
    names
}

#[test]
fn with_more_than_the_threshold_verifying_one_byzantine_aggregator_breaks_nothing() {
    assert_eq!(broken(Rules::new(3)), BTreeSet::new());
}

/// Checks that, if exactly t aggregators verify, only the properties that docs/protocol.md §13 does not promise are
/// broken.
#[test]
fn with_exactly_the_threshold_verifying_only_what_is_not_promised_breaks() {
    let unpromised = BTreeSet::from([EARLY_DIGEST, ONE_ATTEMPT, NO_MASK_LIFTED]);
    assert_eq!(broken(Rules::new(2)), unpromised);
}

#[test]
fn a_notary_that_signs_everything_gets_one_release_where_more_than_the_threshold_verify() {
    let rules = |min_verified| Rules {
        honest_notary: false,
        ..Rules::new(min_verified)
    };
    assert_eq!(broken(rules(3)), BTreeSet::new());
    assert!(broken(rules(2)).contains(ONE_PROPOSAL));
}

#[test]
fn every_defence_that_is_left_out_of_the_model_breaks_a_property() {
    for (mistake, property) in [
        (Mistake::TakesAnotherDigest, ONE_DIGEST),
        (Mistake::ForgetsDigest, ONE_DIGEST),
        (Mistake::KeepsEarlierAttempts, ONE_ATTEMPT),
        (Mistake::CommitsTwice, ONE_ATTEMPT),
        (Mistake::ReleasesTwice, ONE_PROPOSAL),
        (Mistake::TrustsProposals, OWN_BATCHES),
        (Mistake::CountsNoOpenings, NO_MASK_LIFTED),
    ] {
        let rules = Rules {
            mistake: Some(mistake),
            honest_notary: mistake != Mistake::ReleasesTwice,
            ..Rules::new(3)
        };
        let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        let checker = rules.checker().threads(THREADS).finish_when(found);
        let checker = checker.spawn_bfs().join();
        assert!(checker.discovery(property).is_some(), "{mistake:?}");
    }
}

/// Committed attempts of an aggregator, and the attempts that its release lists.
type End = (
    [Option<(u8, Decision)>; BATCHES],
    Option<([Option<u8>; BATCHES], Option<bool>)>,
);

/// Returns the final states of the aggregators over all orders of steps that the rules allow.
fn ends(rules: Rules) -> BTreeSet<[End; 2]> {
    let (mut reached, mut waiting) = (BTreeSet::new(), rules.init_states());
    let mut ends = BTreeSet::new();
    while let Some(state) = waiting.pop() {
        if !reached.insert(state) {
            continue;
        }
        waiting.extend(rules.next_states(&state));
        let mut closed = state;
        (0..BATCHES).for_each(|batch| closed.close(batch));
        ends.insert(closed.aggregators.map(|one| {
            let listed = one.releasing.map(|of| {
                let attempts = of.proposal.map(|listed| listed.map(|(attempt, _)| attempt));
                (attempts, of.released)
            });
            (one.batches.map(|batch| batch.committed), listed)
        }));
    }
    ends
}

/// Compares the ends with one attempt per batch, since all orders of steps are searched.
#[test]
fn batches_that_come_one_after_the_other_end_as_in_any_order() {
    let rules = Rules {
        attempts: 1,
        ..Rules::new(3)
    };
    let any = Rules {
        in_order: false,
        ..rules
    };
    assert_eq!(ends(rules), ends(any));
}

#[test]
fn under_an_honest_conductor_every_query_ends_and_no_honest_aggregator_is_put_out_for_others() {
    for (min_verified, attempts) in [(2, 2), (3, 2)] {
        let rules = HonestConductor {
            min_verified,
            attempts,
        };
        let checker = rules.checker().threads(THREADS).spawn_bfs().join();
        println!(
            "{min_verified} {attempts}: {} states",
            checker.unique_state_count()
        );
        checker.assert_properties();
    }
}
