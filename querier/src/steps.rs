//! Single steps of asking, for programs that carry the messages themselves, such as tests of the protocol.
//!
//! [`Querier::ask`] does all of them. The types here are those of the protocol (`dispers_core`).

use dispers_base::id::AggregatorId;
use dispers_core::{
    find::SealedProfile,
    manifest::{SignedManifest, VerifiedManifest},
    release::{Released, SealedTotal},
};
use dispers_crypto::oprf::Pseudonym;
use dispers_sql::decode::Table;

use crate::{Asked, Error, Querier, Question};

/// Question that is ready to be submitted, with the key of its answer.
pub struct Prepared {
    pub(crate) asked: Asked,
    pub(crate) profiles: Vec<SealedProfile>,
    pub(crate) pseudonyms: Vec<Pseudonym>,
}

impl Prepared {
    /// Returns the question with the key that opens its answer.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Returns the verified manifest.
    pub fn manifest(&self) -> &VerifiedManifest {
        &self.asked.manifest
    }

    /// Returns the manifest with its signature, as it is sent.
    pub fn signed(&self) -> &SignedManifest {
        &self.asked.signed
    }

    /// Returns the pseudonyms of the target profile, each once.
    pub fn pseudonyms(&self) -> &[Pseudonym] {
        &self.pseudonyms
    }

    /// Returns the target profile, sealed for the Target Finders of each partition, in order of partitions.
    pub fn profiles(&self) -> &[SealedProfile] {
        &self.profiles
    }
}

/// Prepares a question without submitting it: obtains pseudonyms and offers, and signs the manifest.
///
/// # Errors
/// [`Error`]. No home was asked.
pub async fn prepare(querier: &Querier, question: &Question) -> Result<Prepared, Error> {
    let (plan, privacy) = querier.checked_plan(question)?;
    querier.prepare_plan(question, plan, privacy).await
}

/// Submits a prepared question. Submitting it twice starts one query.
///
/// # Errors
/// [`Error`]. The question may be submitted again.
pub async fn submit(querier: &Querier, prepared: &Prepared) -> Result<(), Error> {
    querier.submit(prepared).await
}

/// Opens the sealed totals of a question and decodes them into a table.
///
/// # Errors
/// [`Error::Release`] if the totals are too few or contradict each other.
pub fn open(
    querier: &Querier,
    asked: &Asked,
    totals: &[(AggregatorId, SealedTotal)],
) -> Result<(Released, Table), Error> {
    querier.open_answer(asked, totals)
}
