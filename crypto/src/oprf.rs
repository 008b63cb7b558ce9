//! Threshold oblivious pseudonyms (protocol.md §4).
//!
//! The function is the verifiable OPRF of RFC 9497 over ristretto255 and SHA-512, with a key of which every Concept
//! Indexor holds a Shamir share. The client blinds its inputs. Each member evaluates them with its share and proves it.
//! Any `needed` answers recombine, in the exponent, to the answer of one server with the whole key. The client
//! unblinds.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use curve25519_dalek::traits::MultiscalarMul;
use curve25519_dalek::{RistrettoPoint, Scalar};
use rand::CryptoRng;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    dealing::{KeyShare, QuorumError, ThresholdKey},
    dleq::{self, BadProof, Proof},
    ristretto::{Point, hash_to_group},
};
use dispers_base::{encoding::Message, id::MemberNumber};

/// Context string of the verifiable mode with this suite (RFC 9497 §3.1).
const CONTEXT: &[u8] = b"OPRFV1-\x01-ristretto255-SHA512";

/// Largest number of inputs in one batch.
pub const MAX_BATCH: usize = 4096;

/// Error of evaluating pseudonyms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OprfError {
    /// The input is over 65,535 bytes, or hashes to the identity.
    #[error("this input has no pseudonym")]
    Input,
    /// The batch is empty or above [`MAX_BATCH`].
    #[error("a batch has 1 to {MAX_BATCH} elements")]
    BatchSize,
    /// A member's answer is not the evaluation of the blinded inputs with its share: that member is at fault.
    #[error("member {member} gave a wrong evaluation")]
    WrongEvaluation {
        /// Member that gave the answer.
        member: MemberNumber,
    },
    /// The answers cannot be recombined.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
}

/// Pseudonym of a concept, by which other roles recognise the concept without knowing its name: the first 32 of the 64
/// bytes of RFC 9497's output.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Pseudonym(pub [u8; 32]);

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pseudonym")
    }
}

/// Blinded input, as a Concept Indexor sees it. It reveals nothing about the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Blinded(Point);

/// Secret that the client needs to unblind the answers for one input, zeroized on drop.
pub struct Blinding {
    input: Zeroizing<Vec<u8>>,
    blind: Scalar,
    blinded: Blinded,
}

impl Drop for Blinding {
    fn drop(&mut self) {
        self.blind.zeroize();
    }
}

impl fmt::Debug for Blinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blinding")
    }
}

/// One member's answer to a batch, with one proof for the whole batch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Evaluation {
    elements: Vec<Point>,
    proof: Proof,
}

impl Message for Evaluation {
    const NAME: &'static str = "evaluation";
    const LIMIT: usize = 1 << 20;
}

/// Blinds an input. The client keeps the [`Blinding`] and sends the [`Blinded`] to every member.
///
/// # Errors
/// [`OprfError::Input`] for an input that has no pseudonym.
pub fn blind(input: &[u8], rng: &mut impl CryptoRng) -> Result<(Blinding, Blinded), OprfError> {
    // RFC 9497 encodes the length of an input with two bytes.
    if u16::try_from(input.len()).is_err() {
        return Err(OprfError::Input);
    }
    // > inputElement = G.HashToGroup(input)
    // > if inputElement == G.Identity(): raise InvalidInputError
    // > blindedElement = blind * inputElement
    let element = hash_to_group(&[input], &[b"HashToGroup-", CONTEXT]);
    // The blind makes the element uniform, whatever the input.
    let blind = Scalar::random(rng);
    let blinded = Blinded(Point::new(element * blind).ok_or(OprfError::Input)?);
    let blinding = Blinding {
        input: Zeroizing::new(input.into()),
        blind,
        blinded,
    };
    Ok((blinding, blinded))
}

