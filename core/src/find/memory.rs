//! What a Target Finder remembers of one querier in one key epoch, and what it refuses therefore (protocol.md §9).
//!
//! The difference of two answers is about the homes that are in one set and not in the other. The finder sees tags, so
//! it can count them, and refuses a set that is too near to one that was asked under another profile. Every set that is
//! asked is kept until the key epoch is over: one that was forgotten could be asked again beside a near one.

use std::collections::{BTreeMap, BTreeSet};

use super::{FindError, Fingerprint, Members, Sizes};
use crate::{
    id::QueryId,
    weakness::{self, Weakness},
};

/// What a query asks for.
pub struct Asking<'a> {
    /// The query.
    pub query: QueryId,
    /// The profile's digest, however it is written.
    pub profile: [u8; 32],
    /// The homes that match.
    pub homes: &'a Members,
    /// Their fingerprint.
    pub fingerprint: Fingerprint,
    /// Fewest homes of a set, and of the difference between two sets of different profiles.
    pub cohort: u32,
    /// Most homes of a set.
    pub most: u64,
    /// Number of homes of the committee that has the fewest.
    pub smallest: u64,
}

/// How much is remembered of one querier in one key epoch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most different profiles.
    pub profiles: usize,
    /// Most sets of homes.
    pub sets: usize,
    /// Most homes of all sets together, as they are kept.
    pub homes: u64,
    /// Most queries that are refused for the sizes of sets.
    pub refused: usize,
    /// Most queries that are remembered at the same time beside those that were refused.
    pub queries: usize,
}

/// A set of homes as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSet {
    /// The profile that it was asked under.
    pub profile: [u8; 32],
    /// The fingerprint of the set.
    pub fingerprint: Fingerprint,
    /// Largest cohort that it was asked with.
    pub cohort: u32,
    /// Number of the whole set that `homes` is the difference to; `None` for a whole set.
    pub whole: Option<u64>,
    /// The homes of the set, or those that are in one of the two sets and not in the other.
    pub homes: Members,
}

/// What became of a query before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The homes with this fingerprint were found.
    Found(Fingerprint),
    /// It was refused for the sizes of sets.
    Refused,
}

/// What is remembered of the queries of one querier in one key epoch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queries {
    /// Number of queries that were refused.
    pub refused: usize,
    /// Number of queries that found homes and have not expired.
    pub found: usize,
    /// What became of the query that asks, if it was found before.
    pub this: Option<Outcome>,
}

/// What becomes of a find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The homes may be asked once the set of this number is kept with the query's cohort.
    Known(u64),
    /// The homes may be asked once this set is kept.
    Keep(KeptSet),
    /// The homes may be asked. This query found them before.
    Repeated,
    /// The find is refused once the query is counted among those that were.
    Count(FindError),
    /// The find is refused.
    Refuse(FindError),
}

/// One decision, while kept sets are shown to it: a whole set first, then those that are kept as differences to it.
pub struct Judging<'a> {
    asking: &'a Asking<'a>,
    sizes: &'a Sizes,
    limits: Limits,
    queries: Queries,
    /// Number of the last whole set that was shown, with its homes.
    whole: Option<(u64, Members)>,
    /// The difference to it, once a set needs it.
    to_whole: Option<Members>,
    /// The whole set that differs by the fewest homes, and those homes.
    nearest: Option<(u64, Members)>,
    profiles: BTreeSet<[u8; 32]>,
    sets: usize,
    kept_homes: u64,
    /// The set that is asked, under its own profile.
    known: Option<u64>,
    too_close: bool,
}

impl<'a> Judging<'a> {
    /// Begins a decision.
    pub fn new(asking: &'a Asking<'a>, sizes: &'a Sizes, limits: Limits, queries: Queries) -> Self {
        Self {
            asking,
            sizes,
            limits,
            queries,
            whole: None,
            to_whole: None,
            nearest: None,
            profiles: BTreeSet::new(),
            sets: 0,
            kept_homes: 0,
            known: None,
            too_close: false,
        }
    }

    /// Compares the homes with a kept set of this number. Returns false if the set is a difference to a whole set that
    /// was not shown right before.
    #[must_use]
    pub fn compare(&mut self, number: u64, kept: KeptSet) -> bool {
        self.sets += 1;
        self.kept_homes += kept.homes.count();
        self.profiles.insert(kept.profile);
        let apart = self.asking.fingerprint.difference(&kept.fingerprint);
        let distance = match kept.whole {
            None => {
                let distance = self.asking.homes.distance(&kept.homes);
                (self.whole, self.to_whole) = (Some((number, kept.homes)), None);
                self.note_nearest(distance);
                distance
            }
            Some(whole) => {
                let Some((_, homes)) = self.whole.as_ref().filter(|(shown, _)| *shown == whole)
                else {
                    return false;
                };
                let asked = self.asking.homes;
                let to_whole = self.to_whole.get_or_insert_with(|| asked.difference(homes));
                to_whole.distance(&kept.homes)
            }
        };
        if kept.profile == self.asking.profile {
            if distance == 0 {
                self.known = Some(number);
            }
        } else {
            // Also a set that is the same: who is told that two sets are equal knows of every home outside the one that it
            // is outside the other.
            let cohort = kept.cohort.max(self.asking.cohort);
            self.too_close |= self.sizes.told(&apart, distance) < cohort.into();
        }
        true
    }

