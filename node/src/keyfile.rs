//! Key files, which hold a node's secrets and are readable by their owner only.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use dispers_base::{fingerprint::Fingerprint, id::Role, keys::SigningKey};
use dispers_core::ticket::PoolSecret;
use dispers_crypto::{
    dealing::KeyShare,
    envelope::{EnvelopePublicKey, EnvelopeSecretKey, Suite},
};
use dispers_trust::ceremony::Enrolled;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    FileVersion, Held, OtherVersion, TlsIdentity,
    private::{self, Exposed},
    rng, version,
};

/// Reasons why a key file is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("cannot access {path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// The file exists already.
    #[error("{0} exists already: keys are never overwritten, choose another name")]
    Exists(PathBuf),
    /// Other users may read the file.
    #[error(transparent)]
    Exposed(#[from] Exposed),
    /// The other key file is of a node that shares no pool with this one.
    #[error(
        "no pool is shared with that node: give the key file of a node of the same role and suite"
    )]
    OtherPool,
    /// A newer program wrote the file.
    #[error("{path}: {source}")]
    Newer {
        /// Path of the file.
        path: PathBuf,
        /// Version of the file.
        source: OtherVersion,
    },
    /// The file is no key file.
    #[error("{path}: {what} is missing or malformed: make the file with `dispers keys`")]
    Content {
        /// Path of the file.
        path: PathBuf,
        /// Name of the key that is missing or malformed.
        what: &'static str,
    },
}

/// Secrets of a node. A role that lacks one of its keys reports that when it starts.
#[derive(Debug)]
pub struct NodeKeys {
    /// TLS key that proves the node's identity to other nodes.
    pub tls: TlsIdentity,
    /// Key that signs the node's messages.
    pub signing: SigningKey,
    /// Envelope key of a concept indexor, or the one that all conductors share.
    pub envelope: Option<EnvelopeSecretKey>,
    /// Envelope key of the pool, for target finders and targets.
    pub pool_envelope: Option<EnvelopeSecretKey>,
    /// Secret of the pool, from which finds derive, for target finders.
    pub pool_secret: Option<PoolSecret>,
    /// Threshold share, for concept indexors and data aggregators.
    pub share: Option<KeyShare>,
    /// Secrets of the previous key epoch, during the grace.
    pub previous: PreviousKeys,
}

/// Secrets of the previous key epoch. A missing one is the same as that of the current epoch.
#[derive(Debug, Default)]
pub struct PreviousKeys {
    /// Envelope key of the pool.
    pub pool_envelope: Option<EnvelopeSecretKey>,
    /// Secret of the pool, from which finds derive.
    pub pool_secret: Option<PoolSecret>,
    /// Threshold share.
    pub share: Option<KeyShare>,
}

/// Public part of a key file, which goes into the directory, as `dispers keys new` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PublicKeys {
    /// Version of the file.
    pub version: FileVersion,
    /// Name of the node.
    pub name: String,
    /// Role of the node.
    pub role: String,
    /// SHA-256 of the node's TLS public key, in hexadecimal.
    pub tls_key: String,
    /// Signing key of the node, in hexadecimal.
    pub signing_key: String,
    /// Envelope key of the node, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope_key: Option<String>,
    /// Envelope key of the node's pool, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_envelope_key: Option<String>,
}

