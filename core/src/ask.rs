//! The ask: from a batch of targets to sealed groups of contributions (protocol.md §6).
//!
//! The Target opens a batch, groups it by host and asks each stack; a stack answers one sealed
//! group per aggregator; the Target drops where they came from, shuffles, and signs a digest of
//! what each aggregator is to receive.

mod checked;

use std::{collections::BTreeMap, sync::Arc};

use borsh::{BorshDeserialize, BorshSerialize};
use rand::{CryptoRng, seq::SliceRandom};
use zeroize::Zeroizing;

use crate::{
    find::{BatchMessage, BatchStatement, MAX_BATCH, MAX_STATEMENT, TargetBatch},
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
    weakness::{self, Weakness},
};
use dispers_circuit::{
    Circuit, Row, VectorRow,
    contribution::{Contribution, GroupShare, Tag, VectorContribution, share_group, share_vectors},
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

/// The envelope context of one aggregator's group.
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

/// What the Target asks of one stack.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct Ask {
    /// The query.
    pub manifest: SignedManifest,
    /// What the answer is for.
    pub work: Work,
    /// The find that chose the homes.
    pub find: FindId,
    /// Shows that the query is in the log.
    pub inclusion: Inclusion,
    /// What the round is computed with, where a model is trained. All hosts' asks share it.
    pub parameters: Option<Arc<SignedParameters>>,
    /// Whether the homes are only told that they will be asked, so that their owners can be: the answer
    /// holds nothing.
    pub announced: bool,
    /// The homes.
    pub homes: Vec<HomeAsk>,
}

/// What is asked of one home.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct HomeAsk {
    /// Which home.
    pub home: HomeId,
    /// Its index in the batch.
    pub index: u32,
    /// Its ticket.
    pub ticket: Ticket,
}

/// A stack's answer: one sealed group for each aggregator with an offer, in committee order; none where
/// homes were only told.
#[derive(Default, BorshSerialize, BorshDeserialize)]
pub struct Answer {
    /// Number of homes that the groups hold.
    pub homes: u32,
    /// The groups.
    pub groups: Vec<SealedGroup>,
}

/// An encapsulation, an authentication tag, and lengths.
const GROUP: usize = 2048;

/// Most bytes of one home's contribution to each of so many aggregators.
fn contribution_limit(circuit: &Circuit, offers: usize) -> usize {
    let commitments = match circuit.has_joint_randomness() {
        true => 32 * offers,
        false => 0,
    };
    size_of::<u32>() + size_of::<Tag>() + 8 * circuit.share_len() + commitments
}

/// Most bytes of one aggregator's share of one contribution, sealed as a group of its own.
pub(crate) fn share_limit(circuit: &Circuit, offers: usize) -> usize {
    contribution_limit(circuit, offers) + GROUP
}

/// Most homes of a batch whose answers fit, whatever round they are of, whatever committee they are for, and
/// however many hosts they are of.
pub fn most_homes(manifest: &VerifiedManifest) -> u32 {
    let committees = 0..manifest.committees.len() as u16;
    let offers = committees.map(|committee| manifest.offers(committee).count());
    let offers = offers.max().unwrap_or(1).max(1);
    let homes = manifest.circuits().map(|circuit| {
        // A host of one home has envelopes of its own.
        let home = offers.saturating_mul(contribution_limit(circuit, offers) + GROUP);
        MAX_ANSWER / home.max(1)
    });
    u32::try_from(homes.min().unwrap_or(usize::MAX)).unwrap_or(u32::MAX)
}

/// Most bytes that an encoded answer for so many homes takes.
pub fn answer_limit(manifest: &VerifiedManifest, work: Work, homes: usize) -> usize {
    let offers = manifest.offers(work.batch.committee).count();
    let home = contribution_limit(manifest.circuit_of(work.round), offers);
    let groups = offers.saturating_mul(homes.saturating_mul(home).saturating_add(GROUP));
    groups.saturating_add(GROUP).min(MAX_ANSWER)
}

/// What an attached stack sends up for one ask: its answer, or why there is none.
pub type AttachedAnswer = Result<Answer, String>;

