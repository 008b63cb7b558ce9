//! Rules of the previous key epoch: its number is one less, it has the same pools and members, and none of its keys
//! serves anything else.

use super::super::{DirectoryBody, DirectoryError, Pool};
use super::repeated;
use dispers_crypto::envelope::EnvelopePublicKey;

pub(super) fn check(body: &DirectoryBody) -> Result<(), DirectoryError> {
    let Some(previous) = &body.previous else {
        return Ok(());
    };
    // Only two key epochs that follow each other are ever listed together (protocol.md §2).
    if previous.key_epoch.0.checked_add(1) != Some(body.key_epoch.0) {
        return refuse("is not one less than the directory's: list the one before");
    }
    let same = previous.pools.len() == body.pools.len()
        && body.pools.iter().all(|pool| {
            let places = previous.pools.iter().map(Pool::place);
            places.filter(|place| *place == pool.place()).count() == 1
        });
    if !same {
        return refuse("has other pools: list a key for each pool of now");
    }
    if previous
        .pools
        .iter()
        .any(|p| p.key_epoch != previous.key_epoch)
    {
        return refuse("has a pool of another key epoch: list its key of then");
    }
    // As among the current keys, no two readers may share an envelope key.
    let own = body
        .nodes
        .iter()
        .filter_map(|node| node.envelope_key.as_ref());
    let pools = previous.pools.iter().map(|pool| &pool.envelope_key);
    let keys: Vec<&EnvelopePublicKey> = own.chain(pools).collect();
    if repeated(keys.iter(), |key| **key).is_some() {
        return refuse("has an envelope key that another reader has: list each pool's own");
    }
    // A key may stay with its pool in the next epoch, but not become the key of another pool.
    let swapped = previous.pools.iter().any(|before| {
        body.pools
            .iter()
            .any(|pool| pool.envelope_key == before.envelope_key && pool.place() != before.place())
    });
    if swapped {
        return refuse("has the key of another pool: list each pool's own");
    }
    if keys.iter().any(|key| key.suite() != body.suite) {
        return refuse("has keys of another suite: a change of suite has no grace");
    }
    // The nodes of now evaluate under both keys, so that each must be a member of both.
    let (before, now) = (previous.indexors.threshold(), body.indexors.threshold());
    if before.needed() < 2 || before.members() != now.members() {
        return refuse("has other concept indexors: other members have no grace");
    }
    // One share of that key would evaluate pseudonyms and randomness alike.
    if body
        .committees
        .iter()
        .any(|key| key.key() == previous.indexors.key())
    {
        return refuse("has the key of a committee: list the concept indexors'");
    }
    Ok(())
}

fn refuse(reason: &'static str) -> Result<(), DirectoryError> {
    Err(DirectoryError::Previous(reason))
}
