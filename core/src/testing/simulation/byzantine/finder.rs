//! What a Byzantine target finder signs: it knows the pool's secret, and with it every key that a ticket needs.

use crate::encoding::{from_bytes, hash, to_bytes};
use crate::envelope::{Sealed, reader};
use crate::find::{
    BatchMessage, BatchStatement, ChosenTarget, MAX_BATCH, MAX_STATEMENT, TargetBatch,
};
use crate::id::BatchId;
use crate::labels;
use crate::testing::{Scene, key_of, member};
use crate::ticket::{TagStream, Ticket};

/// Puts the homes of the batch before in the place of this batch's, with valid tickets for it, and returns the honest
/// batch. `None`, and nothing changes, where the batch before has fewer homes.
pub(super) fn ask_again(scene: &mut Scene, batch: BatchId) -> Option<BatchMessage> {
    let before = batch.number.checked_sub(1)?;
    let work = scene.work(before, 0);
    let number = batch.number as usize;
    let (query, statement) = {
        let honest = scene.found.batches.get(number)?;
        let statement: BatchStatement =
            from_bytes(&honest.statement, MAX_STATEMENT, "statement").ok()?;
        (work.query, statement)
    };
    let earlier = &scene.found.batches[before as usize];
    let sealed: Sealed<reader::Target, TargetBatch> =
        from_bytes(&earlier.sealed, MAX_BATCH, "batch").ok()?;
    let context = TargetBatch::context(query, work.batch);
    let mut content = sealed
        .open(&scene.network.target, &context, MAX_BATCH)
        .ok()?;
    if content.targets.len() < statement.count as usize {
        return None;
    }
    content.targets.truncate(statement.count as usize);
    let members = scene.question.manifest.committees[0].offers.len() as u8;
    let secret = &scene.network.secret;
    let tags: Vec<TagStream> = (1..=members)
        .map(|number| TagStream::new(&secret.tag_key(&content.find, 0, member(number)), batch))
        .collect();
    let asks = scene.asks(work).asks;
    for asked in asks.values().flat_map(|ask| &ask.homes) {
        let Some(target) = content.targets.get_mut(asked.index as usize) else {
            continue;
        };
        let tags: Vec<[u8; 16]> = tags.iter().map(|stream| stream.tag(asked.index)).collect();
        let key = &scene.home(&asked.home.0).key;
        *target = ChosenTarget {
            upload: target.upload,
            link: target.link.clone(),
            ticket: Ticket::seal(key, query, &content.find, batch, asked.index, &tags, None),
        };
    }
    let context = TargetBatch::context(query, batch);
    let key = scene.network.target.public();
    let sealed = Sealed::<reader::Target, _>::seal(&content, &key, &context, &mut scene.rng);
    let sealed = to_bytes(&sealed);
    let statement = to_bytes(&BatchStatement {
        digest: hash(labels::HASH_BATCH, &[&sealed]),
        ..statement
    });
    let forged = BatchMessage {
        signature: key_of("finder").sign(labels::SIGN_BATCH, &statement),
        statement,
        sealed,
    };
    Some(std::mem::replace(&mut scene.found.batches[number], forged))
}
