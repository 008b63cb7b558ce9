//! One call of a step: its time limit, its repetition, its encoding, and the reading of its failure.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::{
    encoding::{DecodeError, from_bytes, to_bytes},
    id::MemberNumber,
};
use dispers_core::{aggregation::StepReply, conduct::StepError};
use dispers_node::{CallFailure, Patience, blocking};
use dispers_proto::{Messages, chunks, v1::Chunk};
use tokio::time::{Instant, timeout};
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

/// Upper bound on the aggregators of a committee, whose member numbers have one byte.
pub(super) const MOST_MEMBERS: usize = u8::MAX as usize;
/// Tries of a repeatable step while its node cannot be reached. Then the step fails.
const TRIES: Patience =
    Patience::new(Duration::from_millis(300), Duration::from_millis(600)).tries(3);

/// Converts a status of a step to the error that decides how the query goes on.
fn step_error(status: &Status) -> StepError {
    match CallFailure::of(status) {
        CallFailure::Unreachable => StepError::Unreachable,
        // An aggregator lost the contributions of a frozen attempt in a restart (§8).
        CallFailure::Lost => StepError::Forgotten,
        // A node that is full stays so for longer than a step may take, so that a repetition would not help.
        CallFailure::Busy | CallFailure::Missing | CallFailure::Sender | CallFailure::Refused => {
            StepError::Refused(status.message().to_owned())
        }
    }
}

/// Returns the result of a step, or an error with the aggregators whose messages could not be read.
pub(super) fn read<T>(reply: StepReply<T>) -> Result<T, StepError> {
    match reply {
        StepReply::Done(done) => Ok(done),
        StepReply::Unread { members } => Err(unread(members)),
    }
}

/// Returns the status for an answer that does not decode.
pub(super) fn malformed(error: DecodeError) -> Status {
    Status::data_loss(error.to_string())
}

/// Returns the error for aggregators whose messages could not be read.
pub(super) fn unread(members: Vec<MemberNumber>) -> StepError {
    // The names become part of the query's record, and an answer may be large. More names than a committee has members
    // are refused.
    match members.len() <= MOST_MEMBERS {
        true => StepError::Unread { members },
        false => too_many_names(),
    }
}

/// Returns the error for an answer that names too many aggregators.
pub(super) fn too_many_names() -> StepError {
    StepError::Refused("it named more aggregators than there can be".to_owned())
}

/// Waits at most `wait` for one step.
pub(super) async fn within<T>(
    wait: Duration,
    step: impl Future<Output = Result<T, Status>>,
) -> Result<T, StepError> {
    match timeout(wait, step).await {
        Ok(result) => result.map_err(|status| step_error(&status)),
        Err(_) => Err(StepError::Unreachable),
    }
}

/// Carries out an idempotent step, and repeats it while its node cannot be reached. `wait` limits all tries together.
pub(super) async fn repeatedly<T, F: Future<Output = Result<T, Status>>>(
    wait: Duration,
    step: impl Fn() -> F,
) -> Result<T, StepError> {
    let deadline = Instant::now() + wait;
    let is_unreachable = |error: &StepError| matches!(error, StepError::Unreachable);
    let step = || within(deadline.saturating_duration_since(Instant::now()), step());
    TRIES.within(wait).retry(is_unreachable, step).await
}

/// Encodes a message and cuts it into chunks on a worker thread, since the message may be long.
pub(crate) async fn outgoing<T: BorshSerialize + Send + 'static>(
    message: T,
) -> Result<impl Stream<Item = Chunk> + Send + 'static, Status> {
    let bytes = blocking(move || Ok(to_bytes(&message))).await?;
    Ok(tokio_stream::iter(chunks([bytes])))
}

/// Receives and decodes the only message of an answer.
pub(super) async fn incoming<T: BorshDeserialize + Send + 'static>(
    response: Response<Streaming<Chunk>>,
    limit: usize,
) -> Result<T, Status> {
    let bytes = Messages::new(response.into_inner()).expect(limit).await?;
    blocking(move || from_bytes(&bytes, limit, "answer").map_err(malformed)).await
}
