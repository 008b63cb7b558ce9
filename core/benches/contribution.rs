//! Cost of one contribution at each place that it passes, by circuit and by envelope suite.
//!
//! `cargo bench -p dispers-core`. Ratios within one run say more than the figures.
#![allow(missing_docs, reason = "criterion's macros make items")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has failed"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dispers_base::{
    id::{MemberNumber, Role},
    labels,
};
use dispers_circuit::{
    Circuit, Message, Row, Rows, Shape, Variable, accepts,
    contribution::{Contribution, GroupShare, HeldGroup, share},
};
use dispers_crypto::{
    envelope::{Context, EnvelopeSecretKey, Sealed, Suite, reader},
    shamir::Interpolation,
};
use rand::{SeedableRng, rngs::StdRng};

/// Number of homes that are shared together: those of one stack in one batch.
const HOMES: u32 = 256;

/// Returns the measured circuits, each with its name.
fn circuits() -> Vec<(&'static str, Rows)> {
    let compile = |groups, variables: Vec<(Variable, bool)>| {
        Rows::compile(&Shape::summing(groups, variables)).unwrap()
    };
    let variable = |max, nullable, squared| {
        let one_hot = false;
        let variable = Variable {
            max,
            nullable,
            one_hot,
        };
        (variable, squared)
    };
    vec![
        ("count", compile(1, vec![])),
        (
            "mean by 3 groups",
            compile(3, vec![variable(150, true, false)]),
        ),
        (
            "variance by 8 groups",
            compile(8, vec![variable(4095, true, true)]),
        ),
    ]
}

fn members() -> Vec<MemberNumber> {
    (1..=3).map(|n| MemberNumber::new(n).unwrap()).collect()
}

fn row(rows: &Rows) -> Row {
    Row {
        group: 0,
        levels: rows
            .shape()
            .variables
            .iter()
            .map(|v| Some(v.max / 2))
            .collect(),
    }
}

fn contributions(rows: &Rows) -> Vec<Contribution> {
    let input = rows.encode(Some(&row(rows))).unwrap();
    (0..HOMES)
        .map(|index| Contribution::new(index, vec![[0; 16]; 3], &input))
        .collect()
}

fn homes(c: &mut Criterion) {
    let mut group = c.benchmark_group("home");
    let mut rng = StdRng::seed_from_u64(1);
    for (name, rows) in circuits() {
        let row = row(&rows);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("prove", name), |b| {
            b.iter(|| {
                let input = rows.encode(Some(&row)).unwrap();
                rows.constraints().prove(&input, &mut rng)
            });
        });
        let contributions = contributions(&rows);
        let circuit = Circuit::from(rows);
        group.throughput(Throughput::Elements(HOMES.into()));
        group.bench_function(BenchmarkId::new("prove and share 2 of 3", name), |b| {
            b.iter(|| share(&circuit, &contributions, &members(), 2, &mut rng).unwrap());
        });
    }
}

fn aggregators(c: &mut Criterion) {
    let mut group = c.benchmark_group("aggregator");
    let mut rng = StdRng::seed_from_u64(2);
    for (name, rows) in circuits() {
        let verifier = rows.constraints().verifier(&[7; 32]);
        let circuit = Circuit::from(rows.clone());
        let length = circuit.share_len();
        let groups = share(&circuit, &contributions(&rows), &members(), 2, &mut rng);
        let groups = groups.unwrap();
        let encoded: Vec<_> = groups.iter().map(GroupShare::encode).collect();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("compile the verifier", name), |b| {
            b.iter(|| black_box(&rows).constraints().verifier(&[7; 32]));
        });
        group.throughput(Throughput::Elements(HOMES.into()));
        for (kind, bytes) in [("seeded", &encoded[0]), ("explicit", &encoded[2])] {
            group.bench_function(
                BenchmarkId::new(format!("expand a {kind} group"), name),
                |b| {
                    b.iter(|| {
                        HeldGroup::decode((*bytes).clone(), length, HOMES as usize)
                            .unwrap()
                            .expand(length)
                    });
                },
            );
        }
        let shares: Vec<_> = encoded
            .iter()
            .map(|bytes| HeldGroup::decode(bytes.clone(), length, HOMES as usize))
            .map(|group| group.unwrap().expand(length))
            .collect();
        group.bench_function(BenchmarkId::new("verify", name), |b| {
            b.iter(|| {
                for share in shares[0].chunks_exact(length) {
                    black_box(verifier.message(share));
                }
            });
        });
        let messages: Vec<Vec<Message>> = shares
            .iter()
            .map(|all| {
                all.chunks_exact(length)
                    .map(|one| verifier.message(one))
                    .collect()
            })
            .collect();
        let interpolation = Interpolation::new(&members(), 2).unwrap();
        group.bench_function(BenchmarkId::new("decide", name), |b| {
            b.iter(|| {
                let counted = (0..HOMES as usize).filter(|&home| {
                    let messages: Vec<Message> = messages.iter().map(|all| all[home]).collect();
                    interpolation
                        .open_array(&messages)
                        .is_some_and(|m| accepts(&m))
                });
                assert_eq!(counted.count(), HOMES as usize);
            });
        });
    }
}

fn envelopes(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope");
    let mut rng = StdRng::seed_from_u64(3);
    for suite in [Suite::X25519, Suite::XWing] {
        let key = EnvelopeSecretKey::generate(suite, &mut rng);
        let context = Context::new(labels::ENVELOPE_GROUP, Role::Stack, &());
        // A host with one home pays for an encapsulation alone; one with 1,000 shares it.
        for homes in [1usize, 1_000] {
            let plaintext = vec![7u8; 500 * homes];
            type Group = Sealed<reader::DataAggregator, Vec<u8>>;
            let seal = |rng: &mut StdRng| {
                Group::seal_bytes(plaintext.clone(), &key.public(), &context, rng)
            };
            let sealed = seal(&mut rng);
            group.throughput(Throughput::Elements(homes as u64));
            group.bench_function(BenchmarkId::new(format!("seal, {suite}"), homes), |b| {
                b.iter(|| seal(&mut rng));
            });
            group.bench_function(BenchmarkId::new(format!("open, {suite}"), homes), |b| {
                b.iter(|| sealed.clone().open_bytes(&key, &context).unwrap());
            });
        }
    }
}

criterion_group!(benches, homes, aggregators, envelopes);
criterion_main!(benches);
