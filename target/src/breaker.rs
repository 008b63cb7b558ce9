//! Circuit breakers, one per stack, so that a batch does not wait for a stack that keeps failing (protocol.md §6).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dispers_base::id::Name;

/// Number of failures in a row after which a stack is not asked for some time.
const FAILURES: u32 = 3;
/// Shortest and longest time without an ask. Each further failure doubles the time.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// Recent failures of one stack. A stack without an entry has none.
struct State {
    failures: u32,
    /// Time before which the stack is not asked once its breaker is open; then one ask may try it.
    closed_at: Instant,
}

/// The breakers of all stacks.
#[derive(Default)]
pub(crate) struct Breakers(Mutex<HashMap<Name, State>>);

impl Breakers {
    /// Locks the table of all stacks.
    fn states(&self) -> MutexGuard<'_, HashMap<Name, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a stack may be asked. When the time without an ask is over, one ask may try the stack, and
    /// others are refused until its outcome is known.
    pub(crate) fn admits(&self, host: &Name, now: Instant) -> bool {
        let mut states = self.states();
        let Some(state) = states.get_mut(host) else {
            return true;
        };
        if state.failures < FAILURES {
            return true;
        }
        let admits = now >= state.closed_at;
        // Moving the time forward admits a single trial. If the trial's outcome is never recorded, the next one is
        // admitted after the same time.
        if admits {
            state.closed_at = now + pause(state.failures);
        }
        admits
    }

    /// Records whether a stack answered. A refusal counts as an answer.
    pub(crate) fn note(&self, host: &Name, answered: bool, now: Instant) {
        let mut states = self.states();
        if answered {
            states.remove(host);
            return;
        }
        let state = states.entry(host.clone()).or_insert(State {
            failures: 0,
            closed_at: now,
        });
        state.failures = state.failures.saturating_add(1);
        state.closed_at = now + pause(state.failures);
    }
}

/// Returns the time without an ask after this many failures in a row.
fn pause(failures: u32) -> Duration {
    // The shift is limited so that it cannot overflow; the result is far above the longest time by then.
    let doubled = 1 << failures.saturating_sub(FAILURES).min(16);
    (PAUSE.0 * doubled).min(PAUSE.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_that_fails_again_and_again_is_left_alone_for_longer_and_longer() {
        let (breakers, host) = (Breakers::default(), Name::new("host").unwrap());
        let other = Name::new("other").unwrap();
        let mut now = Instant::now();
        for _ in 0..FAILURES {
            assert!(breakers.admits(&host, now));
            breakers.note(&host, false, now);
        }
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            assert!(!breakers.admits(&host, now));
            let while_ = Duration::from_secs(seconds);
            assert!(!breakers.admits(&host, now + while_ - Duration::from_millis(1)));
            now += while_;
            // One ask may try the stack, and only one.
            assert!(breakers.admits(&host, now));
            assert!(!breakers.admits(&host, now));
            breakers.note(&host, false, now);
        }
        assert!(breakers.admits(&other, now));
    }

    #[test]
    fn one_answer_makes_a_stack_well() {
        let (breakers, host) = (Breakers::default(), Name::new("host").unwrap());
        let now = Instant::now();
        for _ in 0..FAILURES {
            breakers.note(&host, false, now);
        }
        assert!(!breakers.admits(&host, now));
        breakers.note(&host, true, now);
        assert!(breakers.admits(&host, now));
        breakers.note(&host, false, now);
        assert!(breakers.admits(&host, now));
    }
}
