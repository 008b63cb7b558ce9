//! Accuracy of a noisy result, estimated by adding the same noise once more to the released sums.

use rand::CryptoRng;

use super::{Decoder, Table, Value, WrongOutputs, evaluate::evaluate, values};
use dispers_privacy::{Noise, interval};

/// Number of simulations from which intervals are estimated.
const DRAWS: usize = 1000;

impl Decoder {
    /// Decodes noisy `outputs`, with standard errors and 95 % intervals. `noise` has one entry for each
    /// committee whose sums were added up.
    ///
    /// # Errors
    /// [`WrongOutputs`] if the number of `outputs` is not that of the circuit.
    pub fn decode_noisy(
        &self,
        outputs: &[Option<i128>],
        cohort: u32,
        noise: &[Noise],
        rng: &mut impl CryptoRng,
    ) -> Result<Table, WrongOutputs> {
        let (mut table, rows) = self.table(outputs, cohort, true)?;
        let runs = self.runs(outputs);
        let columns = &self.selection.columns;
        let shape = (table.rows.len(), table.columns.len());
        let mut simulated = vec![vec![Vec::with_capacity(DRAWS); shape.1]; shape.0];
        let mut perturbed = outputs.to_vec();
        for _ in 0..DRAWS {
            for (place, (new, old)) in perturbed.iter_mut().zip(outputs).enumerate() {
                let moment = self.layout.moment_of(place);
                *new = old.map(|old| {
                    let drawn = noise
                        .iter()
                        .map(|noise| noise.draw(moment, runs[place], rng) as i128);
                    old + drawn.sum::<i128>()
                });
            }
            if let Some(model) = &self.selection.model {
                // Only the coefficients get intervals. Their standard errors describe the spread of homes and
                // not the noise.
                let fit = model.fit(&self.sums(0, &perturbed)).and_then(Result::ok);
                for (term, simulated) in simulated.iter_mut().enumerate() {
                    let coefficient = fit.as_ref().and_then(|fit| fit.coefficients[term]);
                    simulated[1].push(coefficient.map_or(f64::NAN, |(value, _)| value));
                }
            }
            for (row, simulated) in rows.iter().zip(&mut simulated) {
                let cells = values(&self.cells(row.group, &perturbed));
                for (column, simulated) in columns.iter().zip(simulated) {
                    let value = evaluate(&column.expr, &cells).value;
                    simulated.push(value.number().unwrap_or(f64::NAN));
                }
            }
        }
        note_intervals(&mut table, simulated);
        Ok(table)
    }

    /// Returns, for each output, how many outputs of the circuit were added up in it. Each of them carries
    /// noise of its own.
    fn runs(&self, outputs: &[Option<i128>]) -> Vec<usize> {
        let mut terms = vec![1; outputs.len()];
        for run in self.layout.runs() {
            let mut begun = None;
            for place in run {
                match (outputs[place], begun) {
                    (Some(_), _) => begun = Some(place),
                    (None, Some(first)) => terms[first] += 1,
                    (None, None) => {}
                }
            }
        }
        terms
    }
}

fn note_intervals(table: &mut Table, simulated: Vec<Vec<Vec<f64>>>) {
    for (place, simulated) in simulated.into_iter().enumerate() {
        let mut intervals = Vec::new();
        let mut errors = Vec::new();
        for (column, mut simulated) in simulated.into_iter().enumerate() {
            let cell = &table.rows[place][column];
            let noisy = !table.keys.contains(&column) && !simulated.is_empty();
            let value = cell.number().filter(|_| noisy);
            let of = value.and_then(|value| interval(value, &mut simulated));
            let withheld = table
                .withheld
                .iter()
                .any(|(row, name)| (*row, name) == (place, &table.columns[column]));
            let name = &table.columns[column];
            let row = place + 1;
            match (value, of) {
                (Some(value), Some((error, ..))) if error > value.abs() => {
                    table.notes.push(format!(
                        "{name} in row {row} is mostly noise (standard error {error:.4}): use a larger \
                         epsilon, closer bounds or more homes"
                    ));
                }
                (None, _) if noisy && !withheld && *cell == Value::Null => {
                    table.notes.push(format!(
                        "{name} in row {row} is NULL: there is more noise than it can be computed from"
                    ));
                }
                _ => {}
            }
            intervals.push(of.map(|(_, low, high)| (low, high)));
            errors.push(of.map(|(error, ..)| error));
        }
        table.intervals.push(intervals);
        table.standard_errors.push(errors);
    }
}
