//! The stack agent: answers for the homes of one host.

pub mod engine;
pub mod render;
