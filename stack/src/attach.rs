//! Streams to the Targets, for a host that cannot be dialled.

use std::{sync::Arc, time::Duration};

use dispers_base::{encoding::to_bytes, id::Role};
use dispers_core::ask::{AttachedAnswer, MAX_ASK};
use dispers_node::Patience;
use dispers_proto::{Messages, chunks, v1::Chunk};
use dispers_trust::directory::Node as Listed;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::{Answerer, Relay};

/// Tries to attach to a Target, without an end.
const AGAIN: Patience = Patience::new(Duration::from_secs(1), Duration::from_secs(60));
/// Shortest time of a stream after whose end the stack attaches again at once.
const BRIEF: Duration = Duration::from_secs(1);

/// Attaches to every Target and answers its asks. Attaches again when a stream ends. Does not return while the
/// directory lists a Target; drop the future to stop.
pub async fn attach(relay: Relay, answerer: Arc<Answerer>) {
    let mut streams = JoinSet::new();
    for target in relay.directory().nodes(Role::Target) {
        streams.spawn(attach_to(target.clone(), relay.clone(), answerer.clone()));
    }
    while streams.join_next().await.is_some() {}
}

/// Keeps a stream to one Target open, with growing pauses while it cannot be opened.
async fn attach_to(target: Listed, relay: Relay, answerer: Arc<Answerer>) {
    let mut tries = AGAIN.begin();
    loop {
        let begun = Instant::now();
        match serve_stream(&target, &relay, &answerer).await {
            Ok(()) => {
                tracing::info!(node = %target.name, "the stream to the target ended");
                tries = AGAIN.begin();
                // A Target ends streams that it has not used for long, but may ask again at any time. The stack
                // attaches again at once, unless the stream ended right after it began.
                if begun.elapsed() > BRIEF {
                    continue;
                }
            }
            Err(status) => {
                let code = status.code();
                tracing::warn!(node = %target.name, ?code, "cannot attach to the target");
            }
        }
        tries.again().await;
    }
}

/// Answers the asks of one stream, until the Target ends it.
async fn serve_stream(
    target: &Listed,
    relay: &Relay,
    answerer: &Arc<Answerer>,
) -> Result<(), Status> {
    let (up, answers) = mpsc::channel::<Chunk>(4);
    let stream = relay
        .client(target)?
        .attach(ReceiverStream::new(answers))
        .await?;
    tracing::info!(node = %target.name, "attached to the target");
    let mut asks = Messages::new(stream.into_inner());
    while let Some(bytes) = asks.next(MAX_ASK).await? {
        // The server of a dialled stack counts every request. The asks of a stream are counted here.
        let asked = relay.activity().request("Stack/Ask");
        let received = bytes.len();
        // One ask at a time: answers do not name their ask, so that the order pairs them.
        let answer = answerer.clone().answer_paced(bytes).await;
        let mut code = Code::Ok;
        let answer: AttachedAnswer = answer.map_err(|error| {
            let status = error.fault().status(&error);
            code = status.code();
            status.message().to_owned()
        });
        let answer = to_bytes(&answer);
        let sent = answer.len();
        for chunk in chunks([answer]) {
            // The Target has ended the stream. The caller attaches again.
            if up.send(chunk).await.is_err() {
                return Ok(());
            }
        }
        asked.ends(received, sent, code);
    }
    Ok(())
}
