//! Upload quotas per host, so that no host fills the Conductor's lists.
//!
//! The Conductor cannot know which host sent an upload, since the Target strips its origin, and the Target cannot read
//! its content. So the Target counts bytes. It cannot recognise withdrawals either; instead, uploads are forgiven
//! evenly within a month.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use dispers_base::id::Name;

use crate::Error;

/// Time after which an upload no longer counts.
const FORGIVEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Bytes of a host's uploads that still counted at the time `at`.
struct Used {
    bytes: u64,
    at: Instant,
}

/// Recent uploads of all hosts.
pub(crate) struct Quotas {
    most: u64,
    used: Mutex<HashMap<Name, Used>>,
}

impl Quotas {
    /// Lets each host upload `most` bytes at once, and as many again within a month.
    pub(crate) fn new(most: u64) -> Self {
        Self {
            most,
            used: Mutex::default(),
        }
    }

    /// Returns the number of bytes that a host may upload now.
    pub(crate) fn left(&self, host: &Name, now: Instant) -> u64 {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let used = used.get(host).map_or(0, |used| self.after(used, now));
        self.most.saturating_sub(used)
    }

    /// Returns the bytes of `used` that still count at the time `now`.
    fn after(&self, used: &Used, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(used.at).as_millis();
        let forgiven = u128::from(self.most) * passed / FORGIVEN.as_millis();
        used.bytes
            .saturating_sub(u64::try_from(forgiven).unwrap_or(u64::MAX))
    }

    /// Counts an upload before it is passed on, so that two uploads at the same time cannot both take the last bytes.
    ///
    /// # Errors
    /// [`Error::Quota`] if the upload exceeds the quota; then nothing is counted.
    pub(crate) fn take(&self, host: &Name, bytes: usize, now: Instant) -> Result<(), Error> {
        let bytes = bytes as u64;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let before = used.get(host).map_or(0, |used| self.after(used, now));
        let after = before.saturating_add(bytes);
        if after > self.most {
            let over = u128::from((after - self.most).min(self.most));
            let wait = over * FORGIVEN.as_millis() / u128::from(self.most.max(1)) / 3_600_000;
            return Err(Error::Quota {
                most: self.most,
                hours: u64::try_from(wait).unwrap_or(u64::MAX).saturating_add(1),
            });
        }
        used.insert(
            host.clone(),
            Used {
                bytes: after,
                at: now,
            },
        );
        Ok(())
    }

    /// Releases the bytes of an upload that no Conductor accepted.
    pub(crate) fn give_back(&self, host: &Name, bytes: usize) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = used.get_mut(host) {
            used.bytes = used.bytes.saturating_sub(bytes as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_uploads_without_end_is_stopped_and_no_other_is() {
        let quotas = Quotas::new(1000);
        let (greedy, other) = (Name::new("greedy").unwrap(), Name::new("other").unwrap());
        let now = Instant::now();
        quotas.take(&greedy, 600, now).unwrap();
        quotas.take(&greedy, 400, now).unwrap();
        let Err(Error::Quota { most: 1000, hours }) = quotas.take(&greedy, 100, now) else {
            panic!("it is stopped");
        };
        // 73 hours are a tenth of a month.
        assert_eq!(hours, 73);
        assert_eq!(
            (quotas.left(&greedy, now), quotas.left(&other, now)),
            (0, 1000)
        );
        quotas.take(&other, 1000, now).unwrap();
        let later = now + Duration::from_secs(hours * 3600);
        quotas.take(&greedy, 100, later).unwrap();
        assert!(quotas.take(&greedy, 100, later).is_err());
        // An upload that was refused elsewhere uses no quota.
        quotas.give_back(&greedy, 100);
        quotas.take(&greedy, 100, later).unwrap();
        assert_eq!(quotas.left(&greedy, later + FORGIVEN), 1000);
    }
}
