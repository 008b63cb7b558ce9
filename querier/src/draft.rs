//! Drafts: a question's manifest, from its plan to its submission.

use std::sync::Arc;

use dispers_base::{
    encoding::to_bytes,
    id::{MemberNumber, Role},
};
use dispers_core::{
    find::{ProfileOpening, SealedProfile, exact_finder},
    manifest::{MAX_LIFETIME, Manifest, SignedManifest, VerifiedManifest},
};
use dispers_crypto::{
    envelope::{EnvelopeSecretKey, Sealed},
    oprf::Pseudonym,
};
use dispers_node::{now, rng};
use dispers_privacy::Privacy;
use dispers_proto::v1::SubmitRequest;
use dispers_query::{local::LocalQuery, profile::Profile};
use dispers_sql::plan::Plan;
use dispers_training::Training;
use rand::{Rng, seq::IteratorRandom};
use zeroize::Zeroizing;

use crate::{Asked, Error, Querier, Question, conductors::refused, steps::Prepared};

/// Number of attempts at each batch that a query allows.
const ATTEMPTS: u8 = 5;
/// Part of the configured lifetime, as a divisor, that each further round of a session adds.
const ROUNDS_IN_A_LIFETIME: u64 = 10;

/// Contents of a manifest that do not follow from the directory and the configuration.
pub(crate) struct Draft<'a> {
    pub(crate) purpose: &'a str,
    pub(crate) min_cohort: Option<u32>,
    pub(crate) owners_ms: u64,
    pub(crate) privacy: Option<Privacy>,
    pub(crate) local: LocalQuery,
    pub(crate) training: Option<Training>,
    pub(crate) rounds: u16,
}

/// Signed manifest with its secrets and its sealed profiles.
pub(crate) struct Drafted {
    pub(crate) manifest: VerifiedManifest,
    pub(crate) signed: SignedManifest,
    pub(crate) reply: EnvelopeSecretKey,
    pub(crate) salt: Zeroizing<[u8; 32]>,
    pub(crate) profiles: Vec<SealedProfile>,
    pub(crate) pseudonyms: Vec<Pseudonym>,
}

impl Querier {
    /// Prepares a question from its plan and noise: obtains pseudonyms and offers, and signs the manifest.
    pub(crate) async fn prepare_plan(
        &self,
        question: &Question,
        plan: Plan,
        privacy: Option<Privacy>,
    ) -> Result<Prepared, Error> {
        let draft = Draft {
            purpose: &question.purpose,
            min_cohort: question.min_cohort,
            owners_ms: question.owners_ms,
            privacy,
            local: plan.local.clone(),
            training: None,
            rounds: 1,
        };
        let drafted = self.draft(&plan.profile, draft).await?;
        Ok(Prepared {
            asked: Asked {
                sql: question.sql.clone(),
                plan,
                manifest: drafted.manifest,
                signed: drafted.signed,
                reply: Arc::new(drafted.reply),
            },
            profiles: drafted.profiles,
            pseudonyms: drafted.pseudonyms,
        })
    }

