//! The baseline: Prio3 with an envelope for each report, and its cost for an aggregator.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use dispers_base::{id::Role, labels};
use dispers_circuit::{Circuit, Row, Rows};
use dispers_crypto::envelope::{Context, EnvelopeSecretKey, Sealed, Suite, reader};
use dispers_node::rng;
use prio::{
    codec::{Encode, ParameterizedDecode},
    field::Field64,
    flp::{Flp, FlpError, Gadget, Type},
    vdaf::{
        Aggregatable, Aggregator, Client, VerifyTransition,
        prio3::{Prio3, Prio3Histogram},
        xof::XofTurboShake128,
    },
};
use rand::RngExt;

use super::contribution::Case;

const CONTEXT: &[u8] = b"dispers bench";
const KEY: [u8; 32] = [3; 32];
/// Algorithm number from the range reserved for private use.
const ALGORITHM: u32 = 0xffff_0001;

/// Proof system of Prio3 that a circuit is compared with.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Baseline {
    /// `Prio3Sum` of 8 bits.
    Sum,
    /// `Prio3Histogram` of 256 buckets, in chunks of 16.
    Histogram,
    /// Prio3 over our own circuit, for questions that no standard type covers.
    Same,
}

impl Baseline {
    /// Measures microseconds per report at one of two aggregators: the mean of both, the best of `rounds`.
    pub(crate) fn micros(
        self,
        case: &Case,
        suite: Suite,
        reports: usize,
        rounds: usize,
    ) -> anyhow::Result<f64> {
        match self {
            Self::Sum => {
                let level = case
                    .row
                    .levels
                    .first()
                    .copied()
                    .flatten()
                    .unwrap_or_default();
                measure(&Prio3::new_sum(2, 255)?, &level, suite, reports, rounds)
            }
            Self::Histogram => {
                let vdaf = Prio3Histogram::new_histogram(2, 256, 16)?;
                measure(&vdaf, &case.row.group, suite, reports, rounds)
            }
            Self::Same => {
                let same = Same {
                    rows: case.rows.clone(),
                    circuit: case.circuit.clone(),
                };
                let vdaf: Prio3<_, XofTurboShake128, 32> = Prio3::new(2, 1, ALGORITHM, same)?;
                let row = Measurement(case.row.clone());
                measure(&vdaf, &row, suite, reports, rounds)
            }
        }
    }
}

fn measure<V>(
    vdaf: &V,
    measurement: &V::Measurement,
    suite: Suite,
    reports: usize,
    rounds: usize,
) -> anyhow::Result<f64>
where
    V: Client<16> + Aggregator<32, 16, AggregationParam = ()>,
{
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let mut taken = Duration::ZERO;
        for _ in 0..reports {
            taken += report(vdaf, measurement, suite)?;
        }
        // The best of all rounds, because other work on the machine only ever adds time.
        best = best.min(taken.as_secs_f64() * 1e6 / (2.0 * reports as f64));
    }
    Ok(best)
}

