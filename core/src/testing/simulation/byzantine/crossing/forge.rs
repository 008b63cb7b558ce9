//! Forgeries of finders: batches, grants and summaries of several finds.

use super::Crossing;
use super::ground::{EACH, finder};
use super::moves::{Axis, Cross};
use crate::{
    find::{
        BatchMessage, BatchStatement, ChosenTarget, Cut, FindSummary, Grant, MAX_BATCH,
        SealedGrant, SignedGrant, TargetBatch,
    },
    testing::{Found, key_of, member, name},
    ticket::{TagStream, Ticket},
};
use dispers_base::{
    encoding::{Message, from_bytes, to_bytes},
    id::{AggregatorId, BatchId},
    signed::Signed,
};
use dispers_crypto::envelope::{Sealed, reader};

pub(super) fn statement(message: &BatchMessage) -> BatchStatement {
    message.statement.unverified().unwrap()
}

/// Signs a batch as the finder of a partition.
fn signed(partition: u16, statement: &BatchStatement, sealed: Vec<u8>) -> BatchMessage {
    let statement = BatchStatement {
        finder: name(&finder(partition)),
        digest: BatchStatement::digest_of(&sealed),
        ..statement.clone()
    };
    BatchMessage {
        statement: Signed::new(&statement, &key_of(&finder(partition))),
        sealed,
    }
}

/// Returns the batch with the signature of the other partition's finder.
pub(super) fn by_other_finder(message: &BatchMessage) -> BatchMessage {
    let statement = statement(message);
    let other = Axis::Partition.other(statement.batch).partition;
    signed(other, &statement, message.sealed.clone())
}

/// Returns the find of a partition in which one committee's batches and grants are those of another find.
pub(super) fn mixed(first: Found, other: Found, committee: u16) -> Found {
    let sizes = (0..EACH).map(|place| {
        let of = if place == committee { &other } else { &first };
        let batches = of.summary.batches.batches(0);
        let own = batches.filter(|(batch, _)| batch.committee == place);
        own.map(|(_, size)| size).collect()
    });
    let batches = Cut::of(sizes.collect());
    let of_other = |message: &BatchMessage| statement(message).batch.committee == committee;
    let mut messages = first.batches;
    messages.retain(|message| !of_other(message));
    messages.extend(other.batches.into_iter().filter(of_other));
    let mut grants = first.summary.grants;
    grants.retain(|(of, _, _)| *of != committee);
    grants.extend(
        other
            .summary
            .grants
            .into_iter()
            .filter(|(of, _, _)| *of == committee),
    );
    Found {
        batches: messages,
        summary: FindSummary {
            targets: first.summary.targets,
            noisy_size: first.summary.noisy_size,
            batches,
            grants,
        },
    }
}

impl Crossing {
    fn content(&self, message: &BatchMessage) -> TargetBatch {
        let sealed: Sealed<reader::Target, TargetBatch> =
            from_bytes(&message.sealed, MAX_BATCH, "batch").unwrap();
        let statement = statement(message);
        let context = TargetBatch::context(statement.query, statement.batch);
        let target = &self.ground.network.target;
        sealed.open(target, &context, MAX_BATCH).unwrap()
    }

    /// Puts homes of the other side into the first batch of partition 1, with valid tickets, once both finds are made.
    pub(super) fn put_homes(&mut self, axis: Axis, homes: u8) {
        let to = BatchId {
            partition: 1,
            committee: 0,
            number: 0,
        };
        // A find may have been refused for its sizes.
        let (Some(from), Some(honest)) = (self.message(axis.other(to)), self.message(to)) else {
            return;
        };
        let opened = self.try_open(from, axis.other(to), 0).unwrap();
        let from = self.content(from);
        let mut content = self.content(honest);
        let statement = statement(honest);
        let query = statement.query;
        let secret = &self.ground.pools[usize::from(to.partition)].secret;
        let tags: Vec<TagStream> = (1..=3)
            .map(|number| secret.tag_key(&content.find, to.committee, member(number)))
            .map(|key| TagStream::new(&key, to))
            .collect();
        let uploads = content.uploads.len() as u32;
        content.uploads.extend(from.uploads);
        for (host, ask) in opened.asks {
            for asked in ask.homes {
                let index = asked.index;
                if index >= u32::from(homes) || index >= statement.count {
                    continue;
                }
                let home = self.ground.homes.iter().find(|home| home.id == asked.home);
                let home = home.unwrap();
                assert_eq!(home.host, host);
                let target = &from.targets[index as usize];
                let tags: Vec<[u8; 16]> = tags.iter().map(|stream| stream.tag(index)).collect();
                content.targets[index as usize] = ChosenTarget {
                    upload: uploads + target.upload,
                    link: target.link.clone(),
                    ticket: Ticket::seal(&home.key, query, &content.find, to, index, &tags, None),
                };
            }
        }
        let context = TargetBatch::context(query, to);
        let key = self.ground.network.target.public();
        let rng = &mut self.ground.rng;
        let sealed = Sealed::<reader::Target, _>::seal(&content, &key, &context, rng);
        let forged = signed(to.partition, &statement, to_bytes(&sealed));
        let batches = &mut self.found.get_mut(&to.partition).unwrap().batches;
        let place = batches
            .iter()
            .position(|one| one.statement.body == to_bytes(&statement));
        batches[place.unwrap()] = forged;
        self.reached(Cross::HomesOf { axis, homes });
    }

    /// Returns the grant of partition 0 with the signature of the finder of partition 1.
    pub(super) fn grant_by_other_finder(
        &mut self,
        at: AggregatorId,
        honest: &SealedGrant,
    ) -> SealedGrant {
        let query = self.ground.question.manifest.query();
        let context = Grant::context(query, 0, at.committee, at.member);
        let secret = &self.ground.offered[&at];
        let signed = honest.open(secret, &context, SignedGrant::LIMIT).unwrap();
        let mut grant = signed.unverified().unwrap();
        grant.finder = name(&finder(1));
        let signed = Signed::new(&grant, &key_of(&finder(1)));
        let key = secret.public();
        let rng = &mut self.ground.rng;
        SealedGrant::seal(&signed, &key, &context, rng)
    }
}
