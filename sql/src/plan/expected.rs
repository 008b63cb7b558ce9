//! What an answer may look like before anybody is asked: how large a contribution is, and how exact the
//! answer will be.

use rand::CryptoRng;

use super::Plan;
use crate::decode::{Table, WrongOutputs};
use dispers_circuit::{Circuit, CircuitError, Moment};
use dispers_privacy::{Noise, Privacy, PrivacyError, Rho};

/// Reason why a question cannot be explained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// The query has no circuit, or no result.
    #[error("{0}")]
    Query(String),
    /// The noise does not fit the query.
    #[error(transparent)]
    Privacy(PrivacyError),
}

/// What each column's noise does.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedError {
    /// The column.
    pub column: String,
    /// The standard error that noise gives it, of the mean group; `None` where noise drowns it.
    pub error: Option<f64>,
    /// What the value would be if homes were spread evenly over groups and ranges.
    pub value: Option<f64>,
}

/// What noise a query gets.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedNoise {
    /// The promise and how it is kept.
    pub privacy: Privacy,
    /// What it costs.
    pub cost: Rho,
    /// For the number of rows and then each moment: the standard deviation of the noise, in levels.
    pub deviations: Vec<f64>,
    /// What it does to each column.
    pub errors: Vec<ExpectedError>,
}

/// What an answer will take.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Elements of a contribution, without its proof.
    pub elements: usize,
    /// Elements that are shared: with the proof.
    pub shared: usize,
    /// Multiplications that are proved.
    pub constraints: usize,
    /// Sums that are released.
    pub outputs: usize,
    /// Number of counts of people that every aggregator reads, including those below the cohort; noisy ones with
    /// noise.
    pub counts: usize,
    /// Groups.
    pub groups: usize,
    /// Bytes that one home adds to what its stack sends, of all aggregators.
    pub bytes_per_home: usize,
    /// Homes in the mean group, if homes are spread evenly.
    pub homes_per_group: u64,
    /// The noise, if there is any.
    pub noise: Option<ExpectedNoise>,
}

impl Plan {
    /// What the answer of about `homes` homes will take, by a committee of which so many are `needed` of
    /// so many `members`.
    ///
    /// # Errors
    /// [`ExplainError`] where noise does not fit the query.
    pub fn explain(
        &self,
        privacy: Option<Privacy>,
        homes: u64,
        (needed, members): (usize, usize),
        rng: &mut impl CryptoRng,
    ) -> Result<Explanation, ExplainError> {
        let refuse = |error: CircuitError| ExplainError::Query(error.to_string());
        let circuit = Circuit::compile(&self.shape).map_err(refuse)?;
        let groups = usize::from(self.shape.groups.max(1));
        let noise = privacy.map(|privacy| {
            let sensitivities = circuit.sensitivities();
            let noise = Noise::plan(&privacy, &sensitivities, needed, members);
            let noise = noise.map_err(ExplainError::Privacy)?;
            let moments = 0..sensitivities.len();
            let errors = self.expected_errors(&circuit, homes, &noise, rng);
            Ok::<_, ExplainError>(ExpectedNoise {
                privacy,
                cost: privacy.cost(sensitivities.len()),
                deviations: moments
                    .map(|moment| noise.variance(moment).sqrt())
                    .collect(),
                errors: errors.map_err(|error| ExplainError::Query(error.to_string()))?,
            })
        });
        // All but t − 1 hold every element; each knows a contribution by an index and a tag.
        let explicit = 8 * circuit.share_len() * (members + 1 - needed);
        Ok(Explanation {
            elements: circuit.input_len(),
            shared: circuit.share_len(),
            constraints: circuit.constraint_count(),
            outputs: circuit.outputs().len(),
            counts: circuit.openings(privacy.is_some()).len(),
            groups,
            bytes_per_home: explicit + members * (4 + 16),
            homes_per_group: homes / groups as u64,
            noise: noise.transpose()?,
        })
    }

    fn expected_errors(
        &self,
        circuit: &Circuit,
        homes: u64,
        noise: &Noise,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<ExpectedError>, WrongOutputs> {
        let outputs = self.evenly(circuit, homes);
        let table: Table =
            self.decoder
                .decode_noisy(&outputs, 0, std::slice::from_ref(noise), rng)?;
        let mut errors = Vec::new();
        for (place, column) in table.columns.iter().enumerate() {
            if table.keys.contains(&place) {
                continue;
            }
            let of = table.standard_errors.iter().map(|row| row[place]);
            let known: Option<Vec<f64>> = of.collect();
            let known = known.filter(|errors| !errors.is_empty());
            let value = table.rows.first().and_then(|row| row[place].number());
            errors.push(ExpectedError {
                column: column.clone(),
                error: known.map(|known| known.iter().sum::<f64>() / known.len() as f64),
                value,
            });
        }
        Ok(errors)
    }

    /// The sums of homes that are spread evenly over groups and over every range.
    fn evenly(&self, circuit: &Circuit, homes: u64) -> Vec<Option<i128>> {
        let groups = u64::from(self.shape.groups.max(1));
        let rows = i128::from(homes / groups);
        let max = |variable: u16| i128::from(self.shape.variables[usize::from(variable)].max);
        let mut group = vec![Some(rows)];
        for moment in &self.shape.moments {
            match moment {
                Moment::Levels { variable, .. } => {
                    let levels = max(*variable) + 1;
                    let share = |level: i128| rows * (level + 1) / levels - rows * level / levels;
                    group.extend((0..levels).map(|level| Some(share(level))));
                }
                Moment::Product { factors, .. } => group.push(Some(match factors.as_slice() {
                    [] => rows,
                    [one] => rows * max(*one) / 2,
                    [one, other] if one == other => rows * max(*one) * max(*one) / 3,
                    [one, other, ..] => rows * max(*one) * max(*other) / 4,
                })),
            }
        }
        let outputs: Vec<Option<i128>> = (0..groups).flat_map(|_| group.clone()).collect();
        debug_assert_eq!(outputs.len(), circuit.outputs().len());
        outputs
    }
}
