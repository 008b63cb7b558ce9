//! `dispers bench query`: an example question, asked of up to millions of homes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use clap::Args;
use dispers_base::id::Role;
use dispers_crypto::envelope::Suite;
use dispers_querier::QueryResult;
use dispers_sandbox::{Executors, Network, Options, Synthetic};
use dispers_sql::decode::Value;
use serde_json::json;

use super::{
    Format,
    memory::{Memory, Tokens},
    process,
};
use crate::{exit::Exit, progress::Bars};

/// Mean resting heart rate of three age bands.
const QUESTION: &str = "SELECT CASE WHEN age < 25 THEN '12-24' WHEN age < 50 THEN '25-49' \
    ELSE '50-99' END AS band, COUNT(*) AS homes, AVG(clamp(heart_rate, 30, 220, 1)) AS mean \
    FROM health GROUP BY band";
const BANDS: [&str; 3] = ["12-24", "25-49", "50-99"];

#[derive(Args)]
pub(crate) struct Arguments {
    /// Homes that are asked.
    #[arg(long, default_value_t = 100_000)]
    homes: usize,
    /// Hosts that they are spread over.
    #[arg(long, default_value_t = 100)]
    hosts: usize,
    /// Data aggregators.
    #[arg(long, value_name = "N", default_value_t = 3)]
    aggregators: u8,
    /// Data aggregators that are needed for a result.
    #[arg(long, value_name = "T", default_value_t = 2)]
    threshold: u8,
    /// Homes per batch.
    #[arg(long, default_value_t = Options::default().batch_size)]
    batch_size: u32,
    /// Cipher suite of the envelopes: x-wing or x25519.
    #[arg(long, default_value_t = Suite::default())]
    suite: Suite,
    /// What the homes' documents follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// Costs of one role.
struct RoleCost {
    role: Role,
    subscribe_cpu: f64,
    query_cpu: f64,
    peak_memory: usize,
}

struct Figures {
    homes: usize,
    subscribe: Duration,
    query: Duration,
    phases_ms: Vec<(&'static str, u64)>,
    peak_memory: u64,
    roles: Vec<RoleCost>,
    bytes_per_home: BTreeMap<(Role, Role), f64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    let population = Synthetic {
        homes: arguments.homes,
        seed: arguments.seed,
    };
    let options = Options {
        synthetic: Some(population),
        hosts: arguments.hosts,
        aggregators: arguments.aggregators,
        threshold: arguments.threshold,
        batch_size: arguments.batch_size,
        suite: arguments.suite,
        meter: true,
        ..Options::default()
    };
    dispers_sandbox::check(&options, QUESTION)?;
    let memory = Memory::track();
    let (counted, tokens) = (memory.clone(), Tokens::default());
    let executors =
        Executors::start(move |role| counted.enter(role, &tokens)).map_err(Exit::other)?;
    let measured = executors.run(Role::Querier, measure(&executors, &options));
    let (figures, result) = match measured {
        Ok(measured) => measured,
        Err(exit) => {
            executors.end();
            return Err(exit);
        }
    };
    executors.end();
    let figures = Figures {
        roles: figures.roles(&memory),
        ..figures.figures
    };
    check(&population, &result)?;
    match arguments.format {
        Format::Table => table(&figures),
        Format::Json => println!("{}", object(&figures)),
    }
    Ok(())
}

/// Figures without the costs by role, which are known only when all threads have stopped.
struct Measured {
    figures: Figures,
    subscribe_cpu: BTreeMap<String, f64>,
    query_cpu: BTreeMap<String, f64>,
}

impl Measured {
    fn roles(&self, memory: &Memory) -> Vec<RoleCost> {
        let costs = memory
            .peaks()
            .into_iter()
            .map(|(role, peak_memory)| RoleCost {
                role,
                subscribe_cpu: seconds_of(role, &self.subscribe_cpu),
                query_cpu: seconds_of(role, &self.query_cpu),
                peak_memory,
            });
        costs.collect()
    }
}

/// Returns the processor time of a role, in seconds. A role whose threads used no time is not in the map.
fn seconds_of(role: Role, seconds: &BTreeMap<String, f64>) -> f64 {
    seconds.get(&role.to_string()).copied().unwrap_or_default()
}

async fn measure(
    executors: &Executors,
    options: &Options,
) -> Result<(Measured, QueryResult), Exit> {
    let mut bars = Bars::new();
    let mut network = Network::start_on(executors, options).await?;
    let begun = Instant::now();
    network
        .subscribe(options, |progress| bars.starting(progress))
        .await?;
    let subscribe = begun.elapsed();
    let subscribe_cpu = process::processor_seconds();
    // Only the query's bytes count, without those of the subscriptions.
    let before = network.hops().unwrap_or_default();
    let begun = Instant::now();
    let result = network.ask(QUESTION, None, |step| bars.step(step)).await;
    let query = begun.elapsed();
    bars.end();
    // Processor time counts from the start of the process and includes the subscriptions.
    let mut query_cpu = process::processor_seconds();
    for (name, seconds) in &mut query_cpu {
        *seconds -= subscribe_cpu.get(name).copied().unwrap_or_default();
    }
    let homes = options.synthetic.map_or(1, |population| population.homes);
    let bytes_per_home = network.hops().unwrap_or_default().into_iter();
    let bytes_per_home = bytes_per_home
        .map(|(hop, bytes)| {
            let bytes = bytes - before.get(&hop).copied().unwrap_or_default();
            (hop, bytes as f64 / homes as f64)
        })
        // Figures are printed with one decimal, where less than this would show as 0.
        .filter(|(_, bytes)| *bytes >= 0.05)
        .collect();
    network.stop().await;
    let result = result?;
    let figures = Figures {
        homes,
        subscribe,
        query,
        phases_ms: result.phases_ms.clone(),
        peak_memory: process::peak_memory(),
        roles: Vec::new(),
        bytes_per_home,
    };
    let measured = Measured {
        figures,
        subscribe_cpu,
        query_cpu,
    };
    Ok((measured, result))
}

/// Compares the answer with a plain computation over the generated homes.
fn check(population: &Synthetic, result: &QueryResult) -> Result<(), Exit> {
    let mut expected = [(0i128, 0i64); BANDS.len()];
    for home in 0..population.homes as u64 {
        let person = population.person(home);
        let band = usize::from(person.age >= 25) + usize::from(person.age >= 50);
        expected[band].0 += 1;
        expected[band].1 += person.heart_rate;
    }
    let right = result.table.rows.len() == BANDS.len()
        && result.table.rows.iter().all(|row| {
            let place = BANDS
                .iter()
                .position(|band| row.first() == Some(&Value::Text((*band).into())));
            place.is_some_and(|place| {
                let (count, sum) = expected[place];
                let mean = sum as f64 / count as f64;
                // The question is exact. Only the mean may differ, by rounding.
                row[1] == Value::Integer(count)
                    && matches!(row[2], Value::Real(real) if (real - mean).abs() < 1e-9 * mean)
            })
        });
    if right {
        return Ok(());
    }
    Err(Exit::other(anyhow::anyhow!(
        "the answer is not that of the generator: {:?} instead of {expected:?}",
        result.table.rows
    )))
}

fn table(figures: &Figures) {
    let homes = figures.homes as f64;
    let seconds = figures.query.as_secs_f64();
    println!(
        "{} homes answered in {:.1} s ({:.0} homes/s); subscribed in {:.1} s; peak memory {:.0} MiB",
        figures.homes,
        seconds,
        homes / seconds,
        figures.subscribe.as_secs_f64(),
        mib(figures.peak_memory),
    );
    let phases: Vec<String> = figures
        .phases_ms
        .iter()
        .map(|(name, ms)| format!("{name} {:.2} s", *ms as f64 / 1e3))
        .collect();
    println!("phases: {}", phases.join(", "));
    println!("role             CPU s  µs/home  (subscribing, s)  peak MiB");
    for cost in &figures.roles {
        println!(
            "{:15} {:6.1} {:8.2} {:18.1} {:9.0}",
            cost.role.to_string(),
            cost.query_cpu,
            1e6 * cost.query_cpu / homes,
            cost.subscribe_cpu,
            mib(cost.peak_memory as u64),
        );
    }
    println!("bytes per home");
    for ((from, to), bytes) in &figures.bytes_per_home {
        println!("{from} → {to}: {bytes:.1}");
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Returns the role's name as a field of JSON has it.
fn field(role: Role) -> String {
    role.to_string().replace(' ', "_")
}

fn object(figures: &Figures) -> serde_json::Value {
    let phases: serde_json::Map<_, _> = figures
        .phases_ms
        .iter()
        .map(|(name, ms)| (format!("{name}_seconds"), json!(*ms as f64 / 1e3)))
        .collect();
    let roles: serde_json::Map<_, _> = figures
        .roles
        .iter()
        .map(|cost| {
            let value = json!({
                "cpu_seconds": cost.query_cpu,
                "subscribe_cpu_seconds": cost.subscribe_cpu,
                "peak_memory_bytes": cost.peak_memory,
            });
            (field(cost.role), value)
        })
        .collect();
    let bytes: serde_json::Map<_, _> = figures
        .bytes_per_home
        .iter()
        .map(|((from, to), bytes)| (format!("{}_to_{}", field(*from), field(*to)), json!(bytes)))
        .collect();
    json!({
        "homes": figures.homes,
        "query_seconds": figures.query.as_secs_f64(),
        "subscribe_seconds": figures.subscribe.as_secs_f64(),
        "homes_per_second": figures.homes as f64 / figures.query.as_secs_f64(),
        "phases": phases,
        "peak_memory_bytes": figures.peak_memory,
        "roles": roles,
        "bytes_per_home": bytes,
    })
}
