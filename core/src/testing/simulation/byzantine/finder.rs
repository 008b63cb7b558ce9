//! Forgeries of a Byzantine target finder. It knows the pool's secret, and with it every key that a ticket needs.

use super::moves::{BatchField, GrantField};
use crate::{
    find::{
        BatchMessage, BatchStatement, ChosenTarget, Cut, Grant, MAX_BATCH, SealedGrant,
        SignedGrant, TargetBatch,
    },
    testing::{Scene, key_of, member, name},
    ticket::{TagStream, Ticket},
};
use dispers_base::{
    encoding::{Message, from_bytes, to_bytes},
    id::{BatchId, MemberNumber},
    signed::Signed,
};
use dispers_crypto::envelope::{Sealed, reader};

/// Replaces the homes of this batch by those of the batch before, with valid tickets for this batch. Returns the honest
/// batch. Returns `None` and changes nothing if the batch before has fewer homes.
pub(super) fn ask_again(scene: &mut Scene, batch: BatchId) -> Option<BatchMessage> {
    let before = batch.number.checked_sub(1)?;
    let work = scene.work(before, 0);
    let number = batch.number as usize;
    let (query, statement) = {
        let honest = scene.found.batches.get(number)?;
        let statement = honest.statement.unverified().ok()?;
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
    let statement = BatchStatement {
        digest: BatchStatement::digest_of(&sealed),
        ..statement
    };
    let forged = BatchMessage {
        statement: Signed::new(&statement, &key_of("finder")),
        sealed,
    };
    Some(std::mem::replace(&mut scene.found.batches[number], forged))
}

/// Returns the id of a find that is none of the query's.
fn other_find(scene: &Scene) -> crate::ticket::FindId {
    let query = scene.question.manifest.query();
    let secret = &scene.network.secret;
    secret.find(query, 0, &[9; 32], 1, &Cut::default())
}

/// Replaces the honest batch by one with a false field, signed by the finder. Returns the honest batch.
pub(super) fn false_batch(
    scene: &mut Scene,
    batch: BatchId,
    field: BatchField,
) -> Option<BatchMessage> {
    let find = other_find(scene);
    let honest = scene.found.batches.get_mut(batch.number as usize)?;
    let mut statement = honest.statement.unverified().ok()?;
    match field {
        BatchField::Count => statement.count += 1,
        BatchField::Find => statement.find = find,
        BatchField::Number => statement.batch.number += 1,
        BatchField::Query => statement.query.0[0] ^= 1,
    }
    let forged = BatchMessage {
        statement: Signed::new(&statement, &key_of("finder")),
        sealed: honest.sealed.clone(),
    };
    Some(std::mem::replace(honest, forged))
}

/// Returns an aggregator's grant with a false field, signed by the finder.
pub(super) fn false_grant(
    scene: &mut Scene,
    member: MemberNumber,
    honest: &SealedGrant,
    field: GrantField,
) -> Option<SealedGrant> {
    let query = scene.question.manifest.query();
    let context = Grant::context(query, 0, 0, member);
    let offered = scene.question.offered[member.index()].as_ref()?;
    let signed = honest.open(offered, &context, SignedGrant::LIMIT).ok()?;
    let mut grant = signed.unverified().ok()?;
    let mut context = context;
    match field {
        GrantField::Sizes => {
            let sizes = grant.batches.batches(0).map(|(_, size)| size + 1);
            grant.batches = Cut::of(vec![sizes.collect()]);
        }
        GrantField::Committee => context = Grant::context(query, 0, 1, member),
        GrantField::Partition => grant.partition = 1,
        GrantField::Query => grant.query.0[0] ^= 1,
        GrantField::Find => grant.find = other_find(scene),
        GrantField::Key => {
            let find = other_find(scene);
            grant.key = scene.network.secret.tag_key(&find, 0, member);
        }
        GrantField::Population => {
            let directory = &scene.network.directory;
            let secret = &scene.network.secret;
            grant.population = secret.population(&name("querier"), directory.key_epoch, &[9; 32]);
        }
    }
    let signed = Signed::new(&grant, &key_of("finder"));
    let key = offered.public();
    Some(SealedGrant::seal(&signed, &key, &context, &mut scene.rng))
}
