//! The Conductor: drives queries and relays what it cannot open.
