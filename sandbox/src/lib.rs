//! A whole DISPERS network in one process.
