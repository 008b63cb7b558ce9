//! Whatever one party does, the others' contributions count exactly.

mod contributions;
mod release;
mod steps;
