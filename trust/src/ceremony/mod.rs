//! Ceremonies, in which members make a threshold key together, so that nobody ever knows the whole key (protocol.md
//! §2).
//!
//! A ceremony has three rounds of public messages, which may be lost, delayed or changed on their way:
//!
//! 1. *Enrolment* ([`Ceremony::enrol`]): each member signs a fresh envelope key and keeps its secret.
//! 2. *Dealing* ([`Enrolments::deal`]): each member draws a polynomial, signs commitments to its coefficients, and
//!    seals to every member the polynomial's value at that member's number.
//! 3. *Finish* ([`Enrolled::finish`]): each member verifies every dealing, adds up the shares that it was dealt, and
//!    computes the public key from the commitments. An error names every wrong dealing, not only the first.
//!
//! The secret key is the sum of all polynomials at 0. It stays secret as long as one dealer is honest and fewer than
//! `needed` members collude. The signed commitments of a ceremony are its [`Transcript`], from which anybody can verify
//! how the key was made. A *refresh* deals polynomials that are zero at 0: the key stays and every share changes, so
//! that shares stolen before and after a refresh do not combine, as in Herzberg et al., *Proactive secret sharing*
//! (1995).
//!
//! # Security
//! This is Pedersen's joint Feldman dealing. The last dealer has seen the commitments of the others. It may choose its
//! own so that the public key has some wanted property, and the key is not uniformly distributed (Gennaro, Jarecki,
//! Krawczyk, Rabin, *Secure distributed key generation for discrete-log based cryptosystems*, Journal of Cryptology 20,
//! 2007; the paper also shows uses that stay secure). Both uses of the key in DISPERS stay secure. A dealer proves that
//! it knows the constant term a of its dealing (as in FROST, Komlo and Goldberg 2020). Any key that it can bring about
//! is therefore x + a, where x is the sum of the honest terms, uniform and unknown. Both uses raise a hashed input h to
//! the key, and h^(x+a) = h^x · h^a: whoever predicts a value under x + a predicts one under x.
//!
//! There is no round of complaints. A wrong dealing stops the ceremony with the name of its dealer, who deals again, or
//! the ceremony begins again without that dealer. When a single member blames a dealer for a sealed share, either of
//! the two may be lying. A key protects nothing before it is in the directory, so that a stopped ceremony costs only
//! time.

mod deal;
mod enrolment;
mod error;
mod finish;
mod knowledge;
mod transcript;

pub use deal::{DealingBody, MemberDealing, PublicDealing};
pub use enrolment::{Enrolled, Enrolment, EnrolmentBody, Enrolments, InvalidEnrolled};
pub use error::{CeremonyError, Culprit, Fault};
pub use finish::Finished;
pub use knowledge::Knowledge;
pub use transcript::{Transcript, trace};

use borsh::{BorshDeserialize, BorshSerialize};

use dispers_base::{
    encoding,
    fingerprint::Fingerprint,
    id::{MemberNumber, Name, Role, Threshold},
    keys::VerifyingKey,
    labels,
};
use dispers_crypto::{dealing::ThresholdKey, envelope::Suite};

/// Parameters of a ceremony. Every message of the ceremony is bound to their digest.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ceremony {
    /// Name of the network.
    pub network: Name,
    /// Role of the members: [`Role::ConceptIndexor`] or [`Role::DataAggregator`].
    pub role: Role,
    /// Committee of the aggregators; 0 for concept indexors.
    pub group: u16,
    /// Number of members, and number of them that an evaluation needs.
    pub threshold: Threshold,
    /// Suite of the members' envelope keys.
    pub suite: Suite,
    /// Result of the ceremony: a fresh key or fresh shares.
    pub purpose: Purpose,
    /// Random id, chosen by whoever starts the ceremony, so that no two ceremonies have the same digest.
    pub id: [u8; 16],
}

/// Result that a ceremony is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Purpose {
    /// A fresh key.
    Fresh,
    /// Fresh shares of an existing key.
    Refresh {
        /// The [`key_name`] of the existing key with its present public shares.
        previous: [u8; 32],
    },
}

/// Returns a name for a key together with its public shares. A refresh changes the name.
pub fn key_name(key: &ThresholdKey) -> [u8; 32] {
    encoding::hash(labels::HASH_THRESHOLD_KEY, &[&encoding::to_bytes(key)])
}

/// Returns the fingerprint of a threshold key that people compare. It covers the key and its public shares, and changes
/// with a refresh.
pub fn fingerprint(key: &ThresholdKey) -> Fingerprint {
    Fingerprint::of(&key_name(key))
}

impl Ceremony {
    /// Returns the digest that every message of the ceremony is bound to.
    pub fn digest(&self) -> [u8; 32] {
        encoding::hash(labels::HASH_CEREMONY, &[&encoding::to_bytes(self)])
    }

    /// Returns the number of commitments in a dealing: one per coefficient, except that the constant of a refresh,
    /// which is zero, has none.
    fn commitments(&self) -> usize {
        match self.purpose {
            Purpose::Fresh => self.threshold.needed(),
            Purpose::Refresh { .. } => self.threshold.needed() - 1,
        }
    }

    /// Verifies that these members can hold the ceremony. `signers` are their signing keys, in member order.
    ///
    /// # Errors
    /// [`CeremonyError`] for a role without a threshold key, a threshold of 1, a number of signing keys that differs
    /// from the number of members, and a signing key that two members have.
    pub fn check(&self, signers: &[VerifyingKey]) -> Result<(), CeremonyError> {
        if !matches!(self.role, Role::ConceptIndexor | Role::DataAggregator) {
            return Err(CeremonyError::Role(self.role));
        }
        if self.threshold.needed() < 2 {
            return Err(CeremonyError::Lone);
        }
        if signers.len() != self.threshold.members() {
            return Err(CeremonyError::Signers {
                members: self.threshold.members(),
                signers: signers.len(),
            });
        }
        for (position, number) in self.threshold.numbers().enumerate() {
            if signers[..position].contains(&signers[position]) {
                return Err(CeremonyError::RepeatedSigner(number));
            }
        }
        Ok(())
    }

    /// Adds to `culprits` every member that is not exactly once among `senders`, and every number among `senders` that
    /// no member has.
    fn attendance(&self, senders: &[MemberNumber], culprits: &mut Vec<Culprit>) {
        for member in self.threshold.numbers() {
            match senders.iter().filter(|sender| **sender == member).count() {
                0 => culprits.push(Fault::Missing.of(member)),
                1 => {}
                _ => culprits.push(Fault::Repeated.of(member)),
            }
        }
        let unknown = senders
            .iter()
            .filter(|sender| sender.index() >= self.threshold.members());
        culprits.extend(unknown.map(|sender| Fault::Unknown.of(*sender)));
    }
}

#[cfg(test)]
mod tests;
