//! Circuits: what a contribution may be (protocol.md §7).

mod layout;
mod shape;

pub use layout::Layout;
pub use shape::{Row, Shape, Variable};
