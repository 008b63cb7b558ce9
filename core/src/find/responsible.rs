//! Assignment of a querier's exact queries to one finder of a partition (protocol.md §6).

use super::FindError;
use crate::manifest::Manifest;
use dispers_base::{
    encoding,
    id::{KeyEpoch, Name, Role},
    labels,
};
use dispers_trust::directory::{Directory, Node};

/// Returns the finder of a partition that must find a query without noise. Returns `None` for a query with noise, which
/// any finder of the partition may find.
pub fn responsible<'d>(
    directory: &'d Directory,
    manifest: &Manifest,
    partition: u16,
) -> Option<&'d Node> {
    match manifest.privacy {
        Some(_) => None,
        None => exact_finder(directory, &manifest.querier, manifest.key_epoch, partition),
    }
}

/// Returns the finder of a partition that finds all queries without noise of a querier in a key epoch.
///
/// The finders of a partition do not share their memories, so a querier could ask one of two near sets at each of
/// them. A hash therefore names one finder. It is rendezvous hashing: a new finder takes over its part of the queriers
/// and moves no others.
pub fn exact_finder<'d>(
    directory: &'d Directory,
    querier: &Name,
    key_epoch: KeyEpoch,
    partition: u16,
) -> Option<&'d Node> {
    // The key epoch is hashed too: a finder remembers sets for one key epoch only, so that queriers may move to another
    // finder with the next.
    let epoch = key_epoch.0.to_le_bytes();
    let finders = directory.nodes(Role::TargetFinder);
    let finders = finders.filter(|node| node.group == partition);
    finders.max_by_key(|node| {
        let parts = [
            querier.as_str().as_bytes(),
            &epoch,
            node.name.as_str().as_bytes(),
        ];
        encoding::hash(labels::HASH_RESPONSIBLE, &parts)
    })
}

/// Checks that `finder` may serve the query.
///
/// # Errors
/// [`FindError::OtherFinder`] with the name of the finder that may.
pub fn check_responsible(
    directory: &Directory,
    manifest: &Manifest,
    partition: u16,
    finder: &Name,
) -> Result<(), FindError> {
    match responsible(directory, manifest, partition) {
        Some(other) if other.name != *finder => Err(FindError::OtherFinder(other.name.clone())),
        _ => Ok(()),
    }
}
