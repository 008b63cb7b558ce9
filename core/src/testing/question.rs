//! The question of a test, and the homes that are asked.

use rand::Rng;
use rand::rngs::StdRng;

use super::network::HOSTS;
use super::{HOUR, NOW, Network, key_of, logged, name};
use crate::{
    find::{
        BatchMessage, FindError, FindRequest, FindSummary, FinderKeys, Finding, Limits,
        ListSegment, ListedEntry, Memory, ProfileOpening, Sizes,
    },
    manifest::{Manifest, ManifestError, SignedManifest, Terms, VerifiedManifest},
    offer::{Offer, OfferBody},
    subscription::{Enrolment, Handle, HomeId, HomeTag, PoolKeys, Upload},
    ticket::HomeKey,
};
use dispers_base::{
    encoding,
    id::{Name, Role},
};
use dispers_circuit::{Circuit, Moment, Row, Shape};
use dispers_crypto::{
    envelope::{EnvelopeSecretKey, Sealed, Suite, reader},
    oprf::Pseudonym,
};
use dispers_privacy::Privacy;
use dispers_query::{catalogue::Catalogue, profile::Profile};
use dispers_sql::plan::{Plan, PlanLimits, TrainingPlan, TrainingRequest};
use dispers_training::{Family, Training};

/// Question with two groups. x is never NULL and at most 100; y may be NULL and is at most 6.
const BANDS: &str = "SELECT CASE WHEN z < 5 THEN 'a' ELSE 'b' END AS band, \
     COUNT(*) AS n, SUM(clamp(x, 0, 100, 1)) AS s, COUNT(y) AS m, SUM(clamp(y, 0, 6, 1)) AS t \
     FROM people GROUP BY band";

/// Returns the pseudonym of a concept, as if the indexors had evaluated it.
pub(crate) fn pseudonym(concept: &str) -> Pseudonym {
    Pseudonym(encoding::hash("pseudonym", &[concept.as_bytes()]))
}

/// Starting point of a test.
pub(crate) struct Setting {
    /// Number of aggregators needed, and number of members.
    pub(crate) committee: (u8, u8),
    pub(crate) sql: &'static str,
    /// Rows, one per home; `None` for a home without data.
    pub(crate) rows: Vec<Option<Row>>,
    pub(crate) batch_size: u32,
    /// Aggregators that make no offer.
    pub(crate) absent: Vec<u8>,
    /// Smallest number of aggregators that verify; the threshold if 0.
    pub(crate) min_verified: u8,
    /// ε, and δ if there is one; `None` for an exact query.
    pub(crate) noise: Option<(f64, Option<f64>)>,
    /// Rounds of updates of a session that is asked instead of the query; 0 for the query.
    pub(crate) updates: u16,
    /// Thousandths of the homes that a session holds out.
    pub(crate) held_out: u16,
    /// Scale of the noise of sizes.
    pub(crate) size_noise: u32,
    /// Profile of the asked homes, if it differs from that of the SQL.
    pub(crate) profile: Option<Profile<Pseudonym>>,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            committee: (2, 3),
            sql: BANDS,
            rows: (0..36).map(home).collect(),
            batch_size: 100,
            absent: Vec::new(),
            min_verified: 0,
            noise: None,
            updates: 0,
            held_out: 0,
            size_noise: 0,
            profile: None,
        }
    }
}

/// Plans a session over the homes of [`BANDS`].
fn session(catalogue: &Catalogue, setting: &Setting) -> TrainingPlan {
    let request = TrainingRequest {
        label: Some("x >= 50".into()),
        positive: None,
        features: vec!["clamp(y, 0, 6)".into(), "clamp(z, 0, 9)".into()],
        from: "people".into(),
        condition: None,
        family: Family::Logistic { newton: false },
        bits: 8,
        clip: None,
        held_out: setting.held_out,
        updates: setting.updates,
    };
    TrainingPlan::new(&request, catalogue).unwrap()
}

/// Returns a home's row for [`BANDS`]. Every fifth home has none, and every third has no y.
pub(crate) fn home(seed: u64) -> Option<Row> {
    (seed % 5 != 4).then(|| Row {
        group: usize::from(seed / 2 % 2 == 1),
        levels: vec![
            Some(seed * 37 % 101),
            (!seed.is_multiple_of(3)).then_some(seed * 5 % 7),
        ],
    })
}

/// Home at its host.
pub(crate) struct Home {
    pub(crate) host: Name,
    pub(crate) id: HomeId,
    pub(crate) tag: HomeTag,
    pub(crate) key: HomeKey,
    pub(crate) row: Option<Row>,
}

/// Planned and signed query, with the secrets of its querier.
pub(crate) struct Question {
    pub(crate) plan: Plan,
    pub(crate) profile: Profile<Pseudonym>,
    pub(crate) salt: [u8; 32],
    pub(crate) signed: SignedManifest,
    pub(crate) manifest: VerifiedManifest,
    pub(crate) reply: EnvelopeSecretKey,
    /// Secrets of the offered keys, one place per aggregator.
    pub(crate) offered: Vec<Option<EnvelopeSecretKey>>,
}

