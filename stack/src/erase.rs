//! Erasure of a home that leaves, and the receipt for its owner.

use std::sync::Arc;

use dispers_base::{encoding::to_bytes, hex::Hex, keys::SigningKey, labels};
use dispers_core::subscription::HomeId;
use dispers_node::{FileVersion, now};
use serde::{Deserialize, Serialize};

use crate::{Error, Relay, Store, withdraw::send_leaving};

/// Record of what a host erased of a home, signed by the host, for the home's owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of the file.
    pub version: FileVersion,
    /// Name of the host in the directory.
    pub host: String,
    /// Id of the home.
    pub home: String,
    /// Time of the erasure, in Unix milliseconds.
    pub erased_at: u64,
    /// Number of erased items of each kind.
    #[serde(flatten)]
    pub erased: Erased,
    /// True if the Conductor was told at once. Otherwise the stack tells it as soon as it can be reached.
    pub conductor_told: bool,
    /// Signature of the host, in hexadecimal.
    pub signature: String,
}

/// Number of erased items of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erased {
    /// Documents in the stack's own file.
    pub documents: u64,
    /// Concepts that the home was subscribed to. A concept counts once for all key epochs.
    pub subscriptions: u64,
    /// Entries of the history. The ε charged for them is erased too.
    pub history: u64,
    /// 1 if the home had rules of its own, else 0.
    pub rules: u64,
}

impl Receipt {
    fn sign(&mut self, key: &SigningKey) {
        let signature = key.sign(labels::SIGN_RECEIPT, &self.body());
        self.signature = Hex(&signature.0).to_string();
    }

    /// Returns the bytes that the signature covers.
    fn body(&self) -> Vec<u8> {
        let erased = self.erased;
        to_bytes(&(
            &self.host,
            &self.home,
            self.erased_at,
            [
                erased.documents,
                erased.subscriptions,
                erased.history,
                erased.rules,
            ],
            self.conductor_told,
        ))
    }
}

/// Withdraws a home from all concepts and erases everything that the stack keeps of it. Documents in another source of
/// the host are not touched.
///
/// # Errors
/// [`Error::Database`]; repeating the call then goes on where it stopped. It is no error if the Conductor cannot be
/// reached: the home answers nothing from now on, and the receipt says that the Conductor was not told.
pub async fn erase(relay: &Relay, store: &Arc<Store>, home: &HomeId) -> Result<Receipt, Error> {
    // The stack's file comes first. Without its key no ticket of the home opens, so that the home takes part in no
    // query even while the Conductor still lists it.
    let erased = store.erase(home)?;
    let told = send_leaving(relay, store).await;
    // Not an error: the handles stay in the store, and the next call of `send_leaving` sends them.
    if let Err(error) = &told {
        tracing::warn!(%error, "the conductor is not told yet that a home left");
    }
    let mut receipt = Receipt {
        version: FileVersion,
        host: relay.name().to_string(),
        home: home.0.clone(),
        erased_at: now().0,
        erased,
        conductor_told: told.is_ok(),
        signature: String::new(),
    };
    receipt.sign(relay.signing());
    Ok(receipt)
}

#[cfg(test)]
mod tests {
    use dispers_base::keys::Signature;

    use super::*;

    #[test]
    fn a_receipt_is_signed_as_a_whole() {
        let key = SigningKey::generate(&mut dispers_node::rng());
        let mut receipt = Receipt {
            version: FileVersion,
            host: "host".into(),
            home: "home".into(),
            erased_at: 1,
            erased: Erased::default(),
            conductor_told: true,
            signature: String::new(),
        };
        receipt.sign(&key);
        let holds = |receipt: &Receipt| {
            let mut bytes = [0; 64];
            for (place, byte) in bytes.iter_mut().enumerate() {
                let digits = &receipt.signature[2 * place..2 * place + 2];
                *byte = u8::from_str_radix(digits, 16).unwrap();
            }
            let signature = Signature(bytes);
            key.public()
                .verify(labels::SIGN_RECEIPT, &receipt.body(), &signature)
                .is_ok()
        };
        assert!(holds(&receipt));
        let changed = [
            Receipt {
                home: "other".into(),
                ..receipt.clone()
            },
            Receipt {
                erased_at: 2,
                ..receipt.clone()
            },
            Receipt {
                conductor_told: false,
                ..receipt.clone()
            },
            Receipt {
                erased: Erased {
                    history: 1,
                    ..Erased::default()
                },
                ..receipt.clone()
            },
        ];
        assert!(!changed.iter().any(holds));
    }
}
