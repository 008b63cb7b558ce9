//! Rules of the transcripts: the nodes that are listed as members of a threshold key made it.
//!
//! A root operator cannot tell a jointly made key from one that somebody knows whole. The transcripts show it, because
//! every member's node signed its part. A node whose signing key changes did not sign the earlier transcripts, so that
//! its group makes a fresh key.

use super::super::{DirectoryBody, DirectoryError};
use crate::ceremony::{Transcript, trace};
use dispers_base::{id::Role, keys::VerifyingKey};
use dispers_crypto::dealing::ThresholdKey;

/// Verifies the transcripts of all threshold keys. Every member of every key must have its node.
pub(super) fn check(body: &DirectoryBody) -> Result<(), DirectoryError> {
    let previous = body.previous.as_ref();
    // A previous epoch has no keys of committees: only pseudonyms and pools have key epochs.
    for Transcript { ceremony, .. } in previous.iter().flat_map(|p| &p.transcripts) {
        let (role, group) = (ceremony.role, ceremony.group);
        if (role, group) != (Role::ConceptIndexor, 0) {
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
    let indexors = Role::ConceptIndexor;
    let made = body.transcripts_of(indexors, 0).cloned().collect();
    check_key(body, indexors, 0, &body.indexors, made)?;
    if let Some(previous) = previous {
        let transcripts = previous.transcripts.clone();
        check_key(body, indexors, 0, &previous.indexors, transcripts)?;
    }
    for (group, key) in (0u16..).zip(&body.committees) {
        let made = body
            .transcripts_of(Role::DataAggregator, group)
            .cloned()
            .collect();
        check_key(body, Role::DataAggregator, group, key, made)?;
    }
    Ok(())
}

fn check_key(
    body: &DirectoryBody,
    role: Role,
    group: u16,
    key: &ThresholdKey,
    transcripts: Vec<Transcript>,
) -> Result<(), DirectoryError> {
    if transcripts.is_empty() {
        // Without a transcript one dealer may know the key, which only a trial accepts.
        return match body.trial {
            true => Ok(()),
            false => Err(DirectoryError::MissingTranscript { role, group }),
        };
    }
    // The signing keys come from the listed nodes and not from the transcripts: not even the root operators can list a
    // key of their own making (protocol.md §2).
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
    // The public shares are compared too: shares from before a refresh must not count as current.
    if made != *key {
        return Err(DirectoryError::OtherTranscript { role, group });
    }
    Ok(())
}
