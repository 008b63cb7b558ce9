//! Durable state of a query, which outlives the Conductor's process (protocol.md §8).
//!
//! The Conductor stores its state before it carries out the commands that show it to others: an attempt before it is
//! asked, the acknowledgements before the first commit, the proposal before it is certified. A step that was in
//! progress is repeated, since nodes answer a repeated step as they did before. A batch whose answers were lost with
//! the process is asked as a new attempt.

use std::{collections::BTreeMap, sync::Arc};

use borsh::{BorshDeserialize, BorshSerialize};

use super::{
    Command, Conduct, Failure, Funnel, Gather, Options, Stage, StepError,
    batch::{BatchRun, KeptBatch},
};
use crate::{
    find::{NoisySize, SealedGrant},
    manifest::VerifiedManifest,
    release::{Proposal, SealedTotal},
    session::SignedParameters,
};
use dispers_base::id::{AggregatorId, BatchId, MemberNumber, Name};

/// Durable state of a query at the Conductor.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct Record {
    out: Vec<(AggregatorId, StepError)>,
    funnel: Funnel,
    noisy_sizes: Vec<NoisySize>,
    verified: u8,
    stage: KeptStage,
    batches: Vec<(BatchId, KeptBatch)>,
    round: u16,
    parameters: Option<SignedParameters>,
    begun: Vec<AggregatorId>,
    accusers: Vec<(AggregatorId, Name)>,
    disputes: Vec<(AggregatorId, Vec<MemberNumber>)>,
}

#[derive(BorshSerialize, BorshDeserialize)]
enum KeptStage {
    Finding,
    Beginning(Vec<(AggregatorId, Vec<(u16, SealedGrant)>)>),
    Batches,
    Releasing(Proposal),
    Between(Vec<(AggregatorId, SealedTotal)>),
    Done(Vec<(AggregatorId, SealedTotal)>),
    Failed(Failure),
}

impl Record {
    /// Returns whether the query is done or failed.
    pub fn has_ended(&self) -> bool {
        matches!(self.stage, KeptStage::Done(_) | KeptStage::Failed(_))
    }
}

impl Conduct {
    /// Returns the state to store. The caller stores it before it carries out the commands that were just returned.
    pub fn record(&self) -> Record {
        let stage = match &self.stage {
            Stage::Finding(_) => KeptStage::Finding,
            Stage::Beginning { grants, .. } => KeptStage::Beginning(
                grants
                    .iter()
                    .map(|(aggregator, grant)| (*aggregator, (**grant).clone()))
                    .collect(),
            ),
            Stage::Batches => KeptStage::Batches,
            // The three steps of a release are stored alike: the certificate, guard counts and totals are answered
            // again as they were.
            Stage::Notarising(proposal)
            | Stage::Guarding { proposal, .. }
            | Stage::Releasing { proposal, .. } => KeptStage::Releasing((**proposal).clone()),
            Stage::Between(totals) => KeptStage::Between(totals.clone()),
            Stage::Done(totals) => KeptStage::Done(totals.clone()),
            Stage::Failed(failure) => KeptStage::Failed(failure.clone()),
        };
        let batches = self.batches.iter();
        Record {
            out: self.out.clone().into_iter().collect(),
            funnel: self.funnel.clone(),
            noisy_sizes: self.noisy_sizes.clone(),
            verified: self.verified as u8,
            stage,
            batches: batches.map(|(id, run)| (*id, run.kept())).collect(),
            round: self.round,
            parameters: self.parameters.as_deref().cloned(),
            begun: self.begun.keys().copied().collect(),
            accusers: self.accusers.clone().into_iter().collect(),
            disputes: self.disputes.to_vec(),
        }
    }

    /// Resumes a query from its record. Returns the commands of the steps that were in progress.
    pub fn resume(
        manifest: VerifiedManifest,
        options: Options,
        record: Record,
    ) -> (Self, Vec<Command>) {
        let (mut conduct, find) = Self::new(manifest, options);
        // Before anybody is left out: an aggregator that is out in this round may be back in the next.
        let begun = conduct.alive.iter();
        let begun = begun.filter(|(at, _)| record.begun.contains(at));
        conduct.begun = begun.map(|(at, place)| (*at, *place)).collect();
        conduct.round = record.round;
        conduct.parameters = record.parameters.map(Arc::new);
        conduct.out = record.out.into_iter().collect();
        conduct
            .alive
            .retain(|aggregator, _| !conduct.out.contains_key(aggregator));
        conduct.accusers = record.accusers.into_iter().collect();
        conduct.disputes = record.disputes.into_iter().collect();
        conduct.funnel = record.funnel;
        conduct.noisy_sizes = record.noisy_sizes;
        conduct.verified = usize::from(record.verified);
        let batches = record.batches.into_iter();
        conduct.batches = batches
            .map(|(id, kept)| (id, BatchRun::restored(id.committee, kept)))
            .collect::<BTreeMap<_, _>>();
        let commands = match record.stage {
            KeptStage::Finding => Ok(find),
            KeptStage::Beginning(grants) => {
                let grants = grants.into_iter();
                conduct.begin(
                    grants
                        .map(|(aggregator, grant)| (aggregator, Arc::new(grant)))
                        .collect(),
                )
            }
            KeptStage::Batches => {
                conduct.stage = Stage::Batches;
                conduct.resume_batches()
            }
            KeptStage::Releasing(proposal) => Ok(conduct.notarise(proposal)),
            KeptStage::Between(totals) => {
                conduct.stage = Stage::Between(totals);
                Ok(Vec::new())
            }
            KeptStage::Done(totals) => {
                conduct.stage = Stage::Done(totals);
                Ok(Vec::new())
            }
            KeptStage::Failed(failure) => Err(failure),
        };
        let commands = commands.unwrap_or_else(|failure| {
            conduct.stage = Stage::Failed(failure);
            Vec::new()
        });
        (conduct, commands)
    }

    /// Begins the query at the aggregators that have a grant and are still in the query.
    pub(super) fn begin(
        &mut self,
        mut grants: BTreeMap<AggregatorId, Arc<Vec<(u16, SealedGrant)>>>,
    ) -> Result<Vec<Command>, Failure> {
        grants.retain(|aggregator, _| self.alive.contains_key(aggregator));
        // Without a command no event would come, and the query would wait forever.
        if grants.is_empty() {
            return Err(self.too_few());
        }
        let commands = grants
            .iter()
            .map(|(&aggregator, grant)| Command::Begin {
                aggregator,
                grants: grant.clone(),
            })
            .collect();
        self.stage = Stage::Beginning {
            gather: Gather::new(grants.keys().copied()),
            grants,
        };
        Ok(commands)
    }

    /// Has the notary sign the one release.
    pub(super) fn notarise(&mut self, proposal: Proposal) -> Vec<Command> {
        let proposal = Arc::new(proposal);
        self.stage = Stage::Notarising(proposal.clone());
        vec![Command::Notarise { proposal }]
    }
}
