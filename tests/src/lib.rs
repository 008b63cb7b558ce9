//! Tests that span several roles.
