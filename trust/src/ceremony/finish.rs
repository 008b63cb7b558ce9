//! Round 3 of a ceremony: each member verifies all dealings and computes its share and the key.

use curve25519_dalek::{RistrettoPoint, Scalar};
use zeroize::Zeroizing;

use super::transcript::value;
use super::{CeremonyError, Enrolled, Enrolments, Fault, MemberDealing, Transcript, deal};
use dispers_crypto::{
    dealing::{KeyShare, ThresholdKey},
    ristretto::Point,
};

/// Result of a ceremony for one member.
#[derive(Debug)]
pub struct Finished {
    /// Secret share of the member.
    pub share: KeyShare,
    /// Public key with all public shares, equal for all members.
    pub key: ThresholdKey,
    /// Transcript for the directory, equal for all members.
    pub transcript: Transcript,
}

impl Enrolled {
    /// Verifies all dealings and adds up the shares that were dealt to this member. In a refresh, `previous` is the key
    /// to refresh and this member's share of it.
    ///
    /// After an error, wrong dealings may be replaced and this function called again. After success, the caller erases
    /// the stored forms of `self` and of the share before a refresh.
    ///
    /// # Errors
    /// [`CeremonyError`], with the name of every member whose dealing is wrong.
    pub fn finish(
        &self,
        enrolments: &Enrolments,
        previous: Option<(&ThresholdKey, &KeyShare)>,
        dealings: Vec<MemberDealing>,
    ) -> Result<Finished, CeremonyError> {
        // Another secret would open none of the shares, and every honest dealer would be named for that.
        let ceremony = &enrolments.ceremony;
        let enrolled = enrolments.keys.get(self.member.index());
        if self.ceremony != ceremony.digest() || enrolled != Some(&self.secret.public()) {
            return Err(CeremonyError::OtherSecret(self.member));
        }
        // An old share, or another member's, would lead to a new share that does not match its listed public share.
        // That would be noticed only when the key is used.
        ceremony.check_previous(previous.map(|(key, _)| key))?;
        if let Some((key, share)) = previous
            && (share.number() != self.member || key.share(self.member) != Some(share.public()))
        {
            return Err(CeremonyError::Previous(
                "the share to refresh is not this member's, or not of the key to refresh",
            ));
        }

        let (publics, sealed): (Vec<_>, Vec<_>) =
            dealings.into_iter().map(|d| (d.public, d.shares)).unzip();
        let mut sum = Zeroizing::new(Scalar::ZERO);
        let mut culprits = Vec::new();
        for (public, sealed) in publics.iter().zip(&sealed) {
            let dealer = public.body.member;
            // Every member sees this fault. It goes before a wrong share, which only the reader of that share sees.
            if sealed.len() != ceremony.threshold.members()
                || deal::digest(sealed) != public.body.shares
            {
                culprits.push(Fault::SealedShares.of(dealer));
                continue;
            }
            let context = enrolments.share_context(dealer, self.member);
            let opened = context.open(&sealed[self.member.index()], &self.secret);
            let commitments = public.body.commitments.iter().map(Point::inner);
            let commitments: Vec<_> = commitments.copied().collect();
            let expected = value(ceremony, &commitments, self.member);
            match opened {
                Ok(share) if RistrettoPoint::mul_base(&share) == expected => *sum += *share,
                _ => culprits.push(Fault::Share.of(dealer)),
            }
        }
        let transcript = Transcript::new(ceremony.clone(), publics);
        let mut all = transcript.culprits(&enrolments.signers, Some(enrolments.digest));
        // Reports only the first fault of a dealer. Where its public part is wrong, a share that does not fit follows
        // from that.
        culprits.retain(|culprit| all.iter().all(|other| other.member != culprit.member));
        all.append(&mut culprits);
        if !all.is_empty() {
            all.sort_by_key(|culprit| culprit.member);
            return Err(CeremonyError::Dealings { culprits: all });
        }

        let key = transcript.sum(previous.map(|(key, _)| key))?;
        if let Some((_, share)) = previous {
            // > The new share is the old one + Σ fᵢ(j)
            *sum += share.secret();
        }
        let share = KeyShare::new(self.member, *sum).ok_or(CeremonyError::Cancelled)?;
        Ok(Finished {
            share,
            key,
            transcript,
        })
    }
}
