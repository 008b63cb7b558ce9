//! Parameters of a training round: sealed for the chosen homes, and the same for all of them (protocol.md §18).
//!
//! The session key travels inside the tickets, so that only the stacks of chosen homes can read a model; the Conductor
//! and the Target cannot. The digest of the parameters is bound into every contribution and into D, so that homes that
//! were shown other parameters count nowhere. Otherwise the Conductor and the querier together could give all homes but
//! one a model for which these homes answer zero, and read the answer of the remaining home (Pasquini, Francati,
//! Ateniese 2022, "Eluding secure aggregation in federated learning via model inconsistency").

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::manifest::VerifiedManifest;
use dispers_base::{
    encoding::{self, Message},
    id::QueryId,
    keys::SigningKey,
    labels,
    signed::{Signed, Statement},
};
use dispers_crypto::aead;
use dispers_trust::directory::Directory;

/// Largest encoded parameters, in bytes.
const MAX_PARAMETERS: usize = 2 << 20;

/// Digest that stands for the parameters in the first round, which has none.
pub const NO_PARAMETERS: [u8; 32] = [0; 32];

/// Key that opens the parameters of a session; zeroized when dropped.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, ZeroizeOnDrop)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// Derives the key of session `query` from the salt of its profile. Only the querier and the Target Finder know the
    /// salt.
    pub fn new(salt: &[u8; 32], query: QueryId) -> Self {
        Self(encoding::hash(
            labels::DERIVE_SESSION_KEY,
            &[salt, &query.0],
        ))
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Body {
    query: QueryId,
    round: u16,
    /// A random nonce, then the ciphertext.
    sealed: Vec<u8>,
}

/// Parameters as they travel, with the querier's signature over the received bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedParameters(Signed<Body>);

impl Statement for Body {
    const LABEL: &'static str = labels::SIGN_PARAMETERS;
}

impl Message for Body {
    const NAME: &'static str = "parameters";
    const LIMIT: usize = MAX_PARAMETERS;
}

/// Parameters that the querier of a session signed for one of its rounds.
pub struct VerifiedParameters {
    query: QueryId,
    round: u16,
    digest: [u8; 32],
    sealed: Vec<u8>,
}

/// Reason why parameters are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParametersError {
    /// The querier of the session did not sign them, or they belong to another session.
    #[error("the parameters are not signed by the session's querier")]
    Unsigned,
    /// The session has no such round, or the round is not a coming one.
    #[error("the parameters are not for a coming round of the session")]
    Round,
    /// They are not sealed under the session's key.
    #[error("the parameters do not open")]
    Sealed,
}

impl Message for SignedParameters {
    const NAME: &'static str = Signed::<Body>::NAME;
    const LIMIT: usize = Signed::<Body>::LIMIT;
}

impl SignedParameters {
    /// Seals `parameters` under the session key for `round`, and signs the sealed bytes.
    pub fn seal(
        query: QueryId,
        round: u16,
        parameters: &impl BorshSerialize,
        key: &SessionKey,
        signing: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let plaintext = Zeroizing::new(encoding::to_bytes(parameters));
        // A ciphertext that is moved to another round or session does not open.
        let aad = encoding::to_bytes(&(query, round));
        let sealed = aead::seal_at_random(&key.0, &aad, &plaintext, rng);
        let body = Body {
            query,
            round,
            sealed,
        };
        Self(Signed::new(&body, signing))
    }

    /// Returns the digest that names these parameters towards homes and aggregators.
    pub fn digest(&self) -> [u8; 32] {
        // The digest covers the bytes as signed: the same parameters sealed twice have two digests.
        encoding::hash(labels::HASH_PARAMETERS, &[&self.0.body])
    }

    /// Verifies the querier's signature, the session and the round.
    ///
    /// # Errors
    pub fn verify(
        &self,
        manifest: &VerifiedManifest,
        directory: &Directory,
    ) -> Result<VerifiedParameters, ParametersError> {
        let unsigned = ParametersError::Unsigned;
        let querier = directory.querier(&manifest.querier).ok_or(unsigned)?;
        let signed = self.0.verify_signature(&querier.signing_key);
        signed.map_err(|_| unsigned)?;
        let body = self.0.unverified().map_err(|_| unsigned)?;
        if body.query != manifest.query() {
            return Err(unsigned);
        }
        // A query that is not a training session takes no parameters, although it has a round 0.
        if body.round >= manifest.rounds || manifest.training.is_none() {
            return Err(ParametersError::Round);
        }
        Ok(VerifiedParameters {
            query: body.query,
            round: body.round,
            digest: self.digest(),
            sealed: body.sealed,
        })
    }
}

impl VerifiedParameters {
    /// Returns the round that the parameters are for.
    pub fn round(&self) -> u16 {
        self.round
    }

    /// Returns the digest of the parameters as they were signed.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Opens and decodes the parameters.
    ///
    /// # Errors
    /// [`ParametersError::Sealed`], whatever the cause: a reader must not learn whether the key or the content was
    /// wrong.
    pub fn open<T: BorshDeserialize>(&self, key: &SessionKey) -> Result<T, ParametersError> {
        let bad = ParametersError::Sealed;
        let aad = encoding::to_bytes(&(self.query, self.round));
        let plaintext = aead::open_at_random(&key.0, &aad, &self.sealed).map_err(|_| bad)?;
        encoding::from_bytes(&plaintext, MAX_PARAMETERS, "parameters").map_err(|_| bad)
    }
}
