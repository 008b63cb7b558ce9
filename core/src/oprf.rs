//! Threshold oblivious pseudonyms (protocol.md §4).
