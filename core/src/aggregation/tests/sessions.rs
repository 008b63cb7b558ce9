//! Tests of the rounds of a session: all homes of a round were shown the same parameters, and each round is released
//! once (protocol.md §18).

use super::restarts::Disks;
use crate::{
    aggregation::{AggregationError, DealRequest},
    ask::{Answer, BatchAnswer, GroupsStatement, HomeAsk, SealedGroup, group_context},
    testing::{Scene, Setting, key_of, member},
};
use dispers_base::{
    field,
    id::{BatchId, MemberNumber, Work},
    labels,
};
use dispers_circuit::{
    Circuit,
    contribution::{Contribution, share},
};
use dispers_privacy::Rho;

/// Creates a session of three rounds. The first has no parameters.
fn session() -> Scene {
    Scene::new(Setting {
        batch_size: 18,
        updates: 2,
        ..Setting::default()
    })
}

const SHOWN: [u8; 32] = [7; 32];
const OTHER: [u8; 32] = [8; 32];

/// Returns the sums over all homes' vectors in the scene's current round.
fn expected(scene: &Scene) -> Vec<Option<u64>> {
    let circuit: &Circuit = scene.question.manifest.circuit_of(scene.round);
    let mut sums = vec![0; circuit.outputs().len()];
    for batch in 0..2 {
        for index in scene.rows(batch).keys() {
            let input = circuit
                .as_vector()
                .unwrap()
                .encode(scene.vector(*index).as_ref());
            circuit.add_outputs(&input, &mut sums);
        }
    }
    sums.into_iter().map(Some).collect()
}

/// Takes the scene's current round through all steps of all aggregators. Returns the outputs.
fn released(scene: &mut Scene) -> Vec<Option<u64>> {
    let mut batches = Vec::new();
    for batch in 0..2 {
        let answer = scene.honest(scene.work(batch, 0));
        batches.push(scene.commit(&answer));
    }
    let totals = scene.release(&batches);
    let released = scene.read(&totals).unwrap();
    assert_eq!(released.round, scene.round);
    assert_eq!((released.asked, released.accepted), (36, 36));
    released.outputs
}

fn refusal(scene: &mut Scene, answer: &BatchAnswer) -> Option<AggregationError> {
    let refusals: Vec<_> = scene
        .members()
        .into_iter()
        .map(|member| scene.open_at(member, answer).err())
        .collect();
    assert!(refusals.windows(2).all(|pair| pair[0] == pair[1]));
    refusals.into_iter().next().unwrap()
}

#[test]
fn each_round_of_a_session_gives_the_sums_of_its_vectors() {
    let mut scene = session();
    for round in 0..3 {
        let shown = if round == 0 {
            [0; 32]
        } else {
            [round as u8; 32]
        };
        scene.begin_round(round, shown);
        assert_eq!(released(&mut scene), expected(&scene));
        let ended = scene.aggregators[&member(1)].has_released();
        assert_eq!(ended, round == 2, "{round}");
    }
}

#[test]
fn homes_that_were_shown_another_model_count_nowhere() {
    let mut scene = session();
    released(&mut scene);
    scene.begin_round(1, SHOWN);
    let answer = scene.honest(scene.work(0, 0));
    scene.commit(&answer);
    // Homes of the next batch are shown other parameters, and the target's statement says so.
    let work = scene.work(1, 0);
    scene.shown = OTHER;
    let answer = scene.honest(work);
    let other = Some(AggregationError::OtherParameters);
    assert_eq!(refusal(&mut scene, &answer), other);
    // If the statement names the parameters of the other homes instead, no group opens.
    scene.shown = SHOWN;
    let statement = GroupsStatement {
        parameters: SHOWN,
        ..answer.statement.clone()
    };
    let lie = BatchAnswer {
        signature: key_of("target").sign(labels::SIGN_GROUPS, &statement.digest()),
        statement,
        ..answer
    };
    let unopened = AggregationError::Unopened { groups: 2, of: 2 };
    assert_eq!(refusal(&mut scene, &lie), Some(unopened));
}

