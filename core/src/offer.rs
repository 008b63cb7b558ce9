//! An aggregator's offer: a fresh envelope key for one query (protocol.md §6).

use borsh::{BorshDeserialize, BorshSerialize};

use dispers_base::{
    encoding::Message,
    id::{Name, Timestamp},
    keys::Signature,
    labels,
    signed::{Signed, SignedValue, Statement},
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

impl Statement for OfferBody {
    const LABEL: &'static str = labels::SIGN_OFFER;
}

impl Message for OfferBody {
    const NAME: &'static str = "offer";
    // With the signature, an offer has at most 16 KiB.
    const LIMIT: usize = (16 << 10) - size_of::<Signature>();
}

/// An offer with the aggregator's signature.
pub type Offer = SignedValue<OfferBody>;

impl Statement for OfferRequest {
    const LABEL: &'static str = labels::SIGN_OFFER_REQUEST;
}

impl Message for OfferRequest {
    const NAME: &'static str = "offer request";
    // A request has two short names and fixed-size fields: the bound only keeps a stranger from sending a large one.
    const LIMIT: usize = 4096;
}

/// An offer request as received, with the querier's signature.
pub type SignedOfferRequest = Signed<OfferRequest>;
