//! The network and the homes of campaigns. Many campaigns use one network.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::campaign::{Noise, Whom};
use super::eyes::{Leak, Markers};
use super::purse::BUDGET;
use crate::{
    find::{ListSegment, ListedEntry},
    manifest::VerifiedManifest,
    subscription::{Enrolment, Handle, HomeId, HomeTag, PoolKeys, Upload},
    testing::{Home, Scene, Setting, name, pseudonym, same_key, verified},
    ticket::HomeKey,
};
use dispers_base::{encoding, field, id::KeyEpoch};
use dispers_circuit::{Row, Section, VectorRow, VectorShape};
use dispers_crypto::oprf::Pseudonym;
use dispers_privacy::Rho;
use dispers_query::{catalogue::EVERY_HOME, profile::Profile};
use dispers_training::{Design, Layout};
use dispers_trust::directory::{Directory, DirectoryBody};

/// Number of homes of a campaign, half in each group. The last homes are at the smaller host.
pub(super) const HOMES: usize = 16;
/// Number of homes at the smaller host, which may be Byzantine.
pub(super) const AT_SMALLER_HOST: usize = 3;
/// Minimum cohort of the network.
pub(super) const COHORT: u64 = 4;

/// Concepts that homes subscribe to.
pub(super) const LISTS: [&str; 3] = [EVERY_HOME, "sex>female", "asthma>1"];

/// Question with a sum of at most 255, so that each of the eight homes of a group has a bit of its own.
const SQL: &str = "SELECT CASE WHEN z < 5 THEN 'a' ELSE 'b' END AS band, \
     COUNT(*) AS n, SUM(clamp(x, 0, 255, 1)) AS s FROM people GROUP BY band";
/// Question for the number of homes only.
const COUNT: &str = "SELECT COUNT(*) AS n FROM people";
/// Number of outputs of each group: n and s.
pub(super) const OUTPUTS: usize = 2;

/// Shapes of a network: its committee, and the smallest number of aggregators that verify.
pub(super) const SHAPES: [((u8, u8), u8); 4] = [((2, 3), 3), ((2, 3), 2), ((2, 3), 3), ((3, 5), 4)];

/// Network that is made once for many campaigns.
pub(super) struct Ground {
    pub(super) scene: Scene,
    /// First forbidden value that a role read.
    pub(super) leak: Leak,
    pub(super) committee: (u8, u8),
    pub(super) min_verified: u8,
    /// The first key epoch, and the next one.
    epochs: [Epoch; 2],
}

/// Data that differ in each key epoch.
struct Epoch {
    directory: Directory,
    /// Tag and key of each home.
    own: Vec<(HomeTag, HomeKey)>,
    /// Uploads, each with true if it comes late.
    uploads: Vec<(bool, Upload)>,
}

/// Returns the vector of a home in a round of a session. One of its levels is a power of two that only this home has
/// there, and all others are zero. So a sum shows which homes it holds.
pub(super) fn vector(manifest: &VerifiedManifest, round: u16, home: usize) -> Option<VectorRow> {
    let shape = vector_shape(manifest, round)?;
    let mut place = 0;
    let section = |section: &Section| {
        let levels = (0..section.len()).map(|_| {
            place += 1;
            let own = place == 1 + home / LEVEL_BITS;
            u64::from(own) << (home % LEVEL_BITS)
        });
        // A section without coordinates has a flag only, which would be another count of homes.
        (!section.is_empty()).then(|| levels.collect())
    };
    Some(VectorRow {
        sections: shape.sections.iter().map(section).collect(),
    })
}

/// Number of bits of a coordinate of a session.
const LEVEL_BITS: usize = 8;

fn vector_shape(manifest: &VerifiedManifest, round: u16) -> Option<VectorShape> {
    let (training, task) = manifest.training.as_ref().zip(manifest.task(round))?;
    let design = Design::of(training, &manifest.local);
    Some(Layout::of(training, &design, task).shape())
}

