//! The ask of a batch: the target asks the homes that the finder chose, with the changes of the coalition.

use std::collections::BTreeSet;

use super::campaign::Party;
use super::ground::number;
use super::moves::{GroupsField, Move};
use super::query::{Query, counted, refused};
use super::stacks::is_smaller;
use super::{finder, stacks};
use crate::{
    ask::{Answer, BatchAnswer, OpenedBatch, TargetRequest, open_batch},
    conduct::StepError,
    session::{NO_PARAMETERS, SignedParameters},
    testing::{Scene, copy_of, key_of, name},
};
use dispers_base::{
    id::{Name, Work},
    labels,
};

/// Returns the digest of the parameters that homes are shown.
fn digest_of(parameters: Option<&SignedParameters>) -> [u8; 32] {
    parameters.map_or(NO_PARAMETERS, SignedParameters::digest)
}

impl Query<'_> {
    /// Asks every home under another find first, if the conductor makes this move. The answers are not used.
    pub(super) fn ask_before(&mut self, scene: &mut Scene) {
        let Some(made @ Move::AskBefore { find }) =
            self.one(|one| matches!(one, Move::AskBefore { .. }))
        else {
            return;
        };
        if self.others.is_empty() {
            return;
        }
        self.reached.note(made);
        let find = usize::from(find) % self.others.len();
        std::mem::swap(&mut scene.found, &mut self.others[find]);
        for batch in 0..scene.found.batches.len() as u32 {
            let work = scene.work(batch, 1);
            self.answers(scene, work, None);
        }
        std::mem::swap(&mut scene.found, &mut self.others[find]);
    }

    /// Opens a batch as the target does. Returns `None` if the target refuses the batch.
    fn opened(
        &self,
        scene: &Scene,
        work: Work,
        parameters: Option<&SignedParameters>,
    ) -> Option<OpenedBatch> {
        let batch = scene.found.batches.get(work.batch.number as usize)?;
        let request = TargetRequest {
            parameters: parameters.cloned(),
            manifest: scene.question.signed.clone(),
            inclusion: self.inclusion.clone(),
            work,
            batch: copy_of(batch),
        };
        let manifest = &scene.question.manifest;
        let (directory, key) = (&scene.network.directory, &scene.network.target);
        open_batch(&request, manifest, &name("target"), directory, key).ok()
    }

    /// Returns the homes of a batch of the scene's find.
    fn homes(
        &self,
        scene: &Scene,
        work: Work,
        parameters: Option<&SignedParameters>,
    ) -> BTreeSet<usize> {
        let opened = self.opened(scene, work, parameters);
        let asks = opened
            .into_iter()
            .flat_map(|opened| opened.asks.into_values());
        let homes = asks.flat_map(|ask| ask.homes);
        homes.map(|asked| number(&asked.home)).collect()
    }

    /// Returns the stacks' answers to this batch of the scene's find, one per host.
    fn answers(
        &mut self,
        scene: &mut Scene,
        work: Work,
        parameters: Option<&SignedParameters>,
    ) -> Vec<(Name, Answer)> {
        let mut answers = Vec::new();
        let Some(opened) = self.opened(scene, work, parameters) else {
            return answers;
        };
        let both = self.is(Party::Target) && self.is(Party::Querier);
        for (host, mut ask) in opened.asks {
            let homes = ask.homes.iter().map(|asked| number(&asked.home));
            self.found.extend(homes);
            let shows = both && work.round > 0 && is_smaller(scene, &host);
            if shows && self.makes(Move::ParametersOfHost) {
                let other = Self::parameters(scene, work.round, 3.0, "querier");
                ask.parameters = Some(other.into());
            }
            let byzantine = self.is(Party::Host) && is_smaller(scene, &host);
            let coalition = stacks::Coalition {
                byzantine,
                moves: &self.moves,
                earlier: &mut self.earlier.of_host,
                reached: self.reached,
            };
            let answer = self.stacks.answer(scene, &host, &ask, coalition);
            answers.extend(answer.map(|answer| (host, answer)));
        }
        answers
    }

    /// Returns the parameters that the conductor has homes of a batch shown, in place of the round's parameters.
    fn shown(
        &self,
        scene: &mut Scene,
        work: Work,
        parameters: Option<&SignedParameters>,
    ) -> Option<SignedParameters> {
        let honest = parameters.cloned();
        if work.round == 0 {
            return honest;
        }
        let number = work.batch.number;
        let made = self.one(|one| match one {
            Move::ParametersBefore { batch } => *batch == number && work.round > 1,
            Move::UnsignedParameters { batch } => *batch == number,
            Move::OtherParameters { batch } => *batch == number && self.is(Party::Querier),
            _ => false,
        });
        let Some(made) = made else {
            return honest;
        };
        self.reached.note(made);
        match made {
            Move::ParametersBefore { .. } => self.earlier.parameters.first().cloned(),
            Move::OtherParameters { .. } => {
                Some(Self::parameters(scene, work.round, 2.0, "querier"))
            }
            _ => Some(Self::parameters(scene, work.round, 2.0, "conductor")),
        }
    }

    /// Asks a batch as the target, with the moves of the coalition.
    pub(super) fn ask(
        &mut self,
        scene: &mut Scene,
        work: Work,
        parameters: Option<&SignedParameters>,
    ) -> Result<BatchAnswer, StepError> {
        let answer = self.ask_once(scene, work, parameters)?;
        let again = self.one(|one| match one {
            Move::AskAgain { batch, .. } => *batch == work.batch.number,
            _ => false,
        });
        if let Some(again) = again {
            let later = Work {
                attempt: work.attempt + 1,
                ..work
            };
            let other = (work.round > 0 && self.is(Party::Querier))
                .then(|| Self::parameters(scene, work.round, 2.0, "querier"));
            let parameters = other.as_ref().or(parameters);
            if let Ok(answer) = self.ask_once(scene, later, parameters) {
                self.reached.note(again);
                self.again.insert(work, answer);
            }
        }
        Ok(answer)
    }

    fn ask_once(
        &mut self,
        scene: &mut Scene,
        work: Work,
        parameters: Option<&SignedParameters>,
    ) -> Result<BatchAnswer, StepError> {
        let place = work.batch.number as usize;
        let parameters = self.shown(scene, work, parameters);
        let parameters = parameters.as_ref();
        let other = self.other_find(work);
        if let Some(other) = other {
            let granted = self.homes(scene, work, parameters);
            std::mem::swap(&mut scene.found, &mut self.others[other]);
            if self.homes(scene, work, parameters) != granted {
                self.foreign.insert(work);
            }
        }
        // The batch is replaced only while it is asked.
        let replaced = self.replace(scene, work);
        let answers = self.answers(scene, work, parameters);
        if let Some(honest) = replaced {
            scene.found.batches[place] = honest;
        }
        if let Some(other) = other {
            std::mem::swap(&mut scene.found, &mut self.others[other]);
        }
        let answers = self.dropped(scene, answers);
        let copies = answers.iter().map(copy_of).collect();
        let before = std::mem::replace(&mut self.earlier.answers, copies);
        let mut answers = answers;
        if !before.is_empty() && self.makes(Move::AddGroups) {
            answers.extend(before);
        }
        if answers.is_empty() {
            return Err(refused("no stack answers"));
        }
        let round = std::mem::replace(&mut scene.shown, digest_of(parameters));
        let mut answer = scene.collect(work, answers);
        scene.shown = round;
        self.falsify(scene, &mut answer);
        let statement = &mut answer.statement;
        if self.is(Party::Conductor)
            && (statement.work, statement.parameters) != (work, scene.shown)
        {
            // A Byzantine conductor passes on an answer that an honest one refuses. The state machine that conducts in
            // its name sees the work and the parameters that it expects.
            self.refusable.insert(work, answer.clone());
            let statement = &mut answer.statement;
            (statement.work, statement.parameters) = (work, scene.shown);
        }
        Ok(answer)
    }

    /// Returns the find under which the conductor has a batch asked, if it is not the first.
    fn other_find(&self, work: Work) -> Option<usize> {
        let made = self.one(|one| match one {
            Move::BatchOf { batch, .. } => *batch == work.batch.number,
            _ => false,
        });
        let Some(made @ Move::BatchOf { find, .. }) = made else {
            return None;
        };
        let find = usize::from(find) % (self.others.len() + 1);
        let other = find.checked_sub(1)?;
        self.reached.note(made);
        Some(other)
    }

    /// Replaces a batch by the one that the coalition wants asked. Returns the honest batch if anything changed.
    fn replace(&mut self, scene: &mut Scene, work: Work) -> Option<crate::find::BatchMessage> {
        let place = work.batch.number as usize;
        for made in self.moves.clone() {
            let replaced = match made {
                Move::AskTwice { batch } if batch + 1 == work.batch.number => {
                    finder::ask_again(scene, work.batch)
                }
                Move::FalseBatch { batch, field } if batch == work.batch.number => {
                    finder::false_batch(scene, work.batch, field)
                }
                Move::BatchBefore { batch } if batch == work.batch.number => {
                    let before = self.earlier.found.as_ref();
                    let before = before
                        .and_then(|found| found.batches.get(place))
                        .map(copy_of);
                    let honest = scene.found.batches.get_mut(place);
                    honest
                        .zip(before)
                        .map(|(honest, before)| std::mem::replace(honest, before))
                }
                _ => None,
            };
            if replaced.is_some() {
                self.reached.note(made);
                return replaced;
            }
        }
        None
    }

    /// Returns the answers without those of a host that the target drops.
    fn dropped(&self, scene: &Scene, answers: Vec<(Name, Answer)>) -> Vec<Answer> {
        let made = self.one(|one| matches!(one, Move::DropHost { .. }));
        let of = answers.len();
        let left = answers.into_iter().filter(|(host, _)| match made {
            Some(Move::DropHost { host: dropped }) => is_smaller(scene, host) != (dropped == 1),
            _ => true,
        });
        let left: Vec<Answer> = left.map(|(_, answer)| answer).collect();
        if left.len() < of {
            made.iter().for_each(|one| self.reached.note(*one));
        }
        left
    }

    /// Changes the answer as a Byzantine target does before it signs and sends it.
    fn falsify(&self, scene: &Scene, answer: &mut BatchAnswer) {
        for made in &self.moves {
            match made {
                Move::OtherBytes { member } => {
                    let position = scene.position(counted(scene, *member));
                    answer.groups[position].clear();
                }
                Move::FalseGroups(field) => {
                    let statement = &mut answer.statement;
                    match field {
                        GroupsField::Target => statement.target = name("finder"),
                        GroupsField::Attempt => statement.work.attempt ^= 1,
                        GroupsField::Parameters => statement.parameters[0] ^= 1,
                        GroupsField::Digests => statement.digests.swap(0, 1),
                    }
                    let digest = statement.digest();
                    answer.signature = key_of("target").sign(labels::SIGN_GROUPS, &digest);
                }
                _ => continue,
            }
            self.reached.note(*made);
        }
    }
}
