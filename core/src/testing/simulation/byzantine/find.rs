//! The querier's manifest, and the finds that the conductor has made.

use std::collections::BTreeSet;

use super::campaign::Ask;
use super::ground::{Ground, LISTS, encoded};
use super::moves::Move;
use super::reached::Reached;
use crate::{
    find::{ListSegment, Memory},
    testing::{Found, Question, Setting, copy_of, find_remembering, pseudonym},
};
use dispers_crypto::oprf::Pseudonym;

/// Poses the question of a manifest that the querier signs. Returns `None` if the manifest is refused.
pub(super) fn pose(
    ground: &mut Ground,
    asked: &Ask,
    moves: &[Move],
    reached: &Reached,
) -> Option<Question> {
    let absent = moves.iter().filter_map(|one| match one {
        Move::WithoutOffer(member) => Some(*member),
        _ => None,
    });
    let setting = Setting {
        profile: Some(asked.whom.profile()),
        absent: absent.collect(),
        noise: asked.noise.map(|noise| {
            let delta = match noise.delta {
                0 => None,
                delta => Some(f64::from(delta) / 1e9),
            };
            (f64::from(noise.epsilon) / 1e6, delta)
        }),
        updates: asked.updates,
        ..ground.setting(asked.counts)
    };
    let change = |manifest: &mut crate::manifest::Manifest| {
        for one in moves {
            match one {
                Move::Cohort(cohort) => manifest.min_cohort = *cohort,
                Move::MostHomes(most) => manifest.max_homes = *most,
                Move::AnswerRate(rate) => manifest.answer_rate = *rate,
                Move::Verifying(number) => manifest.min_verified = *number,
                Move::OtherEpoch => manifest.key_epoch.0 ^= 7,
                Move::WithoutOffer(_) => {}
                _ => continue,
            }
            reached.note(*one);
        }
    };
    let scene = &mut ground.scene;
    Question::posed(&scene.network, &setting, change, &mut scene.rng).ok()
}

/// Returns the successful finds: first the one that an honest conductor asks for, then those of the coalition's moves.
pub(super) fn finds(
    ground: &mut Ground,
    asked: &Ask,
    moves: &[Move],
    finders: &mut [Memory; 2],
    reached: &Reached,
) -> Vec<Found> {
    let (whom, batch_size) = (asked.whom, asked.batch_size);
    let left_out = moves.iter().filter_map(|one| match one {
        Move::LeaveOutList(list) => Some(pseudonym(LISTS[usize::from(*list) % LISTS.len()])),
        _ => None,
    });
    let left_out: BTreeSet<Pseudonym> = left_out.collect();
    let atoms: BTreeSet<Pseudonym> = whom.profile().atoms().copied().collect();
    let lists: BTreeSet<Pseudonym> = atoms.difference(&left_out).copied().collect();
    let reaches = |one: &&Move| matches!(one, Move::LeaveOutList(_)) && lists.len() < atoms.len();
    moves
        .iter()
        .filter(reaches)
        .for_each(|one| reached.note(*one));
    let segments = ground.segments(&lists, asked.late, asked.next_epoch);
    let mut streamed = encoded(&segments);
    for one in moves {
        if let Move::RepeatSegment(segment) = one {
            let again = streamed[*segment as usize % streamed.len()].clone();
            streamed.push(again);
            reached.note(*one);
        }
        if let Move::SegmentOfEpoch(segment) = one {
            // The segment claims this key epoch, since a segment of another epoch ends the find.
            let mut others = ground.segments(&lists, asked.late, !asked.next_epoch);
            let mut other = others.swap_remove(*segment as usize % others.len());
            other.key_epoch = ground.scene.network.directory.key_epoch;
            streamed.extend(encoded(&[other]));
            reached.note(*one);
        }
    }
    let mut wanted = vec![(batch_size, streamed.clone(), false)];
    for one in moves {
        match one {
            Move::Cut(size) => wanted.push((*size, streamed.clone(), false)),
            Move::OtherFinder => wanted.push((batch_size, streamed.clone(), true)),
            Move::DropEntry(entry) => {
                let dropped = without_entry(&segments, *entry);
                wanted.push((batch_size, encoded(&dropped), false));
            }
            _ => continue,
        }
        reached.note(*one);
    }
    let scene = &mut ground.scene;
    let mut found = Vec::new();
    for (size, segments, other) in wanted {
        let finder = match other {
            true => scene.network.other_finder_keys(),
            false => scene.network.finder_keys(),
        };
        let opening = scene.question.opening();
        let rng = &mut scene.rng;
        let mut request = scene
            .question
            .find_request(&scene.network, &opening, size, rng);
        // The request names the lists that are streamed: those that the querier submitted.
        request.lists.retain(|list| !left_out.contains(list));
        let memory = &mut finders[usize::from(other)];
        let (network, question) = (&scene.network, &scene.question);
        let once = find_remembering(&finder, memory, network, question, &request, &segments);
        found.extend(once);
    }
    found
}

/// Returns the segments without one entry.
pub(super) fn without_entry(segments: &[ListSegment], entry: u32) -> Vec<ListSegment> {
    let mut segments: Vec<ListSegment> = segments.iter().map(copy_of).collect();
    let all: usize = segments.iter().map(|segment| segment.entries.len()).sum();
    let mut place = entry as usize % all.max(1);
    for segment in &mut segments {
        if place < segment.entries.len() {
            segment.entries.remove(place);
            break;
        }
        place -= segment.entries.len();
    }
    segments
}
