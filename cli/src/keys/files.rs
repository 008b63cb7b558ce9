//! Files of a ceremony: its description, and the messages that members exchange.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow, bail};
use dispers_base::{
    encoding::DecodeError,
    id::{MemberNumber, Name, Role, Threshold},
    keys::VerifyingKey,
};
use dispers_node::{FILE_VERSION, FileVersion, keyfile::PublicKeys};
use dispers_trust::ceremony::{Ceremony, Enrolment, MemberDealing, Purpose};
use serde::{Deserialize, Serialize};

use crate::text_file::{bytes32, parse};

/// Description of a ceremony, as `dispers keys ceremony start` prints it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CeremonyFile {
    version: FileVersion,
    network: String,
    role: String,
    group: u16,
    needed: u8,
    suite: String,
    id: String,
    /// Name of the key whose shares are refreshed. `None` for a fresh key.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    member: Vec<MemberEntry>,
}

/// A member. Entries are in the order of member numbers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MemberEntry {
    name: String,
    signing_key: String,
}

/// A ceremony with its members, in the order of their numbers.
pub(super) struct Members {
    pub(super) ceremony: Ceremony,
    pub(super) names: Vec<Name>,
    pub(super) signers: Vec<VerifyingKey>,
}

pub(super) fn role(name: &str) -> anyhow::Result<Role> {
    // No other role has threshold keys.
    [Role::ConceptIndexor, Role::DataAggregator]
        .into_iter()
        .find(|role| role.name() == name)
        .ok_or_else(|| anyhow!("{name:?} is neither concept-indexor nor data-aggregator"))
}

/// Reads the names and signing keys of nodes from their public parts.
///
/// # Errors
/// If a node does not have the `expected` role.
pub(super) fn nodes(
    paths: &[PathBuf],
    expected: Role,
) -> anyhow::Result<(Vec<Name>, Vec<VerifyingKey>)> {
    let mut nodes = (Vec::new(), Vec::new());
    for path in paths {
        let keys: PublicKeys = parse(path)?;
        if keys.role != expected.name() {
            bail!(
                "{} holds the keys of a {}: give those of a {expected}",
                path.display(),
                keys.role
            );
        }
        nodes.0.push(Name::new(&keys.name)?);
        nodes.1.push(VerifyingKey(bytes32(&keys.signing_key)?));
    }
    Ok(nodes)
}

impl Members {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let file: CeremonyFile = parse(path)?;
        file.decode().with_context(|| path.display().to_string())
    }

    pub(super) fn to_toml(&self) -> anyhow::Result<String> {
        let ceremony = &self.ceremony;
        let members = self.names.iter().zip(&self.signers);
        Ok(toml::to_string(&CeremonyFile {
            version: FileVersion,
            network: ceremony.network.to_string(),
            role: ceremony.role.name().into(),
            group: ceremony.group,
            needed: u8::try_from(ceremony.threshold.needed())?,
            suite: ceremony.suite.name().into(),
            id: hex::encode(ceremony.id),
            refresh: match ceremony.purpose {
                Purpose::Fresh => None,
                Purpose::Refresh { previous } => Some(hex::encode(previous)),
            },
            member: members
                .map(|(name, signer)| MemberEntry {
                    name: name.to_string(),
                    signing_key: hex::encode(signer.0),
                })
                .collect(),
        })?)
    }

    /// Returns the number of the member with the signing key `signer`.
    pub(super) fn number(&self, signer: VerifyingKey) -> anyhow::Result<MemberNumber> {
        let mut members = self.ceremony.threshold.numbers().zip(&self.signers);
        members
            .find(|(_, listed)| **listed == signer)
            .map(|(number, _)| number)
            .ok_or_else(|| {
                anyhow!(
                    "the ceremony lists no member with the signing key of this key file: use the \
                     node's key file, or have the ceremony started with its public part"
                )
            })
    }

    /// Returns the fingerprint of each member's signing key, one per line.
    pub(super) fn fingerprints(&self) -> String {
        let members = self.names.iter().zip(&self.signers);
        members
            .map(|(name, signer)| format!("  {name:<24}{}\n", signer.fingerprint()))
            .collect()
    }

    /// Lists the node behind each member number, for errors that name only numbers.
    pub(super) fn who(&self) -> String {
        let members = self.ceremony.threshold.numbers().zip(&self.names);
        let members: Vec<_> = members
            .map(|(number, name)| format!("{number} is {name}"))
            .collect();
        format!("of the members, {}", members.join(", "))
    }
}

impl CeremonyFile {
    fn decode(&self) -> anyhow::Result<Members> {
        let members =
            u8::try_from(self.member.len()).context("a ceremony has at most 255 members")?;
        let names = self.member.iter().map(|member| Name::new(&member.name));
        let keys = self
            .member
            .iter()
            .map(|member| bytes32(&member.signing_key));
        let id = hex::decode(&self.id).ok().and_then(|id| id.try_into().ok());
        Ok(Members {
            names: names.collect::<Result<_, _>>()?,
            signers: keys
                .map(|key| key.map(VerifyingKey))
                .collect::<Result<_, _>>()?,
            ceremony: Ceremony {
                network: Name::new(&self.network)?,
                role: role(&self.role)?,
                group: self.group,
                threshold: Threshold::new(self.needed, members)?,
                suite: self.suite.parse()?,
                purpose: match &self.refresh {
                    None => Purpose::Fresh,
                    Some(text) => Purpose::Refresh {
                        previous: bytes32(text)?,
                    },
                },
                id: id.ok_or_else(|| anyhow!("the id is not 32 hexadecimal digits"))?,
            },
        })
    }
}

/// A file with a member's message.
#[derive(Deserialize)]
struct MessageFile {
    #[serde(rename = "version")]
    _version: FileVersion,
    /// Bytes of the message in hexadecimal, under the name of its kind.
    #[serde(flatten)]
    message: BTreeMap<String, String>,
}

/// A message of a member.
pub(super) trait Message: Sized {
    /// Name of this kind of message in its file.
    const NAME: &'static str;

    fn encode(&self) -> Vec<u8>;
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// Returns the contents of the message's file.
    fn to_toml(&self) -> String {
        let bytes = hex::encode(self.encode());
        format!("version = {FILE_VERSION}\n{} = \"{bytes}\"\n", Self::NAME)
    }

    /// Reads the messages of several files.
    fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<Self>> {
        paths.iter().map(|path| Self::read(path)).collect()
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let file: MessageFile = parse(path)?;
        let text = file.message.get(Self::NAME);
        let bytes = text.and_then(|text| hex::decode(text).ok());
        bytes
            .and_then(|bytes| Self::decode(&bytes).ok())
            .ok_or_else(|| {
                anyhow!(
                    "{} holds no {}: get the file again from its member",
                    path.display(),
                    Self::NAME
                )
            })
    }
}

impl Message for Enrolment {
    const NAME: &'static str = "enrolment";

    fn encode(&self) -> Vec<u8> {
        self.to_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_bytes(bytes)
    }
}

impl Message for MemberDealing {
    const NAME: &'static str = "dealing";

    fn encode(&self) -> Vec<u8> {
        self.to_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_bytes(bytes)
    }
}
