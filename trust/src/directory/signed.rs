//! The directory as a file: an encoded body, and the root keys' signatures over it.

use std::collections::BTreeSet;
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Directory, DirectoryBody, DirectoryError, LIMIT};
use dispers_base::{
    encoding::{self, Message},
    id::Timestamp,
    keys::{Signature, SigningKey, VerifyingKey},
    labels,
    signed::Statement,
};

/// Most signatures that a file may carry. It bounds the verifications that an unverified file can cause.
const SIGNATURE_LIMIT: usize = 100;

/// Root keys that a party pins, with the number of them that must have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootKeys {
    /// Root keys of the operators.
    pub keys: Vec<VerifyingKey>,
    /// Number of different root keys that must have signed.
    pub needed: usize,
}

impl RootKeys {
    /// Pins `keys`, of which `needed` must have signed. The default is more than half of the different keys, so that
    /// neither one stolen key nor half of the keys can make a directory.
    pub fn new(keys: Vec<VerifyingKey>, needed: Option<usize>) -> Self {
        // A key that is listed twice counts once, as it does when signatures are counted.
        let distinct: BTreeSet<&VerifyingKey> = keys.iter().collect();
        let needed = needed.unwrap_or(distinct.len() / 2 + 1);
        Self { keys, needed }
    }
}

impl Statement for DirectoryBody {
    const LABEL: &'static str = labels::SIGN_DIRECTORY;
}

impl Message for DirectoryBody {
    const NAME: &'static str = "directory";
    const LIMIT: usize = LIMIT;
}

/// Directory as received. Nothing in it may be used before [`verify`](Self::verify).
#[derive(Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedDirectory {
    /// Encoded [`DirectoryBody`], as it was signed.
    pub body: Vec<u8>,
    /// Root keys with their signatures over the bytes of the body.
    pub signatures: Vec<(VerifyingKey, Signature)>,
}

impl Message for SignedDirectory {
    const NAME: &'static str = DirectoryBody::NAME;
    // A limit equal to the body's would refuse the largest directory once it is signed.
    const LIMIT: usize = DirectoryBody::LIMIT
        + SIGNATURE_LIMIT * (size_of::<VerifyingKey>() + size_of::<Signature>())
        + 64;
}

impl SignedDirectory {
    /// Encodes a body that nobody has signed yet.
    ///
    /// # Errors
    /// The errors of [`DirectoryBody::check`].
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
        let signature = key.sign(DirectoryBody::LABEL, &self.body);
        self.signatures.push((public, signature));
    }

    /// Decodes a file, without verifying it.
    ///
    /// # Errors
    /// [`DirectoryError::Malformed`] for anything else than an encoded directory.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DirectoryError> {
        let signed: Self = encoding::decode(bytes).map_err(|_| DirectoryError::Malformed)?;
        if signed.signatures.len() > SIGNATURE_LIMIT {
            return Err(DirectoryError::Malformed);
        }
        Ok(signed)
    }

    /// Encodes the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// Decodes the body without verifying signatures, to show it to somebody who is about to sign.
    ///
    /// # Errors
    /// [`DirectoryError::Malformed`] if the body does not decode, and the errors of [`DirectoryBody::check`].
    pub fn unverified_body(&self) -> Result<DirectoryBody, DirectoryError> {
        let body: DirectoryBody =
            encoding::decode(&self.body).map_err(|_| DirectoryError::Malformed)?;
        // A root operator must not sign what every reader would refuse.
        body.check()?;
        Ok(body)
    }

    /// Verifies the directory: enough of `roots` signed it, its body obeys the rules, and it is valid at `now`.
    ///
    /// # Errors
    /// [`DirectoryError`], which says what to change.
    ///
    /// # Security
    /// An older edition that has not expired passes. Editions are short-lived for that reason.
    pub fn verify(&self, roots: &RootKeys, now: Timestamp) -> Result<Directory, DirectoryError> {
        // Signatures come first: a body that no root key signed is not even decoded.
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

    /// Returns the keys whose signatures verify, pinned or not.
    pub fn signers(&self) -> BTreeSet<&VerifyingKey> {
        let signatures = self.signatures.iter().filter(|(signer, signature)| {
            let checked = signer.verify(DirectoryBody::LABEL, &self.body, signature);
            checked.is_ok()
        });
        signatures.map(|(signer, _)| signer).collect()
    }

    fn check_signatures(&self, roots: &RootKeys) -> Result<(), DirectoryError> {
        let distinct: BTreeSet<&VerifyingKey> = roots.keys.iter().collect();
        // With 0 needed, a directory without any signature would pass.
        if roots.needed == 0 || roots.needed > distinct.len() {
            return Err(DirectoryError::Roots {
                needed: roots.needed,
                roots: distinct.len(),
            });
        }
        // The fields are public, so that a value may not come from `from_bytes`, which checks the same.
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
