//! Steps of a batch at the aggregators, from the manifest to the commitment. All of them are idempotent.

use std::sync::Arc;

use dispers_base::{
    encoding::to_bytes,
    id::{AggregatorId, Work},
};
use dispers_core::{
    aggregation::{
        BeginRequest, CommitRequest, Deal, DealRequest, DealtRequest, DecideRequest, MAX_DEAL,
        OpenHead, Quorum, Verdict, VerifyRequest,
    },
    ask::BatchAnswer,
    conduct::StepError,
    find::SealedGrant,
    peer::{MAX_PEER_MESSAGES, PeerMessage},
    release::{SignedAcknowledgement, is_acknowledged_by},
};
use dispers_node::CallFailure;
use dispers_proto::{chunks, v1::Message};
use tonic::Status;

use super::{
    Driver,
    call::{MOST_MEMBERS, incoming, outgoing, read, repeatedly, too_many_names, unread},
};

impl Driver {
    /// Hands an aggregator the manifest and its grants.
    pub(super) async fn begin(
        &self,
        aggregator: AggregatorId,
        grants: &[(u16, SealedGrant)],
    ) -> Result<(), StepError> {
        let begun = repeatedly(self.step(), || async {
            for (partition, grant) in grants {
                let body = to_bytes(&BeginRequest {
                    manifest: self.signed.clone(),
                    partition: *partition,
                    grant: grant.clone(),
                });
                self.aggregator(aggregator)?.begin(Message { body }).await?;
            }
            Ok(())
        });
        begun.await
    }

    /// Has an aggregator deal noise.
    pub(super) async fn deal(
        &self,
        aggregator: AggregatorId,
        request: &DealRequest,
    ) -> Result<Deal, StepError> {
        let dealt = repeatedly(self.step(), || async {
            let body = to_bytes(request);
            let reply = self.aggregator(aggregator)?.deal(Message { body }).await?;
            incoming(reply, MAX_DEAL).await
        });
        let deal: Deal = dealt.await?;
        // > C hands on only what the dealer signed (§9). Every reader would refuse anything else, and fail its own step
        // in the dealer's place.
        let signed = deal.is_signed_by(aggregator, &self.node.directory);
        signed.then_some(deal).ok_or(StepError::BadNoise)
    }

    /// Hands an aggregator its shares of the dealt noise.
    pub(super) async fn open_deals(
        &self,
        aggregator: AggregatorId,
        position: usize,
        request: &DealRequest,
        deals: &[Deal],
    ) -> Result<Vec<PeerMessage>, StepError> {
        let opened = repeatedly(self.step(), || async {
            let dealt = DealtRequest::for_reader(request, deals, position)
                .ok_or_else(|| Status::data_loss("a deal has no share for an aggregator"))?;
            let sent = outgoing(dealt).await?;
            let reply = self.aggregator(aggregator)?.open_deals(sent).await?;
            incoming(reply, MAX_PEER_MESSAGES).await
        });
        opened.await
    }

    /// Sends an aggregator its groups.
    pub(super) async fn open(
        &self,
        aggregator: AggregatorId,
        position: usize,
        answer: Arc<BatchAnswer>,
    ) -> Result<Vec<PeerMessage>, StepError> {
        let opened = repeatedly(self.step(), || {
            self.send_groups(aggregator, position, answer.clone())
        });
        opened.await?.ok_or_else(|| StepError::OtherBytes {
            target: answer.statement.target.clone(),
        })
    }

    /// Sends an aggregator its groups. Returns `None` if the aggregator refuses the groups as the Target's fault.
    async fn send_groups(
        &self,
        aggregator: AggregatorId,
        position: usize,
        answer: Arc<BatchAnswer>,
    ) -> Result<Option<Vec<PeerMessage>>, Status> {
        let head = to_bytes(&OpenHead {
            statement: answer.statement.clone(),
            signature: answer.signature,
        });
        let count = answer.groups.get(position).map_or(0, Vec::len);
        let groups = (0..count).map(move |number| to_bytes(&answer.groups[position][number]));
        let request = tokio_stream::iter(chunks(std::iter::once(head).chain(groups)));
        // `position` is the aggregator's place among those with an offer. A place without groups gets none.
        match self.aggregator(aggregator)?.open(request).await {
            Ok(reply) => incoming(reply, MAX_PEER_MESSAGES).await.map(Some),
            Err(status) if CallFailure::of(&status) == CallFailure::Sender => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Hands an aggregator the others' randomness.
    pub(super) async fn verify(
        &self,
        aggregator: AggregatorId,
        work: Work,
        messages: Vec<PeerMessage>,
    ) -> Result<Vec<PeerMessage>, StepError> {
        let verified = repeatedly(self.step(), || async {
            let messages = messages.clone();
            let request = outgoing(VerifyRequest { work, messages }).await?;
            let reply = self.aggregator(aggregator)?.verify(request).await?;
            incoming(reply, MAX_PEER_MESSAGES).await
        });
        read(verified.await?)
    }

    /// Hands an aggregator the quorum and its verifier messages.
    pub(super) async fn decide(
        &self,
        aggregator: AggregatorId,
        work: Work,
        quorum: Quorum,
        messages: Vec<PeerMessage>,
    ) -> Result<SignedAcknowledgement, StepError> {
        let verdict = repeatedly(self.step(), || async {
            let request = outgoing(DecideRequest {
                work,
                quorum: quorum.clone(),
                messages: messages.clone(),
            })
            .await?;
            let reply = self.aggregator(aggregator)?.decide(request).await?;
            incoming(reply, MAX_PEER_MESSAGES).await
        });
        match verdict.await? {
            Verdict::Prepared(acknowledgement) => {
                // Commit needs the acknowledgements of the whole quorum. With a forged one, the readers would fail
                // their steps instead of the sender (§8).
                let signed = is_acknowledged_by(aggregator, &acknowledgement, &self.node.directory);
                signed
                    .then_some(acknowledgement)
                    .ok_or(StepError::BadAcknowledgement)
            }
            Verdict::Inconsistent { suspect } => Err(StepError::Inconsistent { suspect }),
            Verdict::BadDeals { dealers, disputes } => {
                let few =
                    dealers.len() <= MOST_MEMBERS && disputes.len() <= MOST_MEMBERS * MOST_MEMBERS;
                Err(match few {
                    true => StepError::BadDeals { dealers, disputes },
                    false => too_many_names(),
                })
            }
            Verdict::Unread { members } => Err(unread(members)),
        }
    }

    /// Hands an aggregator the quorum's acknowledgements.
    pub(super) async fn commit(
        &self,
        aggregator: AggregatorId,
        work: Work,
        acknowledgements: &[SignedAcknowledgement],
    ) -> Result<(), StepError> {
        let committed = repeatedly(self.step(), || async {
            let body = to_bytes(&CommitRequest {
                work,
                acknowledgements: acknowledgements.to_vec(),
            });
            self.aggregator(aggregator)?
                .commit(Message { body })
                .await?;
            Ok(())
        });
        committed.await
    }
}
