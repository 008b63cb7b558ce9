//! The public part of a threshold key, as a file.

use std::path::Path;

use anyhow::{Context, anyhow};
use dispers_core::{ceremony::Transcript, dealing::ThresholdKey, id::Threshold, ristretto::Point};
use serde::{Deserialize, Serialize};

use crate::directory::{bytes32, parse};

/// A threshold key's public part, as `dispers keys` prints it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublicThreshold {
    needed: u8,
    key: String,
    shares: Vec<String>,
    /// The ceremony that made the key and its refreshes, in order; none for a key of one dealer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    transcripts: Vec<String>,
}

impl PublicThreshold {
    pub(super) fn new(key: &ThresholdKey, transcripts: &[Transcript]) -> Self {
        let threshold = key.threshold();
        let shares = threshold.numbers().filter_map(|number| key.share(number));
        Self {
            needed: u8::try_from(threshold.needed()).expect("a threshold is a u8"),
            key: hex::encode(key.key().as_bytes()),
            shares: shares.map(|point| hex::encode(point.as_bytes())).collect(),
            transcripts: transcripts
                .iter()
                .map(|transcript| hex::encode(transcript.to_bytes()))
                .collect(),
        }
    }

    /// Reads a file. Whether the transcripts lead to the key is not checked.
    pub(crate) fn read(path: &Path) -> anyhow::Result<(ThresholdKey, Vec<Transcript>)> {
        let public: Self = parse(path)?;
        public.decode().with_context(|| path.display().to_string())
    }

    fn decode(&self) -> anyhow::Result<(ThresholdKey, Vec<Transcript>)> {
        let point =
            |text: &String| -> anyhow::Result<Point> { Ok(Point::from_bytes(bytes32(text)?)?) };
        let shares = self
            .shares
            .iter()
            .map(point)
            .collect::<Result<Vec<_>, _>>()?;
        let members = u8::try_from(shares.len()).context("too many shares")?;
        let threshold = Threshold::new(self.needed, members)?;
        let transcript = |text: &String| {
            let bytes = hex::decode(text).map_err(|_| anyhow!("a transcript is hexadecimal"))?;
            Ok(Transcript::from_bytes(&bytes)?)
        };
        let transcripts: anyhow::Result<_> = self.transcripts.iter().map(transcript).collect();
        Ok((
            ThresholdKey::new(threshold, point(&self.key)?, shares)?,
            transcripts?,
        ))
    }
}
