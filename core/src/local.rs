//! The local query: what runs inside a home.
