//! Cost of comparing a find with the stored sets of homes.
//!
//! `cargo bench -p dispers-core --bench differences`. The sets have the form in which a finder stores them.
#![allow(missing_docs, reason = "criterion's macros make items")]
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark that cannot continue must panic"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dispers_base::id::{KeyEpoch, Name, QueryId};
use dispers_core::{
    find::{Asking, Judging, KeptSet, Limits, Members, Queries, Sizes, Verdict},
    subscription::HomeTag,
    ticket::PoolSecret,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// Number of homes of a find, and of each stored set.
const HOMES: usize = 1_000_000;
const SETS: u8 = 20;

fn differences(criterion: &mut Criterion) {
    let mut rng = StdRng::seed_from_u64(1);
    let secret = PoolSecret::generate(&mut rng);
    let key = secret.member_key(&Name::new("querier").unwrap(), KeyEpoch(1));
    let sizes = Sizes::new(&secret, KeyEpoch(1), 2);
    let tags: Vec<HomeTag> = (0..HOMES * 11 / 10)
        .map(|_| {
            let mut tag = HomeTag([0; 16]);
            rng.fill_bytes(&mut tag.0);
            tag
        })
        .collect();
    // Each set differs from the find by another part of its homes.
    let stored: Vec<(KeptSet, Vec<u8>)> = (1..=SETS)
        .map(|set| {
            let start = HOMES / 10 * usize::from(set) / usize::from(SETS);
            let tags = &tags[start..start + HOMES];
            let homes = Members::new(&key, tags);
            let bytes = homes.to_bytes();
            let set = KeptSet {
                profile: [set; 32],
                fingerprint: sizes.fingerprint(tags),
                cohort: 20,
                whole: None,
                homes: Members::new(&key, []),
            };
            (set, bytes)
        })
        .collect();
    let asked = &tags[..HOMES];
    let mut group = criterion.benchmark_group("a find of a million homes");
    group.sample_size(10);
    group.bench_function("remembering its homes", |bencher| {
        bencher.iter(|| (Members::new(&key, asked), sizes.fingerprint(asked)));
    });
    let homes = Members::new(&key, asked);
    let asking = Asking {
        query: QueryId([1; 32]),
        profile: [0; 32],
        homes: &homes,
        fingerprint: sizes.fingerprint(asked),
        cohort: 20,
        most: 10_000_000,
        smallest: HOMES as u64,
    };
    let limits = Limits {
        profiles: 256,
        sets: 1024,
        homes: u64::MAX,
        refused: 50,
        queries: 1000,
    };
    group.bench_function("comparing it with twenty stored sets", |bencher| {
        bencher.iter(|| {
            let mut judging = Judging::new(&asking, &sizes, limits, Queries::default());
            for (number, (set, bytes)) in (0..).zip(&stored) {
                let homes = Members::from_bytes(black_box(bytes)).unwrap();
                assert!(judging.compare(
                    number,
                    KeptSet {
                        homes,
                        ..set.clone()
                    }
                ));
            }
            assert!(matches!(judging.decide(), Verdict::Keep(_)));
        });
    });
}

criterion_group!(benches, differences);
criterion_main!(benches);
