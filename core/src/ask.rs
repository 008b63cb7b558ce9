//! The ask: from a batch of chosen homes to sealed groups of contributions (protocol.md §6).
//!
//! The Target opens a batch, groups the homes by host, and asks each stack. A stack answers with one sealed group per
//! aggregator. The Target drops the origins of the groups, shuffles them, and signs a digest of what each aggregator is
//! to receive.

mod checked;

use std::{collections::BTreeMap, sync::Arc};

use borsh::{BorshDeserialize, BorshSerialize};
use rand::{CryptoRng, seq::SliceRandom};
use zeroize::Zeroizing;

use crate::{
    find::{BatchMessage, BatchStatement, MAX_BATCH, TargetBatch},
    log::{Inclusion, LogError},
    manifest::{SignedManifest, VerifiedManifest},
    session::{NO_PARAMETERS, SessionKey, SignedParameters, VerifiedParameters},
    subscription::{HomeId, LinkOpener},
    ticket::{FindId, HomeKey, Ticket},
};
use dispers_base::{
    encoding,
    id::{MemberNumber, Name, Role, Work},
    keys::{Signature, SigningKey},
    labels,
    signed::Statement,
    weakness::{self, Weakness},
};
use dispers_circuit::{
    Circuit, Row, VectorRow,
    contribution::{Contribution, Tag, share},
};
use dispers_crypto::envelope::{Context, EnvelopeSecretKey, Sealed, reader};
use dispers_trust::directory::Directory;

pub use checked::OtherBytes;

/// Largest encoded ask to one stack, in bytes.
pub const MAX_ASK: usize = 64 << 20;
/// Largest answer of one stack to one ask, in bytes, all aggregators together.
pub const MAX_ANSWER: usize = 1 << 30;

/// A sealed group: the contributions of one stack for one aggregator.
pub type SealedGroup = Sealed<reader::DataAggregator, Vec<u8>>;

/// Returns the envelope context of the group for aggregator `to` of a committee. It binds the attempt, so that groups
/// of one attempt do not open in another, and the digest of the round's parameters, so that homes that were shown other
/// parameters count nowhere (protocol.md §18).
pub fn group_context(
    work: Work,
    parameters: &[u8; 32],
    committee: u16,
    to: MemberNumber,
) -> Context {
    let parameters = match weakness::off(Weakness::ContributionsOfAnyModel) {
        true => &NO_PARAMETERS,
        false => parameters,
    };
    Context {
        purpose: labels::ENVELOPE_GROUP,
        sender: Role::Stack,
        binding: encoding::to_bytes(&(work, parameters, committee, to)),
    }
}

/// Request of the Target to one stack.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct Ask {
    /// Manifest of the query.
    pub manifest: SignedManifest,
    /// Work that the answer is for.
    pub work: Work,
    /// Find that chose the homes.
    pub find: FindId,
    /// Proof that the query is in the log.
    pub inclusion: Inclusion,
    /// Parameters of the round, where a model is trained. The asks to all hosts share them.
    pub parameters: Option<Arc<SignedParameters>>,
    /// True if the query is only announced, so that owners can decide before it is asked. The answer is then empty.
    pub announced: bool,
    /// Homes to ask.
    pub homes: Vec<HomeAsk>,
}

/// Request for one home's contribution.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct HomeAsk {
    /// Name of the home at its host.
    pub home: HomeId,
    /// Index of the home in the batch.
    pub index: u32,
    /// Ticket of the home.
    pub ticket: Ticket,
}

/// A stack's answer: one sealed group per aggregator with an offer, in committee order. It has no groups where the
/// query was only announced.
#[derive(Default, BorshSerialize, BorshDeserialize)]
pub struct Answer {
    /// Number of homes whose contributions the groups hold.
    pub homes: u32,
    /// Sealed groups.
    pub groups: Vec<SealedGroup>,
}

/// Upper bound for the bytes that a group adds to its contributions: an encapsulation, an authentication tag, and
/// lengths.
const GROUP: usize = 2048;

/// Returns the largest number of bytes of one home's contribution as one of `offers` aggregators gets it, before
/// sealing.
fn contribution_limit(circuit: &Circuit, offers: usize) -> usize {
    let commitments = match circuit.has_joint_randomness() {
        true => 32 * offers,
        false => 0,
    };
    size_of::<u32>() + size_of::<Tag>() + 8 * circuit.share_len() + commitments
}

