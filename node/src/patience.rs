//! Repetition of calls that failed for a reason that may pass.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::{Instant, sleep};

/// Policy for trying again: pauses that double from the first to the longest, and optionally a number of tries and a
/// deadline. Each pause is random between half of its length and all of it, so that callers that failed together do not
/// come again together.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    pauses: ExponentialBuilder,
    within: Option<Duration>,
}

impl Patience {
    /// Creates a policy without an end: pauses double from at most `first` to at most `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        // backon adds between nothing and the whole of a pause to it, so it is given half of each.
        let pauses = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(half(first))
            .with_max_delay(half(longest))
            .without_max_times();
        Self {
            pauses,
            within: None,
        }
    }

    /// Ends the policy after this number of tries, the first included.
    pub const fn tries(mut self, tries: usize) -> Self {
        self.pauses = self.pauses.with_max_times(tries.saturating_sub(1));
        self
    }

    /// Begins no try once this time has passed since the first.
    pub const fn within(mut self, total: Duration) -> Self {
        self.within = Some(total);
        self
    }

    /// Begins to count tries and time, for a loop that does more than repeat one step.
    pub fn begin(self) -> Tries {
        Tries {
            pauses: self.pauses.build(),
            // A deadline too far away for the clock is none.
            ends: self
                .within
                .and_then(|total| Instant::now().checked_add(total)),
        }
    }

    /// Repeats `step` while it fails with an error that `may_pass`. `step` must bear repetition.
    ///
    /// # Errors
    /// The first error that cannot pass, or the last one when the policy ends.
    pub async fn retry<T, E, F: Future<Output = Result<T, E>>>(
        self,
        may_pass: impl Fn(&E) -> bool,
        mut step: impl FnMut() -> F,
    ) -> Result<T, E> {
        let mut tries = self.begin();
        loop {
            match step().await {
                Err(error) if may_pass(&error) && tries.again().await => {}
                done => return done,
            }
        }
    }
}

/// Tries under a [`Patience`] so far.
#[derive(Debug)]
pub struct Tries {
    pauses: ExponentialBackoff,
    ends: Option<Instant>,
}

impl Tries {
    /// Waits before the next try. Returns false, without waiting, if there is none.
    pub async fn again(&mut self) -> bool {
        let Some(pause) = self.pauses.next() else {
            return false;
        };
        // A pause that ends after the deadline would only delay the error.
        if self.ends.is_some_and(|ends| Instant::now() + pause >= ends) {
            return false;
        }
        sleep(pause).await;
        true
    }
}

/// Returns half of a pause. `Duration` has no constant division.
const fn half(pause: Duration) -> Duration {
    Duration::from_millis(pause.as_millis() as u64 / 2)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    /// Fails under `patience` until it ends. Returns the number of tries and the time that they took.
    async fn failing(patience: Patience) -> (usize, Duration) {
        let (begun, tries) = (Instant::now(), Cell::new(0));
        let failing = || async {
            tries.set(tries.get() + 1);
            Err::<(), ()>(())
        };
        let failed = patience.retry(|()| true, failing).await;
        assert!(failed.is_err());
        (tries.get(), begun.elapsed())
    }

    #[tokio::test]
    async fn tries_are_counted_and_pauses_double_up_to_the_longest() {
        let (tries, took) = failing(Patience::new(TICK, 4 * TICK).tries(5)).await;
        assert_eq!(tries, 5);
        // 1, 2, 4 and 4 ticks, each at most half shorter. A busy machine may take any longer time.
        assert!(took >= 11 * TICK / 2, "{took:?}");
        let pauses: Vec<Duration> = Patience::new(TICK, 4 * TICK)
            .begin()
            .pauses
            .take(4)
            .collect();
        for (pause, ticks) in pauses.into_iter().zip([1, 2, 4, 4]) {
            assert!(
                (ticks * TICK / 2..=ticks * TICK).contains(&pause),
                "{pause:?}"
            );
        }
    }

    #[tokio::test]
    async fn no_try_begins_after_the_deadline() {
        let begun = Instant::now();
        let mut tries = Patience::new(TICK, TICK).within(20 * TICK).begin();
        while tries.again().await {}
        assert!(begun.elapsed() >= 19 * TICK);
        // The deadline has come closer than any pause is long, so that there is no further wait.
        let hour = Duration::from_secs(3600);
        assert_eq!(
            failing(Patience::new(hour, hour).within(hour / 2)).await.0,
            1
        );
    }

    #[tokio::test]
    async fn an_error_that_cannot_pass_is_returned_at_once() {
        let hour = Duration::from_secs(3600);
        let failed =
            Patience::new(hour, hour).retry(|error| *error == 1, || async { Err::<(), u8>(2) });
        assert_eq!(failed.await, Err(2));
    }
}
