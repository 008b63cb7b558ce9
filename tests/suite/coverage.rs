//! Tests that the 95 % intervals of noisy answers hold the exact answer as often as they say.

use std::path::Path;

use dispers_base::field;
use dispers_circuit::Circuit;
use dispers_privacy::{Noise, Privacy};
use dispers_querier::PrivacyLoss;
use dispers_query::local::FieldValue;
use dispers_sandbox::Network;
use dispers_sql::{
    decode::Value,
    plan::{Plan, PlanLimits},
};
use dispers_stack::engine::Engine;
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    options,
    plain::{documents, real},
};

const RUNS: usize = 200;
const COHORT: u32 = 20;

const SQL: &str = "SELECT CASE WHEN age < 45 THEN 'a' ELSE 'b' END AS band, COUNT(*) AS n,
    AVG(clamp(sbp, 80, 230, 1)) AS mean, SUM(clamp(age, 20, 80, 1)) AS sum,
    STDDEV(clamp(sbp, 80, 230, 1)) AS spread, COUNT(sbp) * 1.0 / COUNT(*) AS measured
    FROM nhefs GROUP BY band";

/// Returns the sums of the study, without noise.
fn sums(plan: &Plan, circuit: &Circuit) -> Vec<u64> {
    let rows = documents(Path::new("../examples/nhefs.csv"));
    let fields: Vec<&str> = plan.local.fields().collect();
    let value = |cell: Option<&String>| match cell {
        None => FieldValue::Null,
        Some(cell) => match cell.parse() {
            Ok(integer) => FieldValue::Integer(integer),
            Err(_) => cell
                .parse()
                .map_or(FieldValue::Text(cell.clone()), FieldValue::Real),
        },
    };
    let documents = (0u32..).zip(&rows).map(|(home, row)| {
        (
            home,
            fields.iter().map(|field| value(row.get(*field))).collect(),
        )
    });
    let documents: Vec<(u32, Vec<FieldValue>)> = documents.collect();
    let evaluated = Engine::open_in_memory()
        .unwrap()
        .evaluate(&plan.local, documents);
    let mut sums = vec![0; circuit.outputs().len()];
    let rng = &mut StdRng::seed_from_u64(1);
    for (_, raw) in evaluated.unwrap() {
        let row = plan.local.row(&raw, rng);
        circuit.add_outputs(
            &circuit.as_rows().unwrap().encode(row.as_ref()).unwrap(),
            &mut sums,
        );
    }
    sums
}

