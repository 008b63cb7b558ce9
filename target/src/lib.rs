//! The Target: asks the homes, strips their origins.
