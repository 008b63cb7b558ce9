//! A simulated network: every state machine in one process, on a virtual clock, with faults drawn from a seed
//! (docs/testing.md).
//!
//! A seed that fails is printed with its operations. `SIMULATION_SEED=n` runs one seed and prints what happened.
//! `SIMULATION_SCHEDULES=n` changes the number of schedules from ten thousand.

mod byzantine;
mod schedule;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use schedule::{Crash, Fault, Node, Op, Schedule};
use world::{Answers, Ended, World};

use super::{Scene, Setting, member};
use crate::{
    conduct::{Failure, Phase, StepError},
    subscription::HomeId,
};
use dispers_base::id::MemberNumber;
use dispers_circuit::Row;

/// Number of homes of a simulated network, half in each group.
const HOMES: usize = 12;
/// Minimum cohort of the network.
const COHORT: u64 = 4;

/// Network to simulate.
struct Shape {
    committee: (u8, u8),
    min_verified: u8,
    batch_size: u32,
}

const fn shape(committee: (u8, u8), min_verified: u8, batch_size: u32) -> Shape {
    Shape {
        committee,
        min_verified,
        batch_size,
    }
}

/// Networks of one to three batches, at the threshold and above it. Most are cheap to run.
const SHAPES: [Shape; 20] = [
    shape((2, 3), 2, 4),
    shape((3, 5), 4, 6),
    shape((2, 3), 2, 6),
    shape((2, 3), 3, 6),
    shape((3, 5), 3, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 3, 12),
    shape((2, 3), 3, 12),
    shape((2, 3), 3, 12),
    shape((2, 3), 3, 12),
    shape((2, 3), 3, 12),
    shape((2, 3), 3, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 2, 12),
    shape((2, 3), 2, 12),
];
const THREE_BATCHES: usize = 0;
const FIVE_MEMBERS: usize = 1;

/// Returns the rows of the homes. Each home's value is another power of two in its group, so that a sum shows which
/// homes it holds.
fn rows() -> Vec<Option<Row>> {
    let row = |number: usize| Row {
        group: number % 2,
        levels: vec![Some(1 << (number / 2)), None],
    };
    (0..HOMES).map(|number| Some(row(number))).collect()
}

/// Returns the number of a home from its id.
fn number(home: &HomeId) -> usize {
    let number = home.0.strip_prefix("home");
    number.and_then(|n| n.parse().ok()).expect("it has one")
}

fn scene(shape: &Shape) -> Scene {
    Scene::new(Setting {
        committee: shape.committee,
        rows: rows(),
        batch_size: shape.batch_size,
        min_verified: shape.min_verified,
        ..Setting::default()
    })
}

/// Networks by shape, each made once for many schedules.
#[derive(Default)]
struct Scenes(BTreeMap<usize, (Scene, Answers)>);

/// Outcome of a schedule that kept every invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The sums of all homes were released.
    Everybody,
    /// The sums of fewer homes were released.
    Fewer,
    /// The query failed cleanly.
    Failed,
}

impl Scenes {
    /// Runs a schedule. Returns its outcome and log, or the invariant that breaks as an error.
    fn run(&mut self, schedule: &Schedule) -> Result<(Outcome, Vec<String>), String> {
        let entry = self.0.entry(schedule.shape);
        let (scene, answers) =
            entry.or_insert_with(|| (scene(&SHAPES[schedule.shape]), Answers::new()));
        let (world, commands) = World::new((scene, answers), schedule);
        let (ended, log) = world.run(commands)?;
        let outcome = check(scene, schedule, &ended);
        outcome.map(|outcome| (outcome, log))
    }
}