/// Returns the homes in the released sums of a session's round, and their released number. Returns `None` if the sums
/// are withheld.
pub(super) fn counted_in(
    manifest: &VerifiedManifest,
    round: u16,
    outputs: &[Option<u64>],
) -> Option<Result<(u64, BTreeSet<usize>), String>> {
    let shape = vector_shape(manifest, round)?;
    let rows = (*outputs.first()?)?;
    let first = shape.sections.first()?;
    let mut homes = BTreeSet::new();
    for place in 0..HOMES / LEVEL_BITS {
        let sum = (*outputs.get(1 + place)?)?;
        let middles = match place < first.centred {
            true => field::mul(rows, shape.middle()),
            false => 0,
        };
        let sum = field::add(sum, middles);
        if sum >> LEVEL_BITS != 0 {
            return Some(Err(format!(
                "a home counts twice: {rows} rows, sum {sum:b}"
            )));
        }
        let bits = (0..LEVEL_BITS).filter(|bit| sum >> bit & 1 == 1);
        homes.extend(bits.map(|bit| place * LEVEL_BITS + bit));
    }
    Some(Ok((rows, homes)))
}

/// Returns whether a home subscribes between two queries of a campaign.
fn joins_late(home: usize) -> bool {
    (6..10).contains(&home)
}

/// Returns the number of a home.
pub(super) fn number(home: &HomeId) -> usize {
    let number = home.0.strip_prefix("home");
    number.and_then(|n| n.parse().ok()).expect("it has one")
}

/// Returns whether a home is at the smaller host.
pub(super) fn is_at_smaller_host(home: usize) -> bool {
    home >= HOMES - AT_SMALLER_HOST
}

/// Returns whether a home subscribes to the list at this place.
fn subscribes(home: usize, list: usize) -> bool {
    match list {
        0 => true,
        1 => home < 10,
        _ => (6..10).contains(&home) || home == 12,
    }
}

impl Whom {
    /// Returns the homes that the profile means. If `late`, they include the homes that joined.
    pub(super) fn homes(self, late: bool) -> BTreeSet<usize> {
        let (a, b) = (|home| subscribes(home, 1), |home| subscribes(home, 2));
        let means = |home: &usize| match self {
            Self::Everybody => true,
            Self::A => a(*home),
            Self::B => b(*home),
            Self::NotA => !a(*home),
            Self::NotB => !b(*home),
            Self::AOrB => a(*home) || b(*home),
            Self::AAndNotB => a(*home) && !b(*home),
        };
        let there = |home: &usize| late || !joins_late(*home);
        (0..HOMES).filter(there).filter(means).collect()
    }

    pub(super) fn profile(self) -> Profile<Pseudonym> {
        let atom = |list: usize| Profile::atom(pseudonym(LISTS[list]));
        let without = |profile, list| {
            let not = Profile::negate(atom(list)).expect("it is small");
            Profile::and(vec![profile, not]).expect("it is small")
        };
        match self {
            Self::Everybody => atom(0),
            Self::A => atom(1),
            Self::B => atom(2),
            Self::NotA => without(atom(0), 1),
            Self::NotB => without(atom(0), 2),
            Self::AOrB => Profile::or(vec![atom(1), atom(2)]).expect("it is small"),
            Self::AAndNotB => without(atom(1), 2),
        }
    }
}

impl Ground {
    pub(super) fn new(shape: usize) -> Self {
        let (committee, min_verified) = SHAPES[shape];
        let row = |number: usize| Row {
            group: number % 2,
            levels: vec![Some(1 << (number / 2))],
        };
        let mut scene = Scene::new(Setting {
            committee,
            min_verified,
            sql: SQL,
            rows: (0..HOMES).map(|number| Some(row(number))).collect(),
            ..Setting::default()
        });
        for (number, home) in scene.homes.iter_mut().enumerate() {
            let smaller = is_at_smaller_host(number);
            home.host = name(if smaller { "host2" } else { "host1" });
        }
        let mut body = (*scene.network.directory).clone();
        body.floors.max_delta = 1e-5;
        let mut rng = StdRng::seed_from_u64(shape as u64);
        let first = Epoch::new(&mut scene, &body, &mut rng);
        let mut markers = Markers::of(&scene.homes);
        body.epoch += 1;
        body.key_epoch = KeyEpoch(body.key_epoch.0 + 1);
        for pool in &mut body.pools {
            pool.key_epoch = body.key_epoch;
        }
        for home in &mut scene.homes {
            rng.fill_bytes(&mut home.tag.0);
            home.key = HomeKey::generate(&mut rng);
        }
        let next = Epoch::new(&mut scene, &body, &mut rng);
        markers.add(Markers::of(&scene.homes));
        let leak = Leak::default();
        let network = &mut scene.network;
        network.finder = same_key(&network.finder).watched(leak.finder(&markers));
        network.target = same_key(&network.target).watched(leak.target(&markers));
        scene.watcher = Some(leak.aggregator(&markers));
        let mut ground = Self {
            scene,
            leak,
            committee,
            min_verified,
            epochs: [first, next],
        };
        ground.enter(false);
        ground
    }

