//! An aggregator's offer: a fresh envelope key for one query (protocol.md §6).

use borsh::{BorshDeserialize, BorshSerialize};

use dispers_base::{
    encoding::{self, DecodeError, Message},
    id::{Name, Timestamp},
    keys::{BadSignature, Signature, SigningKey, VerifyingKey},
    labels,
};
use dispers_crypto::envelope::EnvelopePublicKey;

/// A querier's request for an offer, signed so that nobody fills aggregators' stores in its name.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OfferRequest {
    /// Querier that asks.
    pub querier: Name,
    /// Random value that makes two requests differ.
    pub nonce: [u8; 16],
    /// Time of signing.
    pub issued: Timestamp,
    /// Time until which the querier wants the key.
    pub expires: Timestamp,
}

/// Signed content of an offer.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OfferBody {
    /// Aggregator that makes the offer.
    pub aggregator: Name,
    /// Fresh envelope key. The aggregator erases its secret at release or expiry.
    pub key: EnvelopePublicKey,
    /// Querier that the offer is for.
    pub querier: Name,
    /// Time until which the offer is valid.
    pub expires: Timestamp,
}

/// An offer with the aggregator's signature, which covers the canonical encoding of `body`. A body has exactly one such
/// encoding, so that the received bytes need not be kept.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// Signed content.
    pub body: OfferBody,
    signature: Signature,
}

impl Message for Offer {
    const NAME: &'static str = "offer";
    const LIMIT: usize = 16 << 10;
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
    /// Encodes the request and signs the encoding.
    pub fn sign(&self, key: &SigningKey) -> SignedOfferRequest {
        let body = encoding::to_bytes(self);
        let signature = key.sign(labels::SIGN_OFFER_REQUEST, &body);
        SignedOfferRequest { body, signature }
    }
}

impl SignedOfferRequest {
    /// Decodes the request. Does not check the signature.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is malformed or longer than 4,096 bytes.
    pub fn decode(&self) -> Result<OfferRequest, DecodeError> {
        // A request has two short names and fixed-size fields: the bound only keeps a stranger from sending a large
        // one.
        encoding::from_bytes(&self.body, 4096, "offer request")
    }
}
