//! Requests that this Conductor passes on for queriers and hosts: it can open neither them nor their answers.

use std::{sync::Arc, time::Duration};

use dispers_base::id::{MemberNumber, Role};
use dispers_node::{Channel, Channels, Node};
use dispers_proto::v1::{
    EvaluateRequest, Message, concept_indexor_client::ConceptIndexorClient,
    data_aggregator_client::DataAggregatorClient,
};
use tokio::time::timeout;
use tonic::{Response, Status};
use tracing::Instrument;

/// Caller of aggregators and concept indexors in the name of others.
pub(crate) struct Relay {
    pub(crate) node: Arc<Node>,
    pub(crate) channels: Channels,
    /// Longest wait for one node.
    pub(crate) wait: Duration,
}

impl Relay {
    /// Sends `message` to each aggregator of each committee at the same time. Returns their answers in the order of
    /// committees and members. The answer of an aggregator that fails or takes too long is empty.
    pub(crate) async fn every_aggregator<F>(
        &self,
        message: Message,
        ask: impl Fn(DataAggregatorClient<Channel>, Message) -> F,
    ) -> Vec<Vec<u8>>
    where
        F: Future<Output = Result<Response<Message>, Status>> + Send + 'static,
    {
        let wait = self.wait;
        let directory = &self.node.directory;
        let members = (0u16..)
            .zip(&directory.committees)
            .flat_map(|(group, key)| {
                let numbers = key.threshold().numbers();
                numbers.map(move |member| directory.member(Role::DataAggregator, group, member))
            });
        // All aggregators are asked at once, so that one that hangs delays nothing beyond `wait`.
        let asked: Vec<_> = members
            .map(|node| {
                let channel =
                    node.and_then(|node| self.channels.to(&node.address, node.tls_key).ok());
                let answer = channel.map(|c| ask(DataAggregatorClient::new(c), message.clone()));
                let answered = async move {
                    let reply = timeout(wait, answer?).await.ok()?.ok()?;
                    Some(reply.into_inner().body)
                };
                tokio::spawn(answered.in_current_span())
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.push(answer.await.ok().flatten().unwrap_or_default());
        }
        answers
    }

    /// Passes a sealed request on to the concept indexor that it names.
    ///
    /// # Errors
    /// `NOT_FOUND` for an indexor that is not listed, `UNAVAILABLE` if it does not answer in time, else its status.
    pub(crate) async fn evaluate(&self, request: EvaluateRequest) -> Result<Message, Status> {
        let member = u8::try_from(request.member).ok();
        let node = member
            .and_then(|number| MemberNumber::new(number).ok())
            .and_then(|member| self.node.directory.member(Role::ConceptIndexor, 0, member))
            .ok_or_else(|| Status::not_found("no such concept indexor"))?;
        let channel = self.channels.to(&node.address, node.tls_key)?;
        let mut indexor = ConceptIndexorClient::new(channel);
        let evaluated = timeout(self.wait, indexor.evaluate(request));
        let reply = evaluated
            .await
            .map_err(|_| Status::unavailable("the concept indexor did not answer in time"))??;
        Ok(reply.into_inner())
    }
}
