//! The stacks of a campaign, honest and Byzantine, and their memory.

use std::collections::{BTreeMap, BTreeSet};

use super::ground::{is_at_smaller_host, number, vector};
use super::moves::Move;
use super::purse::Homes;
use super::reached::Reached;
use crate::{
    ask::{Answer, AnsweringHome, Ask, answer, check_parameters},
    consent::Place,
    manifest::VerifiedManifest,
    session::NO_PARAMETERS,
    testing::{Draft, Scene, Shared, copy_of},
};
use dispers_base::{
    encoding,
    id::{Name, QueryId, Work},
};
use dispers_circuit::Row;

/// All stacks, each with a memory of its own.
pub(super) struct Stacks {
    /// Decisions and losses of their homes.
    pub(super) homes: Homes,
    answered: BTreeSet<(Name, Work)>,
    /// Place at which each home answers a query.
    noted: BTreeMap<(QueryId, usize), Place>,
    /// Places at which each home of an honest stack contributed to a query.
    pub(super) contributed: BTreeMap<(QueryId, usize), BTreeSet<Vec<u8>>>,
    /// Digests of the parameters that the homes of each work were shown.
    pub(super) shown: BTreeMap<Work, BTreeMap<usize, [u8; 32]>>,
}

/// Moves of a coalition at a stack.
pub(super) struct Coalition<'a> {
    /// True if the stack is Byzantine.
    pub(super) byzantine: bool,
    pub(super) moves: &'a [Move],
    /// Last answer of the stack.
    pub(super) earlier: &'a mut Option<Answer>,
    pub(super) reached: &'a Reached,
}

impl Coalition<'_> {
    /// Returns the first move of the Byzantine stack that fits, and records it.
    fn makes(&self, fits: impl Fn(&Move) -> bool) -> Option<Move> {
        let moves = self.moves.iter().filter(|_| self.byzantine);
        let made = moves.copied().find(|one| fits(one))?;
        self.reached.note(made);
        Some(made)
    }
}

impl Stacks {
    pub(super) fn new(clicks: bool) -> Self {
        Self {
            homes: Homes::new(clicks),
            answered: BTreeSet::new(),
            noted: BTreeMap::new(),
            contributed: BTreeMap::new(),
            shown: BTreeMap::new(),
        }
    }

    /// Returns a stack's answer, or `None` if it does not answer.
    pub(super) fn answer(
        &mut self,
        scene: &mut Scene,
        host: &Name,
        ask: &Ask,
        coalition: Coalition<'_>,
    ) -> Option<Answer> {
        if !self.answered.insert((host.clone(), ask.work)) {
            return None;
        }
        if coalition.makes(|one| *one == Move::Silent).is_some() {
            return None;
        }
        let manifest = scene.question.manifest.clone();
        let directory = &scene.network.directory;
        let parameters = ask.parameters.as_deref();
        let shown = check_parameters(parameters, &manifest, ask.work.round, directory).ok()?;
        let shown = shown.map_or(NO_PARAMETERS, |parameters| parameters.digest());
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
            if self.homes.answers(at, &manifest, directory) {
                answering.row = row(home.row.as_ref(), &manifest);
                answering.vector = vector(&manifest, ask.work.round, at);
            }
            let contributed = self.contributed.entry((ask.work.query, at));
            contributed.or_default().insert(encoding::to_bytes(&place));
            self.shown.entry(ask.work).or_default().insert(at, shown);
            homes.push(answering);
        }
        // A draft needs rows with columns, so that sessions and mere counts have none.
        let drafts = manifest.training.is_none() && manifest.local.fields().next().is_some();
        let bad = |one: &Move| match one {
            Move::BadShares | Move::IllegalRow => drafts,
            Move::Unopenable { .. } => true,
            _ => false,
        };
        let honest = answer(&manifest, ask.work, &shown, &homes, &mut scene.rng).ok();
        let answered = match coalition.makes(bad) {
            Some(_) if drafts => bad_answer(scene, host, ask.work, coalition.moves),
            Some(Move::Unopenable { member }) => honest.map(|mut answer| {
                let position = (usize::from(member) - 1) % answer.groups.len();
                let bytes = b"nothing".to_vec();
                answer.groups[position] = Shared::seal_bytes(scene, ask.work, position, bytes);
                answer
            }),
            _ => honest,
        };
        if !coalition.byzantine {
            return answered;
        }
        let last = std::mem::replace(coalition.earlier, answered.as_ref().map(copy_of));
        match last {
            Some(last) if coalition.makes(|one| *one == Move::SameAnswer).is_some() => Some(last),
            _ => answered,
        }
    }
}

/// Returns the home's row for this query. A query that only counts has no groups and no columns.
fn row(row: Option<&Row>, manifest: &VerifiedManifest) -> Option<Row> {
    let counts = manifest.local.fields().next().is_none();
    let nothing = Row {
        group: 0,
        levels: Vec::new(),
    };
    row.map(|row| if counts { nothing } else { row.clone() })
}

/// Returns the false answer of the smaller host's stack.
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
            *element = dispers_base::field::add(*element, 1);
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

/// Returns whether a host is the smaller one.
pub(super) fn is_smaller(scene: &Scene, host: &Name) -> bool {
    let mut homes = scene.homes.iter();
    homes.any(|home| home.host == *host && is_at_smaller_host(number(&home.id)))
}
