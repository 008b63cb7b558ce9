//! Description that a directory is made from.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, anyhow, bail};
use dispers_base::{
    id::{KeyEpoch, MemberNumber, Name, Role},
    keys::VerifyingKey,
};
use dispers_crypto::envelope::{EnvelopePublicKey, Suite};
use dispers_node::{
    keyfile::{PublicKeys, envelope_key},
    now,
};
use dispers_privacy::Rho;
use dispers_query::catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind};
use dispers_trust::directory::{
    DEFAULT_MAX_DELTA, DirectoryBody, Floors, Host, Node, Pool, PreviousEpoch, QuerierEntry,
    TlsKey, Witnesses,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{bytes32, parse};
use crate::keys::PublicThreshold;

/// Description of a network. Paths in it are relative to its file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Spec {
    network: String,
    /// True if the threshold keys may come from one dealer, which only a trial allows.
    #[serde(default)]
    trial: bool,
    epoch: u64,
    key_epoch: u32,
    #[serde(default)]
    suite: Option<String>,
    valid_days: u64,
    /// File with the public part of the concept indexors' key.
    indexors: PathBuf,
    /// Files with the public part of the data aggregators' key, one for each committee.
    aggregators: OneOrMore,
    floors: FloorsSpec,
    /// Witnesses of the log. By default these are all data aggregators, of which two are needed.
    log: Option<LogSpec>,
    node: Vec<Entry<NodeSpec>>,
    host: Vec<Entry<HostSpec>>,
    querier: Vec<Entry<QuerierSpec>>,
    doctype: Vec<DoctypeSpec>,
    #[serde(default)]
    concepts: Vec<String>,
    /// Previous key epoch, while queries are still asked under it.
    previous: Option<PreviousSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LogSpec {
    /// Names of nodes. Witnesses of an operator that also runs a conductor do not count.
    witnesses: Vec<String>,
    /// Number of operators whose witnesses must have co-signed.
    needed: u8,
    /// Number of the log. A higher number begins a new log after the old one was lost.
    #[serde(default = "first_log")]
    number: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PreviousSpec {
    key_epoch: u32,
    /// File with the public part of the concept indexors' key in that epoch.
    indexors: PathBuf,
    pool: Vec<PreviousPoolSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PreviousPoolSpec {
    /// File with the output of `dispers keys new` for a node of the pool in that epoch.
    keys: PathBuf,
    /// Partition of a target finder pool.
    #[serde(default)]
    group: u16,
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
    /// True if queries without noise are allowed.
    #[serde(default)]
    exact: bool,
    /// Largest ρ that a querier may spend on one population in a key epoch.
    #[serde(default = "default_budget")]
    budget_rho: f64,
    /// Largest δ of a query.
    #[serde(default = "default_max_delta")]
    max_delta: f64,
    /// Scale of the noise of set sizes, in homes.
    #[serde(default = "default_size_noise")]
    size_noise: u32,
}

fn default_size_noise() -> u32 {
    dispers_trust::directory::SIZE_NOISE
}

/// Default budget. A ρ of 1.5 is about ε = 10 at δ = 1e-6.
fn default_budget() -> f64 {
    1.5
}

fn default_max_delta() -> f64 {
    DEFAULT_MAX_DELTA
}

/// Entry with its public keys, which are either in a file that `keys` names, or written in the entry as
/// `dispers keys new` printed them.
#[derive(Deserialize)]
#[serde(try_from = "toml::Table", bound = "T: DeserializeOwned")]
struct Entry<T> {
    keys: Keys,
    rest: T,
}

enum Keys {
    File(PathBuf),
    Here(PublicKeys),
}

/// Names of the lines that `dispers keys new` prints.
const PRINTED: [&str; 7] = [
    "version",
    "name",
    "role",
    "tls-key",
    "signing-key",
    "envelope-key",
    "pool-envelope-key",
];

/// Returns the message alone. The parser of the whole file adds the place.
fn without_place(error: toml::de::Error) -> String {
    error.message().to_owned()
}

impl<T: DeserializeOwned> TryFrom<toml::Table> for Entry<T> {
    type Error = String;

    fn try_from(mut table: toml::Table) -> Result<Self, String> {
        // The key lines are taken out of the table, so that the rest can refuse unknown fields.
        let mut here = toml::Table::new();
        for name in PRINTED {
            if let Some(value) = table.remove(name) {
                here.insert(name.to_owned(), value);
            }
        }
        let keys = match (table.remove("keys"), here.is_empty()) {
            (Some(file), true) => Keys::File(file.try_into().map_err(without_place)?),
            (None, false) => Keys::Here(here.try_into().map_err(without_place)?),
            (Some(_), false) => {
                let name = here.keys().next().map_or("", String::as_str);
                return Err(format!(
                    "an entry has both keys = FILE and {name}: write one of them"
                ));
            }
            (None, true) => {
                return Err(
                    "an entry has no keys: write keys = FILE for a file with the output of dispers keys new, or write that \
                     output itself"
                        .into(),
                );
            }
        };
        let rest = table.try_into().map_err(without_place)?;
        Ok(Self { keys, rest })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NodeSpec {
    operator: String,
    address: String,
    member: Option<u8>,
    /// Partition of a target finder, or committee of a data aggregator, from 0.
    #[serde(default)]
    group: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HostSpec {
    address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct QuerierSpec {
    purposes: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DoctypeSpec {
    name: String,
    /// `one` or `many`: number of documents per home.
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

fn role(name: &str) -> anyhow::Result<Role> {
    Role::named(name).ok_or_else(|| anyhow!("{name:?} is no role"))
}

/// Reads the public keys of a file.
///
/// # Errors
/// If they are not of the `expected` role.
fn keys(folder: &Path, path: &Path, expected: Option<Role>) -> anyhow::Result<(PublicKeys, Role)> {
    let path = folder.join(path);
    let keys: PublicKeys = parse(&path)?;
    let role = role(&keys.role).with_context(|| path.display().to_string())?;
    if expected.is_some_and(|expected| expected != role) {
        bail!("{} holds the keys of a {role}", path.display());
    }
    Ok((keys, role))
}

impl<T> Entry<T> {
    /// Returns the entry's public keys, which must have the expected role.
    fn keys(&self, folder: &Path, expected: Option<Role>) -> anyhow::Result<(PublicKeys, Role)> {
        let here = match &self.keys {
            Keys::File(path) => return keys(folder, path, expected),
            Keys::Here(keys) => keys,
        };
        let role = role(&here.role)?;
        if expected.is_some_and(|expected| expected != role) {
            bail!("{:?} has the keys of a {role}", here.name);
        }
        Ok((here.clone(), role))
    }
}

fn envelope(suite: Suite, text: Option<&str>) -> anyhow::Result<Option<EnvelopePublicKey>> {
    let key = text.map(|text| {
        envelope_key(suite, text)
            .ok_or_else(|| anyhow!("an envelope key is not one of suite {suite}"))
    });
    key.transpose()
}

/// Builds the body that `spec` describes. File names in `spec` are relative to `folder`.
pub(super) fn body(spec: &Spec, folder: &Path) -> anyhow::Result<DirectoryBody> {
    let suite = match &spec.suite {
        Some(name) => Suite::from_str(name)?,
        None => Suite::default(),
    };
    let key_epoch = KeyEpoch(spec.key_epoch);
    let mut nodes = Vec::new();
    let mut pools = Vec::new();
    for node in &spec.node {
        let (keys, role) = node.keys(folder, None)?;
        let node = &node.rest;
        if let Some(envelope_key) = envelope(suite, keys.pool_envelope_key.as_deref())? {
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
            envelope_key: envelope(suite, keys.envelope_key.as_deref())?,
            group: node.group,
            member: node.member.map(MemberNumber::new).transpose()?,
        });
    }
    let mut hosts = Vec::new();
    for host in &spec.host {
        let (keys, _) = host.keys(folder, Some(Role::Stack))?;
        hosts.push(Host {
            name: Name::new(&keys.name)?,
            address: host.rest.address.clone(),
            tls_key: TlsKey(bytes32(&keys.tls_key)?),
            signing_key: VerifyingKey(bytes32(&keys.signing_key)?),
        });
    }
    let mut queriers = Vec::new();
    for querier in &spec.querier {
        let (keys, _) = querier.keys(folder, Some(Role::Querier))?;
        queriers.push(QuerierEntry {
            name: Name::new(&keys.name)?,
            tls_key: TlsKey(bytes32(&keys.tls_key)?),
            signing_key: VerifyingKey(bytes32(&keys.signing_key)?),
            purposes: querier.rest.purposes.clone(),
        });
    }
    let (indexors, mut transcripts) = PublicThreshold::read(&folder.join(&spec.indexors))?;
    let mut committees = Vec::new();
    for path in spec.aggregators.paths() {
        let (key, made) = PublicThreshold::read(&folder.join(path))?;
        committees.push(key);
        transcripts.extend(made);
    }
    let mut previous = None;
    if let Some(spec) = &spec.previous {
        let key_epoch = KeyEpoch(spec.key_epoch);
        let (indexors, transcripts) = PublicThreshold::read(&folder.join(&spec.indexors))?;
        let mut pools = Vec::new();
        for pool in &spec.pool {
            let (keys, role) = keys(folder, &pool.keys, None)?;
            let envelope_key = envelope(suite, keys.pool_envelope_key.as_deref())?;
            pools.push(Pool {
                role,
                partition: pool.group,
                key_epoch,
                envelope_key: envelope_key
                    .ok_or_else(|| anyhow!("{} has no pool's key", pool.keys.display()))?,
            });
        }
        previous = Some(PreviousEpoch {
            key_epoch,
            indexors,
            transcripts,
            pools,
        });
    }
    let witnesses = witnesses(spec, &nodes)?;
    let issued = now();
    Ok(DirectoryBody {
        network: Name::new(&spec.network)?,
        trial: spec.trial,
        epoch: spec.epoch,
        issued,
        expires: issued.plus(spec.valid_days.saturating_mul(86_400_000)),
        suite,
        key_epoch,
        nodes,
        pools,
        hosts,
        queriers,
        indexors,
        committees,
        transcripts,
        witnesses,
        floors: Floors {
            min_cohort: spec.floors.min_cohort,
            answer_rate: spec.floors.answer_rate,
            min_verified: spec.floors.min_verified,
            max_homes: spec.floors.max_homes,
            exact: spec.floors.exact,
            budget: budget(spec.floors.budget_rho)?,
            max_delta: spec.floors.max_delta,
            size_noise: spec.floors.size_noise,
        },
        catalogue: catalogue(spec)?,
        previous,
    })
}

fn budget(rho: f64) -> anyhow::Result<Rho> {
    // A ρ is counted in whole billionths, so that expenses add up exactly.
    let billionths = rho * 1e9;
    if !(0.0..1e18).contains(&billionths) {
        bail!("floors: budget-rho is {rho}: write a number from 0 to a billion");
    }
    Ok(Rho(billionths as u64))
}

/// Adds a node's pool to the list, unless it is there already.
///
/// # Errors
/// If the nodes of a pool have different keys. Nobody could seal for all of them.
fn join_pool(pools: &mut Vec<Pool>, node: &str, pool: Pool) -> anyhow::Result<()> {
    let mut listed = pools.iter();
    match listed.find(|p| p.role == pool.role && p.partition == pool.partition) {
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

fn first_log() -> u32 {
    1
}

fn witnesses(spec: &Spec, nodes: &[Node]) -> anyhow::Result<Witnesses> {
    let Some(log) = &spec.log else {
        return Ok(Witnesses::aggregators(nodes));
    };
    let names = log.witnesses.iter().map(|name| Name::new(name));
    Ok(Witnesses {
        names: names.collect::<Result<_, _>>()?,
        log: log.number,
        needed: log.needed,
    })
}