/// What the Target signs about a batch's answers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GroupsStatement {
    /// Which Target.
    pub target: Name,
    /// What the answers are for.
    pub work: Work,
    /// Digest of the parameters that homes were shown; zero where there are none.
    pub parameters: [u8; 32],
    /// Digest of each aggregator's groups, in order of the aggregators with an offer.
    pub digests: Vec<[u8; 32]>,
}

impl GroupsStatement {
    /// D: what aggregators freeze, and what all of them must have in common.
    pub fn digest(&self) -> [u8; 32] {
        encoding::hash(labels::HASH_GROUPS, &[&encoding::to_bytes(self)])
    }

    /// Digest of one aggregator's groups, in order.
    pub fn digest_of(groups: &[SealedGroup]) -> [u8; 32] {
        let digests: Vec<[u8; 32]> = groups.iter().map(group_digest).collect();
        aggregator_digest(&digests)
    }
}

/// Digest of one group.
pub(crate) fn group_digest(group: &SealedGroup) -> [u8; 32] {
    let parts = [group.encapsulated(), group.ciphertext()];
    encoding::hash(labels::HASH_AGGREGATOR_GROUPS, &parts)
}

/// Digest of one aggregator's groups from those of each, in order.
pub(crate) fn aggregator_digest(groups: &[[u8; 32]]) -> [u8; 32] {
    let parts: Vec<&[u8]> = groups.iter().map(<[u8; 32]>::as_slice).collect();
    encoding::hash(labels::HASH_AGGREGATOR_GROUPS, &parts)
}

/// What comes before the groups of a batch's answers.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct AnswerHead {
    /// The digests.
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
    /// The digests.
    pub statement: GroupsStatement,
    /// The Target's signature over D.
    pub signature: Signature,
    /// Number of homes that answered.
    pub answered: u32,
    /// The groups of each aggregator with an offer, in committee order.
    pub groups: Vec<Vec<SealedGroup>>,
}

/// Why a batch is not asked, or an ask not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Not chosen by the partition's Target Finder, or changed on the way.
    #[error("the batch is not the one that the target finder signed")]
    NotChosen,
    /// The Target Finder gave this attempt to another Target.
    #[error("the target finder gave this attempt at the batch to another target")]
    OtherTarget,
    /// Not shown to be in the log.
    #[error(transparent)]
    Log(LogError),
    /// Smaller than the minimum cohort.
    #[error("the batch is below the minimum cohort")]
    BelowCohort,
    /// Not for this query, or beyond its rounds and attempts.
    #[error("the ask is not for this query, or beyond its rounds and attempts")]
    WrongWork,
    /// The homes' answers could not be proved or sealed.
    #[error("the answers could not be proved or sealed")]
    Unanswerable,
}

/// Returns whether the manifest allows `work`, for one of its committees.
pub fn allows(manifest: &VerifiedManifest, work: Work) -> bool {
    work.query == manifest.query()
        && usize::from(work.batch.committee) < manifest.committees.len()
        && work.round < manifest.rounds
        && work.attempt < manifest.attempts
}

/// A batch that the Target opened: whom to ask, by host.
pub struct OpenedBatch {
    /// Number of homes that the finder chose.
    pub count: u32,
    /// The asks, one per host. Homes whose link does not open are left out.
    pub asks: BTreeMap<Name, Ask>,
}

/// Checks that the query is in the log and that the Target Finder chose this batch, for the Target of the
/// name `me`, opens it and groups it by host.
///
/// # Errors
/// [`AskError`], before anybody is asked.
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
    let statement: BatchStatement =
        encoding::from_bytes(&message.statement, MAX_STATEMENT, "batch statement")
            .map_err(|_| AskError::NotChosen)?;
    directory
        .node(&statement.finder)
        .filter(|node| node.role == Role::TargetFinder && node.group == work.batch.partition)
        .ok_or(AskError::NotChosen)?
        .signing_key
        .verify(labels::SIGN_BATCH, &message.statement, &message.signature)
        .map_err(|_| AskError::NotChosen)?;
    if statement.query != work.query
        || statement.batch != work.batch
        || statement.digest != encoding::hash(labels::HASH_BATCH, &[&message.sealed])
    {
        return Err(AskError::NotChosen);
    }
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
    if content.targets.len() != statement.count as usize || content.find != statement.find {
        return Err(AskError::NotChosen);
    }
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

