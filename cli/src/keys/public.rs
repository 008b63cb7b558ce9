//! File with the public part of a threshold key.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use dispers_base::{id::Threshold, keys::VerifyingKey};
use dispers_crypto::{dealing::ThresholdKey, ristretto::Point};
use dispers_node::FileVersion;
use dispers_trust::ceremony::{Transcript, trace};
use serde::{Deserialize, Serialize};

use crate::directory::{bytes32, parse};

/// Public part of a threshold key, as `dispers keys` prints it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublicThreshold {
    version: FileVersion,
    needed: u8,
    key: String,
    shares: Vec<String>,
    /// Transcripts of the ceremony that made the key and of its refreshes, in order. Empty for a key of one
    /// dealer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    transcripts: Vec<String>,
}

impl PublicThreshold {
    pub(super) fn new(key: &ThresholdKey, transcripts: &[Transcript]) -> Self {
        let threshold = key.threshold();
        let shares = threshold.numbers().filter_map(|number| key.share(number));
        Self {
            version: FileVersion,
            needed: u8::try_from(threshold.needed()).expect("a threshold is a u8"),
            key: hex::encode(key.key().as_bytes()),
            shares: shares.map(|point| hex::encode(point.as_bytes())).collect(),
            transcripts: transcripts
                .iter()
                .map(|transcript| hex::encode(transcript.to_bytes()))
                .collect(),
        }
    }

    /// Reads a file. Does not check that the transcripts lead to the key.
    pub(crate) fn read(path: &Path) -> anyhow::Result<(ThresholdKey, Vec<Transcript>)> {
        let public: Self = parse(path)?;
        public.decode().with_context(|| path.display().to_string())
    }

    /// Reads the file of a key that the members with the signing keys `signers` made jointly, and checks its
    /// transcripts.
    pub(super) fn read_joint(
        path: &Path,
        signers: &[VerifyingKey],
    ) -> anyhow::Result<(ThresholdKey, Vec<Transcript>)> {
        let (key, transcripts) = Self::read(path)?;
        let at = path.display();
        // A refresh cannot take the key away from its dealer, so it would protect nothing.
        if transcripts.is_empty() {
            bail!(
                "{at} is a key of one dealer, who knows it for good: make a fresh key in its place"
            );
        }
        let made = trace(&transcripts, signers).map_err(|error| {
            anyhow!("{at}: {error}; a member whose signing key changed needs a fresh key")
        })?;
        // Transcripts can be valid and yet belong to another key.
        if made != key {
            bail!("the transcripts of {at} lead to another key: get the file again");
        }
        Ok((key, transcripts))
    }

    fn decode(&self) -> anyhow::Result<(ThresholdKey, Vec<Transcript>)> {
        let shares = self.shares.iter().map(|text| point(text));
        let shares = shares.collect::<Result<Vec<_>, _>>()?;
        let members = u8::try_from(shares.len()).context("too many shares")?;
        let threshold = Threshold::new(self.needed, members)?;
        let transcripts = self.transcripts.iter().map(|text| {
            let bytes = hex::decode(text).map_err(|_| anyhow!("a transcript is hexadecimal"))?;
            Ok(Transcript::from_bytes(&bytes)?)
        });
        let transcripts: anyhow::Result<_> = transcripts.collect();
        Ok((
            ThresholdKey::new(threshold, point(&self.key)?, shares)?,
            transcripts?,
        ))
    }
}

fn point(text: &str) -> anyhow::Result<Point> {
    Ok(Point::from_bytes(bytes32(text)?)?)
}
