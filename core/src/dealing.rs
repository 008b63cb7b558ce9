//! Dealing of threshold keys.
