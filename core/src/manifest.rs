//! The manifest: everything that is public about a query, signed by its querier (protocol.md §6).

use std::{ops::Deref, sync::Arc};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::offer::Offer;
use dispers_base::{
    encoding::Message,
    field,
    id::{KeyEpoch, MemberNumber, Name, QueryId, Role, Timestamp},
    keys::SigningKey,
    labels,
    signed::{Signed, Statement},
    weakness::{self, Weakness},
};
use dispers_circuit::{Circuit, Mask};
use dispers_crypto::{envelope::EnvelopePublicKey, ristretto::Point};
use dispers_privacy::{Loss, Mechanism, Noise, Privacy, PrivacyError, Rho};
use dispers_query::local::LocalQuery;
use dispers_training::{Task, Training};
use dispers_trust::directory::{Directory, Floors, Node};

/// Longest life of a query, in milliseconds.
pub const MAX_LIFETIME: u64 = 7 * 24 * 3_600_000;
/// Largest number of attempts at one batch.
pub const MAX_ATTEMPTS: u8 = 8;

/// Public description of a query, on which every party agrees. Its encoding is signed, and the hash of the encoding is
/// the [`QueryId`].
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Manifest {
    /// Network in which the query is asked.
    pub network: Name,
    /// Key epoch whose pseudonyms and pool keys the query uses.
    pub key_epoch: KeyEpoch,
    /// Querier that asks.
    pub querier: Name,
    /// Purpose of the query, one of those registered for the querier.
    pub purpose: String,
    /// Local query, which runs inside a home.
    pub local: LocalQuery,
    /// Description of the model and of what homes compute in each round; `None` where no model is trained.
    pub training: Option<Training>,
    /// Smallest number of homes that may be asked, and of people behind a released number.
    pub min_cohort: u32,
    /// Answer rate: smallest number of accepted contributions, in thousandths of the homes asked.
    pub answer_rate: u16,
    /// Smallest number of aggregators that verify every batch.
    pub min_verified: u8,
    /// Largest number of homes that may be asked. It bounds every sum, so that none leaves the field.
    pub max_homes: u64,
    /// Terms of the committees that aggregate. Each committee adds up its own homes, and a batch names its committee.
    pub committees: Vec<Terms>,
    /// Name of the Target Finder node that signs the one release.
    pub notary: Name,
    /// Noise on the released numbers; `None` for an exact query.
    pub privacy: Option<Privacy>,
    /// Number of rounds; 1 for SQL, more where a model is trained.
    pub rounds: u16,
    /// Largest number of attempts at one batch.
    pub attempts: u8,
    /// Key of the querier to which aggregators seal their totals.
    pub reply_key: EnvelopePublicKey,
    /// Time of signing.
    pub issued: Timestamp,
    /// Time from which homes answer. It is later than `issued` where owners are to be asked first.
    pub answer_from: Timestamp,
    /// Time until which homes may answer.
    pub answer_by: Timestamp,
    /// Time at which all parties erase what they hold of the query.
    pub expires: Timestamp,
    /// Commitment to the target profile and a salt.
    pub profile_commitment: [u8; 32],
}

impl Message for Manifest {
    const NAME: &'static str = "manifest";
    const LIMIT: usize = 1 << 20;
}

/// One committee as a manifest names it.
#[derive(Debug, Clone, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Terms {
    /// Threshold of the committee: number of aggregators without which there is no result.
    pub needed: u8,
    /// Public key of the committee's threshold PRF, which makes the randomness.
    pub key: Point,
    /// Offers, one place per aggregator in committee order. An aggregator with `None` made no offer and gets no shares.
    pub offers: Vec<Option<Offer>>,
}

impl Statement for Manifest {
    const LABEL: &'static str = labels::SIGN_MANIFEST;
}

/// A manifest as it was received, with the querier's signature over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedManifest(Signed<Manifest>);

impl Message for SignedManifest {
    const NAME: &'static str = Signed::<Manifest>::NAME;
    const LIMIT: usize = Signed::<Manifest>::LIMIT;
}

impl From<Signed<Manifest>> for SignedManifest {
    fn from(signed: Signed<Manifest>) -> Self {
        Self(signed)
    }
}

impl Deref for SignedManifest {
    type Target = Signed<Manifest>;

    fn deref(&self) -> &Signed<Manifest> {
        &self.0
    }
}

