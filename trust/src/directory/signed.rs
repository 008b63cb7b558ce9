//! The directory as a file: a body and the root keys' signatures over it.

use std::collections::BTreeSet;
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Directory, DirectoryBody, DirectoryError, LIMIT};
use dispers_base::{
    encoding,
    id::Timestamp,
    keys::{Signature, SigningKey, VerifyingKey},
    labels,
};

/// Most signatures that a file may carry.
const SIGNATURE_LIMIT: usize = 100;

/// The root keys that a party pins, and how many of them must have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKeys {
    /// The operators' root keys.
    pub keys: Vec<VerifyingKey>,
    /// How many different ones must have signed.
    pub needed: usize,
}

impl RootKeys {
    /// Pins `keys`, of which `needed` must have signed. The default is more than half of them, so that neither one
    /// stolen key nor half of the keys can make a directory.
    pub fn new(keys: Vec<VerifyingKey>, needed: Option<usize>) -> Self {
        let distinct: BTreeSet<&VerifyingKey> = keys.iter().collect();
        let needed = needed.unwrap_or(distinct.len() / 2 + 1);
        Self { keys, needed }
    }
}

/// A directory as received; nothing in it counts before [`verify`](Self::verify).
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedDirectory {
    /// The encoded [`DirectoryBody`], as it was signed.
    pub body: Vec<u8>,
    /// Signatures over the body's bytes.
    pub signatures: Vec<(VerifyingKey, Signature)>,
}

impl SignedDirectory {
    /// A body that nobody has signed yet.
    ///
    /// # Errors
    /// What [`DirectoryBody::check`] refuses.
    pub fn new(body: &DirectoryBody) -> Result<Self, DirectoryError> {
        body.check()?;
        Ok(Self {
            body: encoding::to_bytes(body),
            signatures: Vec::new(),
        })
    }

    /// Adds the signature of `key`, or replaces it.
    pub fn sign(&mut self, key: &SigningKey) {
        let public = key.public();
        self.signatures.retain(|(signer, _)| *signer != public);
        let signature = key.sign(labels::SIGN_DIRECTORY, &self.body);
        self.signatures.push((public, signature));
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`DirectoryError::Malformed`] for anything else than an encoded directory.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let signed: Self = encoding::from_bytes(bytes, LIMIT, "directory")
            .map_err(|_| DirectoryError::Malformed)?;
        if signed.signatures.len() > SIGNATURE_LIMIT {
            return Err(DirectoryError::Malformed);
        }
        Ok(signed)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// The body, before anybody vouches for it: to show it to who is about to sign.
    ///
    /// # Errors
    /// [`DirectoryError::Malformed`] if it does not decode, and what
    /// [`DirectoryBody::check`] refuses.
    pub fn unverified_body(&self) -> Result<DirectoryBody, DirectoryError> {
        let body: DirectoryBody = encoding::from_bytes(&self.body, LIMIT, "directory")
            .map_err(|_| DirectoryError::Malformed)?;
        body.check()?;
        Ok(body)
    }

    /// The directory, if enough of `roots` signed it, it is valid at `now` and in order.
    ///
    /// # Errors
    /// [`DirectoryError`], which says what to mend.
    ///
    /// # Security
    /// An older edition that has not expired passes: editions are short-lived for that reason.
    pub fn verify(&self, roots: &RootKeys, now: Timestamp) -> Result<Directory, DirectoryError> {
        self.check_signatures(roots)?;
        let body = self.unverified_body()?;
        if body.issued.is_ahead_of(now) {
            return Err(DirectoryError::NotYetValid(body.issued));
        }
        if body.expires.has_passed(now) {
            return Err(DirectoryError::Expired(body.expires));
        }
        Ok(Directory::new(body))
    }

    /// The keys whose signatures hold, whoever they belong to.
    pub fn signers(&self) -> BTreeSet<&VerifyingKey> {
        let hold = |(signer, signature): &&(VerifyingKey, Signature)| {
            let checked = signer.verify(labels::SIGN_DIRECTORY, &self.body, signature);
            checked.is_ok()
        };
        let signatures = self.signatures.iter().filter(hold);
        signatures.map(|(signer, _)| signer).collect()
    }

    fn check_signatures(&self, roots: &RootKeys) -> Result<(), DirectoryError> {
        let distinct: BTreeSet<&VerifyingKey> = roots.keys.iter().collect();
        if roots.needed == 0 || roots.needed > distinct.len() {
            return Err(DirectoryError::Roots {
                needed: roots.needed,
                roots: distinct.len(),
            });
        }
        if self.signatures.len() > SIGNATURE_LIMIT {
            return Err(DirectoryError::Malformed);
        }
        let mut signed = self.signers();
        signed.retain(|signer| distinct.contains(signer));
        if signed.len() < roots.needed {
            return Err(DirectoryError::Signatures {
                needed: roots.needed,
                signed: signed.len(),
            });
        }
        Ok(())
    }
}

impl fmt::Debug for SignedDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SignedDirectory({} bytes, {} signatures)",
            self.body.len(),
            self.signatures.len()
        )
    }
}