impl PublicKeys {
    /// Returns the fingerprint of each key with the key's name, without keys that are not hexadecimal.
    pub fn fingerprints(&self) -> Vec<(&'static str, Fingerprint)> {
        let keys = [
            ("tls-key", Some(&self.tls_key)),
            ("signing-key", Some(&self.signing_key)),
            ("envelope-key", self.envelope_key.as_ref()),
            ("pool-envelope-key", self.pool_envelope_key.as_ref()),
        ];
        keys.into_iter()
            .filter_map(|(name, key)| {
                let key = hex::decode(key?).ok()?;
                Some((name, Fingerprint::of(&key)))
            })
            .collect()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Stored {
    version: FileVersion,
    /// Name in the directory, from which the public part can be shown again.
    name: Option<String>,
    /// Role in the directory, kept for the same purpose.
    role: Option<String>,
    suite: String,
    tls: String,
    signing: String,
    envelope: Option<String>,
    pool_envelope: Option<String>,
    pool_secret: Option<String>,
}

impl Stored {
    fn read(path: &Path) -> Result<Self, KeyFileError> {
        let text = read_secret(path)?;
        // The version comes before the fields: a newer file may have fields that do not parse here.
        FileVersion::check(&text).map_err(newer(path))?;
        // The parser's message is dropped, since it quotes the text, which holds secrets.
        toml::from_str(&text).map_err(|_| content(path, "the TOML"))
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        // A `String` does not erase itself when it is dropped.
        self.tls.zeroize();
        self.signing.zeroize();
        for secret in [
            &mut self.envelope,
            &mut self.pool_envelope,
            &mut self.pool_secret,
        ] {
            secret.zeroize();
        }
    }
}

fn public_hex(key: &EnvelopeSecretKey) -> String {
    hex::encode(key.public().as_bytes())
}

fn seed_hex(key: &EnvelopeSecretKey) -> String {
    hex::encode(*key.to_seed_bytes())
}

/// Decodes the seed of an envelope key. Returns `None` if it is malformed.
fn secret_envelope_key(suite: Suite, text: &str) -> Option<EnvelopeSecretKey> {
    let bytes = Zeroizing::new(hex::decode(text).ok()?);
    EnvelopeSecretKey::from_bytes(suite, &bytes).ok()
}

fn again(key: &EnvelopeSecretKey) -> EnvelopeSecretKey {
    EnvelopeSecretKey::from_bytes(key.suite(), &key.to_seed_bytes()[..])
        .expect("a key's own bytes are a key")
}

impl NodeKeys {
    /// Generates the keys that a node of this role has.
    pub fn generate(role: Role, suite: Suite) -> Self {
        let own = matches!(role, Role::Conductor | Role::ConceptIndexor);
        let pool = matches!(role, Role::TargetFinder | Role::Target);
        Self {
            tls: TlsIdentity::generate(),
            signing: SigningKey::generate(&mut rng()),
            envelope: own.then(|| EnvelopeSecretKey::generate(suite, &mut rng())),
            pool_envelope: pool.then(|| EnvelopeSecretKey::generate(suite, &mut rng())),
            pool_secret: (role == Role::TargetFinder).then(|| PoolSecret::generate(&mut rng())),
            share: None,
            previous: PreviousKeys::default(),
        }
    }

    /// Returns the public keys, which [`check_listed`](crate::check_listed) compares with the directory.
    pub fn held(&self) -> Held<'_> {
        Held {
            tls_key: self.tls.key(),
            signing_key: self.signing.public(),
            envelope_key: self.envelope.as_ref().map(EnvelopeSecretKey::public),
            pool_key: self.pool_envelope.as_ref().map(EnvelopeSecretKey::public),
            share: self.share.as_ref(),
            previous_pool_key: {
                let previous = self.previous.pool_envelope.as_ref();
                previous.map(EnvelopeSecretKey::public)
            },
            previous_share: self.previous.share.as_ref(),
        }
    }

    /// Takes over the pool's keys from the key file of another node of the same pool.
    ///
    /// # Errors
    /// [`KeyFileError::OtherPool`] if the other node is of another role or suite, or of a role without a pool.
    pub fn join_pool_of(&mut self, other: &Self) -> Result<(), KeyFileError> {
        let (Some(own), Some(key)) = (&self.pool_envelope, &other.pool_envelope) else {
            return Err(KeyFileError::OtherPool);
        };
        // `NodeKeys` does not hold its role. Target finders have a secret, and targets have none.
        let same_role = self.pool_secret.is_some() == other.pool_secret.is_some();
        if !same_role || own.suite() != key.suite() {
            return Err(KeyFileError::OtherPool);
        }
        self.pool_envelope = Some(again(key));
        let secret = other.pool_secret.as_ref();
        self.pool_secret = secret.map(|secret| PoolSecret::from_bytes(*secret.as_bytes()));
        Ok(())
    }

    /// Takes over the envelope key from the key file of another conductor, so that each opens what was sealed for the
    /// other.
    ///
    /// # Errors
    /// [`KeyFileError::OtherPool`] if one of the two has no envelope key, or if their suites differ.
    pub fn join_conductor(&mut self, other: &Self) -> Result<(), KeyFileError> {
        let (Some(own), Some(key)) = (&self.envelope, &other.envelope) else {
            return Err(KeyFileError::OtherPool);
        };
        if own.suite() != key.suite() {
            return Err(KeyFileError::OtherPool);
        }
        self.envelope = Some(again(key));
        Ok(())
    }

    /// Returns the public part of these keys, which the directory lists.
    pub fn public(&self, name: &str, role: Role) -> PublicKeys {
        PublicKeys {
            version: FileVersion,
            name: name.to_owned(),
            role: role.name().to_owned(),
            tls_key: hex::encode(self.tls.key().0),
            signing_key: hex::encode(self.signing.public().0),
            envelope_key: self.envelope.as_ref().map(public_hex),
            pool_envelope_key: self.pool_envelope.as_ref().map(public_hex),
        }
    }

    /// Writes a new key file for the node `name`.
    ///
    /// # Errors
    /// [`KeyFileError`]. An existing file is not changed.
    pub fn save(
        &self,
        path: &Path,
        suite: Suite,
        name: &str,
        role: Role,
    ) -> Result<(), KeyFileError> {
        let stored = Stored {
            version: FileVersion,
            name: Some(name.to_owned()),
            role: Some(role.name().to_owned()),
            suite: suite.name().to_owned(),
            tls: hex::encode(self.tls.pkcs8()),
            signing: hex::encode(*self.signing.seed()),
            envelope: self.envelope.as_ref().map(seed_hex),
            pool_envelope: self.pool_envelope.as_ref().map(seed_hex),
            pool_secret: self.pool_secret.as_ref().map(|s| hex::encode(s.as_bytes())),
        };
        let text = toml::to_string(&stored).expect("strings are TOML");
        write_secret(path, &Zeroizing::new(text))
    }

    /// Reads a key file, without share and without keys of the previous key epoch.
    ///
    /// # Errors
    /// [`KeyFileError`] with the part that is wrong.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let stored = Stored::read(path)?;
        let suite = Suite::from_str(&stored.suite).map_err(|_| content(path, "suite"))?;
        let envelope = stored
            .envelope
            .as_deref()
            .map(|text| secret_envelope_key(suite, text).ok_or_else(|| content(path, "envelope")));
        let pool_envelope = stored.pool_envelope.as_deref().map(|text| {
            secret_envelope_key(suite, text).ok_or_else(|| content(path, "pool-envelope"))
        });
        let pool_secret = stored.pool_secret.as_deref().map(|text| {
            let bytes = secret32(text).ok_or_else(|| content(path, "pool-secret"));
            bytes.map(|bytes| PoolSecret::from_bytes(*bytes))
        });
        let tls = Zeroizing::new(hex::decode(&stored.tls).map_err(|_| content(path, "tls"))?);
        Ok(Self {
            tls: TlsIdentity::from_pkcs8(&tls).map_err(|_| content(path, "tls"))?,
            signing: SigningKey::from_seed(
                &*secret32(&stored.signing).ok_or_else(|| content(path, "signing"))?,
            ),
            envelope: envelope.transpose()?,
            pool_envelope: pool_envelope.transpose()?,
            pool_secret: pool_secret.transpose()?,
            share: None,
            previous: PreviousKeys::default(),
        })
    }

