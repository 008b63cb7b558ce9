//! Tests of the finds that a finder refuses because of the sets that it remembers.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::{subscription::HomeTag, ticket::PoolSecret};
use dispers_base::id::{KeyEpoch, Name};
use dispers_trust::directory::most_noise;

const COHORT: u32 = 20;
const LIMITS: Limits = Limits {
    profiles: 8,
    sets: 16,
    homes: 10_000,
    refused: 30,
    queries: 1000,
};

fn secret() -> PoolSecret {
    PoolSecret::from_bytes([7; 32])
}

fn sizes(noise: u32) -> Sizes {
    Sizes::new(&secret(), KeyEpoch(1), noise)
}

fn tags(homes: impl IntoIterator<Item = u32>) -> Vec<HomeTag> {
    let tag = |home: u32| {
        let mut tag = [0; 16];
        tag[..4].copy_from_slice(&home.to_le_bytes());
        HomeTag(tag)
    };
    homes.into_iter().map(tag).collect()
}

/// Querier with the finder's memory of its sets.
struct Querier {
    name: Name,
    memory: Memory,
    limits: Limits,
    sizes: Sizes,
    queries: u32,
}

impl Querier {
    fn new(noise: u32) -> Self {
        Self::named("querier", noise)
    }

    fn named(name: &str, noise: u32) -> Self {
        Self {
            name: Name::new(name).unwrap(),
            memory: Memory::default(),
            limits: LIMITS,
            sizes: sizes(noise),
            queries: 0,
        }
    }

    /// Asks `homes` under a profile, as a new query.
    fn ask(&mut self, profile: u8, homes: impl IntoIterator<Item = u32>) -> Result<(), FindError> {
        self.within(profile, homes, COHORT, 1_000_000)
    }

    /// Asks like [`ask`](Self::ask), with a cohort and a largest number of homes that the querier chooses.
    fn within(
        &mut self,
        profile: u8,
        homes: impl IntoIterator<Item = u32>,
        cohort: u32,
        most: u64,
    ) -> Result<(), FindError> {
        self.queries += 1;
        self.query(self.queries, profile, homes, cohort, most)
    }

    fn query(
        &mut self,
        query: u32,
        profile: u8,
        homes: impl IntoIterator<Item = u32>,
        cohort: u32,
        most: u64,
    ) -> Result<(), FindError> {
        let tags = tags(homes);
        let key = secret().member_key(&self.name, KeyEpoch(1));
        let mut id = [0; 32];
        id[..4].copy_from_slice(&query.to_le_bytes());
        let asking = Asking {
            query: QueryId(id),
            profile: [profile; 32],
            homes: &Members::new(&key, &tags),
            fingerprint: self.sizes.fingerprint(&tags),
            cohort,
            most,
            smallest: tags.len() as u64,
        };
        self.memory.ask(&asking, &self.sizes, self.limits)
    }
}

const REFUSED: Result<(), FindError> = Err(FindError::Sizes(COHORT));

/// Asks one set early, lets the other profile's set grow, and asks a near set under the first profile.
fn a_set_that_grew_and_a_near_one(querier: &mut Querier) -> Result<(), FindError> {
    let (all, without_one) = (1, 2);
    assert_eq!(querier.ask(all, 0..100), Ok(()));
    // At this time, the set of this profile was far from the only stored one.
    assert_eq!(querier.ask(without_one, 0..60), Ok(()));
    assert_eq!(querier.ask(all, 0..130), Ok(()));
    querier.ask(without_one, 1..130)
}

#[test]
fn a_known_profile_is_compared_with_all_sets_of_other_profiles() {
    let mut querier = Querier::new(0);
    assert_eq!(a_set_that_grew_and_a_near_one(&mut querier), REFUSED);
    // Nothing of the refused set was stored.
    assert_eq!(querier.memory.sets.len(), 3);
    let without = weakness::without(Weakness::KnownProfilesUncompared, || {
        a_set_that_grew_and_a_near_one(&mut Querier::new(0))
    });
    assert_eq!(without, Ok(()));
}

