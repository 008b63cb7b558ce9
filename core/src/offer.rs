//! An aggregator's offer: a fresh envelope key for one query (protocol.md §6).

use borsh::{BorshDeserialize, BorshSerialize};

use dispers_base::{
    encoding::{self, DecodeError},
    id::{Name, Timestamp},
    keys::{BadSignature, Signature, SigningKey, VerifyingKey},
    labels,
};
use dispers_crypto::envelope::EnvelopePublicKey;

/// A querier's request for an offer, signed so that nobody fills aggregators' stores in its name.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OfferRequest {
    /// Who asks.
    pub querier: Name,
    /// Makes two requests differ.
    pub nonce: [u8; 16],
    /// When it was signed.
    pub issued: Timestamp,
    /// Until when the key is wanted.
    pub expires: Timestamp,
}

/// What an aggregator signs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OfferBody {
    /// Which aggregator.
    pub aggregator: Name,
    /// The fresh key. Its secret is erased at release or expiry.
    pub key: EnvelopePublicKey,
    /// For whom.
    pub querier: Name,
    /// Until when.
    pub expires: Timestamp,
}

/// A signed offer. The signature covers the canonical encoding of the body, of which there is
/// exactly one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// What is offered.
    pub body: OfferBody,
    signature: Signature,
}

impl Offer {
    /// Signs an offer.
    pub fn new(body: OfferBody, key: &SigningKey) -> Self {
        let signature = key.sign(labels::SIGN_OFFER, &encoding::to_bytes(&body));
        Self { body, signature }
    }

    /// Checks the aggregator's signature.
    ///
    /// # Errors
    /// [`BadSignature`] when `key` did not sign this body.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), BadSignature> {
        key.verify(
            labels::SIGN_OFFER,
            &encoding::to_bytes(&self.body),
            &self.signature,
        )
    }
}

/// An offer request as received, with the signature over exactly these bytes.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedOfferRequest {
    /// Encoding of an [`OfferRequest`].
    pub body: Vec<u8>,
    /// The querier's signature.
    pub signature: Signature,
}

impl OfferRequest {
    /// Encodes and signs.
    pub fn sign(&self, key: &SigningKey) -> SignedOfferRequest {
        let body = encoding::to_bytes(self);
        let signature = key.sign(labels::SIGN_OFFER_REQUEST, &body);
        SignedOfferRequest { body, signature }
    }
}

impl SignedOfferRequest {
    /// What is asked for, not yet checked.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is malformed.
    pub fn decode(&self) -> Result<OfferRequest, DecodeError> {
        encoding::from_bytes(&self.body, 4096, "offer request")
    }
}
