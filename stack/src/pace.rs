//! Answers at a time that reveals nothing (protocol.md §6).

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep_until};

/// Runs `work` and returns its result at a multiple of `quantum` after the start, at least one. The duration of `work`
/// shows only in the number of quanta. There is no pace if `quantum` is zero.
pub(crate) async fn paced<T>(quantum: Duration, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    if !quantum.is_zero() {
        let passed = begun.elapsed().as_nanos();
        let quanta = passed / quantum.as_nanos() + 1;
        let wait = quantum.saturating_mul(u32::try_from(quanta).unwrap_or(u32::MAX));
        sleep_until(begun + wait).await;
    }
    done
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn quick_and_slow_work_end_at_the_same_time() {
        let quantum = Duration::from_millis(100);
        let mut ends = Vec::new();
        for took in [0, 1, 40, 99] {
            let begun = Instant::now();
            paced(quantum, sleep(Duration::from_millis(took))).await;
            ends.push(begun.elapsed().as_millis());
        }
        assert!(ends.iter().all(|end| (100..=101).contains(end)), "{ends:?}");
        let begun = Instant::now();
        paced(quantum, sleep(Duration::from_millis(250))).await;
        assert!((300..=301).contains(&begun.elapsed().as_millis()));
        let begun = Instant::now();
        assert_eq!(paced(Duration::ZERO, async { 7 }).await, 7);
        assert_eq!(begun.elapsed().as_millis(), 0);
    }
}
