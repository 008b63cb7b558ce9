//! Circuit of any kind, as aggregators use it: lengths, verdicts and sums.

use std::ops::Range;

use dispers_base::field;

use crate::constraints::Constraints;
use crate::digits::Digits;
use crate::{CircuitError, DealtNoise, LinearForm, Rows, Shape, Vector, VectorShape};

/// Constraints on a contribution, and its outputs. Every party compiles the same circuit from a public description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Circuit {
    /// Circuit of a query: one row per home.
    Rows(Rows),
    /// Circuit of a round of training: one vector per home.
    Vector(Vector),
    /// Circuit of dealt noise: numbers of one aggregator.
    Noise(DealtNoise),
}

/// Sum that aggregators release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Summand of a contribution.
    pub form: LinearForm,
    /// Position of the output that counts the people behind this one. A count guards itself.
    pub guard: usize,
}

/// Proof system of a circuit.
#[derive(Clone, Copy)]
pub(crate) enum System<'a> {
    /// Constraints, proved without joint randomness.
    Constraints(&'a Constraints),
    /// Digits, proved under joint randomness.
    Digits(&'a Digits),
}

impl Circuit {
    /// Compiles the circuit of a query.
    ///
    /// # Errors
    /// [`CircuitError`] for a shape out of bounds, before anything is allocated for it.
    pub fn compile(shape: &Shape) -> Result<Self, CircuitError> {
        Rows::compile(shape).map(Self::Rows)
    }

    /// Compiles the circuit of a vector.
    ///
    /// # Errors
    /// [`CircuitError::Vector`] for a vector without coordinates, or beyond the bounds.
    pub fn vector(shape: &VectorShape) -> Result<Self, CircuitError> {
        Vector::compile(shape).map(Self::Vector)
    }

    /// Returns the circuit of a query, if this is one.
    pub fn as_rows(&self) -> Option<&Rows> {
        match self {
            Self::Rows(rows) => Some(rows),
            Self::Vector(_) | Self::Noise(_) => None,
        }
    }

    /// Returns the circuit of a vector, if this is one.
    pub fn as_vector(&self) -> Option<&Vector> {
        match self {
            Self::Vector(vector) => Some(vector),
            Self::Rows(_) | Self::Noise(_) => None,
        }
    }

    /// Returns the proof system.
    pub(crate) fn system(&self) -> System<'_> {
        match self {
            Self::Rows(rows) => System::Constraints(rows.constraints()),
            Self::Vector(vector) => System::Digits(vector.digits()),
            Self::Noise(noise) => noise.system(),
        }
    }

    /// Returns the number of elements of a contribution's input.
    pub fn input_len(&self) -> usize {
        match self.system() {
            System::Constraints(constraints) => constraints.elements(),
            System::Digits(digits) => digits.elements(),
        }
    }

    /// Returns the number of elements of a proof.
    pub fn proof_len(&self) -> usize {
        match self.system() {
            System::Constraints(constraints) => constraints.proof_size(),
            System::Digits(digits) => digits.proof_len(),
        }
    }

    /// Returns the number of elements that are shared: input, then proof.
    pub fn share_len(&self) -> usize {
        self.input_len() + self.proof_len()
    }

    /// Returns the number of elements of a verifier message.
    pub fn message_len(&self) -> usize {
        match self.system() {
            System::Constraints(constraints) => constraints.message_size(),
            System::Digits(digits) => digits.message_len(),
        }
    }

    /// Returns whether a proof is made under joint randomness, for which homes commit to the shares of their input.
    pub fn has_joint_randomness(&self) -> bool {
        matches!(self.system(), System::Digits(_))
    }

    /// Returns whether the message at 0 shows that a proof is right. Only proofs under joint randomness depend on
    /// `joint`.
    pub fn accepts(&self, message: &[u64], joint: &[u8; 32]) -> bool {
        match self.system() {
            System::Constraints(constraints) => constraints.accepts(message),
            System::Digits(digits) => digits.accepts(message, joint),
        }
    }

    /// Returns every output, in the order that the public description gives.
    pub fn outputs(&self) -> &[Output] {
        match self {
            Self::Rows(rows) => rows.outputs(),
            Self::Vector(vector) => vector.outputs(),
            Self::Noise(noise) => noise.outputs(),
        }
    }

    /// Returns the ranges of outputs that are released in runs: neighbours are added up until they reach the cohort.
    pub fn runs(&self) -> &[Range<usize>] {
        match self {
            Self::Rows(rows) => rows.runs(),
            Self::Vector(vector) => vector.runs(),
            Self::Noise(_) => &[],
        }
    }

    /// Returns the sensitivities: the largest contribution of one party to each moment.
    ///
    /// The moments of a query are the number of rows, then those of its shape. The moments of a vector are the counts
    /// together and the coordinates together, each as a Euclidean norm. Each number of noise is a moment.
    pub fn sensitivities(&self) -> Vec<u64> {
        match self {
            Self::Rows(rows) => rows.sensitivities(),
            Self::Vector(vector) => vector.sensitivities(),
            Self::Noise(noise) => noise.sensitivities(),
        }
    }

    /// Returns for each output the position of its moment among the [`sensitivities`](Self::sensitivities).
    pub fn moments_of_outputs(&self) -> Vec<usize> {
        match self {
            Self::Rows(rows) => rows.moments_of_outputs(),
            Self::Vector(vector) => vector.moments_of_outputs(),
            Self::Noise(noise) => (0..noise.outputs().len()).collect(),
        }
    }

    /// Adds a share's summand of every output to `sums`. The map is linear, so that the sum of many shares may be
    /// passed at once. Only the first [`input_len`](Self::input_len) elements are read.
    ///
    /// # Panics
    /// If the share is shorter than the input, or `sums` does not hold one sum per output.
    pub fn add_outputs(&self, share: &[u64], sums: &mut [u64]) {
        assert_eq!(sums.len(), self.outputs().len(), "one sum per output");
        for (sum, output) in sums.iter_mut().zip(self.outputs()) {
            *sum = field::add(*sum, output.form.evaluate(share));
        }
    }

    /// Returns the largest number of homes whose sums are sure to stay within the field. Beyond it a sum could wrap
    /// around unnoticed.
    pub fn capacity(&self) -> u64 {
        let largest = match self {
            Self::Vector(vector) => Some(vector.largest_level()),
            Self::Rows(_) | Self::Noise(_) => self.sensitivities().into_iter().max(),
        };
        // A vector's sums lie on either side of zero. A level in full, although a home adds at most half of one to a
        // centred sum, leaves room for both signs.
        (field::MODULUS - 1) / largest.unwrap_or(1).max(1)
    }
}

impl From<Rows> for Circuit {
    fn from(rows: Rows) -> Self {
        Self::Rows(rows)
    }
}

impl From<Vector> for Circuit {
    fn from(vector: Vector) -> Self {
        Self::Vector(vector)
    }
}
