use super::super::super::variable;
use super::*;
use crate::conduct::Failure;
use dispers_base::weakness::{Weakness, without};

fn course(seed: u64, coalition: &[Party], moves: &[Cross]) -> Course {
    Course {
        seed,
        coalition: coalition.to_vec(),
        moves: moves.to_vec(),
        batch_size: 5,
        min_verified: 3,
        absent: None,
    }
}

/// Requires that random courses of the coalition find the attack once the defence is off, and that the defence stops
/// it. Returns the invariant that breaks without the defence.
fn is_found(weakness: Weakness, coalition: &[Party], seeds: u64) -> String {
    let broken = |seed| {
        let course = Course::by(seed, coalition);
        let reason = course.run().err()?;
        Some((course, reason))
    };
    let found = without(weakness, || (0..seeds).find_map(broken));
    let (course, reason) =
        found.unwrap_or_else(|| panic!("{weakness:?} is not found in {seeds} seeds"));
    println!("without {weakness:?}: {reason}");
    course.run().unwrap();
    reason
}

#[test]
fn an_honest_query_of_two_partitions_and_committees_counts_every_home_once() {
    let mut released = 0;
    for seed in 0..8 {
        let outcome = course(seed, &[], &[]).run().unwrap();
        let counted = outcome.counted.iter().flatten();
        for (home, committee) in counted {
            assert_eq!(outcome.named[home], *committee);
        }
        released += usize::from(outcome.counted.is_some());
    }
    // Few random splits leave a committee below the cohort.
    assert!(released >= 6, "{released} of 8 are released");
}

#[test]
fn what_belongs_to_another_partition_or_committee_is_taken_nowhere() {
    let (mut drawn, mut reached) = (BTreeSet::new(), BTreeSet::new());
    let courses = variable("SIMULATION_COURSES").unwrap_or(210);
    let mut read = 0;
    for seed in 0..courses {
        let course = Course::of(seed);
        let outcome = course.run().unwrap();
        drawn.extend(course.moves.iter().map(|one| one.kind()));
        reached.extend(outcome.reached);
        read += u64::from(outcome.counted.is_some());
    }
    let idle: Vec<&String> = drawn.difference(&reached).collect();
    assert!(
        idle.is_empty(),
        "these moves never change anything: {idle:?}"
    );
    // If the querier could read no course or all of them, the courses would show nothing.
    assert!(
        3 * read > courses && read < courses,
        "{read} of {courses} are read"
    );
}

#[test]
fn a_home_that_joins_or_leaves_moves_no_other_to_another_committee() {
    let honest = (0..4).map(|seed| course(seed, &[], &[]));
    let honest: Vec<Course> = honest.collect();
    let broken = without(Weakness::CommitteesMoveWithBatches, || {
        honest.iter().filter_map(|one| one.run().err()).count()
    });
    assert!(broken > 0);
    for one in &honest {
        one.run().unwrap();
    }
    let found = is_found(
        Weakness::CommitteesMoveWithBatches,
        &[Party::Conductor],
        100,
    );
    assert!(found.contains("moves"), "{found}");
}

#[test]
fn a_finder_that_has_homes_of_another_partition_or_committee_asked_counts_no_home_twice() {
    is_found(Weakness::HomeInSeveralBatches, &[Party::Finder], 100);
}

#[test]
fn a_host_that_lists_a_home_in_two_partitions_counts_it_once() {
    is_found(Weakness::HomesOfOtherPartitions, &[Party::Host], 100);
}

#[test]
fn a_target_that_loses_the_homes_of_one_committee_puts_no_aggregator_out() {
    let lost = course(0, &[Party::Target], &[Cross::LosesHomes { committee: 1 }]);
    let weakness = Weakness::AnswerRateOfAllCommittees;
    let broken = without(weakness, || lost.run());
    let reason = broken.unwrap_err();
    assert!(reason.contains("honest aggregators are out"), "{reason}");
    let failure = lost.run().unwrap().failure;
    assert!(
        matches!(failure, Some(Failure::TooFewAnswers { .. })),
        "{failure:?}"
    );
    is_found(weakness, &[Party::Target], 100);
}
