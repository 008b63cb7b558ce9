//! Announcements to homes that they will be asked, so that their owners can decide before the homes answer
//! (protocol.md §17).

use std::{collections::HashMap, sync::Arc, time::Duration};

use dispers_base::{
    encoding::decode,
    id::{BatchId, Work},
};
use dispers_core::{ask::TargetRequest, find::BatchMessage, ticket::FindId};
use dispers_node::{CallFailure, Patience, now};
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
use crate::Kept;

/// Most batches that are announced at the same time.
const PARALLEL: usize = 2;
/// Tries to read a batch while the store is away, beyond those of the store itself.
const AWAY: Patience = Patience::new(Duration::from_secs(1), Duration::from_secs(30));

/// Stored batches of one committee and partition, read one after the other.
struct Batches<'a> {
    kept: &'a dyn Kept,
    next: BatchId,
    /// Longest time for which a batch is tried again while the store is away.
    within: Duration,
}

impl Batches<'_> {
    /// Returns the next batch, or `None` after the last.
    ///
    /// # Errors
    /// The store's status if the batch cannot be read. More batches may follow.
    async fn next(&mut self) -> Result<Option<(BatchId, Vec<u8>)>, Status> {
        let batch = self.next;
        let is_away = |status: &Status| CallFailure::of(status) == CallFailure::Unreachable;
        let tries = AWAY.within(self.within);
        let read = tries.retry(is_away, || self.kept.batch(batch)).await;
        match read {
            Ok(message) => {
                self.next.number += 1;
                Ok(Some((batch, message)))
            }
            // Batches are numbered without a gap, so the first number that is missing ends the committee's batches.
            Err(status) if CallFailure::of(&status) == CallFailure::Missing => Ok(None),
            Err(status) => Err(status),
        }
    }
}

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
            let left = self.manifest.answer_from.0.saturating_sub(now().0);
            let mut batches = Batches {
                kept: &*self.kept,
                next: BatchId {
                    partition,
                    committee,
                    number: 0,
                },
                within: Duration::from_millis(left),
            };
            loop {
                match batches.next().await {
                    // An earlier find of this query that failed midway may have stored more batches than the find that
                    // replaced it. A home takes part only at the place at which the query reached it first (§6), so
                    // announcing such a batch would exclude its homes from the query.
                    Ok(Some((_, message)))
                        if self.is_left_over(partition, &message, &mut finds) =>
                    {
                        break;
                    }
                    Ok(Some((batch, message))) => {
                        if announcing.len() == PARALLEL {
                            announcing.join_next().await;
                        }
                        announcing.spawn(self.clone().announce_anywhere(batch, message));
                    }
                    Ok(None) => break,
                    Err(status) => {
                        let code = status.code();
                        tracing::error!(
                            ?code,
                            "batches cannot be read: a query was not announced to their homes"
                        );
                        break;
                    }
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
        let statement =
            decode(message).and_then(|batch: BatchMessage| batch.statement.unverified());
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use dispers_crypto::oprf::Pseudonym;

    use super::*;
    use crate::InMemory;

    /// A store that fails with a status at the second read.
    struct Failing {
        batches: InMemory,
        status: Status,
        reads: AtomicU32,
    }

    #[tonic::async_trait]
    impl Kept for Failing {
        fn lists(&self) -> &[Pseudonym] {
            &[]
        }

        async fn segment(&self, _: u16, _: usize) -> Result<Option<Vec<u8>>, Status> {
            Ok(None)
        }

        async fn keep(&self, batch: BatchId, message: Vec<u8>) -> Result<(), Status> {
            self.batches.keep(batch, message).await
        }

        async fn batch(&self, batch: BatchId) -> Result<Vec<u8>, Status> {
            match self.reads.fetch_add(1, Ordering::Relaxed) {
                1 => Err(self.status.clone()),
                _ => self.batches.batch(batch).await,
            }
        }
    }

    /// Reads the batches of a store that has three and fails with `status` at the second read. Returns the numbers of
    /// those read, and whether the end was reached.
    async fn read(status: Status) -> (Vec<u32>, bool) {
        let kept = Failing {
            batches: InMemory::default(),
            status,
            reads: AtomicU32::new(0),
        };
        let first = BatchId {
            partition: 0,
            committee: 0,
            number: 0,
        };
        for number in 0..3 {
            kept.keep(BatchId { number, ..first }, vec![7])
                .await
                .unwrap();
        }
        let mut batches = Batches {
            kept: &kept,
            next: first,
            within: Duration::from_secs(60),
        };
        let mut numbers = Vec::new();
        loop {
            match batches.next().await {
                Ok(Some((batch, _))) => numbers.push(batch.number),
                Ok(None) => return (numbers, true),
                Err(_) => return (numbers, false),
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_for_a_while_hides_no_batch() {
        assert_eq!(
            read(Status::unavailable("the database is away")).await,
            (vec![0, 1, 2], true)
        );
    }

    #[tokio::test]
    async fn a_batch_that_cannot_be_read_is_not_the_end_of_all() {
        assert_eq!(
            read(Status::internal("the disk fails")).await,
            (vec![0], false)
        );
    }
}
