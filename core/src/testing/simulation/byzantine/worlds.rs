//! Comparison of two worlds that differ by one home: the effect of that home on the others.

use std::collections::BTreeMap;

use super::campaign::Whom;
use super::find::without_entry;
use super::ground::{Ground, encoded, number};
use crate::{
    ask::{TargetRequest, open_batch},
    find::{Asking, Finding, Members, Memory, Sizes},
    subscription::HomeTag,
    testing::{LIMITS, Question, Scene, logged, name},
};
use dispers_base::id::{QueryId, Work};

/// Returns the committee of each home in a find of everybody over these lists, if there were two committees. Returns
/// `None` if the find is refused.
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
    let matching = finding.choose(&keys);
    let sizes = Sizes::new(keys.secret, network.directory.key_epoch, network.size_noise);
    let homes = matching.members(&keys);
    let asking = matching.asking(&homes, &sizes);
    Memory::default().ask(&asking, &sizes, LIMITS).ok()?;
    let chosen = matching.finish(&keys, &sizes);
    let mut committees = BTreeMap::new();
    for batch in (0..chosen.count()).filter_map(|place| chosen.batch(place, &keys)) {
        let statement = batch.statement.unverified().ok()?;
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

/// Leaves one home out of the lists in each of `queries` queries, another home each time. Returns the number of other
/// homes that moved to another committee.
pub(super) fn moved(ground: &mut Ground, queries: u32) -> usize {
    let lists = Whom::Everybody.profile().atoms().copied().collect();
    let segments = ground.segments(&lists, true, false);
    let setting = ground.setting(false);
    let scene = &mut ground.scene;
    let mut moved = 0;
    for query in 0..queries {
        let question = Question::new(&scene.network, &setting, &mut scene.rng);
        let all = committees(scene, &question, &encoded(&segments));
        let fewer = encoded(&without_entry(&segments, query));
        let fewer = committees(scene, &question, &fewer);
        // A find with a committee below the cohort is refused.
        let (Some(all), Some(fewer)) = (all, fewer) else {
            continue;
        };
        let moves = |(home, committee): &(&usize, &u16)| all.get(home) != Some(committee);
        moved += fewer.iter().filter(moves).count();
    }
    moved
}

/// Returns the largest cohort with which a set of `homes` homes is not refused, in a network whose sizes have noise. A
/// querier finds this number by bisection.
pub(super) fn bisected(scene: &Scene, homes: u8) -> u32 {
    let keys = scene.network.finder_keys();
    let epoch = scene.network.directory.key_epoch;
    let sizes = Sizes::new(keys.secret, epoch, 1);
    let tags: Vec<HomeTag> = (0..homes).map(|home| HomeTag([home; 16])).collect();
    let key = keys.secret.member_key(&name("querier"), epoch);
    let members = Members::new(&key, &tags);
    let mut memory = Memory::default();
    let mut is_asked = |cohort: u32| {
        let asking = Asking {
            query: QueryId([cohort as u8; 32]),
            profile: [1; 32],
            homes: &members,
            fingerprint: sizes.fingerprint(&tags),
            cohort,
            most: 1 << 40,
            smallest: homes.into(),
        };
        memory.ask(&asking, &sizes, LIMITS).is_ok()
    };
    let (mut asked, mut refused) = (0, 256);
    while refused - asked > 1 {
        let cohort = (asked + refused) / 2;
        match is_asked(cohort) {
            true => asked = cohort,
            false => refused = cohort,
        }
    }
    asked
}