/// Returns the largest number of bytes of one aggregator's share of one contribution that is sealed as a group of its
/// own.
pub(crate) fn share_limit(circuit: &Circuit, offers: usize) -> usize {
    contribution_limit(circuit, offers) + GROUP
}

/// Returns the largest number of homes of a batch whose answers fit into [`MAX_ANSWER`], in any round, for any
/// committee, and for any number of hosts.
pub fn most_homes(manifest: &VerifiedManifest) -> u32 {
    let committees = 0..manifest.committees.len() as u16;
    let offers = committees.map(|committee| manifest.offers(committee).count());
    let offers = offers.max().unwrap_or(1).max(1);
    let homes = manifest.circuits().map(|circuit| {
        // The worst case is one home per host: then each home has envelopes of its own.
        let home = offers.saturating_mul(contribution_limit(circuit, offers) + GROUP);
        MAX_ANSWER / home.max(1)
    });
    u32::try_from(homes.min().unwrap_or(usize::MAX)).unwrap_or(u32::MAX)
}

/// Returns the largest number of bytes of an encoded answer for `homes` homes of one stack.
pub fn answer_limit(manifest: &VerifiedManifest, work: Work, homes: usize) -> usize {
    let offers = manifest.offers(work.batch.committee).count();
    let home = contribution_limit(manifest.circuit_of(work.round), offers);
    let groups = offers.saturating_mul(homes.saturating_mul(home).saturating_add(GROUP));
    groups.saturating_add(GROUP).min(MAX_ANSWER)
}

/// Message that an attached stack sends for one ask: its answer, or the reason why it gives none.
pub type AttachedAnswer = Result<Answer, String>;

/// Statement about the answers to a batch, which the Target signs.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupsStatement {
    /// Target that signs.
    pub target: Name,
    /// Work that the answers are for.
    pub work: Work,
    /// Digest of the parameters that homes were shown; zero for a round without parameters.
    pub parameters: [u8; 32],
    /// Digests of the groups, one per aggregator with an offer, in committee order.
    pub digests: Vec<[u8; 32]>,
}

impl Statement for GroupsStatement {
    const LABEL: &'static str = labels::SIGN_GROUPS;
}

impl GroupsStatement {
    /// Signs the digest D as the Target.
    pub fn sign(&self, key: &SigningKey) -> Signature {
        key.sign(Self::LABEL, &self.digest())
    }

    /// Returns whether the Target that the statement names signed it, as the directory lists this Target.
    pub fn is_signed(&self, signature: &Signature, directory: &Directory) -> bool {
        let target = directory.node(&self.target);
        let target = target.filter(|node| node.role == Role::Target);
        target.is_some_and(|node| {
            let verified = node
                .signing_key
                .verify(Self::LABEL, &self.digest(), signature);
            verified.is_ok()
        })
    }

    /// Returns D, the digest that aggregators freeze and that all of them must have in common.
    pub fn digest(&self) -> [u8; 32] {
        encoding::hash(labels::HASH_GROUPS, &[&encoding::to_bytes(self)])
    }

    /// Returns the digest of one aggregator's groups, in order.
    pub fn digest_of(groups: &[SealedGroup]) -> [u8; 32] {
        let digests: Vec<[u8; 32]> = groups.iter().map(group_digest).collect();
        aggregator_digest(&digests)
    }
}

/// Returns the digest of one group.
pub(crate) fn group_digest(group: &SealedGroup) -> [u8; 32] {
    tree_digest(&[group.encapsulated(), group.ciphertext()])
}

/// Returns the digest of one aggregator's groups from the digests of the groups, in order.
pub(crate) fn aggregator_digest(groups: &[[u8; 32]]) -> [u8; 32] {
    let parts: Vec<&[u8]> = groups.iter().map(<[u8; 32]>::as_slice).collect();
    tree_digest(&parts)
}

/// Returns the digest of a node of the tree over one aggregator's groups. The children of its root are the groups'
/// digests, and the children of a group are the parts of its envelope.
///
/// In version 1 of the protocol both levels have this one label. The tree has always two levels, so that no digest of
/// one level is taken for one of the other.
fn tree_digest(children: &[&[u8]]) -> [u8; 32] {
    encoding::hash(labels::HASH_AGGREGATOR_GROUPS, children)
}

