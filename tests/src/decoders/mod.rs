//! Every decoder that sees bytes from outside, and its property: it refuses bytes, or they are the one encoding of the
//! value that they decode to (protocol.md §3).
//!
//! An entry of [`TARGETS`] is one target of the fuzzer: the first byte of an input picks the decoder.

mod chunks;
mod files;
mod messages;
mod sql;

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::encoding::{from_bytes, to_bytes};

/// Largest message that is decoded here, in bytes. The roles' own bounds differ. A fuzzer's inputs are small.
const LIMIT: usize = 1 << 24;

/// Decoder with its property.
pub struct Decoder {
    /// Name of the message or file that it decodes.
    pub name: &'static str,
    /// Function that decodes bytes. Returns whether the bytes were accepted.
    ///
    /// # Panics
    /// If the bytes were accepted and do not have the decoder's property.
    pub accepts: fn(&[u8]) -> bool,
}

impl Decoder {
    /// Returns the name of a file with bytes for this decoder.
    pub fn file_name(&self) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.name.chars().map(letter).collect()
    }
}

/// Decoders that are fuzzed together.
pub struct Target {
    /// Name of the target and of its corpus.
    pub name: &'static str,
    /// Decoders of the target, at most 256.
    pub decoders: &'static [Decoder],
}

/// All targets of the fuzzer.
pub const TARGETS: &[Target] = &[
    Target {
        name: "aggregation",
        decoders: messages::AGGREGATION,
    },
    Target {
        name: "ask",
        decoders: messages::ASK,
    },
    Target {
        name: "ceremony",
        decoders: messages::CEREMONY,
    },
    Target {
        name: "chunks",
        decoders: chunks::DECODERS,
    },
    Target {
        name: "directory",
        decoders: messages::DIRECTORY,
    },
    Target {
        name: "files",
        decoders: files::DECODERS,
    },
    Target {
        name: "find",
        decoders: messages::FIND,
    },
    Target {
        name: "manifest",
        decoders: messages::MANIFEST,
    },
    Target {
        name: "planner",
        decoders: sql::DECODERS,
    },
    Target {
        name: "release",
        decoders: messages::RELEASE,
    },
    Target {
        name: "subscription",
        decoders: messages::SUBSCRIPTION,
    },
];

impl Target {
    /// Returns the target of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Returns the decoder that an input picks, and the bytes for it.
    pub fn pick<'a>(&self, input: &'a [u8]) -> Option<(&Decoder, &'a [u8])> {
        let (&number, bytes) = input.split_first()?;
        let number = usize::from(number) % self.decoders.len();
        Some((&self.decoders[number], bytes))
    }

    /// Decodes one input.
    ///
    /// # Panics
    /// If the decoder accepts bytes that do not have its property.
    pub fn run(&self, input: &[u8]) {
        if let Some((decoder, bytes)) = self.pick(input) {
            (decoder.accepts)(bytes);
        }
    }
}

/// Decodes a value. Returns `None` if the bytes do not decode, and panics if they are not the value's encoding.
fn decoded<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Option<T> {
    let value: T = from_bytes(bytes, LIMIT, "value").ok()?;
    assert!(to_bytes(&value) == bytes, "another encoding decodes");
    Some(value)
}

/// Returns whether the bytes decode to a `T`. Panics if they are not its encoding.
fn canonical<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> bool {
    decoded::<T>(bytes).is_some()
}
