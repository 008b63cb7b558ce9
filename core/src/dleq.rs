//! Proofs that two discrete logarithms are equal.