/// Evaluates a batch with one member's share, and proves it.
///
/// # Errors
/// [`OprfError::BatchSize`] for an empty or oversized batch.
pub fn evaluate(
    share: &KeyShare,
    blinded: &[Blinded],
    rng: &mut impl CryptoRng,
) -> Result<Evaluation, OprfError> {
    if blinded.is_empty() || blinded.len() > MAX_BATCH {
        return Err(OprfError::BatchSize);
    }
    let elements: Vec<Point> = blinded
        .iter()
        .map(|Blinded(element)| {
            element
                .times(share.secret())
                .expect("neither element nor share is zero in a group of prime order")
        })
        .collect();
    let proof = dleq::prove(CONTEXT, share, &pairs(blinded, &elements), rng);
    Ok(Evaluation { elements, proof })
}

/// Verifies one member's answer to `blinded` against the member's public share.
///
/// # Errors
/// [`BadProof`] for another number of elements or a wrong element.
pub fn verify(
    public: &Point,
    blinded: &[Blinded],
    evaluation: &Evaluation,
) -> Result<(), BadProof> {
    // The pairs below end with the shorter list, so that surplus elements would be left unchecked.
    if evaluation.elements.len() != blinded.len() {
        return Err(BadProof);
    }
    evaluation
        .proof
        .verify(CONTEXT, public, &pairs(blinded, &evaluation.elements))
}

/// Verifies all answers, and recombines the first `needed` of them into one pseudonym per blinded input, in order.
///
/// # Errors
/// [`OprfError::BatchSize`] for an empty or oversized batch. [`OprfError::Quorum`] if the members are too few, repeated
/// or unknown, which is checked before their answers. [`OprfError::WrongEvaluation`] naming the first member, in the
/// given order, with a wrong answer: the caller can leave this answer out and try again.
pub fn finalize(
    key: &ThresholdKey,
    blindings: Vec<Blinding>,
    evaluations: &[(MemberNumber, Evaluation)],
) -> Result<Vec<Pseudonym>, OprfError> {
    if blindings.is_empty() || blindings.len() > MAX_BATCH {
        return Err(OprfError::BatchSize);
    }
    let members: Vec<MemberNumber> = evaluations.iter().map(|(member, _)| *member).collect();
    let coefficients = key.recombination(&members)?;
    let blinded: Vec<Blinded> = blindings.iter().map(|blinding| blinding.blinded).collect();
    for (member, evaluation) in evaluations {
        let public = key
            .share(*member)
            .ok_or(QuorumError::UnknownMember { member: *member })?;
        verify(public, &blinded, evaluation)
            .map_err(|BadProof| OprfError::WrongEvaluation { member: *member })?;
    }
    let quorum = &evaluations[..coefficients.len()];
    let pseudonyms = blindings.iter().enumerate().map(|(index, blinding)| {
        // > N = G.ScalarInverse(blind) * evaluatedElement
        // Recombination and unblinding are one step: each coefficient is multiplied by the inverse of the blind.
        let inverse = Zeroizing::new(blinding.blind.invert());
        let scalars: Zeroizing<Vec<Scalar>> =
            Zeroizing::new(coefficients.iter().map(|c| c * *inverse).collect());
        let elements = quorum
            .iter()
            .map(|(_, evaluation)| evaluation.elements[index].inner());
        // Constant time, since the scalars contain the blind.
        let unblinded = RistrettoPoint::multiscalar_mul(scalars.iter(), elements);
        let output = output(&blinding.input, &unblinded);
        Pseudonym(std::array::from_fn(|i| output[i]))
    });
    Ok(pseudonyms.collect())
}

/// Computes RFC 9497's output from the input and the unblinded element.
///
/// > hashInput = I2OSP(len(input), 2) || input ||
/// >             I2OSP(len(unblindedElement), 2) || unblindedElement || "Finalize"
fn output(input: &[u8], unblinded: &RistrettoPoint) -> [u8; 64] {
    let length = u16::try_from(input.len()).expect("blind refused longer inputs");
    Sha512::new()
        .chain_update(length.to_be_bytes())
        .chain_update(input)
        .chain_update(32u16.to_be_bytes())
        .chain_update(unblinded.compress().as_bytes())
        .chain_update(b"Finalize")
        .finalize()
        .into()
}

fn pairs(blinded: &[Blinded], elements: &[Point]) -> Vec<(Point, Point)> {
    let blinded = blinded.iter().map(|Blinded(element)| *element);
    blinded.zip(elements.iter().copied()).collect()
}

#[cfg(test)]
mod tests;
