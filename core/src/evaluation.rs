//! Asking the Concept Indexors for pseudonyms (protocol.md §4).
//!
//! A host or querier blinds its concepts, signs one request and seals it for each indexor; the
//! request passes the Conductor (and, for a host, the Target), who see neither concept nor, for a
//! host, who asked.

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;

use dispers_base::{
    encoding,
    id::{KeyEpoch, MemberNumber, Name, Role, Timestamp},
    keys::{Signature, SigningKey, VerifyingKey},
    labels,
};
use dispers_crypto::{
    envelope::{Context, Sealed, reader},
    oprf::{self, Blinded, Blinding, Evaluation, OprfError, Pseudonym},
};
use dispers_trust::directory::{Directory, EpochKeys};

/// Most concepts of one request.
pub const MAX_CONCEPTS: usize = 1024;
/// Largest encoded request, in bytes.
pub const MAX_REQUEST: usize = 64 << 10;

/// Who wants pseudonyms. No other role may.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Requester {
    /// A host, for its homes' subscriptions.
    Host(Name),
    /// A querier, for a target profile.
    Querier(Name),
}

impl Requester {
    /// The requester's key, if the directory lists it.
    pub fn key<'a>(&self, directory: &'a Directory) -> Option<&'a VerifyingKey> {
        match self {
            Self::Host(name) => directory.host(name).map(|host| &host.signing_key),
            Self::Querier(name) => directory.querier(name).map(|querier| &querier.signing_key),
        }
    }
}

/// Blinded concepts, for one indexor.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct EvaluationRequest {
    /// Who asks.
    pub requester: Requester,
    /// Under which key.
    pub key_epoch: KeyEpoch,
    /// When it was signed.
    pub issued: Timestamp,
    /// Which indexor it is for.
    pub member: MemberNumber,
    /// The blinded concepts.
    pub blinded: Vec<Blinded>,
}

/// A request with its signature, inside the envelope.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct SignedEvaluationRequest {
    /// Encoding of an [`EvaluationRequest`].
    pub body: Vec<u8>,
    /// The requester's signature.
    pub signature: Signature,
}

/// A request as it travels.
pub type SealedEvaluationRequest = Sealed<reader::ConceptIndexor, SignedEvaluationRequest>;

/// The envelope context of a request. The sender stays unnamed outside the envelope, so that the
/// way through the Conductor shows no host.
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
    /// Blinds `concepts`.
    ///
    /// # Errors
    /// [`OprfError`] for a concept that hashes to the identity, which none does.
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

    /// One sealed request for each indexor of the directory, in order, for its share of an epoch's key.
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
                let body = encoding::to_bytes(&EvaluationRequest {
                    requester: requester.clone(),
                    key_epoch,
                    issued: now,
                    member,
                    blinded: self.blinded.clone(),
                });
                let signature = key.sign(labels::SIGN_EVALUATION, &body);
                let request = SignedEvaluationRequest { body, signature };
                let envelope = node.envelope_key.as_ref()?;
                Some((
                    member,
                    Sealed::seal(&request, envelope, &context(member), rng),
                ))
            })
            .collect()
    }

    /// Checks one indexor's answer against the public share that the directory lists for it in the
    /// epoch asked for.
    ///
    /// # Errors
    /// [`OprfError::WrongEvaluation`] naming it: leave the answer out and ask another.
    pub fn check(
        &self,
        keys: &EpochKeys<'_>,
        member: MemberNumber,
        evaluation: &Evaluation,
    ) -> Result<(), OprfError> {
        let wrong = OprfError::WrongEvaluation { member };
        let public = keys.indexors.share(member).ok_or(wrong)?;
        oprf::verify(public, &self.blinded, evaluation).map_err(|_| wrong)
    }

    /// Unblinds what at least the threshold of indexors evaluated.
    ///
    /// # Errors
    /// [`OprfError`] naming an indexor whose proof does not hold, or when too few answered.
    pub fn finish(
        self,
        keys: &EpochKeys<'_>,
        evaluations: &[(MemberNumber, Evaluation)],
    ) -> Result<Vec<Pseudonym>, OprfError> {
        oprf::finalize(keys.indexors, self.blindings, evaluations)
    }
}
