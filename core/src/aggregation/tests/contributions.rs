//! Tests of contributions that stacks or the Target tamper with.

use crate::{
    aggregation::AggregationError,
    conduct::coarse,
    testing::{Draft, Scene, Setting, Shared, copy_of, home},
};
use dispers_base::{field, id::QueryId};
use dispers_circuit::EncodeError;

/// Creates a scene with one batch, and the draft of its honest contributions.
fn drafted(setting: Setting) -> (Scene, Draft) {
    let mut scene = Scene::new(setting);
    let work = scene.work(0, 0);
    let draft = Draft::new(&mut scene, work);
    (scene, draft)
}

/// Checks that `answer` counts every home except those with the indices `left_out`.
fn counts_all_but(scene: &mut Scene, answer: &crate::ask::BatchAnswer, left_out: &[u32]) {
    let expected = scene.sums_without(left_out);
    let released = scene.released(answer);
    assert_eq!(released.outputs, expected);
    let accepted = 36 - left_out.len() as u64;
    // If few homes have no row, the number is released in steps of the cohort.
    assert!([accepted, coarse(accepted, 4)].contains(&released.accepted));
}

/// Returns the index of a home that has a row in the first group and a first level above 0.
fn with_row(scene: &Scene) -> u32 {
    let rows = scene.rows(0);
    let found = rows.iter().find(|(_, row)| {
        row.as_ref()
            .is_some_and(|row| row.group == 0 && row.levels[0] > Some(0))
    });
    *found.unwrap().0
}

#[test]
fn an_untampered_draft_counts_like_honest_answers() {
    for committee in [(2, 3), (3, 5)] {
        let setting = Setting {
            committee,
            ..Setting::default()
        };
        let (mut scene, draft) = drafted(setting);
        let answer = scene.forged(&draft);
        counts_all_but(&mut scene, &answer, &[]);
    }
}

#[test]
fn one_changed_share_element_rejects_its_home_only() {
    // The changed element may be anywhere in the share: the first or last of the input, or of the proof.
    let (scene, draft) = drafted(Setting::default());
    let input = draft.stacks[0][0].input.len();
    let length = scene.question.manifest.circuit().share_len();
    for element in [0, input - 1, input, length - 1] {
        for position in 0..3 {
            let (mut scene, draft) = drafted(Setting::default());
            let victim = with_row(&scene);
            let mut shared = draft.share(&mut scene);
            let changed = &mut shared.elements(position, victim)[element];
            *changed = field::add(*changed, 1);
            let answers = shared.seal(&mut scene);
            let answer = scene.collect(draft.work, answers);
            counts_all_but(&mut scene, &answer, &[victim]);
        }
    }
}

#[test]
fn one_changed_share_element_fails_the_proof_where_no_share_is_redundant() {
    for position in 0..2 {
        let setting = Setting {
            absent: vec![3],
            ..Setting::default()
        };
        let (mut scene, draft) = drafted(setting);
        let victim = with_row(&scene);
        let mut shared = draft.share(&mut scene);
        let changed = &mut shared.elements(position, victim)[0];
        *changed = field::add(*changed, 1);
        let answers = shared.seal(&mut scene);
        let answer = scene.collect(draft.work, answers);
        counts_all_but(&mut scene, &answer, &[victim]);
    }
}

#[test]
fn a_level_above_the_maximum_has_no_encoding() {
    let scene = Scene::new(Setting::default());
    let mut row = home(0).unwrap();
    row.levels[0] = Some(101);
    let rows = scene.question.manifest.circuit().as_rows().unwrap();
    let encoded = rows.encode(Some(&row));
    assert_eq!(
        encoded.err(),
        Some(EncodeError::LevelTooHigh { variable: 0 })
    );
}

#[test]
fn a_consistently_shared_input_that_is_no_bit_is_rejected_alone() {
    let (_, draft) = drafted(Setting::default());
    let length = draft.stacks[0][0].input.len();
    let values = [2, field::neg(1), field::inverse(2), 1 << 40];
    for element in 0..length {
        let (mut scene, mut draft) = drafted(Setting::default());
        let victim = with_row(&scene);
        let value = values[element % values.len()];
        draft.claim(&mut scene, victim, |input| input[element] = value);
        let answer = scene.forged(&draft);
        counts_all_but(&mut scene, &answer, &[victim]);
    }
}

#[test]
fn two_groups_at_once_are_rejected_alone() {
    let (mut scene, mut draft) = drafted(Setting::default());
    let victim = with_row(&scene);
    draft.claim(&mut scene, victim, |input| {
        assert_eq!(input[..2], [1, 0], "the group bits come first");
        input[1] = 1;
    });
    let answer = scene.forged(&draft);
    counts_all_but(&mut scene, &answer, &[victim]);
}

