//! The homes: their partitions and committees, whether the query is for them, and how they are listed.

use std::collections::BTreeSet;

use super::super::ground::number;
use super::Course;
use super::ground::{EACH, Ground};
use super::moves::Cross;
use crate::{
    find::{ListSegment, committee_of},
    subscription::{Enrolment, Handle, PoolKeys, Upload},
    testing::{Home, name, pseudonym, segment},
};
use dispers_base::encoding;
use dispers_circuit::Row;

/// Number of homes, at two hosts in turn. The query is not for every tenth home.
pub(super) const HOMES: usize = 40;
/// Number of bits of a sum, one for each home of a half.
const BITS: usize = HOMES / 2;
/// Concept of the homes that the query is for, and concept of the others.
pub(super) const CONCEPTS: [&str; 2] = ["sex>female", "asthma>1"];

/// Returns the partition of a home.
pub(super) fn partition(home: usize) -> u16 {
    (home / 2 % 2) as u16
}

/// Returns whether the query is for a home.
pub(super) fn is_meant(home: usize) -> bool {
    home % 10 != 9
}

/// Returns the homes of released sums, and whether each counts once.
pub(super) fn counted(sums: &[u64]) -> (BTreeSet<usize>, bool) {
    let bits = |half: usize| (0..BITS).filter(move |bit| sums[1 + half] >> bit & 1 == 1);
    let homes = |half: usize| bits(half).map(move |bit| half * BITS + bit);
    let homes: BTreeSet<usize> = homes(0).chain(homes(1)).collect();
    let fits = sums[1..].iter().all(|sum| sum >> BITS == 0);
    let once = fits && homes.len() as u64 == sums[0];
    (homes, once)
}

/// Returns a row in which the home's own bit is set.
pub(super) fn row(home: usize) -> Row {
    let level = |half: usize| match home / BITS == half {
        true => 1 << (home % BITS),
        false => 0,
    };
    Row {
        group: 0,
        levels: vec![Some(level(0)), Some(level(1))],
    }
}

impl Ground {
    /// Returns the committee to which the find of its partition assigns a home.
    pub(super) fn committee(&self, home: usize) -> u16 {
        let secret = &self.pools[usize::from(partition(home))].secret;
        let key = secret.committee_key(self.question.manifest.query());
        committee_of(&key, &self.homes[home].tag, EACH)
    }

    /// Returns the segments that the conductor streams of each partition, one per host.
    pub(super) fn lists(&mut self, course: &Course) -> Vec<Vec<Vec<u8>>> {
        let partitions = 0..EACH;
        let lists = partitions.map(|of| {
            let hosts = ["host1", "host2"].into_iter();
            hosts
                .map(|host| encoding::to_bytes(&self.list(course, host, of)))
                .collect()
        });
        lists.collect()
    }

    fn list(&mut self, course: &Course, host: &str, of: u16) -> ListSegment {
        let host = name(host);
        let listed = |home: &&Home| {
            let place = number(&home.id);
            let twice = course.moves.contains(&Cross::ListedTwice { home: place });
            let here = partition(place) == of || twice;
            home.host == host && here && course.absent != Some(place)
        };
        let enrolments: Vec<Enrolment> = self
            .homes
            .iter()
            .filter(listed)
            .map(|home| Enrolment {
                home: home.id.clone(),
                tag: home.tag,
                key: home.key.clone(),
                concepts: vec![(
                    pseudonym(CONCEPTS[usize::from(!is_meant(number(&home.id)))]),
                    Handle([0; 16]),
                )],
            })
            .collect();
        let directory = &self.network.directory;
        let keys = PoolKeys {
            target_finder: &self.pools[usize::from(of)].envelope.public(),
            target: &self.network.target.public(),
        };
        let epoch = directory.key_epoch;
        let upload = Upload::build(&host, &enrolments, epoch, of, &keys, &mut self.rng);
        let mut segment = segment(upload);
        let meant = pseudonym(CONCEPTS[0]);
        segment.entries.retain(|entry| entry.pseudonym == meant);
        segment
    }
}
