//! One honest aggregator of the model: its answers and refusals (protocol.md §8 and §9).
//!
//! This is written from the protocol and not from `crate::aggregation`. Contributions, shares and keys are left out. A
//! D, a decision and a proposal are names that are equal when the values are.

/// Number of batches of the model's query.
pub(super) const BATCHES: usize = 2;
/// Largest number of attempts at a batch. The exhaustive search uses fewer.
pub(super) const MOST_ATTEMPTS: usize = 3;

/// Decision of a quorum on a batch: hash of D, the quorum, the bitmap and all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Decision {
    /// Name of D: 0 for the first that an honest aggregator froze for this work, higher for others.
    pub(super) digest: u8,
    /// Members, one bit each.
    pub(super) quorum: u8,
    /// Name of the Byzantine member's message; 0 where it is not in the quorum.
    pub(super) word: u8,
}

/// Progress of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    #[default]
    Unopened,
    Frozen,
    Verifying,
    /// Frozen, and then lost in a restart.
    Forgotten,
    Prepared,
    Withdrawn,
}

/// One attempt at a batch, with every statement that this aggregator ever made about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Attempt {
    pub(super) step: Step,
    /// D with which this aggregator's share of the randomness left.
    pub(super) frozen: Option<u8>,
    /// True if a share of the randomness left earlier with another D.
    pub(super) froze_two: bool,
    /// True if its verifier messages left.
    pub(super) verified: bool,
    pub(super) acknowledged: Option<Decision>,
}

/// All attempts at a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Batch {
    pub(super) attempts: [Attempt; MOST_ATTEMPTS],
    /// Number of the attempt that counts, and its decision.
    pub(super) committed: Option<(u8, Decision)>,
}

/// Batches of a release: attempt and decision of each that is listed.
pub(super) type Proposal = [Option<(u8, Decision)>; BATCHES];

/// Release that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Releasing {
    pub(super) proposal: Proposal,
    /// Set once its total is sealed: true if a false opening lifted a mask.
    pub(super) released: Option<bool>,
    /// True if guards were opened earlier for another proposal.
    pub(super) second: bool,
}

/// One honest aggregator in a query of one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Aggregator {
    pub(super) batches: [Batch; BATCHES],
    pub(super) releasing: Option<Releasing>,
}

/// Request that is complete and correctly signed. A request that does not open or is not signed is refused for its
/// content and changes nothing, so that the model has no such request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Opens the groups of this D.
    Open { digest: u8 },
    /// Verifies with the shares of the randomness of t members for its D.
    Verify,
    /// Decides with the messages of a quorum. `word` is `None` if so many contradict each other that the attempt ends.
    Decide { quorum: u8, word: Option<u8> },
    /// Commits with equal acknowledgements of the quorum.
    Commit,
}

/// Reason for which a request is refused in a state, whatever the request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    WrongStep,
    OtherGroups,
    Forgotten,
    AlreadyCommitted,
    SecondRelease,
    NotCommitted,
}

/// Defence that a test takes out of the model, to see that the properties notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mistake {
    /// An attempt takes another D until its contributions are decided.
    TakesAnotherDigest,
    /// An attempt that was forgotten in a restart takes another D.
    ForgetsDigest,
    /// A later acknowledgement leaves earlier attempts unchanged.
    KeepsEarlierAttempts,
    /// A committed batch commits another attempt too.
    CommitsTwice,
    /// A second certified proposal is accepted.
    ReleasesTwice,
    /// A proposal is accepted without a comparison with the committed batches.
    TrustsProposals,
    /// The number of openings is not checked.
    CountsNoOpenings,
}

impl Attempt {
    fn is_open(&self) -> bool {
        self.holds_contributions() || self.step == Step::Forgotten
    }

    fn holds_contributions(&self) -> bool {
        matches!(self.step, Step::Frozen | Step::Verifying)
    }

    fn refusal(&self) -> Refusal {
        match self.step {
            Step::Forgotten => Refusal::Forgotten,
            _ => Refusal::WrongStep,
        }
    }
}

impl Aggregator {
    /// Takes a step of one attempt at one batch.
    pub(super) fn take(
        &mut self,
        (batch, attempt): (usize, usize),
        request: Request,
        mistake: Option<Mistake>,
    ) -> Result<(), Refusal> {
        // No batch changes once a release has begun. Only a commit may still arrive, until the total is sealed and the
        // sums are erased.
        let over = match request {
            Request::Commit => self.releasing.is_some_and(|of| of.released.is_some()),
            _ => self.releasing.is_some(),
        };
        if over {
            return Err(Refusal::WrongStep);
        }
        let taken = &mut self.batches[batch];
        match request {
            Request::Open { digest } => taken.open(attempt, digest, mistake),
            Request::Verify => taken.verify(attempt, mistake),
            Request::Decide { quorum, word } => taken.decide(attempt, quorum, word, mistake),
            Request::Commit => taken.commit(attempt, mistake),
        }
    }

    /// Loses the contributions of a batch in a restart.
    pub(super) fn restart(&mut self, batch: usize) {
        for attempt in &mut self.batches[batch].attempts {
            if attempt.holds_contributions() {
                attempt.step = Step::Forgotten;
            }
        }
    }

