//! Invariants that hold after the query, whatever the coalition did.

use std::collections::{BTreeMap, BTreeSet};

use super::super::campaign::Party;
use super::Crossing;
use super::ground::EACH;
use super::homes::{counted, is_meant};
use super::moves::Cross;
use crate::{
    conduct::{Conduct, Failure, Phase},
    release::{Released, SealedTotal, Total, open_totals},
};
use dispers_base::{
    encoding::{from_bytes, to_bytes},
    id::{AggregatorId, MemberNumber},
    keys::Signature,
};
use dispers_crypto::shamir::Interpolation;

/// Smallest number of homes of a committee that is released.
const COHORT: usize = 4;

/// Result of the query.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Kinds of moves that changed something.
    pub(super) reached: BTreeSet<String>,
    /// Committee in whose sums each home counts, if the querier has a result.
    pub(super) counted: Option<BTreeMap<usize, u16>>,
    pub(super) failure: Option<Failure>,
    /// Committee that the key of the query names for each home.
    pub(super) named: BTreeMap<usize, u16>,
}

impl Outcome {
    /// Requires that no home is in another committee in a world that differs by one home.
    pub(super) fn moved(&self, fewer: &Self) -> Result<(), String> {
        let (Some(counted), Some(fewer)) = (&self.counted, &fewer.counted) else {
            return Ok(());
        };
        let elsewhere = |(home, committee): &(&usize, &u16)| {
            let other = fewer.get(home);
            other.is_some_and(|other| other != *committee)
        };
        match counted.iter().filter(elsewhere).count() {
            0 => Ok(()),
            moved => Err(format!(
                "one home more moves {moved} others to another committee"
            )),
        }
    }
}

impl Crossing {
    pub(super) fn check(mut self, conduct: &Conduct) -> Result<Outcome, String> {
        self.ended(conduct)?;
        if !self.taken.is_empty() {
            return Err(format!("{:?} is taken", self.taken));
        }
        self.nobody_is_put_out(conduct)?;
        for (home, places) in &self.contributed {
            let lies = Cross::ListedTwice { home: *home };
            if places.len() > 1 && !self.course.moves.contains(&lies) {
                return Err(format!("home {home} answers in {} places", places.len()));
            }
        }
        let counted = match conduct.totals() {
            Some(totals) => self.released(totals)?,
            None => None,
        };
        let homes = 0..self.ground.homes.len();
        Ok(Outcome {
            counted,
            failure: conduct.status().failure,
            named: homes
                .map(|home| (home, self.ground.committee(home)))
                .collect(),
            reached: self.reached,
        })
    }

    fn ended(&self, conduct: &Conduct) -> Result<(), String> {
        let status = conduct.status();
        match (status.phase, status.failure) {
            (Phase::Done, _) => Ok(()),
            (Phase::Failed, failure) if !matches!(failure, Some(Failure::Ended(_))) => Ok(()),
            (phase, failure) => Err(format!("it does not end: {phase:?}, {failure:?}")),
        }
    }

    /// Requires that an honest conductor excludes nobody, since no aggregator is Byzantine here.
    fn nobody_is_put_out(&self, conduct: &Conduct) -> Result<(), String> {
        if self.course.has(Party::Conductor) || conduct.out().is_empty() {
            return Ok(());
        }
        Err(format!("honest aggregators are out: {:?}", conduct.out()))
    }

    /// Checks totals that aggregators sealed. Returns the committee in whose sums each home counts, if the querier
    /// accepts the totals that it gets.
    fn released(
        &mut self,
        totals: &[(AggregatorId, SealedTotal)],
    ) -> Result<Option<BTreeMap<usize, u16>>, String> {
        if let Some((at, _)) = totals.iter().find(|(at, _)| !self.has_every_grant(*at)) {
            return Err(format!("{at:?} releases without every partition's grant"));
        }
        let opened: Vec<Total> = totals
            .iter()
            .map(|(at, total)| self.opened(*at, total))
            .collect();
        let partitions: Vec<u16> = (0..EACH).collect();
        for total in &opened {
            let of: Vec<u16> = total
                .finds
                .iter()
                .map(|(partition, _)| *partition)
                .collect();
            if of != partitions {
                return Err(format!("a total is of partitions {of:?}"));
            }
        }
        let counted = self.counted(&opened)?;
        let finds: BTreeSet<Vec<u8>> = opened.iter().map(|total| to_bytes(&total.finds)).collect();
        let handed = self.handed_to_querier(totals);
        let read = self.read(&handed);
        let whole = handed.len() == totals.len() && finds.len() == 1;
        let same = handed
            .iter()
            .map(|(at, _)| at)
            .eq(totals.iter().map(|(at, _)| at));
        match read {
            Ok(_) if !whole || !same || self.course.falsifies_totals() => {
                Err("the querier accepts totals that are not those of one release".into())
            }
            Ok(released) => {
                self.sums(&released, &counted)?;
                Ok(Some(counted))
            }
            Err(error) if whole && same && !self.course.falsifies_totals() => {
                Err(format!("the totals do not open: {error}"))
            }
            Err(_) => Ok(None),
        }
    }

