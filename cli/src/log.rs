//! `dispers log`: every query that was ever asked, for any party that the directory lists (protocol.md §16).

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use dispers_base::{
    encoding::{Message as _, decode, to_bytes},
    id::Role,
    keys::VerifyingKey,
};
use dispers_core::{
    log::{Root, SignedHead, Tree, check_consistency, leaf},
    manifest::{Manifest, SignedManifest},
};
use dispers_node::{AnyOf, CallFailure, Channels, Config, Node, now, private};
use dispers_proto::{
    Messages,
    v1::{Empty, LogRange, LogSizes, conductor_client::ConductorClient},
};
use dispers_trust::directory::Directory;
use serde_json::json;
use tonic::Status;

use crate::exit::{Exit, TRY_LATER, UNAVAILABLE};

/// Number of entries fetched at a time.
const PART: u64 = 256;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List every query that was ever put into the log: who asked what, why.
    List(List),
    /// Show one query of the log whole, with what is computed in a home.
    Show(Show),
    /// Fetch the whole log, and check that it is one: every signature, the root, its witnesses, and that
    /// it continues what was seen before.
    Verify(Verify),
}

/// Who looks.
#[derive(Args)]
struct From {
    /// The configuration file of whoever is listed in the directory: a querier, a stack or a node.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    from: From,
    /// Begin at this position.
    #[arg(long, default_value_t = 0, value_name = "N")]
    since: u64,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The query's id, or its position in the log.
    query: String,
    #[command(flatten)]
    from: From,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    from: From,
    /// Where the head is kept that was verified last; the log must continue it.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// The state file of somebody else: both must have seen one log.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

/// Connection to the log that conductors serve.
struct Reader {
    directory: Arc<Directory>,
    conductors: AnyOf,
}

fn exit(status: Status) -> Exit {
    let code = match CallFailure::of(&status) {
        CallFailure::Unreachable => UNAVAILABLE,
        CallFailure::Busy => TRY_LATER,
        CallFailure::Lost | CallFailure::Missing | CallFailure::Sender | CallFailure::Refused => 1,
    };
    Exit {
        code,
        error: anyhow!("the conductor refused: {}", status.message()),
    }
}

impl Reader {
    fn open(from: &From) -> Result<Self, Exit> {
        let config = Config::load_any(&from.config)?;
        // Anybody whom the directory lists reads the log, so the node's own role is not checked.
        let (directory, keys) = (config.directory()?, config.keys()?);
        let (node, _) = Node::new(config.name()?, Role::Querier, directory, keys);
        let node = Arc::new(node);
        let channels = Channels::new(node.clone());
        Ok(Self {
            directory: node.directory.clone(),
            conductors: AnyOf::new(node, channels, Role::Conductor),
        })
    }

    /// Fetches at most `count` entries from position `from`. There are fewer at the end of the log.
    async fn part(&self, from: u64, count: u64) -> Result<Vec<SignedManifest>, Exit> {
        let fetched = self.conductors.call(|channel| async move {
            let range = LogRange { from, count };
            let reply = ConductorClient::new(channel).log(range).await?;
            let mut messages = Messages::new(reply.into_inner());
            let mut entries = Vec::new();
            while let Some(bytes) = messages.next(SignedManifest::LIMIT).await? {
                entries.push(decode(&bytes).map_err(|error| Status::data_loss(error.to_string()))?);
            }
            Ok(entries)
        });
        fetched.await.map_err(exit)
    }

    async fn head(&self) -> Result<Option<SignedHead>, Exit> {
        let fetched = self
            .conductors
            .call(|channel| async move { ConductorClient::new(channel).log_head(Empty {}).await });
        let body = fetched.await.map_err(exit)?.into_inner().body;
        match body.is_empty() {
            true => Ok(None),
            false => decode(&body).map(Some).map_err(Exit::other),
        }
    }

