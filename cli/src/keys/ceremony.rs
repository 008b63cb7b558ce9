//! `dispers keys ceremony`: the members of a threshold key make it together (protocol.md §2).
//!
//! Every message is a public file. One operator starts the ceremony. Then each member enrols, deals when it
//! has all enrolments, and finishes when it has all dealings.

use std::{fs, path::PathBuf};

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand};
use dispers_base::id::{Name, Threshold};
use dispers_crypto::{dealing::ThresholdKey, envelope::Suite};
use dispers_node::{
    keyfile::{NodeKeys, load_ceremony_secret, load_share, save_ceremony_secret, save_share},
    rng,
};
use dispers_trust::ceremony::{
    Ceremony, CeremonyError, Enrolment, Enrolments, MemberDealing, Purpose, Transcript,
    fingerprint, key_name,
};
use rand::Rng;

use super::files::{Members, Message, nodes, role};
use super::public::PublicThreshold;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a ceremony: print what it is for, for every member.
    Start(Start),
    /// Round 1, on each member's machine: print an enrolment, for every member.
    Enrol(Enrol),
    /// Round 2, with all enrolments: print a dealing, for every member.
    Deal(Deal),
    /// Round 3, with all dealings: make this member's share, and print the public part, for the
    /// directory.
    Finish(Finish),
    /// Check all dealings without any secret, and print the public part.
    Public(Public),
}

