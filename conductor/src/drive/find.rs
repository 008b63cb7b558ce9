//! Find: a partition's lists go to a Target Finder, and batches come back.

use std::time::Duration;

use dispers_base::encoding::{Message as _, decode, from_bytes, to_bytes};
use dispers_core::{
    ask::most_homes,
    conduct::StepError,
    find::{BatchMessage, FindRequest, FindSummary, MAX_BATCH},
};
use dispers_node::CallFailure;
use dispers_proto::{
    Messages, chunks,
    v1::{Chunk, target_finder_client::TargetFinderClient},
};
use dispers_trust::directory::Node as Listed;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    Driver,
    call::{malformed, within},
};

/// Most chunks of the lists that wait to be sent.
const CHUNKS_AHEAD: usize = 4;

impl Driver {
    /// Has a partition's homes found, within the time of an ask.
    pub(super) async fn find(&self, partition: u16) -> Result<FindSummary, StepError> {
        let wait = Duration::from_millis(self.config.ask_timeout_ms);
        within(wait, self.find_anywhere(partition)).await
    }

    /// Has the first finder of a partition that can be reached find the query. All finders of a partition share a
    /// secret and find the same.
    async fn find_anywhere(&self, partition: u16) -> Result<FindSummary, Status> {
        let mut found = Err(Status::not_found("no finder of the partition is listed"));
        for finder in self.finders(partition) {
            found = self.find_at(partition, finder).await;
            match &found {
                Err(status) if CallFailure::of(status) == CallFailure::Unreachable => {}
                _ => break,
            }
        }
        found
    }

    /// Streams a partition's lists to a finder, and stores the batches that come back.
    ///
    /// # Errors
    /// The finder's status. `DATA_LOSS` if the answer is malformed or contradicts itself.
    async fn find_at(&self, partition: u16, finder: &Listed) -> Result<FindSummary, Status> {
        let profile = self.profiles.get(usize::from(partition));
        let profile = profile.ok_or_else(|| Status::not_found("no profile for the partition"))?;
        let head = to_bytes(&FindRequest {
            manifest: self.signed.clone(),
            profile: profile.clone(),
            partition,
            batch_size: self.batch_size(),
            lists: self.kept.lists().to_vec(),
            inclusion: self.logged().await?,
        });
        let (lists, lists_read) = self.stream_lists(partition, head);
        let reply = TargetFinderClient::new(self.channel(finder)?)
            .find(lists)
            .await?;
        let mut messages = Messages::new(reply.into_inner());
        let summary: FindSummary =
            from_bytes(&messages.expect(MAX_BATCH).await?, MAX_BATCH, "summary")
                .map_err(malformed)?;
        // The numbers of homes that the querier learns follow from this noise (§6), so the finder must use the scale
        // of the directory.
        if !summary
            .noisy_size
            .has_scale(self.node.directory.floors.size_noise)
        {
            let other = "its noise is not that of the directory";
            return Err(Status::data_loss(other));
        }
        // If a list could not be read to its end, the finder saw a part of it only, and homes would look unsubscribed
        // (§6).
        lists_read
            .await
            .unwrap_or_else(|_| Err(Status::internal("the lists could not be read")))?;
        self.keep_batches(partition, &summary, &mut messages)
            .await?;
        Ok(summary)
    }

    /// Streams the head of a find request and the lists of a partition. The task ends when all were read, or the finder
    /// stopped reading.
    fn stream_lists(
        &self,
        partition: u16,
        head: Vec<u8>,
    ) -> (ReceiverStream<Chunk>, JoinHandle<Result<(), Status>>) {
        let (sender, lists) = mpsc::channel(CHUNKS_AHEAD);
        let kept = self.kept.clone();
        // The lists are read while they are sent, so that only a few segments are in memory.
        let lists_read = tokio::spawn(async move {
            let mut number = 0;
            let mut message = Some(head);
            while let Some(bytes) = message {
                for chunk in chunks((!bytes.is_empty()).then_some(bytes)) {
                    // The finder stopped reading; its answer tells why.
                    if sender.send(chunk).await.is_err() {
                        return Ok(());
                    }
                }
                message = kept.segment(partition, number).await?;
                number += 1;
            }
            Ok(())
        });
        (ReceiverStream::new(lists), lists_read)
    }

    /// Receives and stores the batches that a find's summary lists.
    async fn keep_batches(
        &self,
        partition: u16,
        summary: &FindSummary,
        messages: &mut Messages,
    ) -> Result<(), Status> {
        let mut of_find = None;
        for (id, count) in summary.batches.batches(partition) {
            let message = messages.expect(BatchMessage::LIMIT).await?;
            let batch: BatchMessage = decode(&message).map_err(malformed)?;
            let statement = batch.statement.unverified().map_err(malformed)?;
            // Another cut is another find (§6). Batches of two finds could both contain the same home.
            let same_find = *of_find.get_or_insert(statement.find) == statement.find;
            if (statement.batch, statement.count) != (id, count) || !same_find {
                return Err(Status::data_loss(
                    "the find sent a batch that its summary does not list",
                ));
            }
            self.kept.keep(id, message).await?;
        }
        Ok(())
    }

    /// Returns the number of homes per batch: the configured number, or fewer if their answers would be too large.
    fn batch_size(&self) -> u32 {
        self.config.batch_size.min(most_homes(&self.manifest))
    }
}
