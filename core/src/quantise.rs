//! Levels: how a number becomes a bounded integer.
