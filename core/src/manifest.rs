//! The manifest: everything that is public about a query, signed by its querier (protocol.md §6).

use std::{ops::Deref, sync::Arc};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::offer::Offer;
use dispers_base::{
    encoding, field,
    id::{KeyEpoch, MemberNumber, Name, QueryId, Role, Timestamp},
    keys::{Signature, SigningKey},
    labels,
    weakness::{self, Weakness},
};
use dispers_circuit::{Circuit, Mask};
use dispers_crypto::{envelope::EnvelopePublicKey, ristretto::Point};
use dispers_privacy::{Loss, Mechanism, Noise, Privacy, PrivacyError, Rho};
use dispers_query::local::LocalQuery;
use dispers_training::{Task, Training};
use dispers_trust::directory::{Directory, Floors, Node};

/// Largest encoded manifest, in bytes.
pub const MAX_MANIFEST: usize = 1 << 20;
/// Longest life of a query, in milliseconds.
pub const MAX_LIFETIME: u64 = 7 * 24 * 3_600_000;
/// Most attempts at one batch.
pub const MAX_ATTEMPTS: u8 = 8;

/// What every party of a query agrees on. Its encoding is signed; the hash of that is the
/// [`QueryId`].
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// Network that the query is for.
    pub network: Name,
    /// Key epoch whose pseudonyms and pool keys it uses.
    pub key_epoch: KeyEpoch,
    /// Who asks.
    pub querier: Name,
    /// Why, one of the purposes registered for the querier.
    pub purpose: String,
    /// What runs inside a home.
    pub local: LocalQuery,
    /// What homes compute of it in each round, where a model is trained.
    pub training: Option<Training>,
    /// Fewest homes that may be asked, and fewest people behind a released number.
    pub min_cohort: u32,
    /// Fewest accepted contributions, in thousandths of the homes asked.
    pub answer_rate: u16,
    /// Fewest aggregators that verify every batch.
    pub min_verified: u8,
    /// Most homes that may be asked: what keeps every sum within the field.
    pub max_homes: u64,
    /// Terms of the committees that aggregate. Each committee adds up its own homes, and a batch names its committee.
    pub committees: Vec<Terms>,
    /// The Target Finder node that signs the one release.
    pub notary: Name,
    /// The noise on what is released; `None` for none.
    pub privacy: Option<Privacy>,
    /// Number of rounds; 1 for SQL, more where a model is trained.
    pub rounds: u16,
    /// Most attempts at one batch.
    pub attempts: u8,
    /// Where aggregators seal their totals to.
    pub reply_key: EnvelopePublicKey,
    /// When it was signed.
    pub issued: Timestamp,
    /// From when on homes answer; later than `issued` where owners are to be asked before.
    pub answer_from: Timestamp,
    /// Until when homes may answer.
    pub answer_by: Timestamp,
    /// When everything about it is erased.
    pub expires: Timestamp,
    /// Commitment to the target profile and a salt.
    pub profile_commitment: [u8; 32],
}

/// One committee as a manifest names it.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Terms {
    /// Aggregators needed.
    pub needed: u8,
    /// The committee's public key of the randomness function.
    pub key: Point,
    /// One place per aggregator, in committee order; `None` made no offer and gets no shares.
    pub offers: Vec<Option<Offer>>,
}

/// A manifest as it was received, with the signature over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedManifest {
    /// Encoding of a [`Manifest`].
    pub body: Vec<u8>,
    /// The querier's signature.
    pub signature: Signature,
}

