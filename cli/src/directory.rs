//! `dispers directory`: making, signing and checking the trust root.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use dispers_core::{
    catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind},
    dealing::ThresholdKey,
    directory::{
        DirectoryBody, Floors, Host, Node, Pool, QuerierEntry, RootKeys, SignedDirectory, TlsKey,
    },
    envelope::{EnvelopePublicKey, Suite},
    id::{KeyEpoch, MemberNumber, Name, Role, Threshold},
    keys::VerifyingKey,
    ristretto::Point,
};
use dispers_node::{
    keyfile::{PublicKeys, envelope_key, load_signing_key},
    now,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{exit::Exit, keys::PublicThreshold};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an unsigned directory from a description; deploy/directory.toml is a sample.
    New(New),
    /// Add a root key's signature.
    Sign(Sign),
    /// Check a directory against root keys and show what it lists.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct New {
    /// The description.
    spec: PathBuf,
    /// The directory to make.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Args)]
pub(crate) struct Sign {
    /// The directory.
    file: PathBuf,
    /// The root's key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The directory.
    file: PathBuf,
    /// A pinned root key, in hexadecimal; may be repeated.
    #[arg(long, value_name = "HEX", required = true)]
    root: Vec<String>,
    /// How many of them must have signed.
    #[arg(long, value_name = "K", default_value_t = 1)]
    needed: usize,
}

/// The description of a network. Paths are relative to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Spec {
    network: String,
    epoch: u64,
    key_epoch: u32,
    #[serde(default)]
    suite: Option<String>,
    valid_days: u64,
    /// The public part of the concept indexors' dealing.
    indexors: PathBuf,
    /// The public part of the data aggregators' dealing; one for each committee, where there are
    /// several.
    aggregators: OneOrMore,
    floors: FloorsSpec,
    node: Vec<NodeSpec>,
    host: Vec<HostSpec>,
    querier: Vec<QuerierSpec>,
    doctype: Vec<DoctypeSpec>,
    #[serde(default)]
    concepts: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(PathBuf),
    More(Vec<PathBuf>),
}

