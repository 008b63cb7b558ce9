//! A query as its querier submitted it: decoded and verified once, when it arrives or is loaded from the store.

use std::collections::BTreeSet;

use dispers_base::{
    encoding::{DecodeError, decode, from_bytes},
    id::{Name, Timestamp},
};
use dispers_core::{
    find::{MAX_FIND_HEAD, SealedProfile},
    manifest::{SignedManifest, VerifiedManifest},
};
use dispers_crypto::oprf::Pseudonym;
use dispers_trust::directory::Directory;

use crate::{Error, TakenUp, store::MAX_RECORD};

/// Most pseudonyms of one target profile.
const MAX_PSEUDONYMS: usize = 256;

/// A query whose manifest is verified.
pub struct Submission {
    /// Manifest with the querier's signature, as other nodes get it.
    pub signed: SignedManifest,
    /// The same manifest, verified.
    pub manifest: VerifiedManifest,
    /// Profiles for the Target Finders, sealed, one per partition.
    pub profiles: Vec<SealedProfile>,
    /// Pseudonyms of the target profile. Their lists are streamed to the finder.
    pub pseudonyms: Vec<Pseudonym>,
}

impl Submission {
    /// Decodes the parts of a submitted query, and verifies its manifest.
    ///
    /// # Errors
    /// [`Error::Decode`], [`Error::Manifest`].
    pub(crate) fn receive(
        manifest: &[u8],
        profiles: &[Vec<u8>],
        pseudonyms: &[Vec<u8>],
        directory: &Directory,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let signed: SignedManifest = decode(manifest)?;
        let profiles = profiles
            .iter()
            .map(|bytes| from_bytes(bytes, MAX_FIND_HEAD, "sealed profile"));
        let pseudonyms = pseudonyms
            .iter()
            .map(|bytes| from_bytes(bytes, 64, "pseudonym"));
        Ok(Self {
            manifest: signed.verify(directory, now)?,
            signed,
            profiles: profiles.collect::<Result<_, _>>()?,
            pseudonyms: pseudonyms.collect::<Result<_, _>>()?,
        })
    }

    /// Decodes a query that was stored, and verifies its manifest again: the directory may be another one.
    ///
    /// # Errors
    /// [`Error::Storage`] for bytes that are not what was stored, [`Error::Invalid`] if the manifest does not verify.
    pub(crate) fn load(
        taken: &TakenUp,
        directory: &Directory,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let signed: SignedManifest = decode(&taken.manifest).map_err(damaged)?;
        let manifest = signed.verify(directory, now);
        Ok(Self {
            manifest: manifest.map_err(|reason| Error::Invalid {
                query: signed.query(),
                reason,
            })?,
            signed,
            profiles: from_bytes(&taken.profiles, MAX_RECORD, "sealed profiles")
                .map_err(damaged)?,
            pseudonyms: taken.pseudonyms.clone(),
        })
    }

    /// Checks that `sender` may submit the query, that it has a profile for each of `partitions`, and that its
    /// pseudonyms are named once.
    ///
    /// # Errors
    /// [`Error::OtherQuerier`], [`Error::BadProfiles`], [`Error::BadPseudonyms`].
    pub(crate) fn check(&self, sender: &Name, partitions: u16) -> Result<(), Error> {
        if self.manifest.querier != *sender {
            return Err(Error::OtherQuerier);
        }
        if self.profiles.len() != usize::from(partitions) {
            return Err(Error::BadProfiles);
        }
        let count = self.pseudonyms.len();
        let named: BTreeSet<&Pseudonym> = self.pseudonyms.iter().collect();
        if named.len() != count || !(1..=MAX_PSEUDONYMS).contains(&count) {
            return Err(Error::BadPseudonyms);
        }
        Ok(())
    }
}

/// Returns the error for stored bytes that do not decode.
pub(crate) fn damaged(error: DecodeError) -> Error {
    Error::Storage(error.to_string())
}

#[cfg(test)]
mod tests {
    use dispers_base::{encoding::to_bytes, keys::Signature};
    use dispers_trust::directory::{RootKeys, SignedDirectory};

    use super::*;

    /// Returns the directory of a network of release 0.1.0, and a time at which it is valid.
    fn directory() -> (Directory, Timestamp) {
        let bytes = include_bytes!("../../tests/fixtures/0.1.0/network/directory.bin");
        let signed = SignedDirectory::from_bytes(bytes).unwrap();
        let keys = signed.signatures.iter().map(|(key, _)| *key).collect();
        let issued = signed.unverified_body().unwrap().issued;
        let verified = signed.verify(&RootKeys::new(keys, None), issued);
        (verified.unwrap(), issued)
    }

    /// Returns a stored query with this manifest.
    fn taken(manifest: Vec<u8>) -> TakenUp {
        TakenUp {
            manifest,
            profiles: to_bytes(&Vec::<SealedProfile>::new()),
            pseudonyms: Vec::new(),
            record: Vec::new(),
            version: 0,
        }
    }

    #[test]
    fn a_kept_query_whose_manifest_does_not_verify_is_named() {
        let (directory, now) = directory();
        let bytes = to_bytes(&(vec![7_u8; 40], Signature([0; 64])));
        let signed: SignedManifest = decode(&bytes).unwrap();
        let loaded = Submission::load(&taken(bytes), &directory, now);
        let text = loaded.err().unwrap().to_string();
        let begins = format!("the kept query {} cannot be driven", signed.query());
        assert!(text.starts_with(&begins), "{text}");
        assert!(text.contains("submit it again"), "{text}");
    }

    #[test]
    fn a_kept_query_that_does_not_decode_is_a_damaged_store() {
        let (directory, now) = directory();
        let loaded = Submission::load(&taken(vec![1, 2, 3]), &directory, now);
        assert!(matches!(loaded.err(), Some(Error::Storage(_))));
    }
}