#[test]
fn what_homes_were_shown_is_known_after_a_restart() {
    let mut scene = session();
    released(&mut scene);
    scene.begin_round(1, SHOWN);
    let answer = scene.honest(scene.work(0, 0));
    scene.open(&answer);
    let disks = Disks::of(&mut scene);
    for member in scene.members() {
        disks.restart(&mut scene, member);
    }
    scene.shown = OTHER;
    let answer = scene.honest(scene.work(1, 0));
    let other = Some(AggregationError::OtherParameters);
    assert_eq!(refusal(&mut scene, &answer), other);
}

#[test]
fn only_the_first_round_has_no_parameters() {
    let mut scene = session();
    let other = Some(AggregationError::OtherParameters);
    scene.begin_round(0, SHOWN);
    let answer = scene.honest(scene.work(0, 0));
    assert_eq!(refusal(&mut scene, &answer), other);
    scene.begin_round(1, [0; 32]);
    let answer = scene.honest(scene.work(0, 0));
    assert_eq!(refusal(&mut scene, &answer), other);
    scene.begin_round(3, SHOWN);
    let beyond = BatchAnswer {
        statement: GroupsStatement {
            work: scene.work(0, 0),
            ..answer.statement.clone()
        },
        ..answer
    };
    let wrong = Some(AggregationError::WrongWork);
    assert_eq!(refusal(&mut scene, &beyond), wrong);
}

#[test]
fn a_round_that_was_released_takes_no_more_answers_and_has_one_release() {
    let mut scene = session();
    released(&mut scene);
    scene.begin_round(1, SHOWN);
    let first = released(&mut scene);
    for attempt in [0, 1] {
        let answer = scene.honest(scene.work(0, attempt));
        let wrong = Some(AggregationError::WrongStep);
        assert_eq!(refusal(&mut scene, &answer), wrong);
    }
    // A repeated release gives the same totals.
    let again = scene.members().into_iter().map(|member| {
        let total = scene.release_at(member, &[]).unwrap();
        (crate::testing::aggregator(member.point()), total)
    });
    let again: Vec<_> = again.collect();
    assert_eq!(scene.read(&again).unwrap().outputs, first);
}

#[test]
fn a_session_may_leave_rounds_out_but_goes_never_back() {
    let mut scene = session();
    released(&mut scene);
    scene.begin_round(2, SHOWN);
    assert_eq!(released(&mut scene), expected(&scene));
    assert!(scene.aggregators[&member(1)].has_released());
    scene.begin_round(1, OTHER);
    let answer = scene.honest(scene.work(0, 0));
    let wrong = Some(AggregationError::WrongStep);
    assert_eq!(refusal(&mut scene, &answer), wrong);
}

/// Returns an honest batch, except that one home's vector counts a hundredfold.
fn boosted(scene: &mut Scene, work: Work, index: u32) -> BatchAnswer {
    let manifest = scene.question.manifest.clone();
    let circuit = manifest.circuit_of(work.round);
    let offers: Vec<_> = manifest.offers(0).collect();
    let points: Vec<MemberNumber> = offers.iter().map(|(member, _)| *member).collect();
    let mut answers = Vec::new();
    for ask in scene.asks(work).asks.into_values() {
        let contribution = |asked: &HomeAsk| {
            let (key, at) = (&scene.home(&asked.home.0).key, asked.index);
            let ticket = asked
                .ticket
                .open(key, work.query, &ask.find, work.batch, at);
            let tags = ticket.unwrap().tags;
            let mut input = circuit
                .as_vector()
                .unwrap()
                .encode(scene.vector(at).as_ref())
                .to_vec();
            if at == index {
                for digit in &mut input[1..] {
                    *digit = field::mul(*digit, 100);
                }
            }
            let tags = points.iter().map(|point| tags[point.index()]).collect();
            Contribution::new(at, tags, &input)
        };
        let contributions: Vec<_> = ask.homes.iter().map(contribution).collect();
        let groups = share(circuit, &contributions, &points, 2, &mut scene.rng).unwrap();
        let sealed = groups.iter().zip(&offers).map(|(group, (member, key))| {
            let context = group_context(work, &scene.shown, 0, *member);
            SealedGroup::seal_bytes(group.encode().to_vec(), key, &context, &mut scene.rng)
        });
        answers.push(Answer {
            groups: sealed.collect(),
            homes: contributions.len() as u32,
        });
    }
    scene.collect(work, answers)
}