#[test]
fn a_querier_that_lets_sets_drift_asks_no_two_that_differ_by_a_few() {
    let mut querier = Querier::new(0);
    assert_eq!(querier.ask(1, 0..100), Ok(()));
    // The first set is not forgotten when its profile comes to mean other homes.
    assert_eq!(querier.ask(1, 200..300), Ok(()));
    assert_eq!(querier.ask(2, 0..99), REFUSED);
    assert_eq!(querier.ask(2, 201..300), REFUSED);
    assert_eq!(querier.ask(1, 0..101), Ok(()));
}

#[test]
fn whether_anybody_in_a_set_has_a_concept_is_not_told() {
    let mut querier = Querier::new(0);
    assert_eq!(querier.ask(1, 0..100), Ok(()));
    // The answer is the same whether no home or one home has the concept.
    assert_eq!(querier.ask(2, 0..100), REFUSED);
    assert_eq!(querier.ask(3, 0..99), REFUSED);
    assert_eq!(querier.ask(1, 0..100), Ok(()));
}

#[test]
fn a_set_that_changed_a_little_takes_what_it_differs_by() {
    let mut querier = Querier::new(0);
    for day in 0..10 {
        assert_eq!(querier.ask(1, day..100 + day), Ok(()));
    }
    let stored_homes: u64 = querier
        .memory
        .sets
        .iter()
        .map(|set| set.homes.count())
        .sum();
    assert_eq!(stored_homes, 100 + 2 * (1..10).sum::<u64>());
    // Each of these sets is compared, including those stored as a difference.
    for day in 0..10 {
        assert_eq!(querier.ask(2, day..99 + day), REFUSED, "{day}");
        assert_eq!(querier.ask(1, day..100 + day), Ok(()));
    }
}

#[test]
fn at_its_bounds_a_finder_refuses_and_forgets_nothing() {
    let mut querier = Querier::new(0);
    for profile in 0..8 {
        let start = u32::from(profile) * 100;
        assert_eq!(querier.ask(profile, start..start + 50), Ok(()));
    }
    let many = Err(FindError::TooManyPopulations(8));
    assert_eq!(querier.ask(8, 1000..1050), many);
    for home in 0..8 {
        assert_eq!(querier.ask(0, 0..51 + home), Ok(()));
    }
    assert_eq!(querier.ask(0, 0..80), Err(FindError::TooManySets));
    // A stored set may still be asked. The answer does not say whether another set is too small, or near to a stored
    // one.
    assert_eq!(querier.ask(0, 0..50), Ok(()));
    assert_eq!(querier.ask(7, 701..750), Err(FindError::TooManySets));
    assert_eq!(querier.ask(7, 0..10), Err(FindError::TooManySets));

    let mut querier = Querier::new(0);
    assert_eq!(querier.ask(1, 0..6000), Ok(()));
    assert_eq!(querier.ask(2, 10_000..14_001), Err(FindError::TooManySets));
    assert_eq!(querier.ask(2, 10_000..14_000), Ok(()));
    assert_eq!(querier.ask(1, 0..6000), Ok(()));
}

#[test]
fn a_refused_query_counts_once_and_stays_refused() {
    let mut querier = Querier::new(0);
    for _ in 0..3 {
        assert_eq!(querier.query(1, 1, 0..10, COHORT, 1000), REFUSED);
    }
    assert_eq!(querier.memory.queries.len(), 1);
    // A querier that could repeat a query would learn when the set has grown.
    assert_eq!(querier.query(1, 1, 0..40, COHORT, 1000), REFUSED);
    assert_eq!(querier.query(2, 1, 0..40, COHORT, 1000), Ok(()));
}

