//! Memory of a Target Finder about one querier in one key epoch, and the finds that it refuses (protocol.md §9).
//!
//! The difference of two answers describes the homes that are in one set and not in the other. The finder sees tags,
//! so it can count these homes, and refuses a set that is too near to a set asked under another profile. Every asked
//! set is kept until the key epoch ends: once a set was forgotten, a near one could be asked.

use std::collections::{BTreeMap, BTreeSet};

use super::{FindError, Fingerprint, Members, Sizes};
use dispers_base::{
    id::QueryId,
    weakness::{self, Weakness},
};

/// Request of one query to ask the homes that match.
pub struct Asking<'a> {
    /// The query that asks.
    pub query: QueryId,
    /// Digest of the canonical profile.
    pub profile: [u8; 32],
    /// Homes that match.
    pub homes: &'a Members,
    /// Fingerprint of `homes`.
    pub fingerprint: Fingerprint,
    /// Smallest number of homes of a set, and of the difference between two sets of different profiles.
    pub cohort: u32,
    /// Largest number of homes that the query may ask.
    pub most: u64,
    /// Number of homes of the smallest committee.
    pub smallest: u64,
}

/// Bounds on what is remembered of one querier in one key epoch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest number of different profiles.
    pub profiles: usize,
    /// Largest number of sets of homes.
    pub sets: usize,
    /// Largest number of homes of all sets together, counted as they are stored.
    pub homes: u64,
    /// Largest number of queries refused for the sizes of their sets.
    pub refused: usize,
    /// Largest number of queries that are remembered at the same time, without the refused ones.
    pub queries: usize,
}

/// Stored set of homes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSet {
    /// Profile under which the set was asked.
    pub profile: [u8; 32],
    /// Fingerprint of the whole set.
    pub fingerprint: Fingerprint,
    /// Largest cohort with which the set was asked.
    pub cohort: u32,
    /// Number of the whole set to which `homes` is the difference; `None` for a whole set.
    pub whole: Option<u64>,
    /// Homes of the set, or its symmetric difference to the set `whole`.
    pub homes: Members,
}

/// Result of an earlier find of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The find chose the homes with this fingerprint.
    Found(Fingerprint),
    /// The find was refused for the sizes of sets.
    Refused,
}

/// Summary of the remembered queries of one querier in one key epoch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Queries {
    /// Number of queries that were refused.
    pub refused: usize,
    /// Number of queries that found homes and have not expired.
    pub found: usize,
    /// Outcome of the query that asks now, if it was found before.
    pub this: Option<Outcome>,
}

/// Decision on one find, with what must be written before it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The homes may be asked once the cohort of the stored set with this number is raised to the query's.
    Stored(u64),
    /// The homes may be asked once this set is stored.
    Keep(KeptSet),
    /// The homes may be asked: an earlier find of this query chose them.
    Repeated,
    /// The find is refused once the query is recorded as refused.
    Count(FindError),
    /// The find is refused, and nothing is written.
    Refuse(FindError),
}

/// Decision in progress. It compares the stored sets one by one: each whole set, then the differences to it.
pub struct Judging<'a> {
    asking: &'a Asking<'a>,
    sizes: &'a Sizes,
    limits: Limits,
    queries: Queries,
    /// Number and homes of the last whole set that was compared.
    whole: Option<(u64, Members)>,
    /// Difference of the asked homes to `whole`, computed when the first set needs it.
    to_whole: Option<Members>,
    /// Number of the whole set that differs by the fewest homes, and those homes.
    nearest: Option<(u64, Members)>,
    profiles: BTreeSet<[u8; 32]>,
    sets: usize,
    kept_homes: u64,
    /// Number of the stored set that equals the asked one and has its profile.
    stored: Option<u64>,
    too_close: bool,
}

