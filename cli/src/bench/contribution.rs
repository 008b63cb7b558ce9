//! `dispers bench contribution`: the cost of a contribution for one aggregator, compared with Prio3 with an
//! envelope for each report, measured in the same run.
//!
//! Both sides open the envelope, decode, expand, verify, decide and add. Our side shares an envelope among
//! the homes of a host, and the compiled verifier among the homes of a batch.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use clap::Args;
use dispers_base::{
    id::{BatchId, MemberNumber, Role},
    labels,
};
use dispers_circuit::{
    Circuit, Message, Row, Rows, Shape, Variable, accepts,
    contribution::{Contribution, HeldGroup, share},
};
use dispers_core::ticket::{TagKey, TagStream};
use dispers_crypto::{
    envelope::{Context, EnvelopeSecretKey, Sealed, Suite, reader},
    shamir::Interpolation,
};
use dispers_node::rng;
use serde_json::json;

use super::{Format, baseline::Baseline};
use crate::exit::Exit;

/// Numbers of homes of one host in one batch.
const HOST_BATCHES: [u32; 5] = [1, 10, 100, 1_000, 10_000];
/// Most hosts of one measurement.
const HOSTS: u32 = 100;
const HOMES: u32 = 10_000;
/// Homes per batch, which share a compiled verifier.
const BATCH: u32 = 50_000;
/// Number of aggregators.
const MEMBERS: u8 = 3;
const NEEDED: usize = 2;
/// Number of reports that the baseline is measured over.
const REPORTS: usize = 100;
/// Number of repetitions. Each figure is the best of them.
const ROUNDS: usize = 3;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// A kind of question.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) rows: Rows,
    pub(crate) circuit: Circuit,
    pub(crate) row: Row,
    pub(crate) baseline: Baseline,
}

struct Measured {
    circuit: &'static str,
    suite: Suite,
    host_batch: u32,
    micros: f64,
    baseline_micros: f64,
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.baseline_micros / self.micros
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    let mut rows = Vec::new();
    for case in cases().map_err(Exit::other)? {
        for suite in [Suite::XWing, Suite::X25519] {
            eprintln!("{}, {suite} …", case.name);
            for host_batch in HOST_BATCHES {
                // The baseline is measured right beside each figure, so that other work of the machine
                // affects both alike.
                let baseline_micros = case
                    .baseline
                    .micros(&case, suite, REPORTS, ROUNDS)
                    .map_err(Exit::other)?;
                rows.push(Measured {
                    circuit: case.name,
                    suite,
                    host_batch,
                    micros: micros(&case, suite, host_batch).map_err(Exit::other)?,
                    baseline_micros,
                });
            }
        }
    }
    match arguments.format {
        Format::Table => table(&rows),
        Format::Json => println!("{}", object(&rows)),
    }
    Ok(())
}

impl Case {
    /// Makes the case of a query over `groups` groups that sums `variables`, of which those with `true` also
    /// as squares.
    fn new(
        name: &'static str,
        groups: u16,
        variables: Vec<(Variable, bool)>,
        baseline: Baseline,
    ) -> anyhow::Result<Self> {
        // The cost depends on the lengths alone, so every home sends the same values.
        let levels = variables.iter().map(|(one, _)| Some(one.max / 3));
        let row = Row {
            group: usize::from(groups) / 2,
            levels: levels.collect(),
        };
        let rows = Rows::compile(&Shape::summing(groups, variables))?;
        Ok(Self {
            name,
            circuit: Circuit::from(rows.clone()),
            rows,
            row,
            baseline,
        })
    }
}

fn cases() -> anyhow::Result<Vec<Case>> {
    let byte = vec![(up_to(255), false)];
    let squared = vec![(up_to(65_535), true)];
    Ok(vec![
        Case::new("sum8", 0, byte.clone(), Baseline::Sum)?,
        Case::new("grouped_mean3x8", 3, byte, Baseline::Same)?,
        Case::new("grouped_variance10x16", 10, squared, Baseline::Same)?,
        Case::new("histogram256", 256, Vec::new(), Baseline::Histogram)?,
    ])
}

fn up_to(max: u64) -> Variable {
    Variable {
        max,
        nullable: false,
        one_hot: false,
    }
}

fn context() -> Context {
    Context::new(labels::ENVELOPE_GROUP, Role::Stack, &())
}

type Group = Sealed<reader::DataAggregator, Vec<u8>>;

/// The part of a batch that one aggregator receives.
struct Received {
    key: EnvelopeSecretKey,
    tags: TagStream,
    groups: Vec<Group>,
}