#[test]
fn a_conductor_that_finds_a_query_again_over_other_lists_learns_nothing_more() {
    let mut querier = Querier::new(0);
    assert_eq!(querier.query(1, 1, 0..100, COHORT, 1000), Ok(()));
    for few in 0..40 {
        let homes = 0..100 - few;
        let again = querier.query(1, 1, homes, COHORT, 1000);
        let expected = match few {
            0 => Ok(()),
            _ => Err(FindError::OtherLists),
        };
        assert_eq!(again, expected);
    }
    assert_eq!(
        (querier.memory.sets.len(), querier.memory.queries.len()),
        (1, 1)
    );
}

#[test]
fn a_difference_is_of_as_many_homes_as_the_larger_cohort_of_two_queries() {
    let mut querier = Querier::new(0);
    assert_eq!(querier.within(1, 0..100, 50, 1000), Ok(()));
    assert_eq!(querier.ask(2, 0..70), REFUSED);
    assert_eq!(querier.ask(2, 0..50), Ok(()));
    // The same holds when a stored set is asked again with a larger cohort.
    assert_eq!(querier.ask(3, 100..200), Ok(()));
    assert_eq!(querier.within(3, 100..200, 50, 1000), Ok(()));
    assert_eq!(querier.ask(4, 100..170), REFUSED);
}

#[test]
fn after_as_many_refusals_as_are_allowed_no_find_tells_anything() {
    let mut querier = Querier::new(0);
    assert_eq!(querier.ask(1, 0..50), Ok(()));
    for _ in 0..30 {
        assert_eq!(querier.ask(2, 0..10), REFUSED);
    }
    let spent = Err(FindError::TooManyRefused(30));
    assert_eq!(querier.ask(2, 0..10), spent);
    assert_eq!(querier.ask(2, 100..200), spent);
    assert_eq!(querier.ask(1, 0..50), spent);
}