/// Checks the invariants of every query, whatever the faults were.
fn check(scene: &Scene, schedule: &Schedule, ended: &Ended) -> Result<Outcome, String> {
    let status = ended.conduct.status();
    let lied = ended.conduct.out().values().any(|why| {
        matches!(
            why,
            StepError::Contradicted | StepError::Inconsistent { .. }
        )
    });
    if lied && !schedule.corrupts() {
        return Err("an honest aggregator is out for lying".into());
    }
    let Some(totals) = ended.conduct.totals() else {
        return match status.failure {
            Some(Failure::Ended(_)) | None => Err(format!("it ended so: {:?}", status.failure)),
            Some(_) => Ok(Outcome::Failed),
        };
    };
    if status.phase != Phase::Done {
        return Err("there are totals of a query that is not done".into());
    }
    // Reading checks that all totals lie on one polynomial, so that any t of them give this result.
    let released = match scene.read(totals) {
        Ok(released) => released,
        // A fault may have changed a total on its way to the conductor.
        Err(_) if schedule.corrupts() => return Ok(Outcome::Failed),
        Err(error) => return Err(format!("the totals do not open: {error}")),
    };
    // The outputs of each group are n, s, m and t.
    let mut counted = 0;
    for (group, outputs) in released.outputs.chunks(4).enumerate() {
        let expected: Vec<usize> = ended
            .homes
            .iter()
            .copied()
            .filter(|h| h % 2 == group)
            .collect();
        let (Some(n), Some(sum)) = (outputs[0], outputs[1]) else {
            if expected.len() as u64 >= COHORT && !schedule.corrupts() {
                return Err(format!("group {group} is withheld"));
            }
            continue;
        };
        counted += n;
        if n < COHORT {
            return Err(format!("group {group} is below the cohort"));
        }
        if u64::from(sum.count_ones()) != n || sum >= 1 << (HOMES / 2) {
            return Err(format!("group {group} is no sum over homes once each"));
        }
        let bits: u64 = expected.iter().map(|home| 1 << (home / 2)).sum();
        if sum & !bits != 0 || (sum != bits && !schedule.corrupts()) {
            return Err(format!("group {group}: {sum:b} instead of {bits:b}"));
        }
    }
    // The number is in steps of the cohort if the exact number would give a suppressed group away.
    if released.accepted + COHORT <= counted {
        return Err("more homes are summed than were accepted".into());
    }
    match counted {
        all if all == HOMES as u64 => Ok(Outcome::Everybody),
        _ => Ok(Outcome::Fewer),
    }
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the schedule of a test. Prints its log, or panics if it breaks an invariant.
fn outcome(schedule: &Schedule) -> Outcome {
    match Scenes::default().run(schedule) {
        Ok((outcome, log)) => {
            println!("{outcome:?}\n{}", log.join("\n"));
            outcome
        }
        Err(reason) => panic!("{reason}: {schedule:?}"),
    }
}

/// Networks of one thread, which the thread uses again for the next seed.
#[derive(Default)]
struct Networks {
    scenes: Scenes,
    grounds: byzantine::Grounds,
}

/// Number of schedules and queries of campaigns by how they ended.
#[derive(Debug, Default)]
struct Counts {
    everybody: u64,
    fewer: u64,
    failed: u64,
    campaigns: byzantine::Tally,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.everybody += other.everybody;
        self.fewer += other.fewer;
        self.failed += other.failed;
        self.campaigns.add(&other.campaigns);
    }
}

impl Networks {
    /// Runs a seed: a campaign of a coalition, or a schedule of faults.
    fn run(&mut self, seed: u64, counts: &mut Counts) -> Result<(), String> {
        if is_campaign(seed) {
            let tally = self.grounds.run_seed(seed)?;
            counts.campaigns.add(&tally);
            return Ok(());
        }
        let schedule = Schedule::of(seed);
        let run = AssertUnwindSafe(|| self.scenes.run(&schedule));
        let run = catch_unwind(run).unwrap_or_else(|_| Err("it panicked".into()));
        match run {
            Ok((Outcome::Everybody, _)) => counts.everybody += 1,
            Ok((Outcome::Fewer, _)) => counts.fewer += 1,
            Ok((Outcome::Failed, _)) => counts.failed += 1,
            Err(reason) => {
                // The state after a failure is unknown, so that it is not used again.
                self.scenes = Scenes::default();
                return Err(format!("{reason}: {schedule:?}"));
            }
        }
        Ok(())
    }
}

/// Returns whether a seed stands for a campaign: each odd one, below `SIMULATION_CAMPAIGNS` if that is set.
fn is_campaign(seed: u64) -> bool {
    seed % 2 == 1 && seed < variable("SIMULATION_CAMPAIGNS").unwrap_or(u64::MAX)
}

