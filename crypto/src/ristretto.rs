//! Prime-order group ristretto255 (RFC 9496): its points, and hashing to the group (RFC 9380).

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::traits::IsIdentity;
use curve25519_dalek::{RistrettoPoint, Scalar};
use sha2::{Digest, Sha512};

use dispers_base::hex::Hex;

/// Error for bytes that are not the canonical encoding of a point, or that encode the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the canonical encoding of a point other than the identity")]
pub struct InvalidPoint;

/// Public point other than the identity, with its canonical encoding.
///
/// The identity is refused wherever a point is made or decoded, as RFC 9497 requires: times any key, it is the
/// identity.
#[derive(Clone, Copy)]
pub struct Point {
    encoded: [u8; 32],
    point: RistrettoPoint,
}

impl Point {
    /// Decodes a point.
    ///
    /// # Errors
    /// [`InvalidPoint`] for a non-canonical encoding and for the identity.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidPoint> {
        CompressedRistretto(bytes)
            .decompress()
            .and_then(Self::new)
            .ok_or(InvalidPoint)
    }

    /// Returns the canonical encoding.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.encoded
    }

    /// Makes a point from a group element; `None` for the identity.
    pub fn new(point: RistrettoPoint) -> Option<Self> {
        (!point.is_identity()).then(|| Self {
            encoded: point.compress().0,
            point,
        })
    }

    /// Returns this point times `scalar`; `None` if the product is the identity.
    pub(crate) fn times(&self, scalar: &Scalar) -> Option<Self> {
        Self::new(self.point * scalar)
    }

    /// Returns the group element.
    pub fn inner(&self) -> &RistrettoPoint {
        &self.point
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

impl Eq for Point {}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Point({})", Hex(&self.encoded[..4]))
    }
}

impl BorshSerialize for Point {
    fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.encoded.serialize(writer)
    }
}

impl BorshDeserialize for Point {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        Self::from_bytes(<[u8; 32]>::deserialize_reader(reader)?).map_err(borsh::io::Error::other)
    }
}

/// Hashes a message to the group: `hash_to_ristretto255` (RFC 9380) with SHA-512. `domain` is at most 255 bytes.
pub(crate) fn hash_to_group(message: &[&[u8]], domain: &[&[u8]]) -> RistrettoPoint {
    RistrettoPoint::from_uniform_bytes(&expand(message, domain))
}

/// Hashes a message to a scalar: `HashToScalar` of RFC 9497 with SHA-512. `domain` is at most 255 bytes.
pub fn hash_to_scalar(message: &[&[u8]], domain: &[&[u8]]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&expand(message, domain))
}

/// Expands a message to 64 bytes, one output of SHA-512: `expand_message_xmd` (RFC 9380 §5.3.1).
///
/// The parts of `message` are concatenated, and so are the parts of `domain`.
fn expand(message: &[&[u8]], domain: &[&[u8]]) -> [u8; 64] {
    const BLOCK: [u8; 128] = [0; 128];
    let domain_length: usize = domain.iter().map(|part| part.len()).sum();
    let domain_length = u8::try_from(domain_length).expect("domains are short constants");

    // > DST_prime = DST || I2OSP(len(DST), 1)
    // > b_0 = H(Z_pad || msg || l_i_b_str || I2OSP(0, 1) || DST_prime)
    let mut first = absorb(Sha512::new().chain_update(BLOCK), message);
    first.update([0, 64, 0]);
    let first = absorb(first, domain)
        .chain_update([domain_length])
        .finalize();
    // > b_1 = H(b_0 || I2OSP(1, 1) || DST_prime)
    absorb(Sha512::new().chain_update(first).chain_update([1]), domain)
        .chain_update([domain_length])
        .finalize()
        .into()
}

/// Returns the hasher after it was updated with each of the parts.
fn absorb(mut hasher: Sha512, parts: &[&[u8]]) -> Sha512 {
    parts.iter().for_each(|part| hasher.update(part));
    hasher
}

/// Challenge and response of a proof about discrete logarithms, as they are encoded: 32 bytes each.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Challenge, a hash of all that the proof is about.
    pub challenge: Scalar,
    /// Response to the challenge, which needs the secret.
    pub response: Scalar,
}

impl BorshSerialize for Response {
    fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        (self.challenge.as_bytes(), self.response.as_bytes()).serialize(writer)
    }
}

/// Decodes a scalar. Only the reduced encoding is accepted, so that a proof has one encoding.
fn read_scalar(reader: &mut impl borsh::io::Read) -> borsh::io::Result<Scalar> {
    let bytes = <[u8; 32]>::deserialize_reader(reader)?;
    Scalar::from_canonical_bytes(bytes)
        .into_option()
        .ok_or_else(|| borsh::io::Error::other("scalar is not reduced"))
}

impl BorshDeserialize for Response {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        Ok(Self {
            challenge: read_scalar(reader)?,
            response: read_scalar(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispers_base::encoding::{from_bytes, to_bytes};

    #[test]
    fn the_identity_and_other_encodings_are_refused() {
        assert!(Point::from_bytes([0; 32]).is_err());
        assert!(Point::from_bytes([0xff; 32]).is_err());
        let mut encoded = *Point::new(hash_to_group(&[b"a"], &[b"test"]))
            .unwrap()
            .as_bytes();
        assert!(Point::from_bytes(encoded).is_ok());
        // An odd field element counts as negative, and the canonical encoding of a point is never negative.
        encoded[0] ^= 1;
        assert!(Point::from_bytes(encoded).is_err());
        assert!(from_bytes::<Point>(&to_bytes(&[0u8; 32]), 33, "point").is_err());
        assert!(from_bytes::<Point>(&to_bytes(&[7u8; 31]), 33, "point").is_err());
    }

    // The known answers of RFC 9497 are tested in `oprf`.
    #[test]
    fn a_message_and_its_domain_both_matter() {
        let one = expand(&[b"ab", b"c"], &[b"domain"]);
        assert_eq!(one, expand(&[b"abc"], &[b"dom", b"ain"]));
        assert_ne!(one, expand(&[b"abc"], &[b"domaim"]));
        assert_ne!(one, expand(&[b"abd"], &[b"domain"]));
    }
}