fn numbers(circuit: &Circuit, sums: &[u64]) -> Vec<Option<i128>> {
    let mask = circuit.mask(COHORT.into(), |guard| field::signed(sums[guard]));
    let released = mask.apply(sums);
    released.iter().map(|sum| sum.map(field::signed)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn intervals_hold_the_exact_answer_as_often_as_they_say() {
    let network = Network::start(&options(Vec::new()), |_| {}).await.unwrap();
    let limits = PlanLimits {
        max_homes: 1 << 32,
        ..PlanLimits::default()
    };
    let plan = Plan::new(SQL, &network.directory().catalogue, &limits).unwrap();
    network.stop().await;
    let circuit = Circuit::compile(&plan.shape).unwrap();
    let sums = sums(&plan, &circuit);
    let exact = plan
        .decoder
        .decode(&numbers(&circuit, &sums), COHORT)
        .unwrap();
    let sensitivities = circuit.sensitivities();
    let moments = circuit.moments_of_outputs();
    let mut rng = StdRng::seed_from_u64(7);
    for (epsilon, delta) in [(6.0, None), (4.0, Some(0.1))] {
        let privacy = Privacy::new(epsilon, delta, &sensitivities, 2, 3).unwrap();
        let noise = [Noise::plan(&privacy, &sensitivities, 2, 3).unwrap()];
        let columns = 1..exact.columns.len();
        let mut held = vec![0; exact.columns.len()];
        for _ in 0..RUNS {
            let noisy: Vec<u64> = sums
                .iter()
                .zip(&moments)
                .map(|(sum, moment)| {
                    (0..noise[0].dealers()).fold(*sum, |sum, _| {
                        let dealt = noise[0].scales()[*moment].sample(&mut rng);
                        match u64::try_from(dealt) {
                            Ok(dealt) => field::add(sum, dealt),
                            Err(_) => field::sub(sum, dealt.unsigned_abs()),
                        }
                    })
                })
                .collect();
            let numbers = numbers(&circuit, &noisy);
            let table = plan
                .decoder
                .decode_noisy(&numbers, COHORT, &noise, &mut rng)
                .unwrap();
            assert_eq!(table.rows.len(), exact.rows.len());
            for (place, row) in exact.rows.iter().enumerate() {
                for column in columns.clone() {
                    let (low, high) = table.intervals[place][column].unwrap();
                    assert!(table.standard_errors[place][column].unwrap() > 0.0);
                    let truth = real(&row[column]);
                    held[column] += usize::from(low <= truth && truth <= high);
                }
            }
        }
        for column in columns {
            let part = held[column] as f64 / (RUNS * exact.rows.len()) as f64;
            let name = &exact.columns[column];
            assert!((0.90..=0.99).contains(&part), "{name} at {epsilon}: {part}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_answer_of_a_whole_network_is_near_the_exact_one_and_says_how_near() {
    let network = Network::start(&options(Vec::new()), |_| {}).await.unwrap();
    let exact = network.ask(SQL, None, |_| {}).await.unwrap().table;
    assert_eq!(exact.intervals.len(), 0);
    for delta in [None, Some(1e-5)] {
        let epsilon = 2.0;
        let loss = Some(PrivacyLoss { epsilon, delta });
        let question = network.question(SQL, None, loss);
        let result = network.querier().ask(&question).await.unwrap();
        let mut different = 0;
        for (place, row) in result.table.rows.iter().enumerate() {
            assert_eq!(row[0], exact.rows[place][0]);
            assert_eq!(result.table.intervals[place][0], None);
            for (column, cell) in row.iter().enumerate().skip(1) {
                if *cell == Value::Null {
                    // With much noise, a spread cannot always be computed. The result says so.
                    let name = &result.table.columns[column];
                    let said = format!("{name} in row {} is NULL", place + 1);
                    assert!(
                        result
                            .table
                            .notes
                            .iter()
                            .any(|note| note.starts_with(&said))
                    );
                    continue;
                }
                let error = result.table.standard_errors[place][column].unwrap();
                let (noisy, truth) = (real(cell), real(&exact.rows[place][column]));
                assert!((noisy - truth).abs() <= 12.0 * error + 1.0);
                different += usize::from(noisy != truth);
            }
        }
        assert!(different > 3);
    }
    // A privacy loss that protects nobody is refused before any home is asked.
    for (epsilon, delta, word) in [
        (0.0, None, "epsilon must be at least"),
        (-1.0, None, "epsilon must be at least"),
        (f64::NAN, None, "epsilon must be at least"),
        (1.0, Some(0.0), "delta must be above 0"),
        (1.0, Some(1.0), "delta must be above 0"),
        (
            1.0,
            Some(0.9),
            "delta 0.9 is above the network's ceiling of 0.00001",
        ),
        (
            1e-6,
            Some(0.5),
            "delta 0.5 is above the network's ceiling of 0.00001",
        ),
    ] {
        let loss = Some(PrivacyLoss { epsilon, delta });
        let question = network.question(SQL, None, loss);
        let refused = network.querier().ask(&question).await.unwrap_err();
        assert!(
            refused.is_misuse() && refused.to_string().contains(word),
            "{refused}"
        );
    }
    let budget = network.querier().budget().await.unwrap();
    assert_eq!(budget.expenses.len(), 2);
    assert!(budget.expenses.iter().all(|expense| expense.released));
    assert_eq!(budget.expenses[0].population, budget.expenses[1].population);
    assert!(matches!(exact.rows[0][1], Value::Integer(_)));
    network.stop().await;
}