#[test]
fn a_vote_of_minus_one_is_rejected_alone() {
    let (mut scene, mut draft) = drafted(Setting::default());
    let victim = with_row(&scene);
    draft.claim(&mut scene, victim, |input| {
        for element in input {
            *element = field::neg(*element);
        }
    });
    let answer = scene.forged(&draft);
    counts_all_but(&mut scene, &answer, &[victim]);
}

#[test]
fn the_proof_of_another_home_or_of_nothing_is_rejected_alone() {
    let (mut scene, mut draft) = drafted(Setting::default());
    let victim = with_row(&scene);
    let other = draft.home((victim + 1) % 36).proof.clone();
    draft.home(victim).proof = other;
    let answer = scene.forged(&draft);
    counts_all_but(&mut scene, &answer, &[victim]);

    let (mut scene, mut draft) = drafted(Setting::default());
    draft.home(victim).proof.fill(0);
    let answer = scene.forged(&draft);
    counts_all_but(&mut scene, &answer, &[victim]);
}

#[test]
fn garbage_shares_reject_their_home_only() {
    for positions in [0..1, 0..2, 0..3] {
        let (mut scene, draft) = drafted(Setting::default());
        let victim = with_row(&scene);
        let mut shared = draft.share(&mut scene);
        for position in positions {
            for element in shared.elements(position, victim) {
                *element = field::random(&mut scene.rng);
            }
        }
        let answers = shared.seal(&mut scene);
        let answer = scene.collect(draft.work, answers);
        counts_all_but(&mut scene, &answer, &[victim]);
    }
}

#[test]
fn a_wrong_tag_at_any_aggregator_rejects_its_home_only() {
    for positions in [0..1, 1..2, 2..3, 0..3] {
        let (mut scene, draft) = drafted(Setting::default());
        let victim = with_row(&scene);
        let mut shared = draft.share(&mut scene);
        for position in positions {
            shared.entry(position, victim).1[7] ^= 1;
        }
        let answers = shared.seal(&mut scene);
        let answer = scene.collect(draft.work, answers);
        counts_all_but(&mut scene, &answer, &[victim]);
    }
}

#[test]
fn a_tag_of_another_aggregator_does_not_count() {
    let (mut scene, mut draft) = drafted(Setting::default());
    let victim = with_row(&scene);
    draft.home(victim).tags.rotate_left(1);
    let answer = scene.forged(&draft);
    counts_all_but(&mut scene, &answer, &[victim]);
}

#[test]
fn a_contribution_that_one_aggregator_does_not_get_is_rejected_alone() {
    for position in 0..3 {
        let (mut scene, draft) = drafted(Setting::default());
        let victim = with_row(&scene);
        let mut shared = draft.share(&mut scene);
        let (stack, place) = shared.place(victim);
        let length = scene.question.manifest.circuit().share_len();
        let group = &mut shared.stacks[stack][position];
        group.entries.remove(place);
        group.elements.drain(place * length..(place + 1) * length);
        let answers = shared.seal(&mut scene);
        let answer = scene.collect(draft.work, answers);
        counts_all_but(&mut scene, &answer, &[victim]);
    }
}

#[test]
fn another_home_s_index_without_its_tag_rejects_the_claimant_only() {
    let (mut scene, mut draft) = drafted(Setting::default());
    let liar = with_row(&scene);
    let victim = other_stack(&draft, liar);
    draft.home(liar).index = victim;
    let answer = scene.forged(&draft);
    counts_all_but(&mut scene, &answer, &[liar]);
}

#[test]
fn an_index_that_two_homes_claim_with_its_tag_counts_for_neither() {
    let (mut scene, mut draft) = drafted(Setting::default());
    let liar = with_row(&scene);
    let victim = other_stack(&draft, liar);
    let tags = draft.home(victim).tags.clone();
    let sent = draft.home(liar);
    (sent.index, sent.tags) = (victim, tags);
    let answer = scene.forged(&draft);
    counts_all_but(&mut scene, &answer, &[liar, victim]);
}

#[test]
fn an_index_outside_the_batch_counts_nowhere() {
    for index in [36, 37, u32::MAX] {
        let (mut scene, mut draft) = drafted(Setting::default());
        let liar = with_row(&scene);
        draft.home(liar).index = index;
        let answer = scene.forged(&draft);
        counts_all_but(&mut scene, &answer, &[liar]);
    }
}

