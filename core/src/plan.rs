//! From SQL to concepts, local query, circuit and decoder (protocol.md §10).
