//! Tests of shared contributions.

mod rows;
mod vectors;