/// Measures microseconds per contribution, the mean over the aggregators.
fn micros(case: &Case, suite: Suite, host_batch: u32) -> anyhow::Result<f64> {
    let points: Vec<MemberNumber> = (1..=MEMBERS)
        .map(MemberNumber::new)
        .collect::<Result<_, _>>()?;
    let batch = BatchId {
        partition: 0,
        committee: 0,
        number: 0,
    };
    let mut received: Vec<Received> = (1..=MEMBERS)
        .map(|member| Received {
            key: EnvelopeSecretKey::generate(suite, &mut rng()),
            tags: TagStream::new(&TagKey::from_bytes([member; 32]), batch),
            groups: Vec::new(),
        })
        .collect();
    // Every host answers with the same values, but its own proofs, shares and envelopes. Making them is not
    // measured.
    let hosts = (HOMES / host_batch).clamp(1, HOSTS);
    let input = case.rows.encode(Some(&case.row))?;
    for host in 0..hosts {
        let contributions = (0..host_batch).map(|home| {
            let index = host * host_batch + home;
            let tags = received.iter().map(|to| to.tags.tag(index)).collect();
            Contribution::new(index, tags, &input)
        });
        let contributions: Vec<_> = contributions.collect();
        let groups = share(&case.circuit, &contributions, &points, NEEDED, &mut rng())?;
        for (to, group) in received.iter_mut().zip(groups) {
            let (bytes, key) = (group.encode().to_vec(), to.key.public());
            to.groups
                .push(Group::seal_bytes(bytes, &key, &context(), &mut rng()));
        }
    }
    let homes = hosts * host_batch;
    let best = (0..ROUNDS).map(|_| aggregate(case, &received, &points, homes));
    let best = best.collect::<anyhow::Result<Vec<f64>>>()?.into_iter();
    // The best of all rounds, because other work on the machine only ever adds time.
    Ok(best.fold(f64::INFINITY, f64::min))
}

/// Runs every aggregator once over a batch. Returns microseconds per contribution and aggregator.
fn aggregate(
    case: &Case,
    received: &[Received],
    points: &[MemberNumber],
    homes: u32,
) -> anyhow::Result<f64> {
    let (length, input_length) = (case.circuit.share_len(), case.circuit.input_len());
    let mut taken = Duration::ZERO;
    let mut shares = Vec::new();
    let mut messages: Vec<Vec<Message>> = Vec::new();
    for to in received {
        let begun = Instant::now();
        let verifier = case.rows.constraints().verifier(&[7; 32]);
        // The verifier is compiled once for a batch, which has more homes than are measured. Only their part
        // of its cost counts.
        taken += begun.elapsed() * homes / BATCH;
        let groups = to.groups.clone();
        let begun = Instant::now();
        let mut held = Vec::with_capacity(groups.len());
        for group in groups {
            let bytes = group.open_bytes(&to.key, &context())?;
            let group = HeldGroup::decode(bytes, length, homes as usize)?;
            let mut entries = group.entries().iter();
            anyhow::ensure!(entries.all(|e| to.tags.verify(e.index, &e.tag)));
            held.push(group);
        }
        // In the protocol the verification randomness is known only when all is opened and frozen (§8). So
        // this is a second pass over the group.
        let mut own = Vec::with_capacity(homes as usize);
        let mut inputs = Vec::with_capacity(homes as usize * input_length);
        for group in held {
            group.for_each(length, |_, share| {
                own.push(verifier.message(share));
                inputs.extend_from_slice(&share[..input_length]);
            });
        }
        messages.push(own);
        taken += begun.elapsed();
        shares.push(inputs);
    }
    let interpolation = Interpolation::new(points, NEEDED)?;
    for held in &shares {
        let begun = Instant::now();
        let mut inputs = vec![0u64; case.circuit.input_len()];
        for (home, share) in held.chunks_exact(input_length).enumerate() {
            let mut all = [[0; 4]; MEMBERS as usize];
            for (one, messages) in all.iter_mut().zip(&messages) {
                *one = messages[home];
            }
            let counts = interpolation.open_array(&all).is_some_and(|m| accepts(&m));
            anyhow::ensure!(counts, "an honest contribution was rejected");
            for (sum, element) in inputs.iter_mut().zip(share) {
                *sum = dispers_base::field::add(*sum, *element);
            }
        }
        let mut sums = vec![0u64; case.circuit.outputs().len()];
        case.circuit.add_outputs(&inputs, &mut sums);
        // Without a use of the sums, the compiler could remove the additions.
        black_box(sums);
        taken += begun.elapsed();
    }
    let passes = received.len() as f64 * f64::from(homes);
    Ok(taken.as_secs_f64() * 1e6 / passes)
}

fn table(rows: &[Measured]) {
    println!("circuit                suite    homes/host       µs  Prio3 µs   ratio");
    for row in rows {
        println!(
            "{:22} {:8} {:>10} {:>8.2} {:>9.1} {:>7.1}",
            row.circuit,
            row.suite.to_string(),
            row.host_batch,
            row.micros,
            row.baseline_micros,
            row.ratio(),
        );
    }
}

fn object(rows: &[Measured]) -> serde_json::Value {
    let rows = rows.iter().map(|row| {
        json!({
            "circuit": row.circuit,
            "suite": row.suite.to_string(),
            "host_batch": row.host_batch,
            "micros": row.micros,
            "baseline_micros": row.baseline_micros,
            "ratio": row.ratio(),
        })
    });
    json!({ "rows": rows.collect::<Vec<_>>() })
}
