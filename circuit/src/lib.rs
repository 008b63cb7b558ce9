//! Circuits: what a contribution may be (protocol.md §7).
//!
//! A contribution is a vector of field elements. A home proves in zero knowledge that its vector satisfies the
//! circuit's constraints. The outputs are linear forms of the vector, so that aggregators sum shares of them.
//!
//! | [`Circuit`] | Input | Proof |
//! |---|---|---|
//! | [`Rows`], of a query | group bits, presence bits, levels, products | constraints of degree two |
//! | [`Vector`], of a round of training | row bit, flags of sections, digits of coordinates | digits |
//! | [`DealtNoise`], of an aggregator | numbers within public bounds | constraints, or digits for many numbers |
//!
//! Digits are proved under joint randomness, for which a home commits to the shares of its input.
//!
//! **What is proved of a row.** Exactly one group bit is set, or none: a home without a row. Presence bits are masked
//! by the row and level bits by the presence, so that every vector that satisfies the constraints has the outputs of a
//! legal row, or all zeros. The weights of the level bits make nothing above the maximum expressible.
//!
//! A home uses [`contribution`]: it encodes, and [shares](contribution::share) with a proof. An aggregator uses
//! [`HeldGroup`](contribution::HeldGroup) and [`Verifier`]. A release uses [`Mask`] and [`Opening`] (protocol.md §9).

// Circuits, proofs and contributions.
mod circuit;
mod constraints;
pub mod contribution;
mod digits;
mod domain;
mod form;
mod levels;
mod noise;
mod rows;
mod vector;
mod verifier;

// Release of sums.
mod boolean;
mod given_away;
mod mask;
mod people;
mod violations;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use circuit::{Circuit, Output};
pub use constraints::{Constraints, ConstraintsVerifier, Message, accepts};
pub use dispers_query::shape::{
    CircuitError, MAX_BINS, MAX_CONSTRAINTS, MAX_COORDINATES, MAX_LEVELS, MAX_MOMENTS,
    MAX_NOISE_DIGITS, MAX_OUTPUTS, MAX_VARIABLES, Moment, Row, Shape, Variable,
};
pub use form::LinearForm;
pub use mask::Mask;
pub use noise::{DealtNoise, MAX_NOISE_CONSTRAINTS};
pub use people::Opening;
pub use rows::{EncodeError, Layout, Rows};
pub use vector::{Section, Vector, VectorRow, VectorShape};
pub use verifier::Verifier;
