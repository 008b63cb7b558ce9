//! Statements that travel with a signature (protocol.md §3).

use std::{fmt, marker::PhantomData};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    encoding::{self, DecodeError, Message},
    keys::{BadSignature, Signature, SigningKey, VerifyingKey},
};

/// Statement that is always signed under one label.
///
/// The label stands with the type, so that the signer and all verifiers use the same.
pub trait Statement {
    /// Domain-separation label of the signature.
    const LABEL: &'static str;
}

/// Statement of type `T` as it was signed or received, with a signature over exactly these bytes.
///
/// Nothing in it may be used before [`verify_signature`](Self::verify_signature).
pub struct Signed<T> {
    /// Encoding of the statement.
    pub body: Vec<u8>,
    /// Signature of the party that makes the statement.
    pub signature: Signature,
    statement: PhantomData<fn() -> T>,
}

impl<T> Signed<T> {
    /// Puts a received body and its signature together.
    pub fn from_parts(body: Vec<u8>, signature: Signature) -> Self {
        Self {
            body,
            signature,
            statement: PhantomData,
        }
    }
}

impl<T: Statement> Signed<T> {
    /// Encodes `statement` and signs the encoding.
    pub fn new(statement: &T, key: &SigningKey) -> Self
    where
        T: BorshSerialize,
    {
        let body = encoding::to_bytes(statement);
        let signature = key.sign(T::LABEL, &body);
        Self::from_parts(body, signature)
    }

    /// Returns the hash of the body that the signature covers, which names this statement.
    pub fn digest(&self) -> [u8; 32] {
        encoding::hash(T::LABEL, &[&self.body])
    }

    /// Verifies that the holder of `key` signed the body.
    ///
    /// # Errors
    /// [`BadSignature`] naming the label.
    pub fn verify_signature(&self, key: &VerifyingKey) -> Result<(), BadSignature> {
        key.verify(T::LABEL, &self.body, &self.signature)
    }
}

impl<T: Message> Signed<T> {
    /// Decodes the statement without verifying the signature. Most statements name their signer, so that they are
    /// decoded before they can be verified.
    ///
    /// # Errors
    /// [`DecodeError`] if the body is no `T`.
    pub fn unverified(&self) -> Result<T, DecodeError> {
        encoding::decode(&self.body)
    }
}

impl<T: Message> Message for Signed<T> {
    const NAME: &'static str = T::NAME;
    // The signature and the length of the body are less than 128 bytes. A limit equal to the statement's would refuse
    // the largest statement together with its signature.
    const LIMIT: usize = T::LIMIT + 128;
}

impl<T> BorshSerialize for Signed<T> {
    fn serialize<W: borsh::io::Write>(&self, writer: &mut W) -> borsh::io::Result<()> {
        self.body.serialize(writer)?;
        self.signature.serialize(writer)
    }
}

impl<T> BorshDeserialize for Signed<T> {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let body = Vec::deserialize_reader(reader)?;
        let signature = Signature::deserialize_reader(reader)?;
        Ok(Self::from_parts(body, signature))
    }
}

impl<T> Clone for Signed<T> {
    fn clone(&self) -> Self {
        Self::from_parts(self.body.clone(), self.signature)
    }
}

impl<T> PartialEq for Signed<T> {
    fn eq(&self, other: &Self) -> bool {
        self.body == other.body && self.signature == other.signature
    }
}

impl<T> Eq for Signed<T> {}

impl<T> fmt::Debug for Signed<T> {
    // Without the body: some statements are secret until they are sealed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.body.len())
    }
}

/// Statement with a signature over its canonical encoding. A statement has exactly one such encoding, so that the
/// received bytes need not be kept.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SignedValue<T> {
    /// Statement that the signature covers.
    pub body: T,
    signature: Signature,
}

impl<T: Statement + BorshSerialize> SignedValue<T> {
    /// Signs `body`.
    pub fn new(body: T, key: &SigningKey) -> Self {
        let signature = key.sign(T::LABEL, &encoding::to_bytes(&body));
        Self { body, signature }
    }

    /// Verifies that the holder of `key` signed the statement.
    ///
    /// # Errors
    /// [`BadSignature`] naming the label.
    pub fn verify(&self, key: &VerifyingKey) -> Result<(), BadSignature> {
        key.verify(T::LABEL, &encoding::to_bytes(&self.body), &self.signature)
    }
}

impl<T: Message> Message for SignedValue<T> {
    const NAME: &'static str = T::NAME;
    const LIMIT: usize = T::LIMIT + size_of::<Signature>();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, BorshSerialize, BorshDeserialize)]
    struct Note(Vec<u8>);

    impl Statement for Note {
        const LABEL: &'static str = "note";
    }

    impl Message for Note {
        const NAME: &'static str = "note";
        const LIMIT: usize = 100;
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    #[test]
    fn a_signed_statement_is_the_body_with_its_length_and_the_signature() {
        let signed = Signed::new(&Note(vec![1, 2]), &key());
        let parts = (signed.body.clone(), signed.signature);
        assert_eq!(encoding::to_bytes(&signed), encoding::to_bytes(&parts));
        assert_eq!(signed.unverified().unwrap(), Note(vec![1, 2]));
        assert!(signed.verify_signature(&key().public()).is_ok());
        let other = SigningKey::from_seed(&[8; 32]).public();
        assert!(signed.verify_signature(&other).is_err());
    }

    #[test]
    fn the_largest_statement_is_decoded_with_its_signature() {
        let note = |length| Note(vec![0; length]);
        // The version byte and the length of the content take five bytes.
        let largest = encoding::to_bytes(&Signed::new(&note(Note::LIMIT - 5), &key()));
        let signed: Signed<Note> = encoding::decode(&largest).unwrap();
        assert!(signed.unverified().is_ok());
        let longer = Signed::new(&note(Note::LIMIT - 4), &key());
        assert!(longer.unverified().is_err());
    }

    #[test]
    fn a_signed_value_is_the_statement_and_the_signature() {
        let signed = SignedValue::new(Note(vec![1, 2]), &key());
        let expected = key().sign("note", &encoding::to_bytes(&signed.body));
        let parts = (Note(vec![1, 2]), expected);
        assert_eq!(encoding::to_bytes(&signed), encoding::to_bytes(&parts));
        assert!(signed.verify(&key().public()).is_ok());
        let mut changed = signed;
        changed.body.0[0] = 3;
        assert!(changed.verify(&key().public()).is_err());
    }

    #[test]
    fn what_is_signed_is_not_in_debug_output() {
        let signed = Signed::new(&Note(vec![99; 3]), &key());
        assert!(!format!("{signed:?}").contains("99"));
    }
}
