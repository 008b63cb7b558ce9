use super::campaign::{Ask, Campaign, Noise, Party, Whom};
use super::moves::{FalseNoise, Move};
use super::*;
use dispers_base::weakness::{Weakness, without};

fn exact(whom: Whom, batch_size: u32) -> Ask {
    Ask {
        whom,
        noise: None,
        batch_size,
        late: true,
        counts: false,
        updates: 0,
        next_epoch: false,
    }
}

/// Creates a campaign of the first shape with one query of everybody.
fn one(coalition: &[Party], batch_size: u32, moves: &[Move]) -> Campaign {
    Campaign {
        seed: 1,
        shape: 0,
        coalition: coalition.to_vec(),
        asks: vec![exact(Whom::Everybody, batch_size)],
        moves: moves.iter().map(|one| (0, *one)).collect(),
        faults: Vec::new(),
        clicks: false,
    }
}

/// Requires that the campaign breaks an invariant without a defence, and none with it.
fn stops(weakness: Weakness, campaign: &Campaign) {
    let broken = without(weakness, || Grounds::default().run(campaign));
    println!("without {weakness:?}: {broken:?}");
    assert!(
        broken.is_err(),
        "without {weakness:?}: {broken:?}: {campaign:?}"
    );
    let kept = Grounds::default().run(campaign);
    assert!(kept.is_ok(), "with {weakness:?}: {kept:?}: {campaign:?}");
}

/// Searches for a campaign of this coalition that breaks an invariant, and makes it small.
fn search(seeds: std::ops::Range<u64>, coalition: &[Party]) -> Option<Campaign> {
    let mut grounds = Grounds::default();
    let mut fails = |campaign: &Campaign| grounds.run(campaign).is_err();
    let of = |seed| Campaign::by(seed, coalition);
    let found = seeds.map(of).find(|one| fails(one))?;
    Some(found.shrunk(fails))
}

/// Requires that random campaigns of the coalition find the attack once the defence is off.
fn is_found(weakness: Weakness, coalition: &[Party], seeds: u64) {
    let found = without(weakness, || search(0..seeds, coalition));
    let found = found.unwrap_or_else(|| panic!("{weakness:?} is not found in {seeds} seeds"));
    println!("without {weakness:?}: {found:?}");
    let kept = Grounds::default().run(&found);
    assert!(kept.is_ok(), "with {weakness:?}: {kept:?}: {found:?}");
}

#[test]
fn a_conductor_that_mixes_two_cuts_of_a_find_counts_no_home_twice() {
    let moves = [Move::Cut(9), Move::BatchOf { batch: 1, find: 1 }];
    let campaign = one(&[Party::Conductor], 8, &moves);
    stops(Weakness::SeveralCutsOfOneFind, &campaign);
    is_found(Weakness::SeveralCutsOfOneFind, &[Party::Conductor], 800);
}

#[test]
fn a_finder_that_has_homes_asked_in_two_batches_counts_no_home_twice() {
    let campaign = one(&[Party::Finder], 8, &[Move::AskTwice { batch: 0 }]);
    stops(Weakness::HomeInSeveralBatches, &campaign);
    is_found(Weakness::HomeInSeveralBatches, &[Party::Finder], 400);
}

#[test]
fn a_target_that_sends_other_bytes_puts_no_aggregator_out() {
    let campaign = one(&[Party::Target], 16, &[Move::OtherBytes { member: 1 }]);
    stops(Weakness::OtherBytesEvict, &campaign);
    is_found(Weakness::OtherBytesEvict, &[Party::Target], 200);
}

#[test]
fn a_host_whose_shares_do_not_fit_stops_no_query() {
    let campaign = one(&[Party::Host], 16, &[Move::BadShares]);
    stops(Weakness::HostFailsBatch, &campaign);
    is_found(Weakness::HostFailsBatch, &[Party::Host], 200);
}

/// Creates a campaign of the first shape with one session of everybody.
fn session(coalition: &[Party], moves: &[Move]) -> Campaign {
    let session = Ask {
        updates: 1,
        ..exact(Whom::Everybody, 8)
    };
    Campaign {
        asks: vec![session],
        ..one(coalition, 8, moves)
    }
}

#[test]
fn a_conductor_with_the_querier_sums_no_two_models_in_one_round() {
    let parties = [Party::Conductor, Party::Querier];
    let campaign = session(&parties, &[Move::OtherParameters { batch: 1 }]);
    stops(Weakness::SeveralModelsOfOneRound, &campaign);
    is_found(Weakness::SeveralModelsOfOneRound, &parties, 2000);
}

#[test]
fn a_target_with_the_querier_gives_no_host_a_model_of_its_own() {
    let parties = [Party::Target, Party::Querier];
    let campaign = session(&parties, &[Move::ParametersOfHost]);
    stops(Weakness::ContributionsOfAnyModel, &campaign);
    is_found(Weakness::ContributionsOfAnyModel, &parties, 2000);
}

#[test]
fn a_dealer_that_signs_other_noise_puts_nobody_else_out() {
    // In a session all aggregators deal noise.
    let gaussian = Ask {
        updates: 1,
        ..noisy(Noise::ORDINARY.epsilon, 1000)
    };
    for lie in [FalseNoise::AnotherAttempt, FalseNoise::Unsigned] {
        let campaign = Campaign {
            shape: 1,
            asks: vec![gaussian],
            ..one(&[Party::Aggregator], 16, &[Move::FalseDeal(lie)])
        };
        stops(Weakness::FalseDealsEvict, &campaign);
    }
    is_found(Weakness::FalseDealsEvict, &[Party::Aggregator], 2000);
}