impl<'a> Judging<'a> {
    /// Begins a decision on `asking`.
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
            stored: None,
            too_close: false,
        }
    }

    /// Compares the asked homes with the stored set of this number. Returns false if the set is a difference to a
    /// whole set that was not compared right before.
    #[must_use]
    pub fn compare(&mut self, number: u64, kept: KeptSet) -> bool {
        self.sets += 1;
        self.kept_homes += kept.homes.count();
        self.profiles.insert(kept.profile);
        let apart = self.asking.fingerprint.difference(&kept.fingerprint);
        // A set may be stored as a small difference to a whole set. Its distance follows from two differences, so that
        // the set itself need not be restored.
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
                self.stored = Some(number);
            }
        } else {
            // An equal set is refused too: a querier that learned that two sets are equal would know that no home
            // outside the one is in the other.
            // The larger cohort counts: else a querier would ask with a large cohort first and subtract with a small
            // one later.
            let cohort = kept.cohort.max(self.asking.cohort);
            self.too_close |= self.sizes.noisy(&apart, distance) < cohort.into();
        }
        true
    }

    /// Remembers the difference to the last whole set if it is the smallest so far, and smaller than the asked set
    /// itself.
    fn note_nearest(&mut self, distance: u64) {
        let best = self.nearest.as_ref().map(|(_, homes)| homes.count());
        let best = best.unwrap_or_else(|| self.asking.homes.count());
        if let Some((number, homes)) = self.whole.as_ref().filter(|_| distance < best) {
            let difference = self.asking.homes.difference(homes);
            self.nearest = Some((*number, difference));
        }
    }

    /// Decides, once every stored set was compared.
    pub fn decide(self) -> Verdict {
        let Self { asking, limits, .. } = self;
        // A query is decided once. Otherwise its one signature would buy an answer about every later state of the
        // lists, and about any lists that a conductor invents.
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
        // These refusals follow from the number of stored profiles and sets, and from whether this very set is one of
        // them. After the comparisons below they would reveal, uncounted, that a set is neither too small nor near to
        // another.
        if self.stored.is_none() {
            let is_new = !self.profiles.contains(&asking.profile);
            if is_new && self.profiles.len() >= limits.profiles {
                return Verdict::Refuse(FindError::TooManyPopulations(limits.profiles));
            }
            if self.sets >= limits.sets {
                return Verdict::Refuse(FindError::TooManySets);
            }
        }
        let close = self.too_close
            && !(weakness::off(Weakness::KnownProfilesUncompared)
                && self.profiles.contains(&asking.profile));
        let size = self.sizes.noisy(&asking.fingerprint, asking.homes.count());
        let few = size < asking.cohort.into() || asking.smallest < asking.cohort.into();
        // The upper bound uses the same noisy number as the lower one: a second draw could be averaged with the first.
        let many = match weakness::off(Weakness::SizesExact) {
            true => asking.homes.count() > asking.most,
            false => size.saturating_add(self.sizes.most()) > asking.most,
        };
        if few || many || close {
            return Verdict::Count(FindError::Sizes(asking.cohort));
        }
        if let Some(number) = self.stored {
            return Verdict::Stored(number);
        }
        let (whole, homes) = match self.nearest {
            Some((number, difference)) => (Some(number), difference),
            None => (None, asking.homes.clone()),
        };
        // Counted, since it depends on the number of homes.
        if self.kept_homes.saturating_add(homes.count()) > limits.homes {
            return Verdict::Count(FindError::TooManySets);
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

/// Memory of one querier in one key epoch, without a database.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Sets; a set's number is its place.
    sets: Vec<KeptSet>,
    queries: BTreeMap<QueryId, Outcome>,
}

impl Memory {
    /// Decides a find, and records what the decision requires.
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
        // Each difference must be compared right after its whole set.
        numbered.sort_by_key(|(number, set)| (set.whole.unwrap_or(*number), *number));
        for (number, set) in numbered {
            let compared = judging.compare(number, set.clone());
            debug_assert!(compared, "a difference follows its whole set");
        }
        let outcome = match judging.decide() {
            Verdict::Repeated => return Ok(()),
            Verdict::Refuse(error) => return Err(error),
            Verdict::Stored(number) => {
                let set = self.sets.get_mut(number as usize);
                let set = set.expect("a number of a compared set is a place");
                // A later query under another profile must keep the largest cohort with which this set was asked.
                set.cohort = set.cohort.max(asking.cohort);
                Ok(())
            }
            Verdict::Keep(set) => {
                self.sets.push(set);
                Ok(())
            }
            Verdict::Count(error) => Err(error),
        };
        // A refused query is recorded too: it counts against the limit, and stays refused when it is found again.
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