    /// Translates the profile, collects offers, and signs the manifest. Submits nothing.
    pub(crate) async fn draft(
        &self,
        profile: &Profile<String>,
        draft: Draft<'_>,
    ) -> Result<Drafted, Error> {
        let directory = &self.node.directory;
        let floors = &directory.floors;
        self.check_terms(
            draft.privacy.as_ref(),
            draft.purpose,
            draft.min_cohort,
            draft.owners_ms,
        )?;
        let profile = self.pseudonyms(profile).await?;
        let keys = directory.asked_keys();
        let notary = match draft.privacy {
            // Only this finder finds a query without noise, since finders do not share their memories (protocol.md §6).
            // As notary it adds no further node that must be reachable.
            None => exact_finder(directory, &self.node.name, keys.key_epoch, 0),
            // A notary that cannot be reached fails the query. A random choice gives the next query a chance of another
            // one.
            Some(_) => directory.nodes(Role::TargetFinder).choose(&mut rng()),
        };
        let notary = notary.ok_or(Error::NotListed("target finder"))?;
        let issued = now();
        let lifetime = self.config.lifetime_ms.saturating_add(draft.owners_ms);
        // Each further round of a session adds only a part of a query's life: it asks the homes that were found for the
        // first.
        let rounds = u64::from(draft.rounds.saturating_sub(1));
        let more = (self.config.lifetime_ms / ROUNDS_IN_A_LIFETIME).saturating_mul(rounds);
        let lifetime = lifetime.saturating_add(more).min(MAX_LIFETIME);
        let expires = issued.plus(lifetime);
        let committees = self.offers(issued, expires).await?;
        let needed = committees.iter().map(|terms| terms.needed).max();
        // With fewer verifying aggregators than the threshold there is no result, whatever the configuration says.
        let min_verified = self
            .config
            .min_verified
            .max(floors.min_verified)
            .max(needed.ok_or(Error::NotListed("committee"))?);
        for (group, terms) in (0u16..).zip(&committees) {
            if terms.offers.iter().flatten().count() < usize::from(min_verified) {
                let missing = (1u8..)
                    .zip(&terms.offers)
                    .filter(|(_, offer)| offer.is_none());
                let missing = missing.filter_map(|(number, _)| {
                    let member = MemberNumber::new(number).ok()?;
                    directory.member(Role::DataAggregator, group, member)
                });
                return Err(Error::TooFewAggregators {
                    needed: min_verified.into(),
                    missing: missing.map(|node| node.name.to_string()).collect(),
                });
            }
        }
        // The key is new for each query: a key that is stolen later opens no other answer.
        let reply = EnvelopeSecretKey::generate(directory.suite, &mut rng());
        let reply = self.node.watched(reply);
        let mut salt = Zeroizing::new([0; 32]);
        rng().fill_bytes(&mut salt[..]);
        // The salt hides the profile in the commitment, which everybody sees. Without it, the profiles of few concepts
        // could be guessed.
        let manifest = Manifest {
            network: directory.network.clone(),
            key_epoch: keys.key_epoch,
            querier: self.node.name.clone(),
            purpose: draft.purpose.to_owned(),
            local: draft.local,
            training: draft.training,
            min_cohort: draft.min_cohort.unwrap_or(floors.min_cohort),
            answer_rate: self.config.answer_rate.max(floors.answer_rate),
            min_verified,
            max_homes: floors.max_homes,
            committees,
            notary: notary.name.clone(),
            privacy: draft.privacy,
            rounds: draft.rounds,
            attempts: ATTEMPTS,
            reply_key: reply.public(),
            issued,
            answer_from: issued.plus(draft.owners_ms),
            answer_by: expires,
            expires,
            profile_commitment: profile.commitment(&salt),
        };
        let signed = manifest.sign(&self.node.signing);
        // Every other node verifies the manifest too. Here a fault shows before anything is submitted.
        let manifest = signed.verify(directory, issued)?;
        let opening = ProfileOpening {
            profile,
            salt: *salt,
        };
        let context = ProfileOpening::context(signed.query());
        let profiles = (0..directory.partitions()).map(|partition| {
            let pool = keys.pool(Role::TargetFinder, partition);
            let pool = pool.ok_or(Error::NotListed("target finder pool"))?;
            Ok(Sealed::seal(
                &opening,
                &pool.envelope_key,
                &context,
                &mut rng(),
            ))
        });
        let profiles = profiles.collect::<Result<_, Error>>()?;
        // The Conductor needs the pseudonyms to stream their lists. The profile's structure is sealed for the Target
        // Finders.
        let mut pseudonyms: Vec<Pseudonym> = opening.profile.atoms().copied().collect();
        pseudonyms.sort_unstable();
        pseudonyms.dedup();
        Ok(Drafted {
            manifest,
            signed,
            reply,
            salt,
            profiles,
            pseudonyms,
        })
    }

    /// Submits a prepared question. Submitting it twice starts one query.
    pub(crate) async fn submit(&self, prepared: &Prepared) -> Result<(), Error> {
        let signed = &prepared.asked.signed;
        self.submit_signed(signed, &prepared.profiles, &prepared.pseudonyms)
            .await
    }

    /// Submits a drafted manifest. Submitting it twice starts one query.
    pub(crate) async fn submit_drafted(&self, drafted: &Drafted) -> Result<(), Error> {
        self.submit_signed(&drafted.signed, &drafted.profiles, &drafted.pseudonyms)
            .await
    }

    async fn submit_signed(
        &self,
        signed: &SignedManifest,
        profiles: &[SealedProfile],
        pseudonyms: &[Pseudonym],
    ) -> Result<(), Error> {
        let request = SubmitRequest {
            manifest: to_bytes(signed),
            profiles: profiles.iter().map(to_bytes).collect(),
            pseudonyms: pseudonyms.iter().map(to_bytes).collect(),
        };
        let submitted = self.conductors.call(|mut conductor| {
            let request = request.clone();
            async move { conductor.submit(request).await }
        });
        submitted.await.map_err(|status| refused(&status))?;
        Ok(())
    }
}
