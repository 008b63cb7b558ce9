//! Circuits: what a contribution may be (protocol.md §7).

mod shape;

pub use shape::{Row, Shape, Variable};
