//! The stacks of a campaign, honest and Byzantine, and what they remember.

use std::collections::{BTreeMap, BTreeSet};

use super::campaign::Move;
use super::ground::{is_at_smaller_host, number};
use super::purse::Homes;
use crate::ask::{Answer, AnsweringHome, Ask, answer};
use crate::circuit::Row;
use crate::consent::Place;
use crate::encoding;
use crate::id::{Name, QueryId, Work};
use crate::manifest::VerifiedManifest;
use crate::testing::{Draft, Scene, Shared};
use crate::training::NO_PARAMETERS;

/// All stacks, each with a memory of its own.
pub(super) struct Stacks {
    /// What their homes decide and lose.
    pub(super) homes: Homes,
    answered: BTreeSet<(Name, Work)>,
    /// Where each home answers a query.
    noted: BTreeMap<(QueryId, usize), Place>,
    /// Where each home of an honest stack contributed to a query.
    pub(super) contributed: BTreeMap<(QueryId, usize), BTreeSet<Vec<u8>>>,
}

impl Stacks {
    pub(super) fn new(clicks: bool) -> Self {
        Self {
            homes: Homes::new(clicks),
            answered: BTreeSet::new(),
            noted: BTreeMap::new(),
            contributed: BTreeMap::new(),
        }
    }

    /// What a stack answers; `None` if it says nothing.
    pub(super) fn answer(
        &mut self,
        scene: &mut Scene,
        host: &Name,
        ask: &Ask,
        byzantine: bool,
        moves: &[Move],
    ) -> Option<Answer> {
        if !self.answered.insert((host.clone(), ask.work)) {
            return None;
        }
        if byzantine && moves.contains(&Move::Silent) {
            return None;
        }
        let mut homes = Vec::new();
        for asked in &ask.homes {
            let home = scene.home(&asked.home.0);
            let Some(mut answering) = AnsweringHome::open(ask.work, &ask.find, asked, &home.key)
            else {
                continue;
            };
            let at = number(&home.id);
            let place = Place {
                find: ask.find,
                batch: ask.work.batch,
            };
            let noted = self.noted.entry((ask.work.query, at)).or_insert(place);
            if !place.takes_part(Some(noted)) {
                continue;
            }
            let manifest = &scene.question.manifest;
            let directory = &scene.network.directory;
            if self.homes.answers(at, manifest, directory) {
                answering.row = row(home.row.as_ref(), manifest);
            }
            let contributed = self.contributed.entry((ask.work.query, at));
            contributed.or_default().insert(encoding::to_bytes(&place));
            homes.push(answering);
        }
        let bad = moves.iter().any(|one| {
            matches!(
                one,
                Move::BadShares | Move::Unopenable { .. } | Move::IllegalRow
            )
        });
        let reads = scene.question.manifest.local.fields().next().is_some();
        if byzantine && bad && reads {
            return bad_answer(scene, host, ask.work, moves);
        }
        let manifest = scene.question.manifest.clone();
        answer(&manifest, ask.work, &NO_PARAMETERS, &homes, &mut scene.rng).ok()
    }
}

/// The home's row for this query: one that only counts has no groups and no columns.
fn row(row: Option<&Row>, manifest: &VerifiedManifest) -> Option<Row> {
    let counts = manifest.local.fields().next().is_none();
    let nothing = Row {
        group: 0,
        levels: Vec::new(),
    };
    row.map(|row| if counts { nothing } else { row.clone() })
}

/// What the smaller host's stack makes up.
fn bad_answer(scene: &mut Scene, host: &Name, work: Work, moves: &[Move]) -> Option<Answer> {
    let hosts = scene.asks(work).asks;
    let stack = hosts.keys().position(|name| name == host)?;
    let mut draft = Draft::new(scene, work);
    let indices: Vec<u32> = draft.stacks[stack].iter().map(|sent| sent.index).collect();
    if moves.contains(&Move::IllegalRow)
        && let Some(index) = indices.first()
    {
        draft.claim(scene, *index, |input| input[0] = 2);
    }
    let mut shared = draft.share(scene);
    if moves.contains(&Move::BadShares) {
        for (position, index) in indices.iter().take(2).enumerate() {
            let element = &mut shared.elements(position, *index)[0];
            *element = crate::field::add(*element, 1);
        }
    }
    let unopenable = |position: usize| {
        moves.iter().any(|one| match one {
            Move::Unopenable { member } => usize::from(*member) == position + 1,
            _ => false,
        })
    };
    let mut groups = Vec::new();
    for (position, group) in shared.stacks[stack].iter().enumerate() {
        let bytes = match unopenable(position) {
            true => b"nothing".to_vec(),
            false => group.encode(),
        };
        groups.push(Shared::seal_bytes(scene, work, position, bytes));
    }
    Some(Answer {
        homes: indices.len() as u32,
        groups,
    })
}

/// Returns whether a host's homes are those of the smaller one.
pub(super) fn is_smaller(scene: &Scene, host: &Name) -> bool {
    let mut homes = scene.homes.iter();
    homes.any(|home| home.host == *host && is_at_smaller_host(number(&home.id)))
}
