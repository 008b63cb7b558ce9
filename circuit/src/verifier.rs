//! Verification of shares of any circuit (protocol.md §8).

use crate::Circuit;
use crate::circuit::System;
use crate::constraints::ConstraintsVerifier;
use crate::digits::DigitsVerifier;

/// Linear map from a share to its message, under one batch's randomness.
pub struct Verifier(Map);

enum Map {
    Constraints(ConstraintsVerifier),
    Digits(DigitsVerifier),
}

impl Verifier {
    /// Compiles the map of `circuit` under the randomness that `seed` expands to.
    ///
    /// # Security
    /// The seed must be unknown until the shares are frozen, and must not be used for two sharings of one contribution.
    pub fn compile(circuit: &Circuit, seed: &[u8; 32]) -> Self {
        Self(match circuit.system() {
            System::Constraints(constraints) => Map::Constraints(constraints.verifier(seed)),
            System::Digits(digits) => Map::Digits(digits.verifier(seed)),
        })
    }

    /// Writes the message of a share, which is an input and its proof. The message has the circuit's
    /// [`message_len`](Circuit::message_len) elements.
    ///
    /// # Panics
    /// If the share or the message is not as long as the circuit says.
    pub fn write_message(&self, share: &[u64], message: &mut [u64]) {
        match &self.0 {
            Map::Constraints(map) => message.copy_from_slice(&map.message(share)),
            Map::Digits(map) => map.write_message(share, message),
        }
    }
}