#[test]
fn ten_thousand_random_schedules_keep_every_invariant() {
    if let Some(seed) = variable("SIMULATION_SEED") {
        if is_campaign(seed) {
            byzantine::show(seed);
            return;
        }
        let schedule = Schedule::of(seed);
        println!("{schedule:#?}");
        outcome(&schedule);
        return;
    }
    let count = variable("SIMULATION_SCHEDULES").unwrap_or(10_000);
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let all = Mutex::new(Counts::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut networks = Networks::default();
                let mut counts = Counts::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        break;
                    }
                    if let Err(reason) = networks.run(seed, &mut counts) {
                        let mut failures = failures.lock().unwrap();
                        failures.push(format!("SIMULATION_SEED={seed}: {reason}"));
                    }
                }
                all.lock().unwrap().add(&counts);
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let shown = failures.iter().take(10).cloned().collect::<Vec<_>>();
    assert!(
        failures.is_empty(),
        "{} fail\n{}",
        failures.len(),
        shown.join("\n")
    );
    let all = all.into_inner().unwrap();
    println!("{all:?}");
    // A simulation in which everything fails, or everything succeeds, shows nothing.
    for outcome in [all.everybody, all.fewer, all.failed] {
        assert!(400 * outcome > count, "{all:?}");
    }
    let campaigns = &all.campaigns;
    // A move that never changes anything tests nothing.
    assert!(
        campaigns.idle().is_empty() || count < 10_000,
        "{:?}",
        campaigns.idle()
    );
    for outcome in [campaigns.refused, campaigns.failed, campaigns.released] {
        assert!(outcome > 0 || count < 1200, "{all:?}");
    }
}

fn single(shape: usize, op: Op) -> Schedule {
    Schedule {
        seed: 1,
        shape,
        ops: vec![op],
    }
}

#[test]
fn nothing_that_goes_wrong_once_between_conductor_and_aggregators_costs_a_home() {
    let faults = [
        Fault::DropRequest,
        Fault::DropReply,
        Fault::Duplicate,
        Fault::Delay(1500),
        Fault::Crash(Crash::Before),
        Fault::Crash(Crash::Unwritten),
        Fault::Crash(Crash::Unsaid),
    ];
    let mut scenes = Scenes::default();
    for shape in [THREE_BATCHES, FIVE_MEMBERS] {
        // The find is the first request, and is not repeated.
        for request in 1..60 {
            for fault in faults {
                let schedule = single(shape, Op::Request(request, fault));
                let (outcome, log) = scenes.run(&schedule).unwrap();
                let log = log.join("\n");
                assert_eq!(outcome, Outcome::Everybody, "{schedule:?}\n{log}");
            }
        }
    }
}

#[test]
fn a_conductor_that_dies_at_any_event_releases_everybody() {
    let mut scenes = Scenes::default();
    for event in 0..60 {
        for kept in [false, true] {
            let down = 10 * u64::from(event);
            let schedule = single(THREE_BATCHES, Op::Conductor { event, kept, down });
            let (outcome, log) = scenes.run(&schedule).unwrap();
            assert_eq!(
                outcome,
                Outcome::Everybody,
                "{schedule:?}\n{}",
                log.join("\n")
            );
        }
    }
}

#[test]
fn an_aggregator_that_is_gone_at_any_time_is_not_missed() {
    let mut scenes = Scenes::default();
    for from in (0..1500).step_by(25) {
        for number in 1..=3 {
            let node = Node::Aggregator(member(number));
            let schedule = single(THREE_BATCHES, Op::Gone { node, from });
            let (outcome, log) = scenes.run(&schedule).unwrap();
            assert_eq!(
                outcome,
                Outcome::Everybody,
                "{schedule:?}\n{}",
                log.join("\n")
            );
        }
    }
}

#[test]
fn more_aggregators_gone_than_may_be_fail_cleanly() {
    let gone = |member: MemberNumber| Op::Gone {
        node: Node::Aggregator(member),
        from: 200,
    };
    let schedule = Schedule {
        seed: 1,
        shape: THREE_BATCHES,
        ops: [1, 2].map(member).map(gone).to_vec(),
    };
    assert_eq!(outcome(&schedule), Outcome::Failed);
}

/// Checks that the conductor does not take the number in an acknowledgement for the number of its sender. A random
/// schedule found this case.
#[test]
fn an_acknowledgement_that_names_another_aggregator_is_nobody_s() {
    let mut scenes = Scenes::default();
    // The number follows the version in the encoding. The replies of all decisions are among these requests.
    for (request, bit) in (12..30).flat_map(|request| (8..16).map(move |bit| (request, bit))) {
        let schedule = single(
            THREE_BATCHES,
            Op::Request(request, Fault::CorruptReply(bit)),
        );
        let (outcome, log) = scenes.run(&schedule).unwrap();
        assert_eq!(
            outcome,
            Outcome::Everybody,
            "{schedule:?}\n{}",
            log.join("\n")
        );
    }
}
