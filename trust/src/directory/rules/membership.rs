//! Rules of members, partitions and pools: each has its nodes.

use super::super::{DirectoryBody, DirectoryError, Node, Pool};
use dispers_base::id::{Role, Threshold};
use dispers_crypto::dealing::ThresholdKey;

pub(super) fn check(body: &DirectoryBody) -> Result<(), DirectoryError> {
    for node in &body.nodes {
        check_node(node)?;
    }
    for role in [Role::Conductor, Role::TargetFinder, Role::Target] {
        if !body.nodes.iter().any(|node| node.role == role) {
            return Err(DirectoryError::MissingRole(role));
        }
    }
    // Any conductor must open what was sealed for another.
    let mut conductors = body
        .nodes
        .iter()
        .filter(|node| node.role == Role::Conductor);
    let shared = conductors
        .next()
        .and_then(|node| node.envelope_key.as_ref());
    if let Some(other) = conductors.find(|node| node.envelope_key.as_ref() != shared) {
        return Err(DirectoryError::ConductorKey(other.name.clone()));
    }
    check_indexors(body)?;
    check_committees(body)?;
    check_pools(body)
}

/// Verifies that a node has an envelope key if its role needs one, and no envelope key, group or member number that its
/// role does not have.
fn check_node(node: &Node) -> Result<(), DirectoryError> {
    let (envelope, grouped, numbered) = match node.role {
        Role::Conductor => (true, false, false),
        Role::ConceptIndexor => (true, false, true),
        // Target finders and targets open with the key of their pool.
        Role::TargetFinder => (false, true, false),
        Role::Target => (false, false, false),
        // An aggregator makes a fresh envelope key for each offer (protocol.md §6).
        Role::DataAggregator => (false, true, true),
        Role::Stack | Role::Querier => {
            return Err(DirectoryError::NotANode(node.name.clone(), node.role));
        }
    };
    let name = node.name.clone();
    match (envelope, &node.envelope_key) {
        (true, None) => return Err(DirectoryError::MissingEnvelopeKey(name)),
        (false, Some(_)) => return Err(DirectoryError::StrayEnvelopeKey(name, node.role)),
        _ => {}
    }
    if !grouped && node.group != 0 {
        return Err(DirectoryError::StrayGroup(name, node.group, node.role));
    }
    if !numbered && node.member.is_some() {
        return Err(DirectoryError::StrayMember(name, node.role));
    }
    Ok(())
}

fn check_indexors(body: &DirectoryBody) -> Result<(), DirectoryError> {
    if body.indexors.threshold().needed() < 2 {
        return Err(DirectoryError::LoneIndexor);
    }
    check_members(body, Role::ConceptIndexor, 0, &body.indexors)
}

fn check_committees(body: &DirectoryBody) -> Result<(), DirectoryError> {
    if body.committees.is_empty() {
        return Err(DirectoryError::NoCommittee);
    }
    for node in &body.nodes {
        if node.role == Role::DataAggregator && usize::from(node.group) >= body.committees.len() {
            return Err(DirectoryError::UnknownCommittee(
                node.name.clone(),
                node.group,
            ));
        }
    }
    for (group, key) in (0u16..).zip(&body.committees) {
        let threshold = key.threshold();
        let [needed, members] = [threshold.needed(), threshold.members()]
            .map(|count| u8::try_from(count).expect("members are numbered by a u8"));
        Threshold::of_aggregators(needed, members)
            .map_err(|error| DirectoryError::Threshold(group.into(), error))?;
        check_members(body, Role::DataAggregator, group, key)?;
    }
    Ok(())
}

/// Verifies that every member number of `key` has exactly one node of the role and group, and that every such node has
/// a member number of `key`.
fn check_members(
    body: &DirectoryBody,
    role: Role,
    group: u16,
    key: &ThresholdKey,
) -> Result<(), DirectoryError> {
    let nodes = body.nodes.iter();
    let nodes: Vec<&Node> = nodes
        .filter(|node| node.role == role && node.group == group)
        .collect();
    for node in &nodes {
        if node.member.is_none_or(|number| key.share(number).is_none()) {
            return Err(DirectoryError::UnknownMember(node.name.clone()));
        }
    }
    for member in key.threshold().numbers() {
        match nodes
            .iter()
            .filter(|node| node.member == Some(member))
            .count()
        {
            0 => {
                return Err(DirectoryError::MissingMember {
                    role,
                    group,
                    member,
                });
            }
            1 => {}
            _ => {
                return Err(DirectoryError::RepeatedMember {
                    role,
                    group,
                    member,
                });
            }
        }
    }
    Ok(())
}

/// Verifies the pools: one for the targets; one for each partition of the target finders, numbered from 0; and each
/// with a node that serves it.
fn check_pools(body: &DirectoryBody) -> Result<(), DirectoryError> {
    let places: Vec<_> = body.pools.iter().map(Pool::place).collect();
    for pool in &body.pools {
        if !matches!(pool.role, Role::TargetFinder | Role::Target) {
            return Err(DirectoryError::StrayPool(pool.role));
        }
        if pool.key_epoch != body.key_epoch {
            return Err(DirectoryError::PoolEpoch(pool.role, pool.partition));
        }
        if places
            .iter()
            .filter(|place| **place == pool.place())
            .count()
            > 1
        {
            return Err(DirectoryError::RepeatedPool(pool.role, pool.partition));
        }
        // With no gap below any pool, the partitions are exactly the numbers below the count of pools.
        if pool.partition > 0 && !places.contains(&(pool.role, pool.partition - 1)) {
            let missing = pool.partition - 1;
            return Err(DirectoryError::MissingPool(pool.role, missing));
        }
        if !body
            .nodes
            .iter()
            .any(|node| (node.role, node.group) == pool.place())
        {
            return Err(DirectoryError::UnservedPool(pool.role, pool.partition));
        }
    }
    for node in &body.nodes {
        if matches!(node.role, Role::TargetFinder | Role::Target)
            && !places.contains(&(node.role, node.group))
        {
            return Err(DirectoryError::MissingPool(node.role, node.group));
        }
    }
    Ok(())
}