    /// Remembers the difference to the last whole set if it is the smallest so far, and worth it.
    fn note_nearest(&mut self, distance: u64) {
        let best = self.nearest.as_ref().map(|(_, homes)| homes.count());
        let best = best.unwrap_or_else(|| self.asking.homes.count());
        if let Some((number, homes)) = self.whole.as_ref().filter(|_| distance < best) {
            let difference = self.asking.homes.difference(homes);
            self.nearest = Some((*number, difference));
        }
    }

    /// Decides, once every kept set was shown.
    pub fn decide(self) -> Verdict {
        let Self { asking, limits, .. } = self;
        // A query is decided once, or its signature would be worth an answer about every state of the lists, and about
        // whatever a conductor streams.
        match self.queries.this {
            Some(Outcome::Refused) => return Verdict::Refuse(FindError::Sizes(asking.cohort)),
            Some(Outcome::Found(homes)) if homes == asking.fingerprint => {
                return Verdict::Repeated;
            }
            Some(Outcome::Found(_)) => return Verdict::Refuse(FindError::OtherLists),
            None => {}
        }
        if self.queries.refused >= limits.refused {
            return Verdict::Refuse(FindError::TooManyRefused(limits.refused));
        }
        if self.queries.found >= limits.queries {
            return Verdict::Refuse(FindError::TooManyQueries);
        }
        let close = self.too_close
            && !(weakness::off(Weakness::KnownProfilesUncompared)
                && self.profiles.contains(&asking.profile));
        let told = self.sizes.told(&asking.fingerprint, asking.homes.count());
        let few = told < asking.cohort.into() || asking.smallest < asking.cohort.into();
        // By the same number, so that the two bars together tell no more than one.
        let many = match weakness::off(Weakness::SizesExact) {
            true => asking.homes.count() > asking.most,
            false => told.saturating_add(self.sizes.most()) > asking.most,
        };
        if few || many || close {
            return Verdict::Count(FindError::Sizes(asking.cohort));
        }
        if let Some(number) = self.known {
            return Verdict::Known(number);
        }
        if !self.profiles.contains(&asking.profile) && self.profiles.len() >= limits.profiles {
            return Verdict::Refuse(FindError::TooManyPopulations(limits.profiles));
        }
        let (whole, homes) = match self.nearest {
            Some((number, difference)) => (Some(number), difference),
            None => (None, asking.homes.clone()),
        };
        let room = self.sets < limits.sets
            && self.kept_homes.saturating_add(homes.count()) <= limits.homes;
        if !room {
            return Verdict::Refuse(FindError::TooManySets);
        }
        Verdict::Keep(KeptSet {
            profile: asking.profile,
            fingerprint: asking.fingerprint,
            cohort: asking.cohort,
            whole,
            homes,
        })
    }
}

/// What is remembered of one querier in one key epoch, in memory.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// A set's number is its place.
    sets: Vec<KeptSet>,
    queries: BTreeMap<QueryId, Outcome>,
}

impl Memory {
    /// Decides a find, and remembers what is to be remembered before it is answered.
    ///
    /// # Errors
    /// [`FindError`] saying why the homes may not be asked.
    pub fn ask(
        &mut self,
        asking: &Asking<'_>,
        sizes: &Sizes,
        limits: Limits,
    ) -> Result<(), FindError> {
        let refused = self
            .queries
            .values()
            .filter(|outcome| **outcome == Outcome::Refused);
        let refused = refused.count();
        let queries = Queries {
            refused,
            found: self.queries.len() - refused,
            this: self.queries.get(&asking.query).copied(),
        };
        let mut judging = Judging::new(asking, sizes, limits, queries);
        let mut numbered: Vec<(u64, &KeptSet)> = (0..).zip(&self.sets).collect();
        numbered.sort_by_key(|(number, set)| (set.whole.unwrap_or(*number), *number));
        for (number, set) in numbered {
            let compared = judging.compare(number, set.clone());
            debug_assert!(compared, "a difference follows its whole set");
        }
        let outcome = match judging.decide() {
            Verdict::Repeated => return Ok(()),
            Verdict::Refuse(error) => return Err(error),
            Verdict::Known(number) => {
                let known = self.sets.get_mut(number as usize);
                let known = known.expect("a set that was shown is kept");
                known.cohort = known.cohort.max(asking.cohort);
                Ok(())
            }
            Verdict::Keep(set) => {
                self.sets.push(set);
                Ok(())
            }
            Verdict::Count(error) => Err(error),
        };
        let noted = match outcome {
            Ok(()) => Outcome::Found(asking.fingerprint),
            Err(_) => Outcome::Refused,
        };
        self.queries.insert(asking.query, noted);
        outcome
    }
}

#[cfg(test)]
mod tests;
