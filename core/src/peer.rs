//! Messages between aggregators: signed by the sender, sealed for each reader, and relayed by the Conductor
//! (protocol.md §8).

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;

use dispers_base::{
    encoding::{self, Message},
    id::{MemberNumber, QueryId, Role, Work},
    keys::SigningKey,
    labels,
    signed::{Signed, Statement},
};
use dispers_crypto::{
    envelope::{Context, EnvelopePublicKey, EnvelopeSecretKey, Sealed, reader},
    prf::PrfShare,
};
use dispers_trust::directory::Directory;

/// Largest opened message, in bytes. The verifier messages of the largest batch fit into it.
pub const MAX_PEER_MESSAGE: usize = 64 << 20;
/// Largest encoded messages of one step that come together, in bytes: those of one aggregator for all others, or those
/// of all others for one.
pub const MAX_PEER_MESSAGES: usize = 16 * MAX_PEER_MESSAGE;

/// Content of a message between aggregators.
#[derive(BorshSerialize, BorshDeserialize)]
pub enum PeerContent {
    /// A share of the batch's randomness, which is sent only after D is frozen.
    Randomness {
        /// Work that the message belongs to.
        work: Work,
        /// D as the sender froze it.
        digest: [u8; 32],
        /// Sender's share of the value of the threshold PRF.
        share: PrfShare,
    },
    /// Verifier messages of a batch.
    Verifier {
        /// Work that the message belongs to.
        work: Work,
        /// D as the sender froze it.
        digest: [u8; 32],
        /// Bitmap with one bit per index, set where the sender holds a valid share.
        present: Vec<u8>,
        /// Elements of the messages, index after index; zeros where the contribution is absent.
        messages: Vec<u64>,
        /// Joint randomness per index, zeros where the contribution is absent. Empty for circuits without joint
        /// randomness.
        joints: Vec<[u8; 32]>,
    },
    /// Sender's shares of the counts that are opened before a release: those that guard outputs, and those that a
    /// result could give away (protocol.md §9).
    Guards {
        /// Round of the release.
        round: u16,
        /// Hash of the proposal that the notary certified.
        proposal: [u8; 32],
        /// Shares, one per opened count, in the order of `Circuit::openings`.
        counts: Vec<u64>,
    },
}

/// A message with the sender's signature, as it lies inside the envelope.
pub type SignedPeer = Signed<PeerBody>;

/// Content that a sender signs.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct PeerBody {
    query: QueryId,
    committee: u16,
    from: MemberNumber,
    content: PeerContent,
}

impl Statement for PeerBody {
    const LABEL: &'static str = labels::SIGN_PEER;
}

impl Message for PeerBody {
    const NAME: &'static str = "message";
    const LIMIT: usize = MAX_PEER_MESSAGE;
}

/// A message as it travels, with the numbers of sender and reader beside the envelope.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct PeerMessage {
    /// Sender; bound into the envelope.
    pub from: MemberNumber,
    /// Reader; bound into the envelope.
    pub to: MemberNumber,
    sealed: Sealed<reader::DataAggregator, SignedPeer>,
}

impl PeerMessage {
    /// Returns the length of the envelope in bytes.
    pub(crate) fn len(&self) -> usize {
        self.sealed.len()
    }
}

/// A message that was sealed for this aggregator and signed by the aggregator that it names.
pub struct OpenedPeer {
    /// Aggregator that signed the message.
    pub from: MemberNumber,
    /// Content of the message.
    pub content: PeerContent,
    /// Hash of the signed bytes.
    pub hash: [u8; 32],
}

/// The scope of a message: one committee of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The query.
    pub query: QueryId,
    /// The committee.
    pub committee: u16,
}

/// Error for a message that is not what it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message of aggregator {0} does not open or is not signed by it")]
pub struct BadPeerMessage(pub MemberNumber);

impl Channel {
    fn context(self, from: MemberNumber, to: MemberNumber) -> Context {
        Context {
            purpose: labels::ENVELOPE_PEER,
            sender: Role::DataAggregator,
            // Neither the step nor the batch is bound here: both are in the signed content, and the reader compares
            // them there.
            binding: encoding::to_bytes(&(self.query, self.committee, from, to)),
        }
    }

    /// Signs `content` once. All readers' envelopes hold this same signed message.
    pub fn sign(self, from: MemberNumber, content: PeerContent, key: &SigningKey) -> SignedPeer {
        let body = PeerBody {
            query: self.query,
            committee: self.committee,
            from,
            content,
        };
        Signed::new(&body, key)
    }

    /// Seals a signed message for one reader.
    pub fn seal(
        self,
        signed: &SignedPeer,
        from: MemberNumber,
        to: MemberNumber,
        key: &EnvelopePublicKey,
        rng: &mut impl CryptoRng,
    ) -> PeerMessage {
        let sealed = Sealed::seal(signed, key, &self.context(from, to), rng);
        PeerMessage { from, to, sealed }
    }

    /// Opens a message for aggregator `me` and verifies its sender's signature.
    ///
    /// # Errors
    /// [`BadPeerMessage`] with the number of the claimed sender, whatever the cause.
    pub fn open(
        self,
        message: &PeerMessage,
        me: MemberNumber,
        secret: &EnvelopeSecretKey,
        directory: &Directory,
    ) -> Result<OpenedPeer, BadPeerMessage> {
        let error = BadPeerMessage(message.from);
        // An aggregator sends itself nothing: a message that names it as the sender would count its own share twice.
        if message.to != me || message.from == me {
            return Err(error);
        }
        let signed = message
            .sealed
            .open(secret, &self.context(message.from, me), SignedPeer::LIMIT)
            .map_err(|_| error)?;
        let sender = directory.member(Role::DataAggregator, self.committee, message.from);
        signed
            .verify_signature(&sender.ok_or(error)?.signing_key)
            .map_err(|_| error)?;
        let body = signed.unverified().map_err(|_| error)?;
        // The names outside the envelope chose the key. The signed names must be the same, or a message that was signed
        // for another query or committee would pass for one of this.
        if body.query != self.query || body.committee != self.committee || body.from != message.from
        {
            return Err(error);
        }
        Ok(OpenedPeer {
            from: body.from,
            content: body.content,
            hash: signed.digest(),
        })
    }
}
