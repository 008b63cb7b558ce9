//! How the threshold keys were made: by the very nodes that are listed as their members.
//!
//! A root operator cannot tell a jointly made key from one that somebody knows whole; the transcripts
//! show it, because every member's node signed its part. A node whose signing key changes did not sign
//! what came before: its group makes a fresh key.

use super::super::{DirectoryBody, DirectoryError};
use crate::ceremony::{Transcript, trace};
use crate::dealing::ThresholdKey;
use crate::id::Role;
use crate::keys::VerifyingKey;

/// Expects that every member of every key has its node.
pub(super) fn check(body: &DirectoryBody) -> Result<(), DirectoryError> {
    for Transcript { ceremony, .. } in &body.transcripts {
        let (role, group) = (ceremony.role, ceremony.group);
        let listed = match role {
            Role::ConceptIndexor => group == 0,
            Role::DataAggregator => usize::from(group) < body.committees.len(),
            _ => false,
        };
        if !listed {
            return Err(DirectoryError::StrayTranscript { role, group });
        }
        if ceremony.network != body.network {
            return Err(DirectoryError::ForeignTranscript {
                role,
                group,
                network: ceremony.network.clone(),
            });
        }
    }
    check_key(body, Role::ConceptIndexor, 0, &body.indexors)?;
    for (group, key) in (0u16..).zip(&body.committees) {
        check_key(body, Role::DataAggregator, group, key)?;
    }
    Ok(())
}

fn check_key(
    body: &DirectoryBody,
    role: Role,
    group: u16,
    key: &ThresholdKey,
) -> Result<(), DirectoryError> {
    let transcripts: Vec<Transcript> = body.transcripts_of(role, group).cloned().collect();
    if transcripts.is_empty() {
        return match body.trial {
            true => Ok(()),
            false => Err(DirectoryError::MissingTranscript { role, group }),
        };
    }
    let signers: Vec<VerifyingKey> = key
        .threshold()
        .numbers()
        .filter_map(|member| {
            let mut nodes = body.nodes.iter();
            nodes
                .find(|n| n.role == role && n.group == group && n.member == Some(member))
                .map(|node| node.signing_key)
        })
        .collect();
    let made = trace(&transcripts, &signers).map_err(|error| DirectoryError::Transcript {
        role,
        group,
        error,
    })?;
    if made != *key {
        return Err(DirectoryError::OtherTranscript { role, group });
    }
    Ok(())
}
