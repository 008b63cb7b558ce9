//! Versions of messages between nodes, and of the files that the program writes.
//!
//! Everything that is signed, sealed or hashed begins with the version of its encoding (protocol.md §3). In addition,
//! every call between nodes names the version of the protocol that the caller speaks, and every answer the version that
//! its node speaks. Text files have a field `version`, SQLite files have `PRAGMA user_version`.

use dispers_base::encoding;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tonic::{
    Status,
    body::Body,
    codegen::http::{self, HeaderMap, HeaderValue},
};
use zeroize::Zeroizing;

/// Version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// Metadata of each call and each answer with the version of the protocol that the sender speaks.
pub const VERSION_HEADER: &str = "dispers-version";
/// Version of the text files that this program writes and reads.
pub const FILE_VERSION: u32 = 1;
/// Prefix of the paths of the protocol's calls. Other calls, such as health checks, may come from any tool.
const CALLS: &str = "/dispers.";

/// Adds this program's version to the headers of a message.
pub(crate) fn announce(headers: &mut HeaderMap) {
    headers.insert(VERSION_HEADER, HeaderValue::from(PROTOCOL_VERSION));
}

/// Returns the version that the sender of a message speaks.
fn announced(headers: &HeaderMap) -> Option<u16> {
    let value = headers.get(VERSION_HEADER)?.to_str().ok()?;
    value.parse().ok()
}

/// Returns the reason to refuse a message; `None` if its sender speaks this version.
fn refusal(headers: &HeaderMap, sender: &str) -> Option<Status> {
    let text = match announced(headers) {
        Some(PROTOCOL_VERSION) => return None,
        Some(version) => format!(
            "the {sender} speaks version {version} of the protocol, and this node version {PROTOCOL_VERSION}: run the \
             same release of dispers on both"
        ),
        None => format!(
            "the {sender} does not say in `{VERSION_HEADER}` which version of the protocol it speaks"
        ),
    };
    Some(Status::failed_precondition(text))
}

/// Returns the refusal of a call whose sender speaks another version.
pub(crate) fn check_request<B>(request: &http::Request<B>) -> Option<Status> {
    match request.uri().path().starts_with(CALLS) {
        true => refusal(request.headers(), "caller"),
        false => None,
    }
}

/// Returns the answer, or an error in its place if its sender speaks another version.
pub(crate) fn check_response(path: &str, response: http::Response<Body>) -> http::Response<Body> {
    if !path.starts_with(CALLS) {
        return response;
    }
    match refusal(response.headers(), "node that was called") {
        Some(status) => status.into_http(),
        None => response,
    }
}

/// Version of a text file, a field that comes first. Any other version than [`FILE_VERSION`] fails to deserialize.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileVersion;

/// Error for a file of another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has version {0}, and this dispers reads version {FILE_VERSION}: use a newer dispers")]
pub struct OtherVersion(
    /// Version of the file.
    pub u32,
);

impl FileVersion {
    /// Verifies the version that a TOML text names. A text without a version passes; the parser of its content reports
    /// that.
    ///
    /// # Errors
    /// [`OtherVersion`].
    pub fn check(text: &str) -> Result<(), OtherVersion> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        match toml::from_str(text) {
            Ok(Head { version }) if version != FILE_VERSION => Err(OtherVersion(version)),
            _ => Ok(()),
        }
    }
}

impl Serialize for FileVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(FILE_VERSION)
    }
}

impl<'de> Deserialize<'de> for FileVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer)? {
            FILE_VERSION => Ok(Self),
            other => Err(de::Error::custom(OtherVersion(other))),
        }
    }
}

/// Encodes a secret as hexadecimal digits, after the version of the encoding.
pub(crate) fn to_hex(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(hex::encode([encoding::VERSION]) + &Zeroizing::new(hex::encode(bytes)))
}

/// Decodes what [`to_hex`] wrote. Returns `None` for any other text.
pub(crate) fn from_hex(text: &str) -> Result<Option<Zeroizing<Vec<u8>>>, OtherVersion> {
    // Editors add a line break at the end of a file.
    let Ok(bytes) = hex::decode(text.trim()).map(Zeroizing::new) else {
        return Ok(None);
    };
    match bytes.split_first() {
        Some((&encoding::VERSION, rest)) => Ok(Some(Zeroizing::new(rest.to_vec()))),
        Some((&other, _)) => Err(OtherVersion(other.into())),
        None => Ok(None),
    }
}
