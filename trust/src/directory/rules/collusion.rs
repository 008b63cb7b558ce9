//! Rules against one operator that holds too much.
//!
//! Target finder and target together turn tags into addresses. Together with the conductor, with enough concept
//! indexors or with enough aggregators, each of the two learns what it must not. Enough concept indexors or aggregators
//! alone hold a whole key, so that no operator may run that many (protocol.md §2).

use std::collections::{BTreeMap, BTreeSet};

use super::super::{DirectoryBody, DirectoryError};
use dispers_base::id::{Name, Role};

pub(super) fn check(body: &DirectoryBody) -> Result<(), DirectoryError> {
    check_roles(body)?;
    check_thresholds(body)
}

/// Refuses an operator that holds two of conductor, target finder and target.
fn check_roles(body: &DirectoryBody) -> Result<(), DirectoryError> {
    let mut held: BTreeMap<&Name, BTreeSet<Role>> = BTreeMap::new();
    for node in &body.nodes {
        if matches!(
            node.role,
            Role::Conductor | Role::TargetFinder | Role::Target
        ) {
            held.entry(&node.operator).or_default().insert(node.role);
        }
    }
    for (operator, roles) in held {
        let mut roles = roles.into_iter();
        if let (Some(first), Some(second)) = (roles.next(), roles.next()) {
            return Err(DirectoryError::Collusion {
                operator: operator.clone(),
                first: first.name(),
                second: second.name(),
            });
        }
    }
    Ok(())
}

/// Refuses an operator that runs k concept indexors, or t aggregators of one committee.
fn check_thresholds(body: &DirectoryBody) -> Result<(), DirectoryError> {
    let mut held: BTreeMap<(&Name, Role, u16), usize> = BTreeMap::new();
    // Each committee has a key of its own, so that members of different committees do not add up.
    for node in &body.nodes {
        *held
            .entry((&node.operator, node.role, node.group))
            .or_default() += 1;
    }
    for ((operator, role, group), held) in held {
        let key = match role {
            Role::ConceptIndexor => Some(&body.indexors),
            Role::DataAggregator => body.committees.get(usize::from(group)),
            _ => None,
        };
        let Some(needed) = key.map(|key| key.threshold().needed()) else {
            continue;
        };
        if held >= needed {
            return Err(DirectoryError::OperatorThreshold {
                operator: operator.clone(),
                role,
                held,
                needed,
            });
        }
    }
    Ok(())
}
