//! Decoders of messages between nodes, sealed or not, and between members of a ceremony.

use dispers_circuit::{Circuit, contribution::HeldGroup};
use dispers_core::{
    aggregation::{
        BeginRequest, CommitRequest, Deal, DealRequest, DealtRequest, DecideRequest, GuardsRequest,
        OpenHead, ReleaseRequest, StepReply, Verdict, VerifyRequest,
    },
    ask::{Answer, AnswerHead, Ask, AttachedAnswer, GroupsStatement, TargetRequest},
    conduct::{self, Status},
    evaluation::{EvaluationRequest, SealedEvaluationRequest, SignedEvaluationRequest},
    find::{
        BatchMessage, BatchStatement, FindRequest, FindSummary, Grant, ListSegment, ProfileOpening,
        SealedGrant, SignedGrant, TargetBatch,
    },
    manifest::{Manifest, SignedManifest},
    offer::{Offer, OfferRequest, SignedOfferRequest},
    peer::{PeerBody, PeerMessage, SignedPeer},
    release::{
        Certificate, NotariseRequest, Proposal, SealedTotal, SignedAcknowledgement, SignedTotal,
        Total,
    },
    subscription::{EntryContent, Handle, Link, SealedUpload, SealedWithdrawal, Upload},
    ticket::Ticket,
};
use dispers_crypto::{
    dealing::{KeyShare, ThresholdKey},
    oprf::{Evaluation, Pseudonym},
};
use dispers_query::{catalogue::Catalogue, local::LocalQuery, profile::Profile};
use dispers_trust::{
    ceremony::{Enrolled, Enrolment, MemberDealing, Transcript},
    directory::{DirectoryBody, SignedDirectory},
};

use super::{Decoder, canonical, decoded, sql};

/// Makes decoders of types, each named after its type.
macro_rules! decoders {
    ($($kind:ty),* $(; $($name:literal => $accepts:expr),* $(,)?)?) => {
        &[
            $(Decoder { name: stringify!($kind), accepts: canonical::<$kind> },)*
            $($(Decoder { name: $name, accepts: $accepts },)*)?
        ]
    };
}

pub(super) const DIRECTORY: &[Decoder] = decoders![
    Catalogue, ThresholdKey;
    "SignedDirectory" => |bytes| {
        SignedDirectory::from_bytes(bytes).is_ok_and(|signed| {
            assert!(signed.to_bytes() == bytes, "another encoding decodes");
            signed.signers();
            true
        })
    },
    "DirectoryBody" => |bytes| {
        decoded(bytes).is_some_and(|body: DirectoryBody| {
            if let Ok(signed) = SignedDirectory::new(&body) {
                assert!(signed.unverified_body().is_ok(), "what was checked is refused");
            }
            true
        })
    },
];

pub(super) const MANIFEST: &[Decoder] = decoders![
    SignedManifest, Profile<Pseudonym>, ProfileOpening, Offer, SignedOfferRequest, OfferRequest;
    "Manifest" => |bytes| {
        decoded(bytes).is_some_and(|manifest: Manifest| {
            compiles(&manifest.local);
            true
        })
    },
    "LocalQuery" => |bytes| {
        decoded(bytes).is_some_and(|local: LocalQuery| {
            compiles(&local);
            true
        })
    },
];

/// Validates and compiles a local query, as every party does with that of a manifest.
fn compiles(local: &LocalQuery) {
    if local.validate(sql::catalogue()).is_ok()
        && let Ok(circuit) = Circuit::compile(&local.shape())
    {
        assert!(circuit.share_len() > 0 && !circuit.outputs().is_empty());
    }
}

pub(super) const FIND: &[Decoder] = decoders![
    FindRequest,
    ListSegment,
    EntryContent,
    Link,
    FindSummary,
    BatchMessage,
    BatchStatement,
    TargetBatch,
    SealedGrant,
    SignedGrant,
    Grant
];

pub(super) const ASK: &[Decoder] = decoders![
    TargetRequest, Ask, AttachedAnswer, Answer, AnswerHead, GroupsStatement, Ticket;
    // The two bytes before the group are the number of elements of a contribution.
    "HeldGroup" => |bytes| {
        let Some((length, bytes)) = bytes.split_first_chunk() else {
            return false;
        };
        let length = usize::from(u16::from_le_bytes(*length));
        HeldGroup::decode(bytes.to_vec().into(), length, 64).is_ok_and(|group| {
            assert_eq!(group.expand(length).len(), group.entries().len() * length);
            true
        })
    },
];

pub(super) const AGGREGATION: &[Decoder] = decoders![
    BeginRequest,
    OpenHead,
    VerifyRequest,
    DecideRequest,
    CommitRequest,
    GuardsRequest,
    ReleaseRequest,
    DealRequest,
    Deal,
    DealtRequest,
    StepReply<Vec<PeerMessage>>,
    Vec<PeerMessage>,
    PeerMessage,
    SignedPeer,
    PeerBody,
    Verdict
];

pub(super) const RELEASE: &[Decoder] = decoders![
    NotariseRequest,
    Proposal,
    Certificate,
    SignedAcknowledgement,
    StepReply<SealedTotal>,
    SealedTotal,
    SignedTotal,
    Total,
    Status,
    conduct::Record
];

pub(super) const SUBSCRIPTION: &[Decoder] = decoders![
    SealedUpload,
    Upload,
    SealedWithdrawal,
    Vec<Handle>,
    SealedEvaluationRequest,
    SignedEvaluationRequest,
    EvaluationRequest,
    Evaluation,
    Pseudonym
];

pub(super) const CEREMONY: &[Decoder] = decoders![
    ;
    "Enrolment" => |bytes| {
        Enrolment::from_bytes(bytes).is_ok_and(|enrolment| {
            assert!(enrolment.to_bytes() == bytes, "another encoding decodes");
            true
        })
    },
    "MemberDealing" => |bytes| {
        MemberDealing::from_bytes(bytes).is_ok_and(|dealing| {
            assert!(dealing.to_bytes() == bytes, "another encoding decodes");
            true
        })
    },
    "Transcript" => |bytes| {
        Transcript::from_bytes(bytes).is_ok_and(|transcript| {
            assert!(transcript.to_bytes() == bytes, "another encoding decodes");
            // Without the members' signing keys, every transcript is refused.
            assert!(transcript.verify(&[], None).is_err());
            true
        })
    },
    // A member's own file. Several encodings of an X25519 key stand for one key.
    "Enrolled" => |bytes| {
        Enrolled::from_bytes(bytes).is_ok_and(|enrolled| {
            let stored = enrolled.to_bytes();
            let again = Enrolled::from_bytes(&*stored);
            assert!(again.is_ok_and(|again| again.to_bytes() == stored), "another secret is read");
            true
        })
    },
    "KeyShare" => |bytes| {
        KeyShare::from_bytes(bytes).is_ok_and(|share| {
            assert!(share.to_bytes()[..] == *bytes, "another encoding decodes");
            true
        })
    },
];
