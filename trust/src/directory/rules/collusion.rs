//! What one operator must not hold.
//!
//! Target Finder and Target together turn tags into addresses; each of them with the Conductor,
//! with enough Concept Indexors or with enough aggregators learns what neither may. Enough of the
//! latter two alone hold a whole key, so no operator runs as many (protocol.md §2).

use std::collections::{BTreeMap, BTreeSet};

use super::super::{DirectoryBody, DirectoryError};
use dispers_base::id::{Name, Role};

pub(super) fn check(body: &DirectoryBody) -> Result<(), DirectoryError> {
    check_roles(body)?;
    check_thresholds(body)
}

/// No operator holds two of Conductor, Target Finder and Target.
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

/// No operator runs k Concept Indexors, nor t aggregators of one committee.
fn check_thresholds(body: &DirectoryBody) -> Result<(), DirectoryError> {
    let mut held: BTreeMap<(&Name, Role, u16), usize> = BTreeMap::new();
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
