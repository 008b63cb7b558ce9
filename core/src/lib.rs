//! The protocol of DISPERS without input or output: encoding, envelopes, proofs, plans and state machines.
