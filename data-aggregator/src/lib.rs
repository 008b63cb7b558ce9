//! The Data Aggregator: verifies and adds shares.