    /// Enters the first key epoch, or the next one.
    pub(super) fn enter(&mut self, next: bool) {
        let epoch = &self.epochs[usize::from(next)];
        self.scene.network.directory = epoch.directory.clone();
        for (home, (tag, key)) in self.scene.homes.iter_mut().zip(&epoch.own) {
            (home.tag, home.key) = (*tag, key.clone());
        }
    }

    /// Returns the setting of a question.
    pub(super) fn setting(&self, counts: bool) -> Setting {
        Setting {
            committee: self.committee,
            min_verified: self.min_verified,
            sql: if counts { COUNT } else { SQL },
            ..Setting::default()
        }
    }

    /// Returns the budget of a population.
    pub(super) fn budget(&self) -> Rho {
        let ordinary = Rho::of_pure(Noise::ORDINARY.epsilon.into(), 2);
        Rho(BUDGET * ordinary.0)
    }

    /// Returns the segments of these lists in a key epoch, one per upload that has arrived.
    pub(super) fn segments(
        &self,
        lists: &BTreeSet<Pseudonym>,
        late: bool,
        next: bool,
    ) -> Vec<ListSegment> {
        let segment = |upload: &Upload| ListSegment {
            key_epoch: upload.key_epoch,
            envelopes: upload.envelopes.clone(),
            entries: upload
                .entries
                .iter()
                .filter(|entry| lists.contains(&entry.pseudonym))
                .map(|entry| ListedEntry {
                    pseudonym: entry.pseudonym,
                    index: entry.index,
                    ciphertext: entry.ciphertext.clone(),
                })
                .collect(),
        };
        let uploads = &self.epochs[usize::from(next)].uploads;
        let there = uploads.iter().filter(|(of, _)| late || !of);
        there.map(|(_, upload)| segment(upload)).collect()
    }
}

impl Epoch {
    /// Creates the key epoch of a directory, in which homes have their tags and keys of the scene.
    fn new(scene: &mut Scene, body: &DirectoryBody, rng: &mut StdRng) -> Self {
        scene.network.directory = verified(body);
        let uploads = [("host1", false), ("host1", true), ("host2", false)];
        let uploads = uploads.map(|(host, late)| (late, upload(scene, host, late, rng)));
        let own = scene.homes.iter().map(|home| (home.tag, home.key.clone()));
        Self {
            directory: scene.network.directory.clone(),
            own: own.collect(),
            uploads: uploads.into(),
        }
    }
}

fn upload(scene: &Scene, host: &str, late: bool, rng: &mut StdRng) -> Upload {
    let directory = &scene.network.directory;
    let host = name(host);
    let of = |home: &&Home| home.host == host && joins_late(number(&home.id)) == late;
    let enrolments: Vec<Enrolment> = scene
        .homes
        .iter()
        .filter(of)
        .map(|home| {
            let lists = (0..LISTS.len()).filter(|list| subscribes(number(&home.id), *list));
            let concept = |list: usize| (pseudonym(LISTS[list]), Handle([0; 16]));
            Enrolment {
                home: home.id.clone(),
                tag: home.tag,
                key: home.key.clone(),
                concepts: lists.map(concept).collect(),
            }
        })
        .collect();
    let pool = |role| &directory.pool(role, 0).expect("it is listed").envelope_key;
    let keys = PoolKeys {
        target_finder: pool(dispers_base::id::Role::TargetFinder),
        target: pool(dispers_base::id::Role::Target),
    };
    Upload::build(&host, &enrolments, directory.key_epoch, 0, &keys, rng)
}

/// Encodes segments.
pub(super) fn encoded(segments: &[ListSegment]) -> Vec<Vec<u8>> {
    segments.iter().map(encoding::to_bytes).collect()
}