#[derive(Args)]
pub(crate) struct Start {
    /// The network's name.
    #[arg(long, value_name = "NAME")]
    network: String,
    /// concept-indexor or data-aggregator.
    #[arg(long)]
    role: String,
    /// Which committee of data aggregators, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    group: u16,
    /// How many members are needed.
    #[arg(long, value_name = "K")]
    needed: u8,
    /// The nodes' public parts (what `dispers keys new` printed), in the order of their member
    /// numbers.
    #[arg(long, value_name = "NODE.pub", required = true, num_args = 1..)]
    members: Vec<PathBuf>,
    /// Cipher suite of the sealed shares: x-wing or x25519.
    #[arg(long, default_value_t = Suite::default())]
    suite: Suite,
    /// Keep the key of this public part and change its shares, in place of a fresh key.
    #[arg(long, value_name = "OLD.pub")]
    refresh: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Enrol {
    /// The ceremony.
    ceremony: PathBuf,
    /// The node's key file.
    #[arg(long, value_name = "NODE.key")]
    keys: PathBuf,
    /// The secret file to make; it stays on this machine until the finish erases it.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
}

#[derive(Args)]
pub(crate) struct Deal {
    /// The ceremony.
    ceremony: PathBuf,
    /// The node's key file.
    #[arg(long, value_name = "NODE.key")]
    keys: PathBuf,
    /// Every member's enrolment.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    enrolments: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Finish {
    /// The ceremony.
    ceremony: PathBuf,
    /// The secret file that the enrolment made.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Every member's enrolment.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    enrolments: Vec<PathBuf>,
    /// Every member's dealing.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    dealings: Vec<PathBuf>,
    /// The share file to make.
    #[arg(long, value_name = "SHARE.key")]
    output: PathBuf,
    /// The public part that is refreshed.
    #[arg(long, value_name = "OLD.pub", requires = "share")]
    refresh: Option<PathBuf>,
    /// This member's share of it.
    #[arg(long, value_name = "OLD-SHARE.key", requires = "refresh")]
    share: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Public {
    /// The ceremony.
    ceremony: PathBuf,
    /// Every member's dealing.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    dealings: Vec<PathBuf>,
    /// The public part that is refreshed.
    #[arg(long, value_name = "OLD.pub")]
    refresh: Option<PathBuf>,
}

/// Runs one step. Returns the message that it makes.
pub(crate) fn run(command: Command) -> anyhow::Result<String> {
    match command {
        Command::Start(arguments) => start(&arguments),
        Command::Enrol(arguments) => enrol(&arguments),
        Command::Deal(arguments) => deal(&arguments),
        Command::Finish(arguments) => finish(&arguments),
        Command::Public(arguments) => public(&arguments),
    }
}

fn start(arguments: &Start) -> anyhow::Result<String> {
    let role = role(&arguments.role)?;
    let (names, signers) = nodes(&arguments.members, role)?;
    let threshold = Threshold::new(arguments.needed, u8::try_from(signers.len())?)?;
    let purpose = match &arguments.refresh {
        None => Purpose::Fresh,
        Some(path) => {
            let (key, _) = PublicThreshold::read_joint(path, &signers)?;
            // The shares after a refresh are sums of old and new shares, which must lie on polynomials of one
            // degree.
            if key.threshold() != threshold {
                bail!("a refresh keeps the threshold: make a fresh key for another one");
            }
            Purpose::Refresh {
                previous: key_name(&key),
            }
        }
    };
    let mut id = [0; 16];
    // Messages are bound to this id, so that none of an earlier try is accepted in this one (protocol.md §2).
    rng().fill_bytes(&mut id);
    let members = Members {
        ceremony: Ceremony {
            network: Name::new(&arguments.network)?,
            role,
            group: arguments.group,
            threshold,
            suite: arguments.suite,
            purpose,
            id,
        },
        names,
        signers,
    };
    // Checked here, before members spend three rounds on a ceremony that cannot succeed.
    members.ceremony.check(&members.signers)?;
    members.to_toml()
}

fn enrol(arguments: &Enrol) -> anyhow::Result<String> {
    let members = Members::read(&arguments.ceremony)?;
    let keys = NodeKeys::load(&arguments.keys)?;
    let number = members.number(keys.signing.public())?;
    let (secret, enrolment) =
        members
            .ceremony
            .enrol(&members.signers, number, &keys.signing, &mut rng())?;
    save_ceremony_secret(&arguments.secret, &secret)?;
    eprintln!(
        "{}\n{}compare these fingerprints of their signing keys with their operators (dispers keys show): otherwise \
         an impostor may deal in their place",
        members.who(),
        members.fingerprints()
    );
    Ok(enrolment.to_toml())
}

fn enrolments(members: &Members, paths: &[PathBuf]) -> anyhow::Result<Enrolments> {
    let (ceremony, signers) = (members.ceremony.clone(), members.signers.clone());
    Enrolments::new(ceremony, signers, Enrolment::read_all(paths)?)
        .map_err(|error| explained(error, members))
}

/// Adds to an error the nodes behind the member numbers that it names.
fn explained(error: CeremonyError, members: &Members) -> anyhow::Error {
    match error {
        CeremonyError::Enrolments { .. } | CeremonyError::Dealings { .. } => {
            anyhow!("{error} ({})", members.who())
        }
        other => other.into(),
    }
}

fn deal(arguments: &Deal) -> anyhow::Result<String> {
    let members = Members::read(&arguments.ceremony)?;
    let keys = NodeKeys::load(&arguments.keys)?;
    let number = members.number(keys.signing.public())?;
    let enrolments = enrolments(&members, &arguments.enrolments)?;
    let dealing = enrolments.deal(number, &keys.signing, &mut rng())?;
    Ok(dealing.to_toml())
}

fn finish(arguments: &Finish) -> anyhow::Result<String> {
    let members = Members::read(&arguments.ceremony)?;
    let secret = load_ceremony_secret(&arguments.secret)?;
    let enrolments = enrolments(&members, &arguments.enrolments)?;
    let dealings = MemberDealing::read_all(&arguments.dealings)?;
    // A refresh needs the old share to add to: the new one is the old one plus the dealt values.
    let before = match (&arguments.refresh, &arguments.share) {
        (Some(public), Some(share)) => {
            let (key, transcripts) = PublicThreshold::read_joint(public, &members.signers)?;
            Some((key, load_share(share)?, transcripts))
        }
        _ => None,
    };
    let previous = before.as_ref().map(|(key, share, _)| (key, share));
    let finished = secret
        .finish(&enrolments, previous, dealings)
        .map_err(|error| explained(error, &members))?;
    save_share(&arguments.output, &finished.share)?;
    // The secret is erased once the share is saved. Whoever found it later could open the dealt values, which
    // are in public files.
    if let Err(error) = fs::remove_file(&arguments.secret) {
        let at = arguments.secret.display();
        eprintln!("warning: cannot erase {at}, erase it yourself: {error}");
    }
    if let Some(old) = &arguments.share {
        eprintln!(
            "when the directory lists the new public part, erase {}: until then, and as long as \
             others keep theirs, the refresh protects nothing",
            old.display()
        );
    }
    let transcripts = before.map(|(_, _, transcripts)| transcripts);
    printed(
        &finished.key,
        transcripts.unwrap_or_default(),
        finished.transcript,
    )
}

fn public(arguments: &Public) -> anyhow::Result<String> {
    let members = Members::read(&arguments.ceremony)?;
    let dealings = MemberDealing::read_all(&arguments.dealings)?;
    let before = match &arguments.refresh {
        Some(path) => Some(PublicThreshold::read_joint(path, &members.signers)?),
        None => None,
    };
    let transcript = Transcript::new(
        members.ceremony.clone(),
        dealings.into_iter().map(|dealing| dealing.public).collect(),
    );
    let key = transcript
        .verify(&members.signers, before.as_ref().map(|(key, _)| key))
        .map_err(|error| explained(error, &members))?;
    let transcripts = before.map(|(_, transcripts)| transcripts);
    printed(&key, transcripts.unwrap_or_default(), transcript)
}

fn printed(
    key: &ThresholdKey,
    mut transcripts: Vec<Transcript>,
    last: Transcript,
) -> anyhow::Result<String> {
    transcripts.push(last);
    eprintln!(
        "the key with its shares has the fingerprint {}: compare it with every other member",
        fingerprint(key)
    );
    Ok(toml::to_string(&PublicThreshold::new(key, &transcripts))?)
}
