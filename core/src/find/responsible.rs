//! Which finder of a partition finds what (protocol.md §6).

use super::FindError;
use crate::{
    directory::{Directory, Node},
    encoding,
    id::{Name, Role},
    labels,
    manifest::Manifest,
};

/// The one finder of a partition that finds a querier's queries without noise in a key epoch; `None` for a query with
/// noise, which any finder of the partition finds.
///
/// The finders of a partition do not know what the others remember. So that a querier cannot ask one of two near sets at
/// each, a hash names one of them (rendezvous hashing: a finder that is added takes its part of the queriers, and moves
/// no others).
pub fn responsible<'d>(
    directory: &'d Directory,
    manifest: &Manifest,
    partition: u16,
) -> Option<&'d Node> {
    if manifest.privacy.is_some() {
        return None;
    }
    let epoch = manifest.key_epoch.0.to_le_bytes();
    let weight = |node: &&Node| {
        let parts = [
            manifest.querier.as_str().as_bytes(),
            &epoch,
            node.name.as_str().as_bytes(),
        ];
        encoding::hash(labels::HASH_RESPONSIBLE, &parts)
    };
    let finders = directory.nodes(Role::TargetFinder);
    let finders = finders.filter(|node| node.group == partition);
    finders.max_by_key(weight)
}

/// Checks that the finder of this name may find the query.
///
/// # Errors
/// [`FindError::OtherFinder`] naming the one that does.
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