#[test]
fn a_group_that_does_not_open_or_decode_leaves_out_its_homes_only() {
    let garbage = |shared: &Shared, kind| -> Vec<u8> {
        let mut group = shared.stacks[0][1].clone();
        let whole = group.encode();
        match kind {
            0 => Vec::new(),
            1 => whole[..whole.len() - 1].to_vec(),
            2 => vec![0xff; whole.len()],
            _ => {
                *group.elements.last_mut().unwrap() = field::MODULUS;
                group.encode()
            }
        }
    };
    // All three aggregators must verify, so that none may be left out instead of the homes.
    let all = || Setting {
        min_verified: 3,
        ..Setting::default()
    };
    for kind in 0..4 {
        let (mut scene, draft) = drafted(all());
        let lost: Vec<u32> = draft.stacks[0].iter().map(|sent| sent.index).collect();
        let shared = draft.share(&mut scene);
        let bytes = garbage(&shared, kind);
        let mut answers = shared.seal(&mut scene);
        answers[0].groups[1] = Shared::seal_bytes(&mut scene, draft.work, 1, bytes);
        let answer = scene.collect(draft.work, answers);
        counts_all_but(&mut scene, &answer, &lost);
    }
    // A group that is sealed for another aggregator opens for nobody.
    let (mut scene, draft) = drafted(all());
    let lost: Vec<u32> = draft.stacks[1].iter().map(|sent| sent.index).collect();
    let mut answers = draft.share(&mut scene).seal(&mut scene);
    answers[1].groups.swap(0, 2);
    let answer = scene.collect(draft.work, answers);
    counts_all_but(&mut scene, &answer, &lost);
}

#[test]
fn an_answer_without_a_group_for_each_aggregator_is_dropped_by_the_target() {
    let (mut scene, draft) = drafted(Setting::default());
    let lost: Vec<u32> = draft.stacks[1].iter().map(|sent| sent.index).collect();
    let mut answers = draft.share(&mut scene).seal(&mut scene);
    answers[1].groups.pop();
    let answer = scene.collect(draft.work, answers);
    assert_eq!(answer.answered as usize, 36 - lost.len());
    counts_all_but(&mut scene, &answer, &lost);
}

#[test]
fn a_target_that_sends_a_group_twice_gets_nothing_frozen() {
    let (mut scene, draft) = drafted(Setting::default());
    let mut answers = draft.share(&mut scene).seal(&mut scene);
    let again = copy_of(&answers[0]);
    answers.push(again);
    let answer = scene.collect(draft.work, answers);
    // Both copies claim the same indices, so that neither adds a contribution.
    let unopened = AggregationError::Unopened { groups: 2, of: 3 };
    for member in scene.members() {
        assert_eq!(scene.open_at(member, &answer).err(), Some(unopened.clone()));
    }
    let honest = scene.honest(scene.work(0, 1));
    counts_all_but(&mut scene, &honest, &[]);
}

#[test]
fn a_group_of_another_attempt_counts_nowhere() {
    let (mut scene, draft) = drafted(Setting::default());
    let lost: Vec<u32> = draft.stacks[0].iter().map(|sent| sent.index).collect();
    let work = scene.work(0, 1);
    let mut answers = scene.answers(work);
    answers[0] = draft.share(&mut scene).seal(&mut scene).remove(0);
    let answer = scene.collect(work, answers);
    counts_all_but(&mut scene, &answer, &lost);
}

#[test]
fn a_group_of_another_batch_counts_once_and_in_its_own_only() {
    let mut scene = Scene::new(Setting {
        batch_size: 18,
        ..Setting::default()
    });
    let (first, second) = (scene.work(0, 0), scene.work(1, 0));
    let replayed = scene.answers(first);
    let honest = scene.collect(first, copy_of(&replayed));
    let mut answers = scene.answers(second);
    answers.extend(replayed.into_iter().take(1));
    let mixed = scene.collect(second, answers);
    let batches = [scene.commit(&honest), scene.commit(&mixed)];
    assert_eq!(batches.clone().map(|batch| batch.accepted), [18, 18]);
    let totals = scene.release(&batches);
    let expected = scene.sums(scene.homes.iter().map(|home| &home.row));
    assert_eq!(scene.read(&totals).unwrap().outputs, expected);
}

#[test]
fn a_contribution_to_another_query_counts_nowhere() {
    let (mut scene, draft) = drafted(Setting::default());
    let lost: Vec<u32> = draft.stacks[0].iter().map(|sent| sent.index).collect();
    let mut shared = draft.share(&mut scene);
    shared.work.query = QueryId([9; 32]);
    let foreign = shared.seal(&mut scene).remove(0);
    let mut answers = scene.answers(draft.work);
    answers[0] = foreign;
    let answer = scene.collect(draft.work, answers);
    counts_all_but(&mut scene, &answer, &lost);
}

/// Returns an index of the stack that does not hold `index`.
fn other_stack(draft: &Draft, index: u32) -> u32 {
    let mut stacks = draft.stacks.iter();
    let other = stacks.find(|sent| sent.iter().all(|sent| sent.index != index));
    other.unwrap()[0].index
}