/// Measures the time that both aggregators together spend on one report.
fn report<V>(vdaf: &V, measurement: &V::Measurement, suite: Suite) -> anyhow::Result<Duration>
where
    V: Client<16> + Aggregator<32, 16, AggregationParam = ()>,
{
    type Report = Sealed<reader::DataAggregator, Vec<u8>>;
    let context = Context::new(labels::ENVELOPE_GROUP, Role::Stack, &());
    let nonce: [u8; 16] = rng().random();
    let (public, inputs) = vdaf.shard(CONTEXT, measurement, &nonce)?;
    let public = public.get_encoded()?;
    let mut taken = Duration::ZERO;
    let mut states = Vec::new();
    let mut verifiers = Vec::new();
    for (place, input) in inputs.iter().enumerate() {
        let key = EnvelopeSecretKey::generate(suite, &mut rng());
        let sealed = Report::seal_bytes(input.get_encoded()?, &key.public(), &context, &mut rng());
        // Only the aggregators' work is timed. Sharding and sealing are the client's.
        let begun = Instant::now();
        let bytes = sealed.open_bytes(&key, &context)?;
        let input = V::InputShare::get_decoded_with_param(&(vdaf, place), &bytes)?;
        let public = V::PublicShare::get_decoded_with_param(vdaf, &public)?;
        let (state, verifier) =
            vdaf.verify_init(&KEY, CONTEXT, place, &(), &nonce, &public, &input)?;
        let verifier = verifier.get_encoded()?;
        taken += begun.elapsed();
        states.push(state);
        verifiers.push(verifier);
    }
    for state in states {
        let begun = Instant::now();
        let shares = verifiers
            .iter()
            .map(|bytes| V::VerifierShare::get_decoded_with_param(&state, bytes))
            .collect::<Result<Vec<_>, _>>()?;
        let message = vdaf.verifier_shares_to_message(CONTEXT, &(), shares)?;
        let VerifyTransition::Finish(output) = vdaf.verify_next(CONTEXT, state, message)? else {
            anyhow::bail!("Prio3 has one round");
        };
        vdaf.aggregate_init(&()).accumulate(&output)?;
        taken += begun.elapsed();
    }
    Ok(taken)
}

/// Our circuit as a type of Prio3.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Same {
    rows: Rows,
    circuit: Circuit,
}

#[derive(Clone)]
struct Measurement(Row);

impl Debug for Measurement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // prio asks for `Debug`. A row has none, because it holds a home's values.
        f.write_str("Measurement")
    }
}

impl Type for Same {
    type Measurement = Measurement;
    type AggregateResult = Vec<u64>;

    fn encode_measurement(&self, row: &Measurement) -> Result<Vec<Field64>, FlpError> {
        let input = self.rows.encode(Some(&row.0));
        let input = input.map_err(|error| FlpError::Encode(error.to_string()))?;
        Ok(input.iter().map(|&element| element.into()).collect())
    }

    fn truncate(&self, input: Vec<Field64>) -> Result<Vec<Field64>, FlpError> {
        let input: Vec<u64> = input.into_iter().map(u64::from).collect();
        let mut outputs = vec![0; self.output_len()];
        self.circuit.add_outputs(&input, &mut outputs);
        Ok(outputs.into_iter().map(Field64::from).collect())
    }

    fn decode_result(&self, data: &[Field64], _: usize) -> Result<Vec<u64>, FlpError> {
        Ok(data.iter().map(|&element| element.into()).collect())
    }

    fn output_len(&self) -> usize {
        self.circuit.outputs().len()
    }
}

impl Flp for Same {
    type Field = Field64;

    fn gadget(&self) -> Vec<Box<dyn Gadget<Field64>>> {
        self.rows.constraints().gadget()
    }

    fn num_gadgets(&self) -> usize {
        self.rows.constraints().num_gadgets()
    }

    fn valid(
        &self,
        gadgets: &mut Vec<Box<dyn Gadget<Field64>>>,
        input: &[Field64],
        joint_rand: &[Field64],
        num_shares: usize,
    ) -> Result<Vec<Field64>, FlpError> {
        self.rows
            .constraints()
            .valid(gadgets, input, joint_rand, num_shares)
    }

    fn input_len(&self) -> usize {
        self.rows.constraints().input_len()
    }

    fn proof_len(&self) -> usize {
        self.rows.constraints().proof_len()
    }

    fn verifier_len(&self) -> usize {
        self.rows.constraints().verifier_len()
    }

    fn joint_rand_len(&self) -> usize {
        self.rows.constraints().joint_rand_len()
    }

    fn eval_output_len(&self) -> usize {
        self.rows.constraints().eval_output_len()
    }

    fn prove_rand_len(&self) -> usize {
        self.rows.constraints().prove_rand_len()
    }
}