/// Returns the largest bound up to which `asks` succeeds.
fn bisected(mut low: u64, mut high: u64, mut asks: impl FnMut(u64) -> bool) -> u64 {
    while low + 1 < high {
        let middle = (low + high) / 2;
        match asks(middle) {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// Returns the bounds of a set's size that a querier finds by moving the bounds of its queries.
fn sizes_by_bisection(noise: u32, homes: u32) -> (u64, u64) {
    let mut querier = Querier::new(noise);
    let by_cohort = bisected(20, 2000, |cohort| {
        querier
            .within(1, 0..homes, cohort as u32, 1_000_000)
            .is_ok()
    });
    let mut querier = Querier::new(noise);
    let by_most = 1 + bisected(20, 2000, |most| {
        querier.within(1, 0..homes, COHORT, most).is_err()
    });
    (by_cohort, by_most)
}

#[test]
fn a_querier_that_bisects_its_bounds_finds_no_exact_size() {
    let mut off = BTreeSet::new();
    for homes in 500..540 {
        let (by_cohort, by_most) = sizes_by_bisection(2, homes);
        assert!(by_cohort <= homes.into() && by_most >= homes.into());
        // Both bounds follow from the one noisy number.
        assert_eq!(by_most - by_cohort, sizes(2).most());
        off.insert(u64::from(homes) - by_cohort);
    }
    // So a querier that knows the distribution learns the size only to within the width of the noise.
    assert!(off.len() >= 5 && !off.contains(&0), "{off:?}");
    let without = weakness::without(Weakness::SizesExact, || sizes_by_bisection(2, 500));
    assert_eq!(without, (500, 500));
}

#[test]
fn a_querier_that_bisects_one_set_after_another_runs_out_of_refusals() {
    let mut querier = Querier::new(2);
    let mut sets = 0;
    loop {
        let start = 1000 * sets;
        let mut spent = false;
        bisected(20, 2000, |cohort| {
            let homes = start..start + 500;
            let asked = querier.within(sets as u8, homes, cohort as u32, 1_000_000);
            spent |= matches!(asked, Err(FindError::TooManyRefused(30)));
            asked.is_ok()
        });
        if spent {
            break;
        }
        sets += 1;
    }
    assert!(sets < 10, "{sets}");
}

#[test]
fn a_querier_that_bisects_differences_finds_no_exact_one() {
    let mut off = BTreeSet::new();
    for few in 100..140 {
        let mut querier = Querier::new(2);
        assert_eq!(querier.ask(1, 0..1000), Ok(()));
        let found = bisected(20, 500, |cohort| {
            querier
                .within(2, few..1000, cohort as u32, 1_000_000)
                .is_ok()
        });
        assert!(found <= few.into());
        off.insert(u64::from(few) - found);
    }
    assert!(off.len() >= 5 && !off.contains(&0), "{off:?}");
}

#[test]
fn the_same_set_gets_the_same_answer_whoever_asks_in_whatever_order() {
    // These sizes are near the cohort, where the noise decides.
    let sets: Vec<Range<u32>> = (0..20).map(|set| 100 * set..100 * set + 48).collect();
    let ask = |name: &str, order: &[usize]| -> BTreeMap<usize, bool> {
        let mut querier = Querier::named(name, 2);
        querier.limits.profiles = 100;
        querier.limits.sets = 100;
        let mut asked = |set: &usize| (*set, querier.ask(*set as u8, sets[*set].clone()).is_ok());
        order.iter().map(&mut asked).collect()
    };
    let order: Vec<usize> = (0..20).collect();
    let reversed: Vec<usize> = (0..20).rev().collect();
    let one = ask("querier", &order);
    assert_eq!(ask("querier", &reversed), one);
    assert_eq!(ask("neighbour", &order), one);
    let accepted = one.values().filter(|asked| **asked).count();
    assert!((1..20).contains(&accepted), "{accepted}");

    // The same holds for two sets of different profiles, in either order and for either querier.
    for apart in 38..58 {
        let near = |name: &str, first: Range<u32>, second: Range<u32>| {
            let mut querier = Querier::named(name, 2);
            assert_eq!(querier.ask(1, first), Ok(()));
            querier.ask(2, second).is_ok()
        };
        let (one, other) = (0..500, apart..500);
        let answer = near("querier", one.clone(), other.clone());
        assert_eq!(near("querier", other.clone(), one.clone()), answer);
        assert_eq!(near("neighbour", one, other), answer);
    }
}

proptest! {
    #[test]
    fn fewer_than_the_cohort_or_more_than_allowed_are_never_asked(
        homes in 0u32..200, cohort in 2u32..100, most in 20u64..300, noise in 0u32..6,
    ) {
        let asked = Querier::new(noise).within(1, 0..homes, cohort, most);
        if homes < cohort || u64::from(homes) > most {
            prop_assert_eq!(asked, Err(FindError::Sizes(cohort)));
        } else if u64::from(homes) >= u64::from(cohort) + most_noise(noise)
            && u64::from(homes) + most_noise(noise) <= most
        {
            prop_assert_eq!(asked, Ok(()));
        }
    }

    /// However sets change, two sets asked under different profiles differ by at least as many homes as the cohort.
    #[test]
    fn no_two_sets_of_different_profiles_that_were_asked_are_near(
        asks in prop::collection::vec((0u8..4, 0u32..6, 0u32..70, 0u32..70), 1..40), noise in 0u32..3,
    ) {
        let mut querier = Querier::new(noise);
        querier.limits = Limits { profiles: 100, sets: 1000, homes: 100_000, refused: 100, queries: 1000 };
        let mut asked: Vec<(u8, BTreeSet<u32>)> = Vec::new();
        for (profile, place, less, more) in asks {
            let homes: BTreeSet<u32> = (100 * place + less..100 * place + 90 + more).collect();
            let near = |(other, set): &(u8, BTreeSet<u32>)| {
                *other != profile && set.symmetric_difference(&homes).count() < COHORT as usize
            };
            let answer = querier.ask(profile, homes.iter().copied());
            if answer.is_ok() {
                prop_assert!(!asked.iter().any(near));
                asked.push((profile, homes));
            } else if noise == 0 {
                let few = homes.len() < COHORT as usize;
                prop_assert!(few || asked.iter().any(near), "{:?}", answer);
            }
        }
    }
}
