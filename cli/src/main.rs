//! The command line of DISPERS.
fn main() {}