    /// Opens the guard counts for a certified proposal.
    pub(super) fn guards(
        &mut self,
        proposal: Proposal,
        mistake: Option<Mistake>,
    ) -> Result<(), Refusal> {
        let mut second = false;
        if let Some(releasing) = &self.releasing {
            if releasing.proposal == proposal {
                return Ok(());
            }
            if mistake != Some(Mistake::ReleasesTwice) {
                return Err(Refusal::SecondRelease);
            }
            second = true;
        }
        let mut listed = self.batches.iter().zip(&proposal);
        let committed = listed.all(|(batch, listed)| match listed {
            Some(listed) => batch.committed.as_ref() == Some(listed),
            None => true,
        });
        if !committed && mistake != Some(Mistake::TrustsProposals) {
            return Err(Refusal::NotCommitted);
        }
        self.releasing = Some(Releasing {
            proposal,
            released: None,
            second,
        });
        Ok(())
    }

    /// Seals the total. The caller has enough openings on one polynomial.
    pub(super) fn release(&mut self, lifted: bool) -> Result<(), Refusal> {
        let releasing = self.releasing.as_mut().ok_or(Refusal::WrongStep)?;
        releasing.released.get_or_insert(lifted);
        Ok(())
    }
}

impl Batch {
    fn open(
        &mut self,
        attempt: usize,
        digest: u8,
        mistake: Option<Mistake>,
    ) -> Result<(), Refusal> {
        if self.committed.is_some() && mistake != Some(Mistake::CommitsTwice) {
            return Err(Refusal::AlreadyCommitted);
        }
        let own = self.attempts[attempt];
        if own.step != Step::Unopened {
            let forgives = match mistake {
                Some(Mistake::TakesAnotherDigest) => own.is_open(),
                Some(Mistake::ForgetsDigest) => own.step == Step::Forgotten,
                _ => false,
            };
            let known = own.is_open() && own.frozen == Some(digest);
            if !(forgives || known) {
                return Err(Refusal::OtherGroups);
            }
            if own.holds_contributions() && own.frozen == Some(digest) {
                return Ok(());
            }
        }
        let mut later = self.attempts[attempt + 1..].iter();
        if later.any(|later| later.step != Step::Unopened) {
            return Err(Refusal::WrongStep);
        }
        for earlier in &mut self.attempts {
            if earlier.is_open() {
                earlier.step = Step::Withdrawn;
            }
        }
        let own = &mut self.attempts[attempt];
        own.froze_two |= own.frozen.is_some_and(|frozen| frozen != digest);
        own.frozen = Some(digest);
        own.step = Step::Frozen;
        Ok(())
    }

    fn current(
        &mut self,
        attempt: usize,
        mistake: Option<Mistake>,
    ) -> Result<&mut Attempt, Refusal> {
        if self.committed.is_some() && mistake != Some(Mistake::CommitsTwice) {
            return Err(Refusal::AlreadyCommitted);
        }
        let own = &mut self.attempts[attempt];
        match own.step {
            Step::Unopened => Err(Refusal::WrongStep),
            _ => Ok(own),
        }
    }

    fn verify(&mut self, attempt: usize, mistake: Option<Mistake>) -> Result<(), Refusal> {
        let own = self.current(attempt, mistake)?;
        if !own.holds_contributions() {
            return Err(own.refusal());
        }
        own.step = Step::Verifying;
        own.verified = true;
        Ok(())
    }

    fn decide(
        &mut self,
        attempt: usize,
        quorum: u8,
        word: Option<u8>,
        mistake: Option<Mistake>,
    ) -> Result<(), Refusal> {
        let own = self.current(attempt, mistake)?;
        let repeated = own.acknowledged.is_some_and(|said| said.quorum == quorum);
        if own.step == Step::Prepared && repeated {
            return Ok(());
        }
        let Some(digest) = own.frozen.filter(|_| own.step == Step::Verifying) else {
            return Err(own.refusal());
        };
        let Some(word) = word else {
            own.step = Step::Withdrawn;
            return Ok(());
        };
        own.step = Step::Prepared;
        own.acknowledged = Some(Decision {
            digest,
            quorum,
            word,
        });
        if mistake != Some(Mistake::KeepsEarlierAttempts) {
            for earlier in &mut self.attempts[..attempt] {
                if earlier.step != Step::Unopened {
                    earlier.step = Step::Withdrawn;
                }
            }
        }
        Ok(())
    }

    fn commit(&mut self, attempt: usize, mistake: Option<Mistake>) -> Result<(), Refusal> {
        if let Some((committed, _)) = self.committed
            && mistake != Some(Mistake::CommitsTwice)
        {
            return match usize::from(committed) == attempt {
                true => Ok(()),
                false => Err(Refusal::AlreadyCommitted),
            };
        }
        let own = self.attempts[attempt];
        let prepared = own.acknowledged.filter(|_| own.step == Step::Prepared);
        let decision = prepared.ok_or(own.refusal())?;
        self.committed = Some((attempt as u8, decision));
        Ok(())
    }
}