    async fn consistency(&self, older: u64, newer: u64) -> Result<Vec<u8>, Exit> {
        let sizes = LogSizes { older, newer };
        let fetched = self.conductors.call(|channel| async move {
            ConductorClient::new(channel).log_consistency(sizes).await
        });
        match fetched.await {
            // The caller knows that the log once had both sizes, since somebody saw their heads. A conductor
            // without a proof then fails the check of the empty proof, which reports the log as wrong.
            Err(status) if CallFailure::of(&status) == CallFailure::Missing => Ok(Vec::new()),
            fetched => Ok(fetched.map_err(exit)?.into_inner().body),
        }
    }
}

pub(crate) async fn run(command: Command) -> Result<(), Exit> {
    match command {
        Command::List(arguments) => list(arguments).await,
        Command::Show(arguments) => show(arguments).await,
        Command::Verify(arguments) => verify(arguments).await,
    }
}

fn manifest(signed: &SignedManifest) -> Result<Manifest, Exit> {
    signed.unverified().map_err(Exit::other)
}

fn entry(position: u64, signed: &SignedManifest) -> Result<serde_json::Value, Exit> {
    let manifest = manifest(signed)?;
    let fields: Vec<&str> = manifest.local.fields().collect();
    Ok(json!({
        "position": position,
        "query": signed.query().to_string(),
        "issued": manifest.issued.to_string(),
        "querier": manifest.querier.as_str(),
        "purpose": manifest.purpose,
        "doctype": manifest.local.doctype,
        "fields": fields,
        "epsilon": manifest.privacy.map(|privacy| privacy.epsilon as f64 / 1e6),
        "delta": manifest.privacy.map(|privacy| privacy.delta),
        "min_cohort": manifest.min_cohort,
    }))
}

async fn list(arguments: List) -> Result<(), Exit> {
    let reader = Reader::open(&arguments.from)?;
    let mut position = arguments.since;
    let mut entries = Vec::new();
    let mut csv = csv::Writer::from_writer(std::io::stdout());
    loop {
        let part = reader.part(position, PART).await?;
        let count = part.len() as u64;
        for signed in &part {
            let of = manifest(signed)?;
            let (issued, id) = (of.issued.to_string(), signed.query().to_string());
            match arguments.format {
                Format::Json => entries.push(entry(position, signed)?),
                Format::Csv => csv
                    .write_record([
                        &position.to_string(),
                        &id,
                        &issued,
                        of.querier.as_str(),
                        &plain(&of.purpose),
                        &of.local.doctype,
                    ])
                    .map_err(Exit::other)?,
                Format::Table => println!(
                    "{position:>6}  {issued}  {}: {}  {}  {id}",
                    of.querier,
                    // The purpose is the querier's text, and may hold control characters.
                    plain(&of.purpose),
                    of.local.doctype
                ),
            }
            position += 1;
        }
        if count < PART {
            break;
        }
    }
    csv.flush().map_err(Exit::other)?;
    if arguments.format == Format::Json {
        println!("{}", json!({ "entries": entries }));
    }
    Ok(())
}

async fn show(arguments: Show) -> Result<(), Exit> {
    let reader = Reader::open(&arguments.from)?;
    let wanted = arguments.query.to_lowercase();
    let found = match wanted.parse::<u64>() {
        // An id in hexadecimal has 64 characters. A shorter number is a position.
        Ok(position) if wanted.len() < 20 => reader
            .part(position, 1)
            .await?
            .pop()
            .map(|signed| (position, signed)),
        _ => find(&reader, &wanted).await?,
    };
    let (position, signed) = found.ok_or_else(|| {
        Exit::misuse(anyhow!(
            "the log has no query {}: see `dispers log list`",
            arguments.query
        ))
    })?;
    let of = manifest(&signed)?;
    if arguments.format != Format::Table {
        let mut whole = entry(position, &signed)?;
        whole["local_query"] = of.local.to_string().into();
        whole["sql"] = of.local.sql().into();
        println!("{whole}");
        return Ok(());
    }
    line("position", &position);
    line("query", &signed.query());
    line("asked by", &of.querier);
    line("purpose", &plain(&of.purpose));
    line("issued", &of.issued);
    line("answered from", &of.answer_from);
    line("expires", &of.expires);
    line("cohort", &of.min_cohort);
    match &of.privacy {
        Some(privacy) => line("epsilon", &(privacy.epsilon as f64 / 1e6)),
        None => line("epsilon", &"none: exact"),
    }
    println!("\nin each home\n{}\nas SQL\n{}", of.local, of.local.sql());
    Ok(())
}

fn line(name: &str, value: &dyn std::fmt::Display) {
    println!("{name:<14} {value}");
}

/// Returns another party's text without control characters, which could move a terminal's cursor and hide
/// output. Line breaks stay.
pub(crate) fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

async fn find(reader: &Reader, id: &str) -> Result<Option<(u64, SignedManifest)>, Exit> {
    let mut position = 0;
    loop {
        let part = reader.part(position, PART).await?;
        let count = part.len() as u64;
        let mut numbered = (position..).zip(part);
        if let Some(found) = numbered.find(|(_, signed)| signed.query().to_string() == *id) {
            return Ok(Some(found));
        }
        if count < PART {
            return Ok(None);
        }
        position += count;
    }
}

fn wrong(what: impl std::fmt::Display) -> Exit {
    Exit::other(anyhow!("the log is WRONG: {what}"))
}

/// Reads a state file: an encoded head with its signatures, in hexadecimal. Returns `None` if the file does
/// not exist.
fn read_state(path: &Path) -> Result<Option<SignedHead>, Exit> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let error = anyhow!(error).context(format!("cannot read {}", path.display()));
            return Err(Exit::misuse(error));
        }
    };
    let head = hex::decode(text.trim()).ok();
    let head = head.and_then(|bytes| decode(&bytes).ok());
    head.map(Some).ok_or_else(|| {
        Exit::misuse(anyhow!(
            "{} is no state of `dispers log verify`",
            path.display()
        ))
    })
}