/// Checks what a round is computed with: what the querier signed for it, and nothing in a first round.
///
/// # Errors
/// [`AskError::WrongWork`].
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

/// Drops origins, shuffles, signs: what the Target sends on.
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
        if answer.groups.len() != aggregators {
            continue;
        }
        answered = answered.saturating_add(answer.homes);
        for (all, group) in groups.iter_mut().zip(answer.groups) {
            all.push(group);
        }
    }
    for all in &mut groups {
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
    let signature = key.sign(labels::SIGN_GROUPS, &statement.digest());
    BatchAnswer {
        statement,
        signature,
        answered,
        groups,
    }
}

/// One home of a stack that the finder chose for a batch, as its ticket showed, with what it answers.
pub struct AnsweringHome {
    index: u32,
    tags: Zeroizing<Vec<Tag>>,
    /// Its row; `None` if it refuses, has no data, or fails WHERE.
    pub row: Option<Row>,
    /// Its vector, where a model is trained; `None` if it has none.
    pub vector: Option<VectorRow>,
    session: Option<SessionKey>,
}

impl AnsweringHome {
    /// A home that was asked for `work`, if the key of the home opens its ticket; else the finder did not
    /// choose it. It has no row yet.
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

    /// What opens the parameters of the session that it was chosen for.
    pub fn session(&self) -> Option<&SessionKey> {
        self.session.as_ref()
    }
}

/// Encodes, proves, shares and seals the answers of one stack's homes.
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
    let tags_of = |home: &AnsweringHome| {
        let tags = points
            .iter()
            .map(|point| home.tags.get(point.index()).copied());
        tags.collect::<Option<Vec<_>>>().ok_or(AskError::WrongWork)
    };
    let answered = homes.len() as u32;
    let shared = match manifest.training {
        None => share_rows(circuit, homes, tags_of, &points, needed, rng)?,
        Some(_) => {
            let mut contributions = Vec::with_capacity(homes.len());
            for home in homes {
                let (tags, vector) = (tags_of(home)?, home.vector.as_ref());
                contributions.push(VectorContribution::new(circuit, home.index, tags, vector));
            }
            share_vectors(circuit, &contributions, &points, needed, rng)
                .map_err(|_| AskError::Unanswerable)?
        }
    };
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
        homes: answered,
        groups,
    })
}

/// Encodes, proves and shares what homes answer to a query.
fn share_rows(
    circuit: &Circuit,
    homes: &[AnsweringHome],
    tags_of: impl Fn(&AnsweringHome) -> Result<Vec<Tag>, AskError>,
    points: &[MemberNumber],
    needed: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<GroupShare>, AskError> {
    let mut contributions = Vec::with_capacity(homes.len());
    for home in homes {
        let tags = tags_of(home)?;
        // A row that the circuit has no place for must not silence the stack's other homes.
        let prove =
            |row, rng: &mut _| Contribution::prove(circuit, home.index, tags.clone(), row, rng);
        let contribution = prove(home.row.as_ref(), rng)
            .or_else(|_| prove(None, rng))
            .map_err(|_| AskError::Unanswerable)?;
        contributions.push(contribution);
    }
    share_group(&contributions, points, needed, rng).map_err(|_| AskError::Unanswerable)
}

/// What the Conductor asks of the Target.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct TargetRequest {
    /// The query.
    pub manifest: SignedManifest,
    /// Shows that the query is in the log.
    pub inclusion: Inclusion,
    /// What the answers are for.
    pub work: Work,
    /// What the round is computed with, where a model is trained.
    pub parameters: Option<SignedParameters>,
    /// The finder's batch.
    pub batch: BatchMessage,
}

#[cfg(test)]
mod tests;
