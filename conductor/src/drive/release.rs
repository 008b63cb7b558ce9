//! Steps of a release: the notary's certificate, the guard counts, and the totals.

use dispers_base::{
    encoding::{Message as _, from_bytes, to_bytes},
    id::AggregatorId,
};
use dispers_core::{
    aggregation::{GuardsRequest, ReleaseRequest},
    conduct::StepError,
    peer::{MAX_PEER_MESSAGES, PeerMessage},
    release::{Certificate, NotariseRequest, Proposal, SealedTotal},
};
use dispers_proto::v1::{Message, target_finder_client::TargetFinderClient};
use tonic::Status;

use super::{
    Driver,
    call::{incoming, malformed, outgoing, read, repeatedly},
};

impl Driver {
    /// Has the notary sign a release.
    pub(super) async fn notarise(&self, proposal: &Proposal) -> Result<Certificate, StepError> {
        repeatedly(self.step(), || self.ask_notary(proposal)).await
    }

    /// Hands an aggregator the certificate.
    pub(super) async fn guards(
        &self,
        aggregator: AggregatorId,
        proposal: &Proposal,
        certificate: &Certificate,
    ) -> Result<Vec<PeerMessage>, StepError> {
        let guarded = repeatedly(self.step(), || async {
            let request = outgoing(GuardsRequest {
                proposal: proposal.clone(),
                certificate: certificate.clone(),
            })
            .await?;
            let reply = self.aggregator(aggregator)?.guards(request).await?;
            incoming(reply, MAX_PEER_MESSAGES).await
        });
        guarded.await
    }

    /// Hands an aggregator the others' guard counts.
    pub(super) async fn release(
        &self,
        aggregator: AggregatorId,
        round: u16,
        messages: Vec<PeerMessage>,
    ) -> Result<SealedTotal, StepError> {
        let query = self.manifest.query();
        let released = repeatedly(self.step(), || async {
            let request = outgoing(ReleaseRequest {
                query,
                round,
                messages: messages.clone(),
            })
            .await?;
            let reply = self.aggregator(aggregator)?.release(request).await?;
            // The reply says beside the total whether the aggregator has one.
            incoming(reply, SealedTotal::LIMIT + 1024).await
        });
        read(released.await?)
    }

    /// Asks the notary to certify a proposal. The notary sees the proposal's hash only (protocol.md §9).
    async fn ask_notary(&self, proposal: &Proposal) -> Result<Certificate, Status> {
        let body = to_bytes(&NotariseRequest {
            manifest: self.signed.clone(),
            round: proposal.round,
            proposal: proposal.hash(),
        });
        let notary = self.notary();
        let notary = notary.ok_or_else(|| Status::not_found("the notary is not listed"))?;
        let reply = TargetFinderClient::new(self.channel(notary)?)
            .notarise(Message { body })
            .await?;
        from_bytes(&reply.into_inner().body, 4096, "certificate").map_err(malformed)
    }
}
