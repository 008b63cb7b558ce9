//! Expected figures of an answer, computed before any home is asked: the size of a contribution and the
//! accuracy of the answer.

use rand::CryptoRng;

use super::Plan;
use crate::decode::{Table, WrongOutputs};
use dispers_circuit::{Circuit, Moment, Rows};
use dispers_privacy::{Noise, Privacy, PrivacyError, Rho};

/// Reason why a query cannot be explained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// The query has no circuit, or no result.
    #[error("{0}")]
    Query(String),
    /// The noise does not fit the query.
    #[error(transparent)]
    Privacy(PrivacyError),
}

/// Effect of the noise on a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedError {
    /// Name of the column.
    pub column: String,
    /// Standard error that the noise adds, averaged over groups; `None` if the noise drowns the value.
    pub error: Option<f64>,
    /// Value if homes were spread evenly over groups and ranges.
    pub value: Option<f64>,
}

/// Noise of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedNoise {
    /// The promised privacy, and the mechanism that keeps it.
    pub privacy: Privacy,
    /// Cost to the privacy budget.
    pub cost: Rho,
    /// Standard deviation of the noise, in levels: for the number of rows, then for each moment.
    pub deviations: Vec<f64>,
    /// Effect on each column.
    pub errors: Vec<ExpectedError>,
}

/// Expected size, cost and accuracy of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// Field elements of a contribution without its proof.
    pub elements: usize,
    /// Field elements that are shared: the contribution with its proof.
    pub shared: usize,
    /// Number of multiplications that are proved.
    pub constraints: usize,
    /// Number of sums in the result.
    pub outputs: usize,
    /// Number of counts of people that every aggregator reads, including counts below the cohort. With noise
    /// these counts are noisy.
    pub counts: usize,
    /// Number of groups.
    pub groups: usize,
    /// Bytes that one home adds to the messages of its stack, for all aggregators together.
    pub bytes_per_home: usize,
    /// Homes per group, if homes are spread evenly.
    pub homes_per_group: u64,
    /// Noise, if the query has any.
    pub noise: Option<ExpectedNoise>,
}

impl Plan {
    /// Returns the expected figures of an answer from about `homes` homes, by a `needed`-of-`members`
    /// committee.
    ///
    /// # Errors
    /// [`ExplainError`] if the noise does not fit the query, or if the query has no circuit.
    pub fn explain(
        &self,
        privacy: Option<Privacy>,
        homes: u64,
        (needed, members): (usize, usize),
        rng: &mut impl CryptoRng,
    ) -> Result<Explanation, ExplainError> {
        let rows =
            Rows::compile(&self.shape).map_err(|error| ExplainError::Query(error.to_string()))?;
        let constraints = rows.constraints().count();
        let circuit = Circuit::from(rows);
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
        // t − 1 members get a seed instead of their share. All others hold every element, of 8 bytes. Each
        // member also gets an index of 4 bytes and a tag of 16 bytes.
        let explicit = 8 * circuit.share_len() * (members + 1 - needed);
        Ok(Explanation {
            elements: circuit.input_len(),
            shared: circuit.share_len(),
            constraints,
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
        let table: Table = self
            .decoder
            // The cohort is 0 here, since no count of this table belongs to a person.
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

    /// Returns the sums of homes that are spread evenly over groups and over every range.
    fn evenly(&self, circuit: &Circuit, homes: u64) -> Vec<Option<i128>> {
        let groups = u64::from(self.shape.groups.max(1));
        let rows = i128::from(homes / groups);
        let mut group = vec![Some(rows)];
        for moment in &self.shape.moments {
            match moment {
                Moment::Levels { variable, .. } => {
                    let levels = self.max_level(*variable) + 1;
                    // Differences of rounded-down parts add up to exactly `rows`.
                    group
                        .extend((0..levels).map(|level| {
                            Some(rows * (level + 1) / levels - rows * level / levels)
                        }));
                }
                Moment::Product { factors, .. } => group.push(Some(match factors.as_slice() {
                    [] => rows,
                    // For values that are uniform on [0, max], the mean is max/2, the mean square max²/3, and
                    // the mean product of two independent values max·max/4.
                    [one] => rows * self.max_level(*one) / 2,
                    [one, other] if one == other => {
                        rows * self.max_level(*one) * self.max_level(*one) / 3
                    }
                    [one, other, ..] => rows * self.max_level(*one) * self.max_level(*other) / 4,
                })),
            }
        }
        let outputs: Vec<Option<i128>> = (0..groups).flat_map(|_| group.clone()).collect();
        debug_assert_eq!(outputs.len(), circuit.outputs().len());
        outputs
    }

    fn max_level(&self, variable: u16) -> i128 {
        self.shape.variables[usize::from(variable)].max.into()
    }
}