async fn verify(arguments: Verify) -> Result<(), Exit> {
    let reader = Reader::open(&arguments.from)?;
    let directory = &reader.directory;
    let mut before = Vec::new();
    for (path, whose) in [
        (&arguments.state, "seen here before"),
        (&arguments.compare, "that somebody else saw"),
    ] {
        let Some(path) = path else { continue };
        match read_state(path)? {
            Some(head) => before.push((head, whose)),
            // The first run has no state yet. A file to compare with must exist, else nothing would be
            // compared.
            None if whose.starts_with("seen") => {}
            None => {
                return Err(Exit::misuse(anyhow!("{} is not there", path.display())));
            }
        }
    }
    let Some(head) = reader.head().await? else {
        return match before.is_empty() {
            // An absent log is right before the first query, but a conductor may also hide it. It must not
            // pass as verified.
            true => Err(Exit {
                code: UNAVAILABLE,
                error: anyhow!(
                    "nothing was verified: the conductor shows no log. That is right before the network's first query; \
                     afterwards, tell the network's operators"
                ),
            }),
            false => Err(wrong("it is empty, and was not before")),
        };
    };
    let verified = head.verify(directory).map_err(wrong)?;
    // An old head with valid signatures would let a conductor hide the queries that followed it.
    verified.check_fresh(now()).map_err(|error| Exit {
        code: UNAVAILABLE,
        error: anyhow!(
            "the log cannot be verified: {error}. Try again when enough witnesses are up; if the head stays old, tell the \
             network's operators"
        ),
    })?;
    let root = verified.root;
    check_entries(&reader, &root).await?;
    for (seen, whose) in before {
        // A head that no conductor signed proves nothing against the log, so it is a misuse and not an
        // accusation.
        let seen = seen.signed(directory).map_err(|error| {
            let advice = "it may be of a log that is over, or of another directory: keep it, and begin a new state file";
            Exit::misuse(anyhow!("the head {whose} cannot be placed: {error}; {advice}"))
        })?;
        // Either head may be the newer one: the other party may have looked later.
        let (older, newer) = match seen.root.size <= root.size {
            true => (seen.root, root),
            false => (root, seen.root),
        };
        let proof = match older.size == newer.size {
            true => Vec::new(),
            false => reader.consistency(older.size, newer.size).await?,
        };
        check_consistency(&older, &newer, &proof).map_err(|_| {
            wrong(format!(
                "its {} entries do not continue the {} {whose}: keep both state files, and tell the network's operators",
                root.size, seen.root.size
            ))
        })?;
    }
    if let Some(path) = &arguments.state {
        // The state is written last. After a failure, the head that was verified before is still there to
        // compare with.
        let text = hex::encode(to_bytes(&head));
        private::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(Exit::other)?;
    }
    let witnesses: Vec<&str> = head
        .witnesses
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    println!(
        "OK: {} queries, of {}, co-signed by {}",
        root.size,
        verified.time,
        witnesses.join(", ")
    );
    Ok(())
}

/// Fetches every entry up to a head, and checks that the entries have the head's root. Reports how many have
/// a signature that no key of the present directory verifies.
async fn check_entries(reader: &Reader, root: &Root) -> Result<(), Exit> {
    let mut keys: BTreeMap<&str, VerifyingKey> = BTreeMap::new();
    for querier in &reader.directory.queriers {
        keys.insert(querier.name.as_str(), querier.signing_key);
    }
    let mut tree = Tree::default();
    let mut unlisted = 0usize;
    while tree.size() < root.size {
        // By now the log may have entries beyond the head. The head says nothing about them.
        let count = PART.min(root.size - tree.size());
        let part = reader.part(tree.size(), count).await?;
        // A log that is shorter than its signed head hides entries.
        if part.is_empty() {
            return Err(wrong(format!(
                "it says that it has {} queries, and shows {}",
                root.size,
                tree.size()
            )));
        }
        for signed in part {
            let of = manifest(&signed).map_err(|_| wrong("an entry is no manifest"))?;
            match keys.get(of.querier.as_str()) {
                Some(key) if signed.verify_signature(key).is_ok() => {}
                // The directory no longer lists this querier, or lists a new key. Queries stay in the log for
                // ever, so this is no error.
                _ => unlisted += 1,
            }
            tree.push(leaf(&signed));
        }
    }
    if unlisted > 0 {
        eprintln!(
            "{unlisted} queries are signed with keys that the directory does not list now: of queriers that left or changed keys"
        );
    }
    match tree.root() == *root {
        true => Ok(()),
        false => Err(wrong(
            "its entries are not those of the head that was signed",
        )),
    }
}
