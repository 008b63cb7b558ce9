//! A circuit breaker per stack: one that does not answer is not waited for at every batch.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use dispers_base::id::Name;

/// Failures in a row after which a stack is not asked for a while.
const FAILURES: u32 = 3;
/// First and longest while; doubled at every failure.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));

/// How one stack did lately. A stack without an entry is well.
struct State {
    failures: u32,
    /// Not asked before; then one ask tries it.
    closed_at: Instant,
}

/// The breakers of all stacks.
#[derive(Default)]
pub(crate) struct Breakers(Mutex<HashMap<Name, State>>);

impl Breakers {
    fn states(&self) -> MutexGuard<'_, HashMap<Name, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a stack may be asked. After a while one ask tries it, and others wait for that.
    pub(crate) fn admits(&self, host: &Name, now: Instant) -> bool {
        let mut states = self.states();
        let Some(state) = states.get_mut(host) else {
            return true;
        };
        if state.failures < FAILURES {
            return true;
        }
        let admits = now >= state.closed_at;
        if admits {
            state.closed_at = now + pause(state.failures);
        }
        admits
    }

    /// Notes that a stack did or did not answer. A refusal is an answer.
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

fn pause(failures: u32) -> Duration {
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
            // One tries it, and only one.
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
