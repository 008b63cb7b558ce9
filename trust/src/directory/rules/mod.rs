//! Rules that the body of a directory obeys, each with its error.

mod catalogue;
mod collusion;
mod membership;
mod previous;
mod transcripts;
mod witnesses;

use std::collections::HashSet;
use std::hash::Hash;
use std::net::Ipv6Addr;

use super::{DirectoryBody, DirectoryError};
use crate::directory::{MAX_SIZE_NOISE, most_noise};
use dispers_base::{
    id::{Name, Role},
    keys::VerifyingKey,
};
use dispers_crypto::envelope::EnvelopePublicKey;

use super::TlsKey;

impl DirectoryBody {
    /// Verifies everything but the signatures and the present time.
    ///
    /// # Errors
    /// [`DirectoryError`] of the first rule that is broken.
    pub fn check(&self) -> Result<(), DirectoryError> {
        if self.expires <= self.issued {
            return Err(DirectoryError::Validity);
        }
        self.check_uniqueness()?;
        self.check_addresses()?;
        self.check_purposes()?;
        membership::check(self)?;
        collusion::check(self)?;
        previous::check(self)?;
        witnesses::check(self)?;
        self.check_floors()?;
        catalogue::check(&self.catalogue)?;
        // Last, since it costs most. It also needs a node for every member, which `membership` has verified.
        transcripts::check(self)
    }

    /// Returns the name, TLS key and signing key of every entry.
    fn entries(&self) -> impl Iterator<Item = (&Name, &TlsKey, &VerifyingKey)> {
        let nodes = self.nodes.iter();
        let hosts = self.hosts.iter();
        let queriers = self.queriers.iter();
        nodes
            .map(|e| (&e.name, &e.tls_key, &e.signing_key))
            .chain(hosts.map(|e| (&e.name, &e.tls_key, &e.signing_key)))
            .chain(queriers.map(|e| (&e.name, &e.tls_key, &e.signing_key)))
    }

    /// Returns every envelope key with the role of its reader. The key that all conductors share is returned once.
    fn envelope_keys(&self) -> impl Iterator<Item = (Role, &EnvelopePublicKey)> {
        let mut conductors = 0;
        let nodes = self.nodes.iter().filter(move |node| {
            conductors += usize::from(node.role == Role::Conductor);
            node.role != Role::Conductor || conductors == 1
        });
        let pools = self.pools.iter();
        nodes
            .filter_map(|node| Some((node.role, node.envelope_key.as_ref()?)))
            .chain(pools.map(|pool| (pool.role, &pool.envelope_key)))
    }

    fn check_uniqueness(&self) -> Result<(), DirectoryError> {
        if let Some((name, ..)) = repeated(self.entries(), |e| e.0) {
            return Err(DirectoryError::RepeatedName(name.clone()));
        }
        // The TLS key of a connection tells who the peer is, so that it must belong to one entry.
        if let Some((name, ..)) = repeated(self.entries(), |e| e.1) {
            return Err(DirectoryError::RepeatedTlsKey(name.clone()));
        }
        if let Some((name, ..)) = repeated(self.entries(), |e| e.2) {
            return Err(DirectoryError::RepeatedSigningKey(name.clone()));
        }
        // Two readers with one key could open each other's envelopes, whatever the rules about operators separate.
        if let Some((role, _)) = repeated(self.envelope_keys(), |e| e.1) {
            return Err(DirectoryError::RepeatedEnvelopeKey(role));
        }
        if let Some((role, _)) = self.envelope_keys().find(|e| e.1.suite() != self.suite) {
            return Err(DirectoryError::Suite(role));
        }
        // With one key for two groups, the members of one group could evaluate with the key of the other.
        let threshold_keys = [&self.indexors].into_iter().chain(&self.committees);
        if repeated(threshold_keys, |key| *key.key().as_bytes()).is_some() {
            return Err(DirectoryError::RepeatedThresholdKey);
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), DirectoryError> {
        for node in &self.nodes {
            if !is_address(&node.address) {
                return Err(DirectoryError::Address(node.name.clone()));
            }
        }
        // A host without an address is not dialled: its stack attaches itself to the target.
        for host in &self.hosts {
            if !host.address.is_empty() && !is_address(&host.address) {
                return Err(DirectoryError::Address(host.name.clone()));
            }
        }
        Ok(())
    }

    fn check_purposes(&self) -> Result<(), DirectoryError> {
        for querier in &self.queriers {
            let purposes = &querier.purposes;
            let valid = purposes
                .iter()
                .all(|p| !p.trim().is_empty() && p.len() <= 256);
            if purposes.len() > 100 || !valid || repeated(purposes.iter(), |p| *p).is_some() {
                return Err(DirectoryError::Purposes(querier.name.clone()));
            }
        }
        Ok(())
    }

    fn check_floors(&self) -> Result<(), DirectoryError> {
        let floors = &self.floors;
        if floors.min_cohort < 2 {
            return refuse_floor(
                "min_cohort",
                "must be at least 2, or a released number is one person's",
            );
        }
        if floors.answer_rate > 1000 {
            return refuse_floor("answer_rate", "is in permille: write at most 1000");
        }
        if floors.size_noise == 0 && !self.trial {
            return refuse_floor(
                "size_noise",
                "must be at least 1 unless the network is a trial: at 0 a querier learns the exact size of any set",
            );
        }
        if floors.size_noise > MAX_SIZE_NOISE {
            return refuse_floor("size_noise", "is a number of homes: write at most 100000");
        }
        // The noise can lower a number of homes by this much, and a find passes only if its cohort is reached all the
        // same.
        let noise = most_noise(floors.size_noise);
        if floors.max_homes < u64::from(floors.min_cohort) + noise {
            return refuse_floor(
                "max_homes",
                "must be at least min_cohort + 24 * size_noise + 8: with less, no query may run",
            );
        }
        if !(floors.max_delta > 0.0 && floors.max_delta < 1.0) {
            return refuse_floor(
                "max_delta",
                "must be above 0 and below 1: write a number such as 1e-5",
            );
        }
        // With fewer than t, aggregators could not open a sum. With more than n, no query could ever be verified.
        let min_verified = usize::from(floors.min_verified);
        for committee in &self.committees {
            if min_verified < committee.threshold().needed() {
                return refuse_floor(
                    "min_verified",
                    "must be at least every committee's threshold",
                );
            }
            if min_verified > committee.threshold().members() {
                return refuse_floor("min_verified", "must be at most every committee's size");
            }
        }
        Ok(())
    }
}

fn refuse_floor(floor: &'static str, reason: &'static str) -> Result<(), DirectoryError> {
    Err(DirectoryError::Floor { floor, reason })
}

/// Returns the first item that has the same key as an earlier one.
fn repeated<T, K: Eq + Hash>(items: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> Option<T> {
    let mut seen = HashSet::new();
    items.into_iter().find(|item| !seen.insert(key(item)))
}

/// Returns whether `address` is a DNS name, an IPv4 address or an IPv6 address in brackets, followed by a port.
fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let is_host = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => host.len() <= 253 && host.split('.').all(is_label),
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    // `u16` alone would also parse "+1".
    is_host && digits && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Returns whether a part of a DNS name is 1 to 63 letters, digits and hyphens.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in [
            "a:1",
            "node.example.org:7001",
            "10.0.0.1:65535",
            "[::1]:7001",
        ] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "::1:7001",
            "[::1]",
            "a..b:1",
            "http://a:1",
            "a b:1",
            "a:1/",
            "[a]:1",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