    /// Reads a key file and returns its public part.
    ///
    /// # Errors
    /// [`KeyFileError`] with the part that is wrong.
    pub fn load_public(path: &Path) -> Result<PublicKeys, KeyFileError> {
        let mut stored = Stored::read(path)?;
        let name = stored.name.take().ok_or_else(|| content(path, "name"))?;
        let role = stored.role.take().and_then(|role| Role::named(&role));
        let role = role.ok_or_else(|| content(path, "role"))?;
        Ok(Self::load(path)?.public(&name, role))
    }

    /// Reads the share that a ceremony or a dealer made.
    ///
    /// # Errors
    /// [`KeyFileError`] with the part that is wrong.
    pub fn load_share(&mut self, path: &Path) -> Result<(), KeyFileError> {
        self.share = Some(load_share(path)?);
        Ok(())
    }
}

/// Writes a share of a threshold key.
///
/// # Errors
/// [`KeyFileError`]. An existing file is not changed.
pub fn save_share(path: &Path, share: &KeyShare) -> Result<(), KeyFileError> {
    write_secret(path, &version::to_hex(&*share.to_bytes()))
}

/// Reads a share of a threshold key.
///
/// # Errors
/// [`KeyFileError`] with the part that is wrong.
pub fn load_share(path: &Path) -> Result<KeyShare, KeyFileError> {
    let share = read_hex(path)?.and_then(|bytes| KeyShare::from_bytes(&bytes).ok());
    share.ok_or_else(|| content(path, "the share"))
}

