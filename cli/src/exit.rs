//! Exit codes of a command, as in BSD's `sysexits.h`.

use anyhow::anyhow;

/// Exit code if the command line, a file or the question is wrong.
pub(crate) const MISUSE: u8 = 64;
/// Exit code if the network cannot be reached.
pub(crate) const UNAVAILABLE: u8 = 69;
/// Exit code if the same command may succeed later.
pub(crate) const TRY_LATER: u8 = 75;

/// An error with the exit code of the process.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) code: u8,
    pub(crate) error: anyhow::Error,
}

impl Exit {
    pub(crate) fn misuse(error: impl Into<anyhow::Error>) -> Self {
        Self {
            code: MISUSE,
            error: error.into(),
        }
    }

    pub(crate) fn other(error: impl Into<anyhow::Error>) -> Self {
        Self {
            code: 1,
            error: error.into(),
        }
    }
}

impl From<dispers_node::ConfigError> for Exit {
    fn from(error: dispers_node::ConfigError) -> Self {
        Self::misuse(error)
    }
}

impl From<dispers_querier::Error> for Exit {
    fn from(error: dispers_querier::Error) -> Self {
        let code = match &error {
            dispers_querier::Error::NoQuestion { id, folder } => {
                return Self::misuse(anyhow!(
                    "no question {id:?} waits in {}: give the id that `dispers query --detach` printed",
                    folder.display()
                ));
            }
            dispers_querier::Error::NoSession { id, folder } => {
                return Self::misuse(anyhow!(
                    "no session {id:?} is kept in {}: give the id that `dispers train` told",
                    folder.display()
                ));
            }
            // An unreachable network is temporary too, but has a code of its own, so it comes first.
            dispers_querier::Error::Unreachable(_) => UNAVAILABLE,
            error if error.is_misuse() => MISUSE,
            error if error.is_temporary() => TRY_LATER,
            _ => 1,
        };
        Self {
            code,
            error: error.into(),
        }
    }
}

impl From<dispers_sandbox::Error> for Exit {
    fn from(error: dispers_sandbox::Error) -> Self {
        if error.is_misuse() {
            Self::misuse(error)
        } else {
            Self::other(error)
        }
    }
}

impl From<dispers_stack::Error> for Exit {
    fn from(error: dispers_stack::Error) -> Self {
        use dispers_node::Fault;
        let code = match error.fault() {
            // A wrong file is for the user of the command to correct, whatever fault the stack assigns to it.
            _ if matches!(&error, dispers_stack::Error::Database(error) if error.is_wrong_file()) => {
                MISUSE
            }
            Fault::Caller => MISUSE,
            Fault::Peer => UNAVAILABLE,
            Fault::TryLater => TRY_LATER,
            _ => 1,
        };
        Self {
            code,
            error: error.into(),
        }
    }
}