/// First part of a batch's answers, before the groups.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct AnswerHead {
    /// Statement with the digests.
    pub statement: GroupsStatement,
    /// The Target's signature over D.
    pub signature: Signature,
    /// Number of homes that answered.
    pub answered: u32,
    /// Number of groups of each aggregator with an offer, in committee order.
    pub groups: Vec<u32>,
}

/// All answers to one batch, on their way to the aggregators.
#[derive(Clone)]
pub struct BatchAnswer {
    /// Statement with the digests.
    pub statement: GroupsStatement,
    /// The Target's signature over D.
    pub signature: Signature,
    /// Number of homes that answered.
    pub answered: u32,
    /// Groups, for each aggregator with an offer, in committee order.
    pub groups: Vec<Vec<SealedGroup>>,
}

/// Reason why a batch is not asked, or an ask is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The partition's Target Finder did not choose the batch, or the batch was changed on the way.
    #[error("the batch is not the one that the target finder signed")]
    NotChosen,
    /// The Target Finder gave this attempt to another Target.
    #[error("the target finder gave this attempt at the batch to another target")]
    OtherTarget,
    /// The query is not shown to be in the log.
    #[error(transparent)]
    Log(LogError),
    /// The batch is smaller than the minimum cohort.
    #[error("the batch is below the minimum cohort")]
    BelowCohort,
    /// The ask is not for this query, or beyond its rounds and attempts.
    #[error("the ask is not for this query, or beyond its rounds and attempts")]
    WrongWork,
    /// The homes' answers could not be proved or sealed.
    #[error("the answers could not be proved or sealed")]
    Unanswerable,
}

/// Returns whether the manifest allows `work`, and has the committee that it names.
pub fn allows(manifest: &VerifiedManifest, work: Work) -> bool {
    work.query == manifest.query()
        && usize::from(work.batch.committee) < manifest.committees.len()
        && work.round < manifest.rounds
        && work.attempt < manifest.attempts
}

/// A batch that the Target opened: the homes to ask, by host.
pub struct OpenedBatch {
    /// Number of homes that the finder signed.
    pub count: u32,
    /// Asks, one per host. Homes whose address does not open are left out.
    pub asks: BTreeMap<Name, Ask>,
}

/// Opens a batch for the Target named `me` and groups its homes by host. Checks that the query is in the log, and that
/// the partition's Target Finder chose the batch and gave this attempt to `me`.
///
/// # Errors
/// [`AskError`], before any home is asked.
pub fn open_batch(
    request: &TargetRequest,
    manifest: &VerifiedManifest,
    me: &Name,
    directory: &Directory,
    secret: &EnvelopeSecretKey,
) -> Result<OpenedBatch, AskError> {
    let TargetRequest {
        manifest: signed,
        inclusion,
        work,
        parameters,
        batch: message,
    } = request;
    let work = *work;
    if !allows(manifest, work) {
        return Err(AskError::WrongWork);
    }
    inclusion.verify(signed, directory).map_err(AskError::Log)?;
    check_parameters(parameters.as_ref(), manifest, work.round, directory)?;
    let parameters = parameters.clone().map(Arc::new);
    let statement = message.statement.unverified();
    let statement = statement.map_err(|_| AskError::NotChosen)?;
    let finder = directory
        .node(&statement.finder)
        // A finder of another partition must not choose homes of this one: they could be asked twice.
        .filter(|node| node.role == Role::TargetFinder && node.group == work.batch.partition)
        .ok_or(AskError::NotChosen)?;
    let verified = message.statement.verify_signature(&finder.signing_key);
    verified.map_err(|_| AskError::NotChosen)?;
    if statement.query != work.query
        || statement.batch != work.batch
        || statement.digest != BatchStatement::digest_of(&message.sealed)
    {
        return Err(AskError::NotChosen);
    }
    // The finder names the Targets in order, so that the Conductor does not choose which of them sees the addresses.
    if statement.target(work.attempt) != Some(me) {
        return Err(AskError::OtherTarget);
    }
    let sealed: Sealed<reader::Target, TargetBatch> =
        encoding::from_bytes(&message.sealed, MAX_BATCH, "batch")
            .map_err(|_| AskError::NotChosen)?;
    let content = sealed
        .open(
            secret,
            &TargetBatch::context(work.query, work.batch),
            MAX_BATCH,
        )
        .map_err(|_| AskError::NotChosen)?;
    // The count is in clear beside the sealed batch: it must not differ from the number of homes inside.
    if content.targets.len() != statement.count as usize || content.find != statement.find {
        return Err(AskError::NotChosen);
    }
    // The Target counts too: a Target Finder alone must not have fewer homes asked than the cohort (protocol.md §12).
    if statement.count < manifest.min_cohort {
        return Err(AskError::BelowCohort);
    }
    let openers: Vec<Option<LinkOpener>> = content
        .uploads
        .iter()
        .map(|(encapsulated, count)| {
            LinkOpener::new(secret, encapsulated, *count, content.key_epoch).ok()
        })
        .collect();
    let mut asks = BTreeMap::new();
    for (index, target) in (0u32..).zip(content.targets) {
        // An address that does not open was invented or damaged. It must not fail the batch of the other homes.
        let Some(Some(opener)) = openers.get(target.upload as usize) else {
            continue;
        };
        let Ok(link) = opener.open(&target.link) else {
            continue;
        };
        asks.entry(link.host)
            .or_insert_with(|| Ask {
                manifest: signed.clone(),
                work,
                find: content.find,
                inclusion: inclusion.clone(),
                parameters: parameters.clone(),
                announced: false,
                homes: Vec::new(),
            })
            .homes
            .push(HomeAsk {
                home: link.home,
                index,
                ticket: target.ticket,
            });
    }
    Ok(OpenedBatch {
        count: statement.count,
        asks,
    })
}

