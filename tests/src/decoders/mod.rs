//! Every decoder that sees bytes from outside, with what must hold of it: bytes are refused, or they
//! are the one encoding of what they decode to (protocol.md §3).
//!
//! A [`TARGETS`] entry is one target of the fuzzer: the first byte of an input picks the decoder.

mod chunks;
mod files;
mod messages;
mod sql;

use borsh::{BorshDeserialize, BorshSerialize};
use dispers_base::encoding::{from_bytes, to_bytes};

/// Largest message that is decoded here. The roles' own bounds differ; a fuzzer's inputs are small.
const LIMIT: usize = 1 << 24;

/// One decoder.
pub struct Decoder {
    /// What it decodes.
    pub name: &'static str,
    /// Whether the bytes were accepted.
    ///
    /// # Panics
    /// When they were and should not have been.
    pub accepts: fn(&[u8]) -> bool,
}

impl Decoder {
    /// Name of a file with bytes for this decoder.
    pub fn file_name(&self) -> String {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        self.name.chars().map(letter).collect()
    }
}

/// Decoders that are fuzzed together.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Its decoders, at most 256.
    pub decoders: &'static [Decoder],
}

/// All targets.
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
    /// The target of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// The decoder that an input picks, and the bytes for it.
    pub fn pick<'a>(&self, input: &'a [u8]) -> Option<(&Decoder, &'a [u8])> {
        let (&number, bytes) = input.split_first()?;
        let number = usize::from(number) % self.decoders.len();
        Some((&self.decoders[number], bytes))
    }

    /// Decodes one input.
    ///
    /// # Panics
    /// When a decoder accepts what it should not.
    pub fn run(&self, input: &[u8]) {
        if let Some((decoder, bytes)) = self.pick(input) {
            (decoder.accepts)(bytes);
        }
    }
}

/// The value, if the bytes decode; then they are its encoding.
fn decoded<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Option<T> {
    let value: T = from_bytes(bytes, LIMIT, "value").ok()?;
    assert!(to_bytes(&value) == bytes, "another encoding decodes");
    Some(value)
}

/// Whether the bytes decode to a `T`.
fn canonical<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> bool {
    decoded::<T>(bytes).is_some()
}