#[test]
fn a_vector_that_is_boosted_is_rejected_alone_by_every_aggregator() {
    let mut scene = session();
    released(&mut scene);
    scene.begin_round(1, SHOWN);
    let mut batches = Vec::new();
    let work = scene.work(0, 0);
    let answer = boosted(&mut scene, work, 3);
    batches.push(scene.commit(&answer));
    assert_eq!(batches[0].accepted, 17);
    let answer = scene.honest(scene.work(1, 0));
    batches.push(scene.commit(&answer));
    let totals = scene.release(&batches);
    let outputs = scene.read(&totals).unwrap().outputs;
    // Exactly the vector of that home is missing.
    let circuit = scene.question.manifest.circuit_of(1);
    let mut left_out = vec![0; circuit.outputs().len()];
    let input = circuit
        .as_vector()
        .unwrap()
        .encode(scene.vector(3).as_ref());
    circuit.add_outputs(&input, &mut left_out);
    for ((sum, all), left_out) in outputs.iter().zip(expected(&scene)).zip(left_out) {
        assert_eq!(sum.unwrap(), field::sub(all.unwrap(), left_out));
    }
}

#[test]
fn the_round_that_validates_has_all_of_a_session_s_loss_and_the_others_an_even_part() {
    let scene = Scene::new(Setting {
        noise: Some((1.0, Some(1e-6))),
        updates: 4,
        held_out: 200,
        ..Setting::default()
    });
    let manifest = &scene.question.manifest;
    // One round computes the scales, four update, and one validates.
    assert_eq!(manifest.rounds, 6);
    let whole = Rho::within(1.0, 1e-6);
    let cost = |round| manifest.round_privacy(round).unwrap().cost(1);
    for round in 0..5 {
        assert_eq!(cost(round), Rho(whole.0 / 5), "{round}");
    }
    assert_eq!(cost(5), whole);
    assert_eq!(manifest.cost(), Some(whole));
}

#[test]
fn an_aggregator_that_missed_the_end_of_a_round_takes_part_in_the_next() {
    let mut scene = Scene::new(Setting {
        batch_size: 6,
        updates: 2,
        ..Setting::default()
    });
    let third = member(3);
    // The third aggregator has as many batches in flight as it may, and never learns their outcome.
    for batch in 0..4 {
        let answer = scene.honest(scene.work(batch, 0));
        scene.open_at(third, &answer).unwrap();
    }
    let answer = scene.honest(scene.work(4, 0));
    let full = Some(AggregationError::TooManyInFlight);
    assert_eq!(scene.open_at(third, &answer).err(), full);
    let missed = scene.honest(scene.work(0, 0));
    scene.begin_round(1, SHOWN);
    let answer = scene.honest(scene.work(0, 0));
    scene.commit(&answer);
    // For the third aggregator the missed round is over, whatever it receives about that round, and also after a
    // restart.
    let disks = Disks::of(&mut scene);
    disks.restart(&mut scene, third);
    let over = Some(AggregationError::WrongStep);
    assert_eq!(scene.open_at(third, &missed).err(), over);
}

#[test]
fn noise_of_a_round_that_is_over_is_not_opened() {
    let mut scene = Scene::new(Setting {
        noise: Some((1.0, Some(1e-6))),
        updates: 2,
        ..Setting::default()
    });
    let dealers = scene.members();
    let request = |scene: &Scene, attempt| DealRequest {
        work: Work {
            batch: BatchId::noise(0),
            ..scene.work(0, attempt)
        },
        dealers: dealers.clone(),
    };
    let old = request(&scene, 0);
    let deal = |scene: &mut Scene, request: &DealRequest| -> Vec<_> {
        let deals = dealers.iter().map(|dealer| scene.deal_at(*dealer, request));
        deals.collect::<Result<_, _>>().unwrap()
    };
    let deals = deal(&mut scene, &old);
    scene.begin_round(1, SHOWN);
    let answer = scene.honest(scene.work(0, 0));
    scene.open(&answer);
    let opened = scene.open_deals_at(member(1), &old, &deals).err();
    assert_eq!(opened, Some(AggregationError::WrongStep));
    let current = request(&scene, 0);
    let deals = deal(&mut scene, &current);
    assert!(scene.open_deals_at(member(1), &current, &deals).is_ok());
}
