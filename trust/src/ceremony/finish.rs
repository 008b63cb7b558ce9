//! Round 3: what a member makes of all dealings.

use curve25519_dalek::{RistrettoPoint, Scalar};
use zeroize::Zeroizing;

use super::transcript::value;
use super::{CeremonyError, Enrolled, Enrolments, Fault, MemberDealing, Transcript, deal};
use dispers_crypto::{
    dealing::{KeyShare, ThresholdKey},
    ristretto::Point,
};

/// The end of a ceremony, for one member.
#[derive(Debug)]
pub struct Finished {
    /// The member's share.
    pub share: KeyShare,
    /// The key, equal for all members.
    pub key: ThresholdKey,
    /// For the directory, equal for all members.
    pub transcript: Transcript,
}

impl Enrolled {
    /// Verifies all dealings and adds up what was dealt to this member. `previous` is the key that is
    /// refreshed, with this member's share of it.
    ///
    /// Faulty dealings may be replaced and this be called again; afterwards, `self` and the share
    /// before a refresh are erased.
    ///
    /// # Errors
    /// [`CeremonyError`], naming every member whose dealing is wrong.
    pub fn finish(
        &self,
        enrolments: &Enrolments,
        previous: Option<(&ThresholdKey, &KeyShare)>,
        dealings: Vec<MemberDealing>,
    ) -> Result<Finished, CeremonyError> {
        let ceremony = &enrolments.ceremony;
        let enrolled = enrolments.keys.get(self.member.index());
        if self.ceremony != ceremony.digest() || enrolled != Some(&self.secret.public()) {
            return Err(CeremonyError::OtherSecret(self.member));
        }
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
        // Whose signed part is wrong already is not also named for what follows from that.
        culprits.retain(|culprit| all.iter().all(|other| other.member != culprit.member));
        all.append(&mut culprits);
        if !all.is_empty() {
            all.sort_by_key(|culprit| culprit.member);
            return Err(CeremonyError::Dealings { culprits: all });
        }

        let key = transcript.sum(previous.map(|(key, _)| key))?;
        if let Some((_, share)) = previous {
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
