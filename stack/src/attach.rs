//! Attaching to the Target: for a host that cannot be dialled.

use std::{sync::Arc, time::Duration};

use dispers_core::{
    ask::{AttachedAnswer, MAX_ASK},
    encoding::to_bytes,
};
use dispers_proto::{Messages, chunks, v1::Chunk};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{Answerer, Relay};

/// First and longest pause before attaching again.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Attaches and answers, and attaches again when the stream ends. Returns never; drop it to stop.
pub async fn attach(relay: Relay, answerer: Arc<Answerer>) {
    let mut pause = PAUSE.0;
    loop {
        match serve_stream(&relay, &answerer).await {
            Ok(()) => {
                tracing::info!("the stream to the target ended");
                pause = PAUSE.0;
            }
            Err(status) => tracing::warn!(code = ?status.code(), "cannot attach to the target"),
        }
        sleep(pause).await;
        pause = (2 * pause).min(PAUSE.1);
    }
}

async fn serve_stream(relay: &Relay, answerer: &Arc<Answerer>) -> Result<(), Status> {
    let (up, answers) = mpsc::channel::<Chunk>(4);
    let mut target = relay
        .target()
        .map_err(|error| error.fault().status(&error))?;
    let stream = target.attach(ReceiverStream::new(answers)).await?;
    tracing::info!("attached to the target");
    let mut asks = Messages::new(stream.into_inner());
    while let Some(bytes) = asks.next(MAX_ASK).await? {
        let answer = answerer.clone().answer_paced(bytes).await;
        let answer: AttachedAnswer =
            answer.map_err(|error| error.fault().status(&error).message().to_owned());
        for chunk in chunks([to_bytes(&answer)]) {
            if up.send(chunk).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