impl Question {
    pub(crate) fn new(network: &Network, setting: &Setting, rng: &mut StdRng) -> Self {
        Self::posed(network, setting, |_| {}, rng).unwrap()
    }

    /// Poses a question whose querier changes its manifest before signing it.
    pub(crate) fn posed(
        network: &Network,
        setting: &Setting,
        change: impl FnOnce(&mut Manifest),
        rng: &mut StdRng,
    ) -> Result<Self, ManifestError> {
        let directory = &network.directory;
        let limits = PlanLimits {
            max_homes: 1000,
            ..PlanLimits::default()
        };
        let plan = Plan::new(setting.sql, &directory.catalogue, &limits).unwrap();
        let session = (setting.updates > 0).then(|| session(&directory.catalogue, setting));
        let session = session.as_ref();
        let profile = setting.profile.clone();
        let profile = profile.unwrap_or_else(|| plan.profile.map(|concept| pseudonym(concept)));
        let committee = &directory.committees[0];
        let expires = NOW.plus(HOUR);
        let offered: Vec<Option<EnvelopeSecretKey>> = committee
            .threshold()
            .numbers()
            .map(|number| {
                let offers = !setting.absent.contains(&number.point());
                offers.then(|| EnvelopeSecretKey::generate(Suite::X25519, rng))
            })
            .collect();
        let offer = |(number, secret): (usize, &Option<EnvelopeSecretKey>)| {
            let aggregator = format!("aggregator{}", number + 1);
            let body = OfferBody {
                aggregator: name(&aggregator),
                key: secret.as_ref()?.public(),
                querier: name("querier"),
                expires,
            };
            Some(Offer::new(body, &key_of(&aggregator)))
        };
        let reply = EnvelopeSecretKey::generate(Suite::X25519, rng);
        let mut salt = [0; 32];
        rng.fill_bytes(&mut salt);
        let mut manifest = Manifest {
            network: directory.network.clone(),
            key_epoch: directory.key_epoch,
            querier: name("querier"),
            purpose: "research".into(),
            local: session
                .map_or(&plan.local, |session| &session.local)
                .clone(),
            training: session.map(|session| Training {
                guarded: setting.noise.is_none(),
                ..session.training.clone()
            }),
            min_cohort: 4,
            answer_rate: 400,
            min_verified: setting.min_verified.max(setting.committee.0),
            max_homes: 1000,
            committees: vec![Terms {
                needed: setting.committee.0,
                key: *committee.key(),
                offers: offered.iter().enumerate().map(offer).collect(),
            }],
            notary: name("finder"),
            privacy: setting.noise.map(|(epsilon, delta)| {
                if session.is_some() {
                    return Privacy::of_session(epsilon, delta.unwrap()).unwrap();
                }
                let circuit = Circuit::compile(&plan.shape).unwrap();
                let (needed, members) = setting.committee;
                let (needed, members) = (needed.into(), members.into());
                Privacy::new(epsilon, delta, &circuit.sensitivities(), needed, members).unwrap()
            }),
            rounds: session.map_or(1, |session| session.training.schedule().len() as u16),
            attempts: 3,
            reply_key: reply.public(),
            issued: NOW,
            answer_from: NOW,
            answer_by: expires,
            expires,
            profile_commitment: profile.commitment(&salt),
        };
        change(&mut manifest);
        let signed = manifest.sign(&key_of("querier"));
        Ok(Self {
            manifest: signed.verify(directory, NOW)?,
            plan,
            profile,
            salt,
            signed,
            reply,
            offered,
        })
    }

    /// Returns the head of the question's find, with this profile sealed inside.
    pub(crate) fn find_request(
        &self,
        network: &Network,
        opening: &ProfileOpening,
        batch_size: u32,
        rng: &mut StdRng,
    ) -> FindRequest {
        FindRequest {
            manifest: self.signed.clone(),
            profile: Sealed::<reader::TargetFinder, _>::seal(
                opening,
                &network.finder.public(),
                &ProfileOpening::context(self.signed.query()),
                rng,
            ),
            partition: 0,
            batch_size,
            lists: opening.profile.atoms().copied().collect(),
            inclusion: logged(network, &self.signed),
        }
    }

    pub(crate) fn opening(&self) -> ProfileOpening {
        ProfileOpening {
            profile: self.profile.clone(),
            salt: self.salt,
        }
    }
}

/// Creates the homes of `rows`, at the two hosts in turn.
pub(crate) fn homes(rows: &[Option<Row>], rng: &mut StdRng) -> Vec<Home> {
    let home = |(number, row): (usize, &Option<Row>)| {
        let mut tag = [0; 16];
        rng.fill_bytes(&mut tag);
        Home {
            host: name(HOSTS[number % 2]),
            id: HomeId(format!("home{number}")),
            tag: HomeTag(tag),
            key: HomeKey::generate(rng),
            row: row.clone(),
        }
    };
    rows.iter().enumerate().map(home).collect()
}