/// Verifies the parameters of a round: those that the querier signed for this round, and none in the first round.
///
/// # Errors
/// [`AskError::WrongWork`] for parameters that are missing, wrong, or of another round.
pub fn check_parameters(
    parameters: Option<&SignedParameters>,
    manifest: &VerifiedManifest,
    round: u16,
    directory: &Directory,
) -> Result<Option<VerifiedParameters>, AskError> {
    let verified = match parameters {
        None if round == 0 => return Ok(None),
        None => return Err(AskError::WrongWork),
        Some(parameters) => parameters.verify(manifest, directory),
    };
    let verified = verified.map_err(|_| AskError::WrongWork)?;
    match verified.round() == round && round > 0 {
        true => Ok(Some(verified)),
        false => Err(AskError::WrongWork),
    }
}

/// Combines the answers of all stacks into what the Target sends on: drops their origins, shuffles each aggregator's
/// groups, and signs the digests. `aggregators` is the number of aggregators with an offer.
pub fn collect_answers(
    target: &Name,
    key: &SigningKey,
    (work, parameters): (Work, [u8; 32]),
    aggregators: usize,
    answers: Vec<Answer>,
    rng: &mut impl CryptoRng,
) -> BatchAnswer {
    let mut answered = 0u32;
    let mut groups: Vec<Vec<SealedGroup>> = (0..aggregators).map(|_| Vec::new()).collect();
    for answer in answers {
        // Each aggregator must have the same number of groups, or the Conductor refuses the whole answer.
        if answer.groups.len() != aggregators {
            continue;
        }
        answered = answered.saturating_add(answer.homes);
        for (all, group) in groups.iter_mut().zip(answer.groups) {
            all.push(group);
        }
    }
    for all in &mut groups {
        // The order must not tell an aggregator from which stacks the groups came, or which groups of two aggregators
        // belong together: it is drawn for each aggregator.
        all.shuffle(rng);
    }
    let statement = GroupsStatement {
        target: target.clone(),
        work,
        parameters,
        digests: groups
            .iter()
            .map(|g| GroupsStatement::digest_of(g))
            .collect(),
    };
    let signature = statement.sign(key);
    BatchAnswer {
        statement,
        signature,
        answered,
        groups,
    }
}

/// A home of a stack that the finder chose for a batch, as its ticket showed, with its answer.
pub struct AnsweringHome {
    index: u32,
    tags: Zeroizing<Vec<Tag>>,
    /// Row that the home answers with; `None` if the home refuses, has no data, or fails WHERE.
    pub row: Option<Row>,
    /// Vector that the home answers with, where a model is trained; `None` if it has none.
    pub vector: Option<VectorRow>,
    session: Option<SessionKey>,
}

