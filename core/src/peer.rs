//! Messages between aggregators: signed by the sender, sealed for each reader, relayed by the
//! Conductor (protocol.md §8).

use borsh::{BorshDeserialize, BorshSerialize};
use rand::CryptoRng;

use dispers_base::{
    encoding,
    id::{MemberNumber, QueryId, Role, Work},
    keys::{Signature, SigningKey},
    labels,
};
use dispers_crypto::{
    envelope::{Context, EnvelopePublicKey, EnvelopeSecretKey, Sealed, reader},
    prf::PrfShare,
};
use dispers_trust::directory::Directory;

/// Largest opened message, in bytes: verifier messages of the largest batch.
pub const MAX_PEER_MESSAGE: usize = 64 << 20;

/// What an aggregator tells the others.
#[derive(BorshSerialize, BorshDeserialize)]
pub enum PeerContent {
    /// After freezing D: a share of the batch's randomness.
    Randomness {
        /// The batch.
        work: Work,
        /// What the sender froze.
        digest: [u8; 32],
        /// Its share of the threshold function's value.
        share: PrfShare,
    },
    /// The verifier messages of a batch.
    Verifier {
        /// The batch.
        work: Work,
        /// What the sender froze.
        digest: [u8; 32],
        /// One bit per index: whether the sender holds a valid share there.
        present: Vec<u8>,
        /// The elements of a message per index, zero where absent.
        messages: Vec<u64>,
        /// Joint randomness per index, zero where absent; empty where there is none.
        joints: Vec<[u8; 32]>,
    },
    /// Shares of the counts that guard the outputs.
    Guards {
        /// The round.
        round: u16,
        /// Hash of the notarised proposal.
        proposal: [u8; 32],
        /// One per guarding output, in output order.
        counts: Vec<u64>,
    },
}

/// A message with its signature, inside the envelope. The signature covers `body` as received.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct SignedPeer {
    /// Encoding of query, committee, sender and [`PeerContent`].
    pub body: Vec<u8>,
    /// The sender's signature.
    pub signature: Signature,
}

/// What a sender signs.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct PeerBody {
    query: QueryId,
    committee: u16,
    from: MemberNumber,
    content: PeerContent,
}

/// A message as it travels, with the names of sender and reader beside it.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
pub struct PeerMessage {
    /// Who sent it; bound into the envelope.
    pub from: MemberNumber,
    /// Who reads it; bound into the envelope.
    pub to: MemberNumber,
    sealed: Sealed<reader::DataAggregator, SignedPeer>,
}

impl PeerMessage {
    /// Number of bytes of the envelope.
    pub(crate) fn len(&self) -> usize {
        self.sealed.len()
    }
}

/// A message that was sealed to me and signed by the aggregator that it names.
pub struct OpenedPeer {
    /// Who signed it.
    pub from: MemberNumber,
    /// What it says.
    pub content: PeerContent,
    /// Hash of the signed bytes.
    pub hash: [u8; 32],
}

/// Where a message belongs: a committee within a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel {
    /// The query.
    pub query: QueryId,
    /// The committee.
    pub committee: u16,
}

/// A message that is not what it claims to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message of aggregator {0} does not open or is not signed by it")]
pub struct BadPeerMessage(pub MemberNumber);

impl Channel {
    fn context(self, from: MemberNumber, to: MemberNumber) -> Context {
        Context {
            purpose: labels::ENVELOPE_PEER,
            sender: Role::DataAggregator,
            binding: encoding::to_bytes(&(self.query, self.committee, from, to)),
        }
    }

    /// Signs `content` once and returns what each reader's envelope will hold.
    pub fn sign(self, from: MemberNumber, content: PeerContent, key: &SigningKey) -> SignedPeer {
        let body = encoding::to_bytes(&PeerBody {
            query: self.query,
            committee: self.committee,
            from,
            content,
        });
        let signature = key.sign(labels::SIGN_PEER, &body);
        SignedPeer { body, signature }
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

    /// Opens a message to `me` and checks who signed it.
    ///
    /// # Errors
    /// [`BadPeerMessage`] naming the claimed sender, whatever the cause.
    pub fn open(
        self,
        message: &PeerMessage,
        me: MemberNumber,
        secret: &EnvelopeSecretKey,
        directory: &Directory,
    ) -> Result<OpenedPeer, BadPeerMessage> {
        let error = BadPeerMessage(message.from);
        if message.to != me || message.from == me {
            return Err(error);
        }
        let signed = message
            .sealed
            .open(secret, &self.context(message.from, me), MAX_PEER_MESSAGE)
            .map_err(|_| error)?;
        directory
            .member(Role::DataAggregator, self.committee, message.from)
            .ok_or(error)?
            .signing_key
            .verify(labels::SIGN_PEER, &signed.body, &signed.signature)
            .map_err(|_| error)?;
        let body: PeerBody =
            encoding::from_bytes(&signed.body, MAX_PEER_MESSAGE, "message").map_err(|_| error)?;
        if body.query != self.query || body.committee != self.committee || body.from != message.from
        {
            return Err(error);
        }
        Ok(OpenedPeer {
            from: body.from,
            content: body.content,
            hash: signed.hash(),
        })
    }
}

impl SignedPeer {
    /// Hash of the signed bytes.
    pub fn hash(&self) -> [u8; 32] {
        encoding::hash(labels::SIGN_PEER, &[&self.body])
    }
}
