//! Two worlds that differ by one home: what changes for the others?

use std::collections::BTreeMap;

use super::campaign::Whom;
use super::ground::{Ground, encoded, number};
use super::query::without_entry;
use crate::ask::{TargetRequest, open_batch};
use crate::encoding::from_bytes;
use crate::find::{BatchStatement, Finding, MAX_STATEMENT};
use crate::id::Work;
use crate::testing::{Question, Scene, logged, name};

/// The committee of each home in a find of everybody over these lists, where there are two committees. `None` if the
/// find is refused.
fn committees(
    scene: &mut Scene,
    question: &Question,
    segments: &[Vec<u8>],
) -> Option<BTreeMap<usize, u16>> {
    let (network, rng) = (&scene.network, &mut scene.rng);
    let keys = network.finder_keys();
    let request = question.find_request(network, &question.opening(), 16, rng);
    let manifest = question.manifest.with_another_committee();
    let mut finding = Finding::new(manifest.clone(), &request, &keys).ok()?;
    for segment in segments {
        let opened = finding.opener().open(segment, &keys).ok()?;
        finding.add(opened).ok()?;
    }
    let matching = finding.choose(&keys).ok()?;
    let profile = matching.profile();
    let chosen = matching.finish(&keys, &profile);
    let mut committees = BTreeMap::new();
    for batch in (0..chosen.count()).filter_map(|place| chosen.batch(place, &keys)) {
        let statement: BatchStatement =
            from_bytes(&batch.statement, MAX_STATEMENT, "statement").ok()?;
        let request = TargetRequest {
            parameters: None,
            manifest: question.signed.clone(),
            inclusion: logged(network, &question.signed),
            work: Work {
                query: manifest.query(),
                round: 0,
                batch: statement.batch,
                attempt: 0,
            },
            batch,
        };
        let directory = &network.directory;
        let opened = open_batch(
            &request,
            &manifest,
            &name("target"),
            directory,
            &network.target,
        )
        .ok()?;
        for asked in opened.asks.into_values().flat_map(|ask| ask.homes) {
            committees.insert(number(&asked.home), statement.batch.committee);
        }
    }
    Some(committees)
}

/// Leaves one home out of the lists, each in turn, in this many queries. Returns how many others moved to another
/// committee.
pub(super) fn moved(ground: &mut Ground, queries: u32) -> usize {
    let lists = Whom::Everybody.profile().atoms().copied().collect();
    let segments = ground.segments(&lists, true);
    let setting = ground.setting(false);
    let scene = &mut ground.scene;
    let mut moved = 0;
    for query in 0..queries {
        let question = Question::new(&scene.network, &setting, &mut scene.rng);
        let all = committees(scene, &question, &encoded(&segments));
        let fewer = encoded(&without_entry(&segments, query));
        let fewer = committees(scene, &question, &fewer);
        // A committee with fewer homes than the cohort is no find.
        let (Some(all), Some(fewer)) = (all, fewer) else {
            continue;
        };
        let moves = |(home, committee): &(&usize, &u16)| all.get(home) != Some(committee);
        moved += fewer.iter().filter(moves).count();
    }
    moved
}
