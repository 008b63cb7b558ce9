//! `--epsilon` and `--delta`: limits on what an answer may reveal about any one home.

use std::str::FromStr;

use anyhow::anyhow;
use clap::Args;
use dispers_querier::PrivacyLoss;

use crate::exit::Exit;

/// The privacy loss ε, or `off` for an exact answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Epsilon {
    Off,
    Of(f64),
}

impl FromStr for Epsilon {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            text => text
                .parse()
                .map(Self::Of)
                .map_err(|_| format!("{text:?} is no number: write one such as 1, or off")),
        }
    }
}

#[derive(Args)]
pub(crate) struct Loss {
    /// How much the whole answer may tell about any one home: noise hides the rest. `off` is an exact
    /// answer, where the network and the homes allow it.
    #[arg(long, value_name = "E|off", allow_negative_numbers = true)]
    epsilon: Option<Epsilon>,
    /// The chance that it tells more, where less noise may then do.
    #[arg(
        long,
        value_name = "D",
        requires = "epsilon",
        allow_negative_numbers = true
    )]
    delta: Option<f64>,
}

impl Loss {
    /// Returns the privacy loss on the command line, or `default` if there is none.
    ///
    /// # Errors
    /// If there is no ε and no default, or a δ without ε.
    pub(crate) fn loss(&self, default: Option<Epsilon>) -> Result<Option<PrivacyLoss>, Exit> {
        let delta = self.delta;
        match (self.epsilon.or(default), delta) {
            (Some(Epsilon::Of(epsilon)), delta) => Ok(Some(PrivacyLoss { epsilon, delta })),
            (Some(Epsilon::Off), None) => Ok(None),
            (Some(Epsilon::Off), Some(_)) => Err(Exit::misuse(anyhow!(
                "--delta has no meaning with --epsilon off: leave it out",
            ))),
            // A network's question has no default: whoever asks must decide what the answer may reveal.
            (None, _) => Err(Exit::misuse(anyhow!(
                "how much may the answer tell about any one home? Write --epsilon 1, for example; \
                 --epsilon off asks for an exact answer, which the network and the homes may refuse",
            ))),
        }
    }
}