impl OneOrMore {
    fn paths(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::More(paths) => paths,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FloorsSpec {
    min_cohort: u32,
    answer_rate: u16,
    min_verified: u8,
    max_homes: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NodeSpec {
    /// What `dispers keys new` printed.
    keys: PathBuf,
    operator: String,
    address: String,
    member: Option<u8>,
    /// Partition of a target finder, committee of a data aggregator, from 0.
    #[serde(default)]
    group: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HostSpec {
    keys: PathBuf,
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct QuerierSpec {
    keys: PathBuf,
    purposes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DoctypeSpec {
    name: String,
    /// `one` or `many`.
    documents: String,
    field: Vec<FieldSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FieldSpec {
    name: String,
    /// `integer`, `real` or `text`.
    r#type: String,
    #[serde(default)]
    unit: String,
    range: Option<(f64, f64)>,
    #[serde(default)]
    nullable: bool,
}

pub(crate) fn run(command: Command) -> Result<(), Exit> {
    let done = match command {
        Command::New(arguments) => new(&arguments),
        Command::Sign(arguments) => sign(&arguments),
        Command::Verify(arguments) => verify(&arguments),
    };
    done.map_err(Exit::misuse)
}

fn read(path: &Path) -> anyhow::Result<SignedDirectory> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    SignedDirectory::from_bytes(&bytes).with_context(|| path.display().to_string())
}

fn write(path: &Path, directory: &SignedDirectory) -> anyhow::Result<()> {
    // Written beside and moved over, so that nobody ever reads half a directory.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, directory.to_bytes())
        .and_then(|()| fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn new(arguments: &New) -> anyhow::Result<()> {
    let folder = arguments.spec.parent().unwrap_or(Path::new("."));
    let spec: Spec = parse(&arguments.spec)?;
    let directory = SignedDirectory::new(&body(&spec, folder)?)?;
    write(&arguments.output, &directory)?;
    eprintln!(
        "{} is made; now each root operator runs: dispers directory sign {} --key ROOT.key",
        arguments.output.display(),
        arguments.output.display()
    );
    Ok(())
}

fn sign(arguments: &Sign) -> anyhow::Result<()> {
    let mut directory = read(&arguments.file)?;
    let body = directory.unverified_body()?;
    directory.sign(&load_signing_key(&arguments.key)?);
    write(&arguments.file, &directory)?;
    eprintln!(
        "signed directory {} of network {}; it has {} signatures",
        body.epoch,
        body.network,
        directory.signatures.len()
    );
    Ok(())
}

fn verify(arguments: &Verify) -> anyhow::Result<()> {
    let keys = arguments
        .root
        .iter()
        .map(|text| bytes32(text).map(VerifyingKey))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let roots = RootKeys {
        keys,
        needed: arguments.needed,
    };
    let directory = read(&arguments.file)?.verify(&roots, now())?;
    println!(
        "network {}, directory {}",
        directory.network, directory.epoch
    );
    for node in &directory.nodes {
        println!(
            "{} {} {} {}",
            node.role, node.name, node.operator, node.address
        );
    }
    for host in &directory.hosts {
        println!("host {} {}", host.name, host.address);
    }
    for querier in &directory.queriers {
        println!(
            "querier {} for {}",
            querier.name,
            querier.purposes.join(", ")
        );
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| path.display().to_string())
}

fn bytes32(text: &str) -> anyhow::Result<[u8; 32]> {
    let bytes = hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| anyhow!("{text:?} is not a key of 64 hexadecimal digits"))
}

fn role(name: &str) -> anyhow::Result<Role> {
    let all = [
        Role::Conductor,
        Role::ConceptIndexor,
        Role::TargetFinder,
        Role::Target,
        Role::DataAggregator,
        Role::Stack,
        Role::Querier,
    ];
    all.into_iter()
        .find(|role| role.name() == name)
        .ok_or_else(|| anyhow!("{name:?} is no role"))
}

/// The public keys of a file, of the role that is expected.
fn keys(folder: &Path, path: &Path, expected: Option<Role>) -> anyhow::Result<(PublicKeys, Role)> {
    let path = folder.join(path);
    let keys: PublicKeys = parse(&path)?;
    let role = role(&keys.role).with_context(|| path.display().to_string())?;
    if expected.is_some_and(|expected| expected != role) {
        bail!("{} holds the keys of a {role}", path.display());
    }
    Ok((keys, role))
}

fn threshold_key(folder: &Path, path: &Path) -> anyhow::Result<ThresholdKey> {
    let path = folder.join(path);
    let public: PublicThreshold = parse(&path)?;
    let point = |text: &String| -> anyhow::Result<Point> {
        Point::from_bytes(bytes32(text)?).with_context(|| path.display().to_string())
    };
    let shares = public
        .shares
        .iter()
        .map(point)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let members = u8::try_from(shares.len()).context("too many shares")?;
    let threshold = Threshold::new(public.needed, members)?;
    Ok(ThresholdKey::new(threshold, point(&public.key)?, shares)?)
}

fn body(spec: &Spec, folder: &Path) -> anyhow::Result<DirectoryBody> {
    let suite = match &spec.suite {
        Some(name) => Suite::from_str(name)?,
        None => Suite::default(),
    };
    let envelope = |text: &Option<String>| -> anyhow::Result<Option<EnvelopePublicKey>> {
        text.as_deref()
            .map(|text| {
                envelope_key(suite, text)
                    .ok_or_else(|| anyhow!("an envelope key is not one of suite {suite}"))
            })
            .transpose()
    };
    let key_epoch = KeyEpoch(spec.key_epoch);
    let mut nodes = Vec::new();
    let mut pools = Vec::new();
    for node in &spec.node {
        let (keys, role) = keys(folder, &node.keys, None)?;
        if let Some(envelope_key) = envelope(&keys.pool_envelope_key)? {
            join_pool(
                &mut pools,
                &keys.name,
                Pool {
                    role,
                    partition: node.group,
                    key_epoch,
                    envelope_key,
                },
            )?;
        }
        nodes.push(Node {
            name: Name::new(&keys.name)?,
            role,
            operator: Name::new(&node.operator)?,
            address: node.address.clone(),
            tls_key: TlsKey(bytes32(&keys.tls_key)?),
            signing_key: VerifyingKey(bytes32(&keys.signing_key)?),
            envelope_key: envelope(&keys.envelope_key)?,
            group: node.group,
            member: node.member.map(MemberNumber::new).transpose()?,
        });
    }
    let mut hosts = Vec::new();
    for host in &spec.host {
        let (keys, _) = keys(folder, &host.keys, Some(Role::Stack))?;
        hosts.push(Host {
            name: Name::new(&keys.name)?,
            address: host.address.clone(),
            tls_key: TlsKey(bytes32(&keys.tls_key)?),
            signing_key: VerifyingKey(bytes32(&keys.signing_key)?),
        });
    }
    let mut queriers = Vec::new();
    for querier in &spec.querier {
        let (keys, _) = keys(folder, &querier.keys, Some(Role::Querier))?;
        queriers.push(QuerierEntry {
            name: Name::new(&keys.name)?,
            tls_key: TlsKey(bytes32(&keys.tls_key)?),
            signing_key: VerifyingKey(bytes32(&keys.signing_key)?),
            purposes: querier.purposes.clone(),
        });
    }
    let issued = now();
    Ok(DirectoryBody {
        network: Name::new(&spec.network)?,
        epoch: spec.epoch,
        issued,
        expires: issued.plus(spec.valid_days.saturating_mul(86_400_000)),
        suite,
        key_epoch,
        nodes,
        pools,
        hosts,
        queriers,
        indexors: threshold_key(folder, &spec.indexors)?,
        committees: spec
            .aggregators
            .paths()
            .iter()
            .map(|path| threshold_key(folder, path))
            .collect::<anyhow::Result<_>>()?,
        floors: Floors {
            min_cohort: spec.floors.min_cohort,
            answer_rate: spec.floors.answer_rate,
            min_verified: spec.floors.min_verified,
            max_homes: spec.floors.max_homes,
        },
        catalogue: catalogue(spec)?,
    })
}

/// Lists a node's pool, once: the nodes of a pool have one key.
fn join_pool(pools: &mut Vec<Pool>, node: &str, pool: Pool) -> anyhow::Result<()> {
    let same = |p: &&Pool| p.role == pool.role && p.partition == pool.partition;
    match pools.iter().find(same) {
        None => pools.push(pool),
        Some(listed) if *listed == pool => {}
        Some(_) => bail!(
            "{node} has another pool key than the {}s listed before it in group {}: make its keys \
             with --pool-of and the key file of one of them",
            pool.role,
            pool.partition
        ),
    }
    Ok(())
}

fn catalogue(spec: &Spec) -> anyhow::Result<Catalogue> {
    let mut doctypes = Vec::new();
    for doctype in &spec.doctype {
        let mut fields = Vec::new();
        for field in &doctype.field {
            fields.push(Field {
                name: field.name.clone(),
                kind: match field.r#type.as_str() {
                    "integer" => FieldKind::Integer,
                    "real" => FieldKind::Real,
                    "text" => FieldKind::Text,
                    other => bail!(
                        "field {:?} of {:?} has type {other:?}: write integer, real or text",
                        field.name,
                        doctype.name
                    ),
                },
                unit: field.unit.clone(),
                range: field.range,
                nullable: field.nullable,
            });
        }
        doctypes.push(Doctype {
            name: doctype.name.clone(),
            cardinality: match doctype.documents.as_str() {
                "one" => Cardinality::One,
                "many" => Cardinality::Many,
                other => bail!(
                    "doctype {:?} has documents = {other:?}: write one or many",
                    doctype.name
                ),
            },
            fields,
        });
    }
    Ok(Catalogue {
        doctypes,
        concepts: spec.concepts.clone(),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use dispers_core::id::Timestamp;
    use tempfile::TempDir;

    use super::*;
    use crate::keys;

    #[derive(Parser)]
    enum Line {
        #[command(subcommand)]
        Keys(keys::Command),
        #[command(subcommand)]
        Directory(Command),
    }

    /// Runs `dispers LINE`.
    fn dispers(line: &str) -> Result<(), Exit> {
        let words = ["dispers"].into_iter().chain(line.split(' '));
        match Line::try_parse_from(words).unwrap() {
            Line::Keys(command) => keys::run(command),
            Line::Directory(command) => run(command),
        }
    }

    /// The key files of a network with two targets, two partitions and two committees, and the
    /// public parts that its description names.
    fn network() -> (TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let public = |text: String, name: &str| {
            fs::write(folder.path().join(format!("{name}.pub")), text).unwrap();
        };
        let mut spec = String::from(
            r#"
network = "test"
epoch = 1
key-epoch = 1
suite = "x25519"
valid-days = 30
indexors = "ci.pub"
aggregators = ["da0.pub", "da1.pub"]
concepts = ["sex>female"]
floors = { min-cohort = 2, answer-rate = 800, min-verified = 2, max-homes = 1000 }
"#,
        );
        for name in ["ci", "da0", "da1"] {
            let dealt = keys::deal_into(2, 3, &folder.path().join(name)).unwrap();
            public(dealt, name);
        }
        let mut node = |name: &str, role: &str, group: u16, member: Option<u8>, pool: &str| {
            let line = format!(
                "keys new {role} --name {name} --output {at}/{name}.key --suite x25519{pool}"
            );
            let Line::Keys(keys::Command::New(new)) =
                Line::try_parse_from(["dispers"].into_iter().chain(line.split(' '))).unwrap()
            else {
                panic!("the line makes keys");
            };
            public(keys::make(&new).unwrap(), name);
            let member = member.map_or(String::new(), |number| format!("member = {number}\n"));
            spec.push_str(&match role {
                "stack" => format!("[[host]]\nkeys = \"{name}.pub\"\naddress = \"\"\n"),
                "querier" => format!("[[querier]]\nkeys = \"{name}.pub\"\npurposes = [\"why\"]\n"),
                _ => format!(
                    "[[node]]\nkeys = \"{name}.pub\"\noperator = \"of-{name}\"\n\
                     address = \"{name}:7001\"\ngroup = {group}\n{member}"
                ),
            });
        };
        node("c", "conductor", 0, None, "");
        node("tf0", "target-finder", 0, None, "");
        node("tf1", "target-finder", 1, None, "");
        node("t0", "target", 0, None, "");
        let pool = format!(" --pool-of {at}/t0.key");
        node("t1", "target", 0, None, &pool);
        for number in 1..=3 {
            node(
                &format!("ci-{number}"),
                "concept-indexor",
                0,
                Some(number),
                "",
            );
            for group in 0..2 {
                let name = format!("da-{group}-{number}");
                node(&name, "data-aggregator", group, Some(number), "");
            }
        }
        node("host", "stack", 0, None, "");
        node("querier", "querier", 0, None, "");
        spec.push_str(
            r#"
[[doctype]]
name = "heartrate"
documents = "many"
field = [{ name = "bpm", type = "real", unit = "bpm", range = [30.0, 220.0] }]
"#,
        );
        fs::write(folder.path().join("spec.toml"), &spec).unwrap();
        (folder, spec)
    }

    #[test]
    fn a_directory_is_made_signed_and_verified() {
        let (folder, _) = network();
        let at = folder.path().display();
        dispers(&format!(
            "directory new {at}/spec.toml --output {at}/directory"
        ))
        .unwrap();
        let root = |number: u8| {
            let path = folder.path().join(format!("root-{number}"));
            let key = dispers_core::keys::SigningKey::from_seed(&[number; 32]);
            dispers_node::keyfile::save_signing_key(&path, &key).unwrap();
            hex::encode(key.public().0)
        };
        let (first, second) = (root(1), root(2));
        let verify =
            format!("directory verify {at}/directory --root {first} --root {second} --needed 2");
        dispers(&format!("directory sign {at}/directory --key {at}/root-1")).unwrap();
        let refused = dispers(&verify).unwrap_err();
        assert!(format!("{:#}", refused.error).contains("have more root keys sign"));
        dispers(&format!("directory sign {at}/directory --key {at}/root-2")).unwrap();
        dispers(&verify).unwrap();

        let body = read(&folder.path().join("directory")).unwrap();
        let body = body.unverified_body().unwrap();
        assert_eq!((body.nodes.len(), body.pools.len()), (14, 3));
        assert_eq!(body.committees.len(), 2);
        assert!(body.expires > body.issued && body.issued > Timestamp(0));
    }

    #[test]
    fn nodes_of_one_pool_have_one_key() {
        let (folder, spec) = network();
        // Both target finders in one partition, with the keys of two.
        let spec = spec.replace("tf1:7001\"\ngroup = 1", "tf1:7001\"\ngroup = 0");
        let path = folder.path().join("other.toml");
        fs::write(&path, spec).unwrap();
        let at = folder.path().display();
        let refused = dispers(&format!("directory new {at}/other.toml --output {at}/d"));
        let message = format!("{:#}", refused.unwrap_err().error);
        assert!(
            message.contains("tf1") && message.contains("--pool-of"),
            "{message}"
        );
    }

    #[test]
    fn keys_of_another_role_share_no_pool() {
        let (folder, _) = network();
        let at = folder.path().display();
        for role in ["target-finder", "conductor"] {
            let line = format!(
                "keys new {role} --name x --output {at}/x.key --suite x25519 --pool-of {at}/t0.key"
            );
            assert_eq!(dispers(&line).unwrap_err().code, crate::exit::MISUSE);
        }
    }
}