#[test]
fn a_session_that_nobody_disturbs_is_released_in_every_round() {
    let campaign = session(&[Party::Conductor], &[]);
    let tally = Grounds::default().run(&campaign).unwrap();
    assert_eq!((tally.released, tally.rounds), (1, 1), "{tally:?}");
}

/// Creates a campaign of a querier alone that asks one query after another.
fn asked(shape: usize, asks: &[Ask]) -> Campaign {
    Campaign {
        shape,
        asks: asks.to_vec(),
        ..one(&[Party::Querier], 16, &[])
    }
}

fn noisy(epsilon: u32, delta: u32) -> Ask {
    Ask {
        noise: Some(Noise { epsilon, delta }),
        ..exact(Whom::Everybody, 16)
    }
}

#[test]
fn a_querier_with_a_delta_near_one_takes_no_more_of_a_home_than_its_owner_gives() {
    let campaign = asked(1, &[noisy(1, 150_000_000)]);
    stops(Weakness::DeltaUnbounded, &campaign);
    is_found(Weakness::DeltaUnbounded, &[Party::Querier], 400);
}

#[test]
fn a_querier_that_may_always_count_reads_no_field_by_that() {
    let count = Ask {
        counts: true,
        ..exact(Whom::Everybody, 16)
    };
    let campaign = Campaign {
        clicks: true,
        ..asked(0, &[count, exact(Whom::Everybody, 16)])
    };
    stops(Weakness::RuleWidens, &campaign);
    is_found(Weakness::RuleWidens, &[Party::Querier], 2000);
}

#[test]
fn a_querier_that_chooses_who_offers_spends_no_more_than_the_budget() {
    let ordinary = noisy(Noise::ORDINARY.epsilon, Noise::ORDINARY.delta);
    let moves = (0..3).map(|place| (place, Move::WithoutOffer(1 + place as u8)));
    let campaign = Campaign {
        moves: moves.collect(),
        ..asked(1, &[ordinary; 3])
    };
    stops(Weakness::BudgetOfTheAggregatorsThatOffer, &campaign);
    is_found(
        Weakness::BudgetOfTheAggregatorsThatOffer,
        &[Party::Querier],
        1500,
    );
}

#[test]
fn aggregators_that_die_after_their_guards_left_have_charged_the_query() {
    let ordinary = noisy(Noise::ORDINARY.epsilon, Noise::ORDINARY.delta);
    stops(Weakness::ReleasedUncharged, &asked(1, &[ordinary; 3]));
    is_found(Weakness::ReleasedUncharged, &[Party::Querier], 2000);
}

#[test]
fn a_querier_learns_no_group_below_the_cohort_from_the_number_of_homes() {
    let early = Ask {
        late: false,
        ..exact(Whom::AOrB, 16)
    };
    let campaign = asked(0, &[early]);
    stops(Weakness::CellsGivenAway, &campaign);
    is_found(Weakness::CellsGivenAway, &[Party::Querier], 200);
}

#[test]
fn two_finders_of_a_pool_seal_nothing_under_one_key_and_nonce() {
    let campaign = one(&[Party::Conductor], 16, &[Move::OtherFinder]);
    stops(Weakness::SealedFromASharedSeed, &campaign);
    is_found(Weakness::SealedFromASharedSeed, &[Party::Conductor], 200);
}

#[test]
fn a_home_that_joins_or_leaves_moves_no_other_to_another_committee() {
    let moved = || worlds::moved(&mut Ground::new(0), 8);
    assert!(without(Weakness::CommitteesMoveWithBatches, moved) > 0);
    assert_eq!(moved(), 0);
}

#[test]
fn a_querier_that_leaves_a_list_out_asks_nobody_whom_its_profile_does_not_mean() {
    let campaign = Campaign {
        asks: vec![exact(Whom::NotB, 16)],
        ..one(&[Party::Querier], 16, &[Move::LeaveOutList(2)])
    };
    stops(Weakness::ListsLeftOut, &campaign);
    is_found(Weakness::ListsLeftOut, &[Party::Querier], 400);
}

#[test]
fn a_querier_that_asks_a_known_profile_again_singles_nobody_out() {
    let early = Ask {
        late: false,
        ..exact(Whom::A, 16)
    };
    let campaign = asked(0, &[early, exact(Whom::AOrB, 16), exact(Whom::A, 16)]);
    stops(Weakness::KnownProfilesUncompared, &campaign);
    is_found(Weakness::KnownProfilesUncompared, &[Party::Querier], 2000);
}

#[test]
fn a_querier_that_moves_the_cohort_does_not_find_the_size_of_a_set() {
    let ground = Ground::new(0);
    let exactly = || {
        let sets = 60..80u8;
        let told =
            sets.filter(|homes| worlds::bisected(&ground.scene, *homes) == u32::from(*homes));
        told.count()
    };
    assert_eq!(without(Weakness::SizesExact, exactly), 20);
    assert!(exactly() < 5);
}