/// Writes the secret that a member of a ceremony keeps until the end.
///
/// # Errors
/// [`KeyFileError`]. An existing file is not changed.
pub fn save_ceremony_secret(path: &Path, secret: &Enrolled) -> Result<(), KeyFileError> {
    write_secret(path, &version::to_hex(&*secret.to_bytes()))
}

/// Reads the secret that a member of a ceremony keeps until the end.
///
/// # Errors
/// [`KeyFileError`] with the part that is wrong.
pub fn load_ceremony_secret(path: &Path) -> Result<Enrolled, KeyFileError> {
    let secret = read_hex(path)?.and_then(|bytes| Enrolled::from_bytes(&bytes).ok());
    secret.ok_or_else(|| content(path, "the ceremony secret"))
}

/// Reads the bytes of a secret file of hexadecimal digits. Returns `None` for any other content.
fn read_hex(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
    version::from_hex(&read_secret(path)?).map_err(newer(path))
}

/// Writes a root signing key.
///
/// # Errors
/// [`KeyFileError`]. An existing file is not changed.
pub fn save_signing_key(path: &Path, key: &SigningKey) -> Result<(), KeyFileError> {
    write_secret(path, &version::to_hex(&*key.seed()))
}

/// Reads a root signing key.
///
/// # Errors
/// [`KeyFileError`] with the part that is wrong.
pub fn load_signing_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    let seed = read_hex(path)?.and_then(|bytes| array(&bytes));
    let seed = seed.ok_or_else(|| content(path, "the signing key"))?;
    Ok(SigningKey::from_seed(&seed))
}

/// Decodes an envelope key of a public part. Returns `None` for any other text.
pub fn envelope_key(suite: Suite, text: &str) -> Option<EnvelopePublicKey> {
    EnvelopePublicKey::from_bytes(suite, &hex::decode(text).ok()?).ok()
}

fn secret32(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    array(&Zeroizing::new(hex::decode(text).ok()?))
}

fn array(bytes: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    bytes.try_into().ok().map(Zeroizing::new)
}

fn content(path: &Path, what: &'static str) -> KeyFileError {
    KeyFileError::Content {
        path: path.to_owned(),
        what,
    }
}

fn newer(path: &Path) -> impl Fn(OtherVersion) -> KeyFileError {
    move |source| KeyFileError::Newer {
        path: path.to_owned(),
        source,
    }
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> KeyFileError {
    move |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Writes a file that only its owner may read, and leaves an existing one alone.
///
/// # Errors
/// [`KeyFileError`] with the path of the file.
pub fn write_secret(path: &Path, text: &str) -> Result<(), KeyFileError> {
    let mut file = private::create_new(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => KeyFileError::Exists(path.to_owned()),
        _ => io(path)(error),
    })?;
    // The file is on the disk before the key is used: a key that was listed and then lost cannot be made again.
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(io(path))
}

/// Reads a file that only its owner may read.
///
/// # Errors
/// [`KeyFileError`] with the path of the file, also if other users may read it.
pub fn read_secret(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let mut file = private::open(path).map_err(io(path))??;
    // The buffer has room for the whole file: a growing text would leave copies of secrets in freed memory.
    let size = file.metadata().map_or(0, |file| file.len() as usize);
    let mut text = Zeroizing::new(String::with_capacity(size.saturating_add(1)));
    file.read_to_string(&mut text).map_err(io(path))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_comes_back_and_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("finder.key");
        let keys = NodeKeys::generate(Role::TargetFinder, Suite::XWing);
        keys.save(&path, Suite::XWing, "f", Role::TargetFinder)
            .unwrap();
        let back = NodeKeys::load(&path).unwrap();
        let public = |keys: &NodeKeys| toml::to_string(&keys.public("f", Role::TargetFinder));
        assert_eq!(public(&keys).unwrap(), public(&back).unwrap());
        let shown = NodeKeys::load_public(&path).unwrap();
        assert_eq!(toml::to_string(&shown).unwrap(), public(&keys).unwrap());
        assert!(matches!(
            keys.save(&path, Suite::XWing, "f", Role::TargetFinder),
            Err(KeyFileError::Exists(_))
        ));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::{fs, os::unix::fs::PermissionsExt};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conductor.key");
        let keys = NodeKeys::generate(Role::Conductor, Suite::X25519);
        keys.save(&path, Suite::X25519, "c", Role::Conductor)
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            NodeKeys::load(&path),
            Err(KeyFileError::Exposed(_))
        ));
    }
}