/// Reason why a manifest is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The bytes are not a manifest.
    #[error("the manifest is malformed or over 1 MiB")]
    Malformed,
    /// The manifest is for another network, or for a key epoch under which no queries are asked.
    #[error("the manifest is for another network or key epoch: load the current directory")]
    Foreign,
    /// No querier of the directory signed the manifest.
    #[error("the manifest is not signed by a querier of the directory")]
    Unsigned,
    /// The purpose is not registered.
    #[error("purpose {0:?} is not registered for this querier in the directory")]
    Purpose(String),
    /// The times of the manifest are wrong.
    #[error("the manifest {0}")]
    Time(&'static str),
    /// The manifest asks for less protection than the network's floors.
    #[error("{what} {got} is below the network's floor of {floor}")]
    BelowFloor {
        /// Name of the parameter.
        what: &'static str,
        /// Value in the manifest.
        got: u64,
        /// Floor of the directory.
        floor: u64,
    },
    /// A parameter is out of its range.
    #[error("{0}")]
    OutOfRange(&'static str),
    /// The committees are not the directory's.
    #[error("the committees of the manifest are not those of the directory")]
    Committees,
    /// An offer is forged or expired, or was made for another querier.
    #[error("the offer of aggregator {0} is not valid for this query")]
    BadOffer(MemberNumber),
    /// Too few aggregators offered.
    #[error("{offered} aggregators offered a key, {needed} are needed")]
    TooFewOffers {
        /// Number of aggregators that offered a key.
        offered: usize,
        /// Number of aggregators that are needed.
        needed: usize,
    },
    /// The query has no noise although the network demands it.
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
    /// The noise protects nobody, or cannot be dealt.
    #[error("{0}")]
    Privacy(PrivacyError),
    /// The local query or its circuit is not acceptable.
    #[error("the local query is refused: {0}")]
    Query(String),
}

impl Manifest {
    /// Returns the largest threshold of the query's committees.
    pub fn needed(&self) -> usize {
        let needed = self.committees.iter().map(|terms| terms.needed).max();
        needed.unwrap_or_default().into()
    }

    /// Encodes and signs the manifest.
    pub fn sign(&self, key: &SigningKey) -> SignedManifest {
        SignedManifest(Signed::new(self, key))
    }
}

impl SignedManifest {
    /// Returns the query's id, the hash that the querier signed. Does not verify the manifest.
    pub fn query(&self) -> QueryId {
        QueryId(self.digest())
    }

    /// Verifies everything that any party can check, against the pinned directory.
    ///
    /// # Errors
    /// [`ManifestError`] for the first broken rule.
    pub fn verify(
        &self,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<VerifiedManifest, ManifestError> {
        let manifest = self.unverified().map_err(|_| ManifestError::Malformed)?;
        let querier = directory
            .querier(&manifest.querier)
            .ok_or(ManifestError::Unsigned)?;
        self.verify_signature(&querier.signing_key)
            .map_err(|_| ManifestError::Unsigned)?;
        // Only one key epoch is asked at a time, even during a grace: a home that is subscribed under two would count
        // twice (protocol.md §2).
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
        // Every party compiles the circuit itself. The manifest has no second description that could differ
        // (protocol.md §6).
        let local = &manifest.local;
        let circuits = match &manifest.training {
            None => {
                local.validate(&directory.catalogue).map_err(refuse)?;
                vec![Circuit::compile(&local.shape()).map_err(refuse)?]
            }
            Some(training) => {
                let catalogue = &directory.catalogue;
                local.validate_documents(catalogue).map_err(refuse)?;
                training.validate(local, manifest.rounds).map_err(refuse)?;
                // Noise already protects the counts of a noisy session. An exact one has only the guards.
                if training.guarded == manifest.privacy.is_some() {
                    return Err(ManifestError::OutOfRange(
                        "counts of a session must be guarded if it has no noise, and must not be guarded otherwise",
                    ));
                }
                training.circuits(local).map_err(refuse)?
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
            // A home takes part in several rounds: each round has the noise of its part of the session's loss.
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

/// Checks that the sums over `max_homes` homes stay within the field. With noise, sums plus noise must stay within half
/// of the field on either side of zero. `committees` has the threshold and the number of aggregators of each committee.
///
/// # Errors
/// [`ManifestError`] when a sum could leave its range, or when the noise cannot be dealt.
pub fn check_sums(
    privacy: Option<&Privacy>,
    circuit: &Circuit,
    max_homes: u64,
    committees: impl IntoIterator<Item = (usize, usize)>,
) -> Result<(), ManifestError> {
    let beyond = Err(ManifestError::OutOfRange(
        "the sums of so many homes could leave the field: use a coarser step, or a larger epsilon",
    ));
    // An overflow would wrap around and give a wrong sum that nobody notices.
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
        // The number of dealers is not known yet. Each number gives other bounds: fewer dealers draw more noise each.
        for dealers in needed..=members {
            let noise = Noise::plan(privacy, &sensitivities, needed, dealers);
            let noise = noise.map_err(ManifestError::Privacy)?;
            let bounds = Circuit::noise_bounds(noise.bounds(&moments))
                .map_err(|e| ManifestError::Query(e.to_string()))?;
            for (bound, moment) in bounds.into_iter().zip(&moments) {
                // A noisy sum is read as the representative nearest to zero, so that homes and noise together must stay
                // below half.
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
/// [`ManifestError::Exact`] for a query without noise where the network demands it, or [`ManifestError::Delta`].
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
/// [`ManifestError::Delta`] for a larger δ. With a δ near 1 a tiny ε would promise nothing (protocol.md §12).
pub fn check_delta(privacy: &Privacy, most: f64) -> Result<(), ManifestError> {
    // A NaN fails this comparison and is refused. The opposite comparison would let it pass.
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
        return Err(ManifestError::Time("has expired: submit the query again"));
    }
    // Every role keeps its part of a query until then: the longest life bounds the secrets that are kept.
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
    // A rate above 1000 could never be reached.
    if manifest.answer_rate > 1000 {
        return Err(ManifestError::OutOfRange("the answer rate is over 1000"));
    }
    if manifest.max_homes > floors.max_homes {
        return Err(ManifestError::OutOfRange(
            "more homes may be asked than the network allows",
        ));
    }
    // More rounds of SQL would release the same question several times.
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

fn at_least(what: &'static str, got: u64, floor: u64) -> Result<(), ManifestError> {
    match got < floor {
        true => Err(ManifestError::BelowFloor { what, got, floor }),
        false => Ok(()),
    }
}

fn refuse(error: impl std::fmt::Display) -> ManifestError {
    ManifestError::Query(error.to_string())
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
        // The manifest repeats the directory's thresholds and keys, so that the querier signs what it relies on. It
        // must not choose others.
        let threshold = listed.threshold();
        if usize::from(terms.needed) != threshold.needed()
            || terms.offers.len() != threshold.members()
            || terms.key != *listed.key()
        {
            return Err(ManifestError::Committees);
        }
        // Fewer than the threshold cannot interpolate a sum.
        let min_verified = usize::from(manifest.min_verified);
        if min_verified < threshold.needed() || min_verified > threshold.members() {
            return Err(ManifestError::OutOfRange(
                "min_verified is not between the threshold and the size of the committee",
            ));
        }
        let group = u16::try_from(group).map_err(|_| ManifestError::Committees)?;
        let mut offered = 0;
        for (number, offer) in threshold.numbers().zip(&terms.offers) {
            // An aggregator that is away when the query is planned leaves its place empty, and the numbers of the
            // others stay.
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
    // The aggregator erases the secret when its offer expires: an offer that ends before the query leaves groups that
    // nobody opens.
    offer.body.aggregator == node.name
        && offer.body.querier == manifest.querier
        && offer.body.expires >= manifest.expires
        && offer.body.key.suite() == directory.suite
        && offer.verify(&node.signing_key).is_ok()
}

/// A manifest that was verified against the directory. Only [`SignedManifest::verify`] makes one.
#[derive(Debug, Clone)]
pub struct VerifiedManifest {
    query: QueryId,
    manifest: Manifest,
    /// Circuits, one for each kind of round, in the order in which the kinds first come.
    circuits: Vec<Arc<Circuit>>,
    /// Task of each round; empty where no model is trained.
    tasks: Vec<Task>,
}

impl VerifiedManifest {
    /// Returns the query's id.
    pub fn query(&self) -> QueryId {
        self.query
    }

    /// Returns the circuit of the first round: what a home may contribute to it.
    pub fn circuit(&self) -> &Arc<Circuit> {
        &self.circuits[0]
    }

    /// Returns the circuit of a round. For a round that the query does not have, returns the circuit of the first.
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

    /// Returns the noise of a round; `None` for an exact query. A session's loss is spread over the rounds in which one
    /// home may take part: in zero-concentrated differential privacy, the losses of these rounds add up to that of the
    /// session.
    pub fn round_privacy(&self, round: u16) -> Option<Privacy> {
        let training = self.training.as_ref().zip(self.task(round));
        let share = training.map_or(1, |(training, task)| training.share(task));
        self.privacy.map(|privacy| privacy.of_one_in(share))
    }

    /// Returns the cost of the whole query to a privacy budget; `None` for an exact query.
    pub fn cost(&self) -> Option<Rho> {
        let moments = self.circuit().sensitivities().len();
        self.privacy.map(|privacy| privacy.cost(moments))
    }

    /// Returns the privacy loss of a home that answers the query in all its rounds.
    pub fn loss(&self) -> Loss {
        Loss::of(self.privacy.as_ref(), self.circuit().sensitivities().len())
    }

    /// Returns the task of a round of training.
    pub fn task(&self, round: u16) -> Option<Task> {
        self.tasks.get(usize::from(round)).copied()
    }

    /// Returns the circuits, one for each kind of round.
    pub fn circuits(&self) -> impl Iterator<Item = &Arc<Circuit>> {
        self.circuits.iter()
    }

    /// Returns the threshold of a committee, or the largest number if the query has no such committee.
    pub(crate) fn needed_of(&self, committee: u16) -> usize {
        let terms = self.committees.get(usize::from(committee));
        terms.map_or(usize::MAX, |terms| usize::from(terms.needed))
    }

    /// Returns the numbers and keys of the committee's aggregators that made an offer, in committee order.
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
