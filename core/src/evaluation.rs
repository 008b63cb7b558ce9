//! Asking the Concept Indexors for pseudonyms (protocol.md §4).
//!
//! A host or querier blinds its concepts, signs one request and seals it for each indexor; the
//! request passes the Conductor (and, for a host, the Target), who see neither concept nor, for a
//! host, who asked.

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;

use dispers_base::{
    encoding::{self, Message},
    id::{KeyEpoch, MemberNumber, Name, Role, Timestamp},
    keys::{SigningKey, VerifyingKey},
    labels,
    signed::{Signed, Statement},
};
use dispers_crypto::{
    envelope::{Context, Sealed, reader},
    oprf::{self, Blinded, Blinding, Evaluation, OprfError, Pseudonym},
};
use dispers_trust::directory::{Directory, EpochKeys};

/// Largest number of concepts in one request.
pub const MAX_CONCEPTS: usize = 1024;

/// Party that asks for pseudonyms. No other role may ask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Requester {
    /// A host, for its homes' subscriptions.
    Host(Name),
    /// A querier, for a target profile.
    Querier(Name),
}

impl Requester {
    /// Returns the requester's signing key if the directory lists the requester.
    pub fn key<'a>(&self, directory: &'a Directory) -> Option<&'a VerifyingKey> {
        match self {
            Self::Host(name) => directory.host(name).map(|host| &host.signing_key),
            Self::Querier(name) => directory.querier(name).map(|querier| &querier.signing_key),
        }
    }
}

/// Blinded concepts for one indexor.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct EvaluationRequest {
    /// Party that asks.
    pub requester: Requester,
    /// Key epoch of the key to evaluate under.
    pub key_epoch: KeyEpoch,
    /// Time of signing.
    pub issued: Timestamp,
    /// Number of the indexor that the request is for.
    pub member: MemberNumber,
    /// Blinded concepts, at most [`MAX_CONCEPTS`].
    pub blinded: Vec<Blinded>,
}

impl Statement for EvaluationRequest {
    const LABEL: &'static str = labels::SIGN_EVALUATION;
}

impl Message for EvaluationRequest {
    const NAME: &'static str = "evaluation request";
    const LIMIT: usize = 64 << 10;
}

/// A request with the requester's signature, inside the envelope.
pub type SignedEvaluationRequest = Signed<EvaluationRequest>;

/// A request as it travels.
pub type SealedEvaluationRequest = Sealed<reader::ConceptIndexor, SignedEvaluationRequest>;

/// Returns the envelope context of a request to indexor `member`.
///
/// The context names the Conductor as the sender, whoever asks. With the requester's role in it, the request would have
/// to tell the Conductor, outside the envelope, whether a host asks.
pub fn context(member: MemberNumber) -> Context {
    Context {
        purpose: labels::ENVELOPE_EVALUATION,
        sender: Role::Conductor,
        binding: encoding::to_bytes(&member),
    }
}

/// Concepts on their way to become pseudonyms.
pub struct Evaluating {
    blindings: Vec<Blinding>,
    blinded: Vec<Blinded>,
}

impl Evaluating {
    /// Blinds `concepts`, each with a random factor of its own.
    ///
    /// # Errors
    /// [`OprfError`] for a concept that hashes to the identity element. No known concept does.
    pub fn new(concepts: &[&str], rng: &mut impl CryptoRng) -> Result<Self, OprfError> {
        let mut blindings = Vec::with_capacity(concepts.len());
        let mut blinded = Vec::with_capacity(concepts.len());
        for concept in concepts {
            let (blinding, element) = oprf::blind(concept.as_bytes(), rng)?;
            blindings.push(blinding);
            blinded.push(element);
        }
        Ok(Self { blindings, blinded })
    }

    /// Returns one signed and sealed request per indexor of the directory, in the directory's order. Each request asks
    /// for an evaluation with the indexor's share of the key of `key_epoch`.
    pub fn requests(
        &self,
        requester: &Requester,
        key: &SigningKey,
        directory: &Directory,
        key_epoch: KeyEpoch,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Vec<(MemberNumber, SealedEvaluationRequest)> {
        directory
            .nodes(Role::ConceptIndexor)
            .filter_map(|node| {
                let member = node.member?;
                let request = EvaluationRequest {
                    requester: requester.clone(),
                    key_epoch,
                    issued: now,
                    // The signature covers the reader's number, so that one indexor cannot hand the request to another.
                    member,
                    blinded: self.blinded.clone(),
                };
                let request = Signed::new(&request, key);
                let envelope = node.envelope_key.as_ref()?;
                Some((
                    member,
                    Sealed::seal(&request, envelope, &context(member), rng),
                ))
            })
            .collect()
    }

    /// Verifies one indexor's proof against the public share that the directory lists for it in the epoch of `keys`.
    ///
    /// # Errors
    /// [`OprfError::WrongEvaluation`] with the indexor's number. The caller leaves the answer out and asks another
    /// indexor.
    pub fn check(
        &self,
        keys: &EpochKeys<'_>,
        member: MemberNumber,
        evaluation: &Evaluation,
    ) -> Result<(), OprfError> {
        // A member without a listed share is treated like one with a wrong proof: another indexor is asked.
        let wrong = OprfError::WrongEvaluation { member };
        let public = keys.indexors.share(member).ok_or(wrong)?;
        oprf::verify(public, &self.blinded, evaluation).map_err(|_| wrong)
    }

    /// Verifies the evaluations, combines those of a threshold of indexors, and unblinds the results. Returns the
    /// pseudonyms in the order of the concepts.
    ///
    /// # Errors
    /// [`OprfError`] that names an indexor whose proof is wrong, or says that too few indexors answered.
    pub fn finish(
        self,
        keys: &EpochKeys<'_>,
        evaluations: &[(MemberNumber, Evaluation)],
    ) -> Result<Vec<Pseudonym>, OprfError> {
        oprf::finalize(keys.indexors, self.blindings, evaluations)
    }
}
