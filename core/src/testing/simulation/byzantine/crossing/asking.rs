//! The ask: the Target opens and asks batches, and stacks answer.

use super::super::ground::number;
use super::Crossing;
use super::drive::refused;
use super::forge::{by_other_finder, statement};
use super::moves::Cross;
use crate::{
    ask::{
        Answer, AnsweringHome, Ask, AskError, BatchAnswer, GroupsStatement, OpenedBatch,
        TargetRequest, answer, collect_answers, open_batch,
    },
    conduct::StepError,
    consent::Place,
    find::BatchMessage,
    session::NO_PARAMETERS,
    testing::{Found, copy_of, key_of, logged, name},
};
use dispers_base::{
    id::{BatchId, Name, Work},
    labels,
};

impl Crossing {
    /// Returns the batch that a find gave.
    pub(super) fn message(&self, batch: BatchId) -> Option<&BatchMessage> {
        let found: &Found = self.found.get(&batch.partition)?;
        found
            .batches
            .iter()
            .find(|message| statement(message).batch == batch)
    }

    /// Returns the content of a batch that the Target opens, if it accepts this message for the batch.
    pub(super) fn try_open(
        &self,
        message: &BatchMessage,
        batch: BatchId,
        attempt: u8,
    ) -> Result<OpenedBatch, AskError> {
        let question = &self.ground.question;
        let network = &self.ground.network;
        let request = TargetRequest {
            parameters: None,
            manifest: question.signed.clone(),
            inclusion: logged(network, &question.signed),
            work: Work {
                query: question.manifest.query(),
                round: 0,
                batch,
                attempt,
            },
            batch: copy_of(message),
        };
        let (manifest, directory) = (&question.manifest, &network.directory);
        open_batch(
            &request,
            manifest,
            &name("target"),
            directory,
            &network.target,
        )
    }

    pub(super) fn ask(&mut self, work: Work) -> Result<BatchAnswer, StepError> {
        let batch = work.batch;
        for made in self.course.moves.clone() {
            let false_batch = match made {
                Cross::AskAs(axis) => self.message(axis.other(batch)).map(copy_of),
                Cross::BatchByOtherFinder if batch.partition == 0 => {
                    self.message(batch).map(by_other_finder)
                }
                _ => None,
            };
            if let Some(message) = false_batch {
                let opened = self.try_open(&message, batch, work.attempt);
                self.never(made, opened.is_ok());
            }
        }
        let message = self
            .message(batch)
            .ok_or_else(|| refused("no such batch"))?;
        let homes = statement(message).count;
        let opened = self
            .try_open(message, batch, work.attempt)
            .map_err(refused)?;
        let answers = opened
            .asks
            .into_iter()
            .map(|(host, ask)| self.answer(&host, &ask, work));
        let mut answers: Vec<Answer> = answers.collect();
        let committee = batch.committee;
        if self.makes(Cross::LosesHomes { committee }) {
            answers.clear();
        }
        let offers = self
            .ground
            .question
            .manifest
            .offers(batch.committee)
            .count();
        let (target, key) = (name("target"), key_of("target"));
        let rng = &mut self.ground.rng;
        let shown = (work, NO_PARAMETERS);
        let mut answer = collect_answers(&target, &key, shown, offers, answers, rng);
        for made in self.course.moves.clone() {
            if let Cross::GroupsOf(axis) = made
                && let Some(other) = self.answers.get(&axis.other(batch))
                && work.attempt == 0
            {
                let groups = other.groups.clone();
                let digests = groups
                    .iter()
                    .map(|of| GroupsStatement::digest_of(of))
                    .collect();
                answer.statement.digests = digests;
                answer.signature = key.sign(labels::SIGN_GROUPS, &answer.statement.digest());
                answer.groups = groups;
                self.reached(made);
            }
        }
        let (manifest, directory) = (
            &self.ground.question.manifest,
            &self.ground.network.directory,
        );
        let checked = answer.check(work, &target, homes, manifest, directory);
        checked.map_err(|_| StepError::OtherBytes { target })?;
        self.answers.insert(batch, answer.clone());
        Ok(answer)
    }

    /// Returns the answer of a stack. Each home answers where it is asked first, unless its host lies.
    fn answer(&mut self, host: &Name, ask: &Ask, work: Work) -> Answer {
        let mut homes = Vec::new();
        for asked in &ask.homes {
            let at = number(&asked.home);
            let home = &self.ground.homes[at];
            assert_eq!(home.host, *host);
            let Some(mut answering) = AnsweringHome::open(work, &ask.find, asked, &home.key) else {
                continue;
            };
            answering.row = home.row.clone();
            let place = Place {
                find: ask.find,
                batch: work.batch,
            };
            let twice = Cross::ListedTwice { home: at };
            let lies = self.course.moves.contains(&twice);
            let first = self.places.entry(at).or_insert(place);
            if !place.takes_part(Some(first)) && !lies {
                continue;
            }
            let contributed = self.contributed.entry(at).or_default();
            if !contributed.contains(&place) {
                contributed.push(place);
            }
            homes.push(answering);
        }
        let manifest = &self.ground.question.manifest;
        let rng = &mut self.ground.rng;
        answer(manifest, work, &NO_PARAMETERS, &homes, rng).expect("rows fit the circuit")
    }
}
