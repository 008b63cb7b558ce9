//! Defences that tests of this crate can switch off, to show which attack each of them stops.
//!
//! The Byzantine adversary of the simulation must find an attack once its defence is off (docs/testing.md). Outside
//! `cfg(test)` no defence can be switched off: [`off`] is then a constant `false`, and the weak branch is dead code.

/// A defence, named for the attack that it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Weakness {
    /// What determines a cut is part of the find's id (protocol.md §6).
    SeveralCutsOfOneFind,
    /// A home answers a query in one batch only (protocol.md §6).
    HomeInSeveralBatches,
    /// A keyed hash of the home names its committee (protocol.md §8).
    CommitteesMoveWithBatches,
    /// No encapsulation is drawn from a seed that does not cover what is sealed (protocol.md §3).
    SealedFromASharedSeed,
    /// Every find is compared with all sets that are kept under other profiles (protocol.md §9).
    KnownProfilesUncompared,
    /// A find takes exactly the lists of its profile (protocol.md §6).
    ListsLeftOut,
    /// The directory bounds δ, and homes account in ρ (protocol.md §17).
    DeltaUnbounded,
    /// A rule made from a question allows no more than that question (protocol.md §17).
    RuleWidens,
    /// Sizes of sets are compared with a noisy bar (protocol.md §6).
    SizesExact,
    /// A budget holds whichever aggregators take part (protocol.md §9).
    BudgetOfTheAggregatorsThatOffer,
    /// What was released is charged in the step that releases it (protocol.md §9).
    ReleasedUncharged,
    /// Cells below the cohort are withheld, also where other cells give them away (protocol.md §9).
    CellsGivenAway,
    /// A target that sends other bytes costs an attempt and no aggregator (protocol.md §8).
    OtherBytesEvict,
    /// The homes of one host fail no batch and put no aggregator out (protocol.md §8).
    HostFailsBatch,
}

#[cfg(test)]
thread_local! {
    static OFF: std::cell::Cell<Option<Weakness>> = const { std::cell::Cell::new(None) };
}

/// Returns whether this thread has switched the defence off.
#[cfg(test)]
pub(crate) fn off(weakness: Weakness) -> bool {
    OFF.with(|off| off.get() == Some(weakness))
}

/// Returns `false`: outside tests every defence is on.
#[cfg(not(test))]
pub(crate) const fn off(_: Weakness) -> bool {
    false
}

/// Runs `attack` with one defence switched off on this thread.
#[cfg(test)]
pub(crate) fn without<T>(weakness: Weakness, attack: impl FnOnce() -> T) -> T {
    struct Restore(Option<Weakness>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OFF.with(|off| off.set(self.0));
        }
    }
    let _restore = Restore(OFF.with(|off| off.replace(Some(weakness))));
    attack()
}
