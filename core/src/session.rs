//! What a querier sends before a round: sealed for the chosen homes, and the same for all of them.
//!
//! The key travels inside the tickets, so that only the stacks of chosen homes read a model, neither C nor T.
//! The digest is bound into every contribution and into D: homes that were shown other parameters count
//! nowhere. Otherwise C and Q together could give all homes but one a model for which they answer zero
//! (Pasquini, Francati, Ateniese 2022, "Eluding secure aggregation in federated learning via model
//! inconsistency").

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::manifest::VerifiedManifest;
use dispers_base::{
    encoding,
    id::QueryId,
    keys::{Signature, SigningKey},
    labels,
};
use dispers_crypto::aead;
use dispers_trust::directory::Directory;

/// Largest encoded parameters, in bytes.
const MAX_PARAMETERS: usize = 2 << 20;

/// In place of the digest of parameters, in a first round.
pub const NO_PARAMETERS: [u8; 32] = [0; 32];

/// Opens the parameters of a session; zeroized when dropped.
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SessionKey([u8; 32]);

impl Drop for SessionKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl SessionKey {
    /// The key of a session, from the salt of its profile, which the querier and the Target Finder know.
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

/// Parameters as they travel, with the querier's signature over the bytes as received.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedParameters {
    body: Vec<u8>,
    signature: Signature,
}

/// Parameters that the querier of a session signed for one of its rounds.
pub struct VerifiedParameters {
    query: QueryId,
    round: u16,
    digest: [u8; 32],
    sealed: Vec<u8>,
}

/// Why parameters are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParametersError {
    /// Not signed by the session's querier, or for another session.
    #[error("the parameters are not signed by the session's querier")]
    Unsigned,
    /// Of a round that is none, or not the next.
    #[error("the parameters are not for a coming round of the session")]
    Round,
    /// Not sealed under the session's key.
    #[error("the parameters do not open")]
    Sealed,
}

impl SignedParameters {
    /// Seals and signs parameters for a round.
    pub fn seal(
        query: QueryId,
        round: u16,
        parameters: &impl BorshSerialize,
        key: &SessionKey,
        signing: &SigningKey,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let plaintext = Zeroizing::new(encoding::to_bytes(parameters));
        let aad = encoding::to_bytes(&(query, round));
        let sealed = aead::seal_at_random(&key.0, &aad, &plaintext, rng);
        let body = encoding::to_bytes(&Body {
            query,
            round,
            sealed,
        });
        Self {
            signature: signing.sign(labels::SIGN_PARAMETERS, &body),
            body,
        }
    }

    /// Names what was sent, towards homes and aggregators.
    pub fn digest(&self) -> [u8; 32] {
        encoding::hash(labels::HASH_PARAMETERS, &[&self.body])
    }

    /// # Errors
    /// [`ParametersError`] when the session's querier did not sign them for one of its rounds.
    pub fn verify(
        &self,
        manifest: &VerifiedManifest,
        directory: &Directory,
    ) -> Result<VerifiedParameters, ParametersError> {
        let unsigned = ParametersError::Unsigned;
        directory
            .querier(&manifest.querier)
            .ok_or(unsigned)?
            .signing_key
            .verify(labels::SIGN_PARAMETERS, &self.body, &self.signature)
            .map_err(|_| unsigned)?;
        let body: Body =
            encoding::from_bytes(&self.body, MAX_PARAMETERS, "parameters").map_err(|_| unsigned)?;
        if body.query != manifest.query() {
            return Err(unsigned);
        }
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
    /// The round that they are for.
    pub fn round(&self) -> u16 {
        self.round
    }

    /// Names them.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Opens them.
    ///
    /// # Errors
    /// [`ParametersError::Sealed`], whatever the cause.
    pub fn open<T: BorshDeserialize>(&self, key: &SessionKey) -> Result<T, ParametersError> {
        let bad = ParametersError::Sealed;
        let aad = encoding::to_bytes(&(self.query, self.round));
        let plaintext = aead::open_at_random(&key.0, &aad, &self.sealed).map_err(|_| bad)?;
        encoding::from_bytes(&plaintext, MAX_PARAMETERS, "parameters").map_err(|_| bad)
    }
}
