//! Defences that tests can switch off, to show which attack each of them stops.
//!
//! The Byzantine adversary of the simulation must find an attack once its defence is off (docs/testing.md). Without the
//! feature `weaknesses`, which only tests enable, no defence can be switched off: [`off`] is a constant `false`, and
//! the weak branch is dead code.

/// Defence that a test can switch off. Each variant is named for the attack, and its comment states the defence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// The id of a find covers everything that determines its cut (protocol.md §6).
    SeveralCutsOfOneFind,
    /// A home answers a query in one batch only (protocol.md §6).
    HomeInSeveralBatches,
    /// A home's tag names its partition (protocol.md §6).
    HomesOfOtherPartitions,
    /// The conductor requires the answer rate of every committee before a release (protocol.md §8).
    AnswerRateOfAllCommittees,
    /// A keyed hash of the home names its committee (protocol.md §8).
    CommitteesMoveWithBatches,
    /// The seed of an encapsulation covers the plaintext (protocol.md §3).
    SealedFromASharedSeed,
    /// Every find is compared with all sets stored under other profiles (protocol.md §9).
    KnownProfilesUncompared,
    /// A find accepts exactly the lists of its profile (protocol.md §6).
    ListsLeftOut,
    /// The directory bounds δ, and homes account in ρ (protocol.md §17).
    DeltaUnbounded,
    /// A rule made from a question allows no more than that question (protocol.md §17).
    RuleWidens,
    /// Noisy sizes of sets are compared with the bounds (protocol.md §6).
    SizesExact,
    /// A budget holds whichever aggregators take part (protocol.md §9).
    BudgetOfTheAggregatorsThatOffer,
    /// A query is charged in the step that makes its release possible (protocol.md §9).
    ReleasedUncharged,
    /// Cells below the cohort are withheld, and so are cells that would give them away (protocol.md §9).
    CellsGivenAway,
    /// A target that sends other bytes costs an attempt and no aggregator (protocol.md §8).
    OtherBytesEvict,
    /// The homes of one host cannot fail a batch or exclude an aggregator (protocol.md §8).
    HostFailsBatch,
    /// The conductor compares a deal with its request and its dealer's signature (protocol.md §9).
    FalseDealsEvict,
    /// An aggregator that cannot read another's message stays in the query (protocol.md §8).
    UnreadEvicts,
    /// The conductor verifies the signature of an acknowledgement (protocol.md §8).
    FalseAcknowledgementEvicts,
    /// A dealer stays in the query if its noise is right once fewer than t members are left out (protocol.md §9).
    FalseBitEvictsDealer,
    /// An aggregator accepts one digest of parameters per round (protocol.md §18).
    SeveralModelsOfOneRound,
    /// A contribution is bound to the parameters that its home was shown (protocol.md §18).
    ContributionsOfAnyModel,
}

// One value per thread: tests run in parallel, and a test must not weaken another one.
#[cfg(any(test, feature = "weaknesses"))]
thread_local! {
    static OFF: std::cell::Cell<Option<Weakness>> = const { std::cell::Cell::new(None) };
}

/// Returns whether this thread has switched the defence off.
#[cfg(any(test, feature = "weaknesses"))]
pub fn off(weakness: Weakness) -> bool {
    OFF.with(|off| off.get() == Some(weakness))
}

/// Returns `false`: outside tests every defence is on.
#[cfg(not(any(test, feature = "weaknesses")))]
pub const fn off(_: Weakness) -> bool {
    false
}

/// Runs `attack` with one defence switched off on this thread. Restores the earlier state afterwards.
#[cfg(any(test, feature = "weaknesses"))]
pub fn without<T>(weakness: Weakness, attack: impl FnOnce() -> T) -> T {
    // A guard restores the state also when the attack panics, as a failing test does: the test harness may use the
    // thread again.
    struct Restore(Option<Weakness>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.with(|off| off.set(self.0));
        }
    }
    let _restore = Restore(OFF.with(|off| off.replace(Some(weakness))));
    attack()
}