/// Why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Not a manifest.
    #[error("the manifest is malformed or over 1 MiB")]
    Malformed,
    /// Made for another network, or a key epoch that is not asked.
    #[error("the manifest is for another network or key epoch: load the current directory")]
    Foreign,
    /// Signed by nobody whom the directory lists.
    #[error("the manifest is not signed by a querier of the directory")]
    Unsigned,
    /// The purpose is not registered.
    #[error("purpose {0:?} is not registered for this querier in the directory")]
    Purpose(String),
    /// Its times are wrong.
    #[error("the manifest {0}")]
    Time(&'static str),
    /// It asks for less protection than the network's floors.
    #[error("{what} {got} is below the network's floor of {floor}")]
    BelowFloor {
        /// Which parameter.
        what: &'static str,
        /// What the manifest says.
        got: u64,
        /// What the directory demands.
        floor: u64,
    },
    /// A parameter is out of its range.
    #[error("{0}")]
    OutOfRange(&'static str),
    /// The committees are not the directory's.
    #[error("the committees of the manifest are not those of the directory")]
    Committees,
    /// An offer is forged, expired or for somebody else.
    #[error("the offer of aggregator {0} is not valid for this query")]
    BadOffer(MemberNumber),
    /// Too few aggregators offered.
    #[error("{offered} aggregators offered a key, {needed} are needed")]
    TooFewOffers {
        /// How many offered.
        offered: usize,
        /// How many are needed.
        needed: usize,
    },
    /// No noise where the network demands it.
    #[error("this network demands noise: give --epsilon")]
    Exact,
    /// The query's δ is above the network's ceiling.
    #[error("delta {delta} is above the network's ceiling of {most}: choose a smaller delta")]
    Delta {
        /// δ of the manifest.
        delta: String,
        /// Ceiling of the directory.
        most: String,
    },
    /// Its noise protects nobody, or cannot be dealt.
    #[error("{0}")]
    Privacy(PrivacyError),
    /// The local query or its circuit is not acceptable.
    #[error("the local query is refused: {0}")]
    Query(String),
}

impl Manifest {
    /// Aggregators of a committee without which there is no result.
    pub fn needed(&self) -> usize {
        let needed = self.committees.iter().map(|terms| terms.needed).max();
        needed.unwrap_or_default().into()
    }

    /// Encodes and signs.
    pub fn sign(&self, key: &SigningKey) -> SignedManifest {
        let body = encoding::to_bytes(self);
        let signature = key.sign(labels::SIGN_MANIFEST, &body);
        SignedManifest { body, signature }
    }
}

impl SignedManifest {
    /// The query's name, whether or not the manifest is valid.
    pub fn query(&self) -> QueryId {
        QueryId(encoding::hash(labels::SIGN_MANIFEST, &[&self.body]))
    }

    /// Checks everything that any party can check, against the pinned directory.
    ///
    /// # Errors
    /// [`ManifestError`], the first rule that is broken.
    pub fn verify(
        &self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<VerifiedManifest, ManifestError> {
        let manifest: Manifest = encoding::from_bytes(&self.body, MAX_MANIFEST, "manifest")
            .map_err(|_| ManifestError::Malformed)?;
        let querier = directory
            .querier(&manifest.querier)
            .ok_or(ManifestError::Unsigned)?;
        querier
            .signing_key
            .verify(labels::SIGN_MANIFEST, &self.body, &self.signature)
            .map_err(|_| ManifestError::Unsigned)?;
        if manifest.network != directory.network
            || manifest.key_epoch != directory.asked_keys().key_epoch
        {
            return Err(ManifestError::Foreign);
        }
        if !querier.purposes.contains(&manifest.purpose) {
            return Err(ManifestError::Purpose(manifest.purpose));
        }
        check_times(&manifest, now)?;
        check_floors(&manifest, directory)?;
        check_committees(&manifest, directory)?;
        if directory
            .node(&manifest.notary)
            .is_none_or(|node| node.role != Role::TargetFinder)
        {
            return Err(ManifestError::OutOfRange(
                "the notary is no target finder of the directory",
            ));
        }
        let refuse = |error: &dyn std::fmt::Display| ManifestError::Query(error.to_string());
        let local = &manifest.local;
        let circuits = match &manifest.training {
            None => {
                local
                    .validate(&directory.catalogue)
                    .map_err(|e| refuse(&e))?;
                vec![Circuit::compile(&local.shape()).map_err(|e| refuse(&e))?]
            }
            Some(training) => {
                let catalogue = &directory.catalogue;
                local
                    .validate_documents(catalogue)
                    .map_err(|e| refuse(&e))?;
                training
                    .validate(local, manifest.rounds)
                    .map_err(|e| refuse(&e))?;
                if training.guarded == manifest.privacy.is_some() {
                    return Err(ManifestError::OutOfRange(
                        "counts of a session must be guarded if it has no noise, and must not be guarded otherwise",
                    ));
                }
                training.circuits(local).map_err(|e| refuse(&e))?
            }
        };
        if let (Some(_), Some(privacy)) = (&manifest.training, &manifest.privacy)
            && privacy.mechanism == Mechanism::Laplace
        {
            return Err(ManifestError::OutOfRange(
                "training takes Gaussian noise: give a delta",
            ));
        }
        for (kind, circuit) in circuits.iter().enumerate() {
            let committees = manifest.committees.iter();
            let committees =
                committees.map(|terms| (usize::from(terms.needed), terms.offers.len()));
            let part = manifest.training.as_ref().map_or(1, |training| {
                training
                    .kinds()
                    .get(kind)
                    .map_or(1, |task| training.share(*task))
            });
            let privacy = manifest.privacy.map(|privacy| privacy.of_one_in(part));
            check_sums(privacy.as_ref(), circuit, manifest.max_homes, committees)?;
        }
        Ok(VerifiedManifest {
            query: self.query(),
            tasks: manifest
                .training
                .as_ref()
                .map_or(Vec::new(), Training::schedule),
            manifest,
            circuits: circuits.into_iter().map(Arc::new).collect(),
        })
    }
}

/// Sums over `max_homes` must stay within the field, with noise within half of it on either side.
/// `committees` are how many aggregators each needs and has.
///
/// # Errors
/// [`ManifestError`] when they may not, or when the noise cannot be dealt.
pub fn check_sums(
    privacy: Option<&Privacy>,
    circuit: &Circuit,
    max_homes: u64,
    committees: impl IntoIterator<Item = (usize, usize)>,
) -> Result<(), ManifestError> {
    let beyond = Err(ManifestError::OutOfRange(
        "the sums of so many homes could leave the field: use a coarser step, or a larger epsilon",
    ));
    let Some(privacy) = privacy else {
        return match circuit.capacity() < max_homes {
            true => beyond,
            false => Ok(()),
        };
    };
    privacy.check().map_err(ManifestError::Privacy)?;
    let sensitivities = circuit.sensitivities();
    let moments = circuit.moments_of_outputs();
    for (needed, members) in committees {
        // The fewer deal, the more each does.
        for dealers in needed..=members {
            let noise = Noise::plan(privacy, &sensitivities, needed, dealers);
            let noise = noise.map_err(ManifestError::Privacy)?;
            let bounds = Circuit::noise_bounds(noise.bounds(&moments))
                .map_err(|e| ManifestError::Query(e.to_string()))?;
            for (bound, moment) in bounds.into_iter().zip(&moments) {
                let homes = u128::from(max_homes) * u128::from(sensitivities[*moment]);
                let dealt = u128::from(bound) * noise.dealers() as u128;
                if homes.saturating_add(dealt) >= u128::from(field::MODULUS / 2) {
                    return beyond;
                }
            }
        }
    }
    Ok(())
}

/// Checks that a query's noise meets the floors of the directory. [`check_sums`] checks that the noise keeps the
/// stated privacy and can be dealt.
///
/// # Errors
/// [`ManifestError::Exact`] or [`ManifestError::Delta`].
pub fn check_privacy(privacy: Option<&Privacy>, floors: &Floors) -> Result<(), ManifestError> {
    let Some(privacy) = privacy else {
        return match floors.exact {
            true => Ok(()),
            false => Err(ManifestError::Exact),
        };
    };
    check_delta(privacy, floors.max_delta)
}

/// Checks that δ does not exceed the network's ceiling.
///
/// # Errors
/// [`ManifestError::Delta`].
pub fn check_delta(privacy: &Privacy, most: f64) -> Result<(), ManifestError> {
    // In this form the comparison refuses NaN too.
    if privacy.delta <= most || weakness::off(Weakness::DeltaUnbounded) {
        return Ok(());
    }
    Err(ManifestError::Delta {
        delta: privacy.delta.to_string(),
        most: most.to_string(),
    })
}

fn check_times(manifest: &Manifest, now: Timestamp) -> Result<(), ManifestError> {
    if manifest.issued.is_ahead_of(now) {
        return Err(ManifestError::Time("was issued in the future"));
    }
    if manifest.expires.has_passed(now) {
        return Err(ManifestError::Time("has expired: submit the query anew"));
    }
    if manifest.expires > manifest.issued.plus(MAX_LIFETIME) {
        return Err(ManifestError::Time("lives longer than seven days"));
    }
    let answering = manifest.answer_from..=manifest.answer_by;
    if manifest.answer_by > manifest.expires
        || answering.is_empty()
        || answering.start() < &manifest.issued
    {
        return Err(ManifestError::Time(
            "has an answer time outside its own life",
        ));
    }
    Ok(())
}

fn check_floors(manifest: &Manifest, directory: &Directory) -> Result<(), ManifestError> {
    let floors = &directory.floors;
    let at_least = |what, got: u64, floor: u64| {
        if got < floor {
            return Err(ManifestError::BelowFloor { what, got, floor });
        }
        Ok(())
    };
    at_least(
        "minimum cohort",
        manifest.min_cohort.into(),
        floors.min_cohort.into(),
    )?;
    at_least(
        "answer rate",
        manifest.answer_rate.into(),
        floors.answer_rate.into(),
    )?;
    at_least(
        "number of verifying aggregators",
        manifest.min_verified.into(),
        floors.min_verified.into(),
    )?;
    check_privacy(manifest.privacy.as_ref(), floors)?;
    if manifest.answer_rate > 1000 {
        return Err(ManifestError::OutOfRange("the answer rate is over 1000"));
    }
    if manifest.max_homes > floors.max_homes {
        return Err(ManifestError::OutOfRange(
            "more homes may be asked than the network allows",
        ));
    }
    if manifest.training.is_none() && manifest.rounds != 1 {
        return Err(ManifestError::OutOfRange("a query has exactly one round"));
    }
    if manifest.attempts == 0 || manifest.attempts > MAX_ATTEMPTS {
        return Err(ManifestError::OutOfRange(
            "the number of attempts is not 1 to 8",
        ));
    }
    if manifest.reply_key.suite() != directory.suite {
        return Err(ManifestError::OutOfRange(
            "the reply key is of another suite than the network's",
        ));
    }
    Ok(())
}

fn check_committees(manifest: &Manifest, directory: &Directory) -> Result<(), ManifestError> {
    if manifest.committees.len() != directory.committees.len() {
        return Err(ManifestError::Committees);
    }
    for (group, (terms, listed)) in manifest
        .committees
        .iter()
        .zip(&directory.committees)
        .enumerate()
    {
        let threshold = listed.threshold();
        if usize::from(terms.needed) != threshold.needed()
            || terms.offers.len() != threshold.members()
            || terms.key != *listed.key()
        {
            return Err(ManifestError::Committees);
        }
        let min_verified = usize::from(manifest.min_verified);
        if min_verified < threshold.needed() || min_verified > threshold.members() {
            return Err(ManifestError::OutOfRange(
                "min_verified is not between the threshold and the size of the committee",
            ));
        }
        let group = u16::try_from(group).map_err(|_| ManifestError::Committees)?;
        let mut offered = 0;
        for (number, offer) in threshold.numbers().zip(&terms.offers) {
            let Some(offer) = offer else { continue };
            offered += 1;
            directory
                .member(Role::DataAggregator, group, number)
                .filter(|node| offer_holds(offer, node, manifest, directory))
                .ok_or(ManifestError::BadOffer(number))?;
        }
        if offered < min_verified {
            return Err(ManifestError::TooFewOffers {
                offered,
                needed: min_verified,
            });
        }
    }
    Ok(())
}

fn offer_holds(offer: &Offer, node: &Node, manifest: &Manifest, directory: &Directory) -> bool {
    offer.body.aggregator == node.name
        && offer.body.querier == manifest.querier
        && offer.body.expires >= manifest.expires
        && offer.body.key.suite() == directory.suite
        && offer.verify(&node.signing_key).is_ok()
}

/// A manifest that holds against the directory. Made by [`SignedManifest::verify`] only.
#[derive(Debug, Clone)]
pub struct VerifiedManifest {
    query: QueryId,
    manifest: Manifest,
    /// One for each kind of round, in the order in which they first come.
    circuits: Vec<Arc<Circuit>>,
    /// What each round is for, where a model is trained.
    tasks: Vec<Task>,
}

impl VerifiedManifest {
    /// The query's name.
    pub fn query(&self) -> QueryId {
        self.query
    }

    /// What a home may contribute to the first round, compiled.
    pub fn circuit(&self) -> &Arc<Circuit> {
        &self.circuits[0]
    }

    /// What a home may contribute to a round, compiled; of one that is none, to the first.
    pub fn circuit_of(&self, round: u16) -> &Arc<Circuit> {
        let kind = self.task(round).and_then(|task| {
            let training = self.training.as_ref()?;
            training.kinds().iter().position(|kind| *kind == task)
        });
        &self.circuits[kind.unwrap_or(0)]
    }

    /// Returns the mask of a round whose [counts](Circuit::openings) were opened with the values `opened`. It releases
    /// numbers of at least `cohort` people each.
    pub fn mask(&self, round: u16, cohort: i128, opened: &[i128]) -> Mask {
        let circuit = self.circuit_of(round);
        circuit.opened_mask(self.privacy.is_some(), cohort, &self.local.facts(), opened)
    }

    /// The noise of a round: a session's is spread over those rounds that one home may take part in, which add
    /// up as zero-concentrated differential privacy does.
    pub fn round_privacy(&self, round: u16) -> Option<Privacy> {
        let training = self.training.as_ref().zip(self.task(round));
        let share = training.map_or(1, |(training, task)| training.share(task));
        self.privacy.map(|privacy| privacy.of_one_in(share))
    }

    /// What the whole query costs of a privacy budget.
    pub fn cost(&self) -> Option<Rho> {
        let moments = self.circuit().sensitivities().len();
        self.privacy.map(|privacy| privacy.cost(moments))
    }

    /// Returns the privacy loss of a home that answers the query in all its rounds.
    pub fn loss(&self) -> Loss {
        Loss::of(self.privacy.as_ref(), self.circuit().sensitivities().len())
    }

    /// What a round of training is for.
    pub fn task(&self, round: u16) -> Option<Task> {
        self.tasks.get(usize::from(round)).copied()
    }

    /// What a home may contribute, for each kind of round.
    pub fn circuits(&self) -> impl Iterator<Item = &Arc<Circuit>> {
        self.circuits.iter()
    }

    /// The aggregators that offered a key, with it, in committee order.
    pub fn offers(
        &self,
        committee: u16,
    ) -> impl Iterator<Item = (MemberNumber, &EnvelopePublicKey)> {
        self.committees
            .get(usize::from(committee))
            .into_iter()
            .flat_map(|terms| (1u8..).zip(&terms.offers))
            .filter_map(|(number, offer)| {
                Some((MemberNumber::new(number).ok()?, &offer.as_ref()?.body.key))
            })
    }
}

#[cfg(test)]
impl VerifiedManifest {
    /// Returns a manifest with a second committee that has the same terms.
    pub(crate) fn with_another_committee(&self) -> Self {
        let mut other = self.clone();
        let terms = other.manifest.committees[0].clone();
        other.manifest.committees.push(terms);
        other
    }
}

impl Deref for VerifiedManifest {
    type Target = Manifest;

    fn deref(&self) -> &Manifest {
        &self.manifest
    }
}

#[cfg(test)]
mod tests;