impl AnsweringHome {
    /// Opens the ticket of a home that was asked for `work`. Returns `None` if the home's key does not open the ticket,
    /// since then the finder did not choose the home. The home has no row yet.
    pub fn open(work: Work, find: &FindId, asked: &HomeAsk, key: &HomeKey) -> Option<Self> {
        let (query, batch) = (work.query, work.batch);
        let opened = asked.ticket.open(key, query, find, batch, asked.index);
        let opened = opened.ok()?;
        Some(Self {
            index: asked.index,
            tags: opened.tags,
            row: None,
            vector: None,
            session: opened.session,
        })
    }

    /// Returns the key that opens the parameters of the session.
    pub fn session(&self) -> Option<&SessionKey> {
        self.session.as_ref()
    }
}

/// Encodes, proves, shares and seals the answers of one stack's homes. Every home gets a contribution of the same size;
/// a home without a row contributes zeros.
///
/// # Errors
/// [`AskError::Unanswerable`] when a row does not fit the circuit or an offered key is not valid.
pub fn answer(
    manifest: &VerifiedManifest,
    work: Work,
    parameters: &[u8; 32],
    homes: &[AnsweringHome],
    rng: &mut impl CryptoRng,
) -> Result<Answer, AskError> {
    if !allows(manifest, work) {
        return Err(AskError::WrongWork);
    }
    // A group without a contribution would look like one that the Target invented (protocol.md §8).
    if homes.is_empty() {
        return Ok(Answer::default());
    }
    let committee = work.batch.committee;
    let circuit = manifest.circuit_of(work.round);
    let offers: Vec<_> = manifest.offers(committee).collect();
    let points: Vec<MemberNumber> = offers.iter().map(|(member, _)| *member).collect();
    let needed = usize::from(
        manifest
            .committees
            .get(usize::from(committee))
            .ok_or(AskError::WrongWork)?
            .needed,
    );
    let mut contributions = Vec::with_capacity(homes.len());
    for home in homes {
        let tags = tags_of(home, &points)?;
        contributions.push(Contribution::new(home.index, tags, &encode(circuit, home)?));
    }
    let shared =
        share(circuit, &contributions, &points, needed, rng).map_err(|_| AskError::Unanswerable)?;
    let groups = shared
        .iter()
        .zip(&offers)
        .map(|(group, (member, key))| {
            let mut bytes = group.encode();
            SealedGroup::seal_bytes(
                std::mem::take(&mut *bytes),
                key,
                &group_context(work, parameters, committee, *member),
                rng,
            )
        })
        .collect();
    Ok(Answer {
        homes: homes.len() as u32,
        groups,
    })
}

/// Returns the home's tags for the aggregators with an offer, one per point. An aggregator without an offer has a tag
/// in each ticket but gets no share.
fn tags_of(home: &AnsweringHome, points: &[MemberNumber]) -> Result<Vec<Tag>, AskError> {
    let tags = points
        .iter()
        .map(|point| home.tags.get(point.index()).copied());
    tags.collect::<Option<_>>().ok_or(AskError::WrongWork)
}

/// Encodes the answer of one home.
fn encode(circuit: &Circuit, home: &AnsweringHome) -> Result<Zeroizing<Vec<u64>>, AskError> {
    match circuit {
        // A row that does not fit the circuit becomes zeros. It must not silence the stack's other homes.
        Circuit::Rows(rows) => rows
            .encode(home.row.as_ref())
            .or_else(|_| rows.encode(None))
            .map_err(|_| AskError::Unanswerable),
        Circuit::Vector(vector) => Ok(vector.encode(home.vector.as_ref())),
        // Homes deal no noise: no manifest has this circuit.
        Circuit::Noise(_) => Err(AskError::Unanswerable),
    }
}

/// Request of the Conductor to the Target.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct TargetRequest {
    /// Manifest of the query.
    pub manifest: SignedManifest,
    /// Proof that the query is in the log.
    pub inclusion: Inclusion,
    /// Work that the answers are for.
    pub work: Work,
    /// Parameters of the round, where a model is trained.
    pub parameters: Option<SignedParameters>,
    /// Batch as the finder sealed and signed it.
    pub batch: BatchMessage,
}

#[cfg(test)]
mod tests;