/// Creates a host's upload of these homes, each subscribed to all of these concepts.
pub(crate) fn upload(
    network: &Network,
    host: &Name,
    homes: &[&Home],
    concepts: &[&str],
    rng: &mut StdRng,
) -> Upload {
    let directory = &network.directory;
    let enrolments: Vec<Enrolment> = homes
        .iter()
        .map(|home| Enrolment {
            home: home.id.clone(),
            tag: home.tag,
            key: home.key.clone(),
            concepts: concepts
                .iter()
                .map(|concept| (pseudonym(concept), Handle([0; 16])))
                .collect(),
        })
        .collect();
    let pool = |role| &directory.pool(role, 0).unwrap().envelope_key;
    let keys = PoolKeys {
        target_finder: pool(Role::TargetFinder),
        target: pool(Role::Target),
    };
    Upload::build(host, &enrolments, directory.key_epoch, 0, &keys, rng)
}

/// Returns the list segment that the conductor streams from an upload.
pub(crate) fn segment(upload: Upload) -> ListSegment {
    ListSegment {
        key_epoch: upload.key_epoch,
        envelopes: upload.envelopes,
        entries: upload
            .entries
            .into_iter()
            .map(|entry| ListedEntry {
                pseudonym: entry.pseudonym,
                index: entry.index,
                ciphertext: entry.ciphertext,
            })
            .collect(),
    }
}

/// Computes the outputs of `shape` over `rows` in the clear.
pub(crate) fn plain_sums<'a>(shape: &Shape, rows: impl Iterator<Item = &'a Row>) -> Vec<u64> {
    let rows: Vec<&Row> = rows.collect();
    let mut sums = Vec::new();
    for group in 0..usize::from(shape.groups.max(1)) {
        let members = || rows.iter().filter(|row| row.group == group);
        sums.push(members().count() as u64);
        for moment in &shape.moments {
            match moment {
                Moment::Product { present, factors } => {
                    let product = |row: &&&Row| {
                        let level = |variable: &u16| row.levels[usize::from(*variable)];
                        let whole = present.iter().all(|variable| level(variable).is_some());
                        let levels = factors.iter().filter_map(level);
                        whole.then(|| levels.product::<u64>())
                    };
                    sums.push(members().filter_map(|row| product(&row)).sum());
                }
                Moment::Levels { variable, .. } => {
                    let index = usize::from(*variable);
                    let at = |level| members().filter(move |row| row.levels[index] == Some(level));
                    sums.extend((0..=shape.variables[index].max).map(|l| at(l).count() as u64));
                }
            }
        }
    }
    sums
}

/// Limits of a finder's memory in tests.
pub(crate) const LIMITS: Limits = Limits {
    profiles: 256,
    sets: 4096,
    homes: 1 << 30,
    refused: 50,
    queries: 1000,
};

/// Result of a find.
pub(crate) struct Found {
    pub(crate) summary: FindSummary,
    pub(crate) batches: Vec<BatchMessage>,
}

/// Runs the find of a question over encoded segments.
pub(crate) fn find(
    network: &Network,
    question: &Question,
    segments: &[Vec<u8>],
    batch_size: u32,
    rng: &mut StdRng,
) -> Result<Found, FindError> {
    find_by(
        &network.finder_keys(),
        network,
        question,
        segments,
        batch_size,
        rng,
    )
}

/// Runs the find by the finder with these keys, which remembers no querier.
pub(crate) fn find_by(
    keys: &FinderKeys<'_>,
    network: &Network,
    question: &Question,
    segments: &[Vec<u8>],
    batch_size: u32,
    rng: &mut StdRng,
) -> Result<Found, FindError> {
    let request = question.find_request(network, &question.opening(), batch_size, rng);
    let memory = &mut Memory::default();
    find_remembering(keys, memory, network, question, &request, segments)
}

/// Runs the find by the finder with these keys, which remembers the querier.
pub(crate) fn find_remembering(
    keys: &FinderKeys<'_>,
    memory: &mut Memory,
    network: &Network,
    question: &Question,
    request: &FindRequest,
    segments: &[Vec<u8>],
) -> Result<Found, FindError> {
    let mut finding = Finding::new(question.manifest.clone(), request, keys)?;
    for segment in segments {
        finding.add(finding.opener().open(segment, keys)?)?;
    }
    let matching = finding.choose(keys);
    let (secret, epoch) = (keys.secret, network.directory.key_epoch);
    let sizes = Sizes::new(secret, epoch, network.size_noise);
    let homes = matching.members(keys);
    memory.ask(&matching.asking(&homes, &sizes), &sizes, LIMITS)?;
    let chosen = matching.finish(keys, &sizes);
    let batches = 0..chosen.count();
    Ok(Found {
        batches: batches
            .filter_map(|place| chosen.batch(place, keys))
            .collect(),
        summary: chosen.summary,
    })
}
