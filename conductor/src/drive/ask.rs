//! Ask: the Target asks the homes of a batch, and its answer is checked.

use std::{sync::Arc, time::Duration};

use dispers_base::{
    encoding::{decode, from_bytes},
    id::{Name, Work},
};
use dispers_core::{
    ask::{AnswerHead, BatchAnswer, MAX_ANSWER, SealedGroup, TargetRequest},
    conduct::StepError,
    find::BatchMessage,
    session::SignedParameters,
};
use dispers_node::blocking;
use dispers_proto::{Messages, v1::target_client::TargetClient};
use tokio::time::sleep;
use tonic::Status;

use super::{
    Driver,
    call::{malformed, outgoing, within},
};

/// Largest encoded head of a batch's answers, in bytes.
const MAX_HEAD: usize = 1 << 20;
/// Pause after an ask whose Target cannot be reached. Doubled at every attempt, up to 16 times this long.
const ASK_PAUSE: Duration = Duration::from_secs(2);

impl Driver {
    /// Asks a batch once its homes answer.
    pub(super) async fn ask(
        self: &Arc<Self>,
        work: Work,
        parameters: Option<Arc<SignedParameters>>,
    ) -> Result<BatchAnswer, StepError> {
        self.wait_for_owners().await;
        // Stacks answer a (query, round, batch, attempt) once (§8), so a failed ask is not repeated: the next attempt
        // has another number.
        let wait = Duration::from_millis(self.config.ask_timeout_ms);
        let asked = within(wait, self.ask_target(work, parameters)).await;
        let asked = asked.and_then(|asked| asked);
        if matches!(asked, Err(StepError::Unreachable)) {
            // A Target or stack that restarts may be back by the next attempt.
            sleep(ASK_PAUSE * (1 << work.attempt.min(4))).await;
        }
        asked
    }

    /// Has the Target ask a batch, and checks the answer against the Target's signature before any aggregator sees it.
    async fn ask_target(
        &self,
        work: Work,
        parameters: Option<Arc<SignedParameters>>,
    ) -> Result<Result<BatchAnswer, StepError>, Status> {
        let batch = self.kept.batch(work.batch).await?;
        let batch: BatchMessage = decode(&batch).map_err(malformed)?;
        let statement = batch.statement.unverified().map_err(malformed)?;
        let asked = self.target(&batch, work.attempt)?;
        let name = asked.name.clone();
        let target = self.channel(asked)?;
        let request = TargetRequest {
            manifest: self.signed.clone(),
            inclusion: self.logged().await?,
            work,
            parameters: parameters.as_deref().cloned(),
            batch,
        };
        let request = outgoing(request).await?;
        let reply = TargetClient::new(target).ask(request).await?;
        let mut messages = Messages::new(reply.into_inner());
        let head = messages.expect(MAX_HEAD).await?;
        let head: AnswerHead = from_bytes(&head, MAX_HEAD, "answer").map_err(malformed)?;
        if head.statement.work != work || head.groups.len() != head.statement.digests.len() {
            return Err(Status::data_loss("the target answered something else"));
        }
        // Each group comes from a host with at least one home of the batch, so no honest answer has more groups than
        // homes.
        if head.groups.iter().any(|groups| *groups > statement.count) {
            return Ok(Err(StepError::OtherBytes { target: name }));
        }
        let groups = receive_groups(&mut messages, &head.groups).await?;
        let answer = BatchAnswer {
            statement: head.statement,
            signature: head.signature,
            answered: head.answered,
            groups,
        };
        self.check(work, name, statement.count, answer).await
    }

    /// Checks an answer against the signature of its Target `name`.
    async fn check(
        &self,
        work: Work,
        name: Name,
        homes: u32,
        answer: BatchAnswer,
    ) -> Result<Result<BatchAnswer, StepError>, Status> {
        // Each digest must match the bytes of the groups. Any other answer costs the Target the attempt (§6). Otherwise
        // aggregators would have to refuse the groups, and could not tell who changed them.
        let (node, manifest) = (self.node.clone(), self.manifest.clone());
        blocking(move || {
            let checked = answer.check(work, &name, homes, &manifest, &node.directory);
            Ok(match checked {
                Ok(()) => Ok(answer),
                Err(_) => Err(StepError::OtherBytes { target: name }),
            })
        })
        .await
    }
}

/// Receives the groups for each aggregator, whose numbers are `counts`. All together have at most [`MAX_ANSWER`] bytes.
async fn receive_groups(
    messages: &mut Messages,
    counts: &[u32],
) -> Result<Vec<Vec<SealedGroup>>, Status> {
    let mut left = MAX_ANSWER;
    let mut groups = Vec::with_capacity(counts.len());
    for count in counts {
        let mut received = Vec::new();
        for _ in 0..*count {
            let group = messages.expect(left).await?;
            left -= group.len();
            received.push(from_bytes(&group, MAX_ANSWER, "group").map_err(malformed)?);
        }
        groups.push(received);
    }
    Ok(groups)
}