    /// Returns the totals that the conductor gives the querier.
    fn handed_to_querier(
        &mut self,
        totals: &[(AggregatorId, SealedTotal)],
    ) -> Vec<(AggregatorId, SealedTotal)> {
        let mut handed = totals.to_vec();
        for made in self.course.moves.clone() {
            match made {
                Cross::TotalsOf { committee } => handed.retain(|(at, _)| at.committee == committee),
                Cross::TotalsTwice { committee } => {
                    handed.retain(|(at, _)| at.committee == committee);
                    let others = handed.clone().into_iter().map(|(at, total)| {
                        let committee = (at.committee + 1) % EACH;
                        (AggregatorId { committee, ..at }, total)
                    });
                    handed.extend(others);
                }
                _ => continue,
            }
            self.reached(made);
        }
        handed
    }

    fn read(
        &self,
        totals: &[(AggregatorId, SealedTotal)],
    ) -> Result<Released, crate::release::ReleaseError> {
        let question = &self.ground.question;
        let directory = &self.ground.network.directory;
        open_totals(&question.manifest, totals, &question.reply, directory)
    }

    /// Opens the total that an aggregator sealed for the querier.
    fn opened(&self, at: AggregatorId, total: &SealedTotal) -> Total {
        let question = &self.ground.question;
        let context = Total::context(question.manifest.query(), at.committee, at.member);
        let signed = total
            .open(&question.reply, &context, 1 << 20)
            .expect("it was sealed");
        let (body, _): (Vec<u8>, Signature) =
            from_bytes(&to_bytes(&signed), 1 << 20, "signed total").expect("it was encoded");
        from_bytes(&body, 1 << 20, "total").expect("it was encoded")
    }

    /// Returns the committee in whose sums each home counts.
    fn counted(&self, totals: &[Total]) -> Result<BTreeMap<usize, u16>, String> {
        let mut all = BTreeMap::new();
        for committee in 0..EACH {
            let of: Vec<&Total> = totals
                .iter()
                .filter(|one| one.committee == committee)
                .collect();
            let members: Vec<MemberNumber> = of.iter().map(|one| one.member).collect();
            let shares = Interpolation::new(&members, 2).map_err(|error| format!("{error:?}"))?;
            let places = 0..of[0].outputs.len();
            let sums: Option<Vec<u64>> = places
                .map(|place| {
                    let column: Option<Vec<u64>> =
                        of.iter().map(|one| one.outputs[place]).collect();
                    column.map(|column| shares.at_zero(&column))
                })
                .collect();
            let Some(sums) = sums else {
                continue;
            };
            let (homes, once) = counted(&sums);
            if !once {
                return Err(format!(
                    "a home counts twice at committee {committee}: {sums:?}"
                ));
            }
            if homes.len() < COHORT {
                return Err(format!("committee {committee} releases {homes:?}"));
            }
            for home in homes {
                if let Some(other) = all.insert(home, committee) {
                    return Err(format!("home {home} counts at {other} and {committee}"));
                }
                let mut places = self.contributed.get(&home).into_iter().flatten();
                if !places.any(|place| place.batch.committee == committee) {
                    return Err(format!(
                        "home {home} counts at committee {committee} unasked"
                    ));
                }
                // A Byzantine finder asks any homes it likes.
                if !is_meant(home) && !self.course.has(Party::Finder) {
                    return Err(format!("home {home} counts and is not meant"));
                }
            }
        }
        Ok(all)
    }

    /// Requires that the querier's sums are those of both committees, and that they hold all homes that the query is
    /// for if no move is made.
    fn sums(&self, released: &Released, all: &BTreeMap<usize, u16>) -> Result<(), String> {
        let sums: Option<Vec<u64>> = released.outputs.iter().copied().collect();
        let Some(sums) = sums else {
            return Ok(());
        };
        let (homes, once) = counted(&sums);
        if !once || !homes.iter().eq(all.keys()) {
            return Err(format!(
                "the querier reads {sums:?}, the committees release {all:?}"
            ));
        }
        let honest = self.course.moves.is_empty();
        let meant = self.ground.homes.len() - self.ground.homes.len() / 10;
        let meant = meant - usize::from(self.course.absent.is_some());
        match honest && (homes.len() != meant || released.accepted != meant as u64) {
            true => Err(format!("an honest query counts {homes:?}")),
            false => Ok(()),
        }
    }
}

impl super::Course {
    /// Returns whether a move changes the totals on their way to the querier.
    fn falsifies_totals(&self) -> bool {
        self.moves
            .iter()
            .any(|one| matches!(one, Cross::TotalsOf { .. } | Cross::TotalsTwice { .. }))
    }
}
