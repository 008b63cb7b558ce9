//! Ceremonies: a threshold key that its members make together, so that nobody ever knows it whole
//! (protocol.md §2).
//!
//! Three rounds of public messages, which may be lost, delayed or changed on their way:
//!
//! 1. *Enrolment* ([`Ceremony::enrol`]): each member signs a fresh envelope key and keeps its secret.
//! 2. *Dealing* ([`Enrolments::deal`]): each member draws a polynomial of its own, signs commitments
//!    to its coefficients, and seals its value at every member's number to that member.
//! 3. *Finish* ([`Enrolled::finish`]): each member verifies every dealing, adds up the shares that it
//!    was dealt, and computes the public key from the commitments. What is wrong is named, all of it.
//!
//! The key is the sum of all polynomials at 0, and secret while one dealer and enough members are
//! honest. A [`Transcript`], the signed commitments, shows anybody that it is. A *refresh* deals
//! polynomials that are zero at 0: the key stays and every share changes, so that shares stolen
//! before and after do not combine, as in Herzberg et al., *Proactive secret sharing* (1995).
//!
//! # Security
//! This is Pedersen's joint Feldman dealing. Whoever deals last has seen the commitments of the
//! others and may choose its own so that the public key has some wanted property: the key is not
//! uniformly distributed (Gennaro, Jarecki, Krawczyk, Rabin, *Secure distributed key generation for
//! discrete-log based cryptosystems*, Journal of Cryptology 20, 2007; they also show uses that stay
//! secure). Here it does not hurt. A dealer proves that it knows the constant term a of its dealing
//! (as in FROST, Komlo and Goldberg 2020), so that any key it can bring about is x + a with x, the sum
//! of the honest terms, uniform and unknown. Both uses of the key raise a hashed input h to it, and
//! h^(x+a) = h^x · h^a: whoever predicts a value under x + a predicts one under x.
//!
//! There is no round of complaints. A wrong dealing stops the ceremony with its dealer's name: it
//! deals again or the ceremony begins anew without it. When a single member names a dealer for its
//! sealed share, either of the two may be lying. Until its public key is in the directory, a key
//! protects nothing, so nothing is lost but time.

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

/// What a ceremony is for. Every message of it is bound to the digest of this.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ceremony {
    /// The network's name.
    pub network: Name,
    /// [`Role::ConceptIndexor`] or [`Role::DataAggregator`].
    pub role: Role,
    /// The committee of aggregators; 0 for Concept Indexors.
    pub group: u16,
    /// How many members are needed, of how many.
    pub threshold: Threshold,
    /// Suite of the members' envelope keys.
    pub suite: Suite,
    /// What is made.
    pub purpose: Purpose,
    /// Chosen at random by who starts the ceremony: no two are equal.
    pub id: [u8; 16],
}

/// What a ceremony makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Purpose {
    /// A key.
    Fresh,
    /// Other shares of a key.
    Refresh {
        /// The [`name`](key_name) of the key with its present public shares.
        previous: [u8; 32],
    },
}

/// The name of a key together with its public shares, which a refresh changes.
pub fn key_name(key: &ThresholdKey) -> [u8; 32] {
    encoding::hash(labels::HASH_THRESHOLD_KEY, &[&encoding::to_bytes(key)])
}

/// Returns the fingerprint of a threshold key that people compare. It covers the key and its public shares, so that it
/// changes with a refresh.
pub fn fingerprint(key: &ThresholdKey) -> Fingerprint {
    Fingerprint::of(&key_name(key))
}

impl Ceremony {
    /// What its messages are bound to.
    pub fn digest(&self) -> [u8; 32] {
        encoding::hash(labels::HASH_CEREMONY, &[&encoding::to_bytes(self)])
    }

    /// Points in a dealing: one per coefficient, but for the constant of a refresh, which is zero.
    fn commitments(&self) -> usize {
        match self.purpose {
            Purpose::Fresh => self.threshold.needed(),
            Purpose::Refresh { .. } => self.threshold.needed() - 1,
        }
    }

    /// Whether a ceremony of these members makes sense. `signers` are their signing keys, in order.
    ///
    /// # Errors
    /// [`CeremonyError`] for a role without a threshold key, a threshold of 1, another number of keys
    /// than of members, and a key that two have.
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

    /// Names members without exactly one of the messages that `senders` sent, and numbers that no
    /// member has.
    fn attendance(&self, senders: &[MemberNumber], culprits: &mut Vec<Culprit>) {
        for member in self.threshold.numbers() {
            match senders.iter().filter(|sender| **sender == member).count() {
                0 => culprits.push(Fault::Missing.of(member)),
                1 => {}
                _ => culprits.push(Fault::Repeated.of(member)),
            }
        }
        let unknown = |sender: &&MemberNumber| sender.index() >= self.threshold.members();
        culprits.extend(
            senders
                .iter()
                .filter(unknown)
                .map(|sender| Fault::Unknown.of(*sender)),
        );
    }
}

#[cfg(test)]
mod tests;
