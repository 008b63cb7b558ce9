//! What homes are asked: the catalogue of doctypes and concepts, target profiles, local queries, and the shape of what a
//! home contributes.
//!
//! These are data that every party reads, with the rules that make them valid. How SQL becomes them is in
//! `dispers_sql`, how a contribution is proved in `dispers_circuit`.

pub mod catalogue;
pub mod local;
pub mod profile;
pub mod quantise;
pub mod shape;
