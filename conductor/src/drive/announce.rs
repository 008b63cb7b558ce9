//! Announcements to homes that they will be asked, so that their owners can decide before the homes answer
//! (protocol.md §17).

use std::{collections::HashMap, sync::Arc, time::Duration};

use dispers_base::{
    encoding::decode,
    id::{BatchId, Work},
};
use dispers_core::{
    ask::TargetRequest,
    find::{BatchMessage, BatchStatement},
    ticket::FindId,
};
use dispers_node::{CallFailure, now};
use dispers_proto::v1::target_client::TargetClient;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};
use tonic::Status;

use super::{
    Driver,
    call::{malformed, outgoing},
};

/// Most batches that are announced at the same time.
const PARALLEL: usize = 2;

impl Driver {
    /// Waits for the time from which on homes answer. Before that time, the first call has the homes of all batches
    /// told that they will be asked.
    pub(crate) async fn wait_for_owners(self: &Arc<Self>) {
        let from = self.manifest.answer_from;
        if now() >= from {
            return;
        }
        let announced = self.announced.get_or_init(|| async {
            // The announcements go on in the background: an ask must not wait for a Target that hangs.
            let driver = self.clone();
            tokio::spawn(async move { driver.announce_all().await });
        });
        announced.await;
        sleep(Duration::from_millis(from.0.saturating_sub(now().0))).await;
    }

    /// Announces the query to the homes of every stored batch. A home that is not told and would have asked its owner
    /// refuses later.
    async fn announce_all(self: Arc<Self>) {
        let mut announcing = JoinSet::new();
        let mut finds = HashMap::new();
        let committees = self.manifest.committees.len() as u16;
        let partitions = 0..self.node.directory.partitions();
        for (partition, committee) in partitions
            .flat_map(|partition| (0..committees).map(move |committee| (partition, committee)))
        {
            for number in 0.. {
                let batch = BatchId {
                    partition,
                    committee,
                    number,
                };
                match self.kept.batch(batch).await {
                    // An earlier find of this query that failed midway may have stored more batches than the find that
                    // replaced it. A home takes part only at the place at which the query reached it first (§6), so
                    // announcing such a batch would exclude its homes from the query.
                    Ok(message) if self.is_left_over(partition, &message, &mut finds) => break,
                    Ok(message) => {
                        if announcing.len() == PARALLEL {
                            announcing.join_next().await;
                        }
                        announcing.spawn(self.clone().announce_anywhere(batch, message));
                    }
                    // Batches are numbered without a gap, so the first number that is missing ends the committee's
                    // batches.
                    Err(_) => break,
                }
            }
        }
        while announcing.join_next().await.is_some() {}
    }

    /// Returns whether a stored batch belongs to another find than the first of its partition. `finds` holds the first
    /// find of each partition.
    fn is_left_over(
        &self,
        partition: u16,
        message: &[u8],
        finds: &mut HashMap<u16, FindId>,
    ) -> bool {
        let statement = decode(message)
            .and_then(|batch: BatchMessage| decode::<BatchStatement>(&batch.statement));
        statement.map_or(true, |statement| {
            *finds.entry(partition).or_insert(statement.find) != statement.find
        })
    }

    /// Announces the query to a batch's homes through the Target of its first attempt, or the next that can be reached.
    async fn announce_anywhere(self: Arc<Self>, batch: BatchId, message: Vec<u8>) {
        let wait = Duration::from_millis(self.config.ask_timeout_ms);
        let mut outcome = Err(Status::cancelled("no attempt is left"));
        for attempt in 0..dispers_core::manifest::MAX_ATTEMPTS {
            let work = Work {
                query: self.manifest.query(),
                round: 0,
                batch,
                attempt,
            };
            let announced = timeout(wait, self.announce(work, &message)).await;
            outcome = announced.unwrap_or_else(|_| Err(Status::unavailable("no answer in time")));
            match &outcome {
                Err(status) if CallFailure::of(status) == CallFailure::Unreachable => {}
                _ => break,
            }
        }
        if let Err(status) = outcome {
            let code = status.code();
            tracing::warn!(
                ?code,
                "a query could not be announced to the homes of a batch"
            );
        }
    }

    /// Has the Target of an attempt announce the query to the homes of a batch.
    async fn announce(&self, work: Work, message: &[u8]) -> Result<(), Status> {
        let batch: BatchMessage = decode(message).map_err(malformed)?;
        let target = self.channel(self.target(&batch, work.attempt)?)?;
        let request = outgoing(TargetRequest {
            manifest: self.signed.clone(),
            inclusion: self.logged().await?,
            work,
            // The first round of a session has no parameters (§18).
            parameters: None,
            batch,
        });
        TargetClient::new(target).announce(request.await?).await?;
        Ok(())
    }
}
