//! How exact a noisy result is: the same noise is simulated on what was released.

use rand::CryptoRng;

use super::{Decoder, Row, Table, Value, WrongOutputs, evaluate::evaluate, values};
use crate::privacy::{Noise, interval};

/// Simulations of which intervals are taken.
const DRAWS: usize = 1000;

impl Decoder {
    /// The table that noisy `outputs` say, with standard errors and 95 % intervals; `noise` is that of
    /// each committee whose sums were added up.
    ///
    /// # Errors
    /// [`WrongOutputs`] if there are not as many as the circuit has.
    pub fn decode_noisy(
        &self,
        outputs: &[Option<i128>],
        cohort: u32,
        noise: &[Noise],
        rng: &mut impl CryptoRng,
    ) -> Result<Table, WrongOutputs> {
        let (mut table, rows) = self.table(outputs, cohort)?;
        let runs = self.runs(outputs);
        let columns = &self.selection.columns;
        let mut simulated = vec![vec![Vec::with_capacity(DRAWS); columns.len()]; rows.len()];
        let mut perturbed = outputs.to_vec();
        for _ in 0..DRAWS {
            for (place, (new, old)) in perturbed.iter_mut().zip(outputs).enumerate() {
                let moment = self.layout.moment_of(place);
                let drawn = |noise: &Noise| noise.draw(moment, runs[place], rng) as i128;
                *new = old.map(|old| old + noise.iter().map(drawn).sum::<i128>());
            }
            for (row, simulated) in rows.iter().zip(&mut simulated) {
                let cells = values(&self.cells(row.group, &perturbed));
                for (column, simulated) in columns.iter().zip(simulated) {
                    let value = evaluate(&column.expr, &cells).value;
                    simulated.push(number(&value).unwrap_or(f64::NAN));
                }
            }
        }
        self.note_intervals(&mut table, &rows, simulated);
        Ok(table)
    }

    fn note_intervals(&self, table: &mut Table, rows: &[Row], simulated: Vec<Vec<Vec<f64>>>) {
        for (place, simulated) in (0..rows.len()).zip(simulated) {
            let mut intervals = Vec::new();
            let mut errors = Vec::new();
            for (column, mut simulated) in simulated.into_iter().enumerate() {
                let value = number(&table.rows[place][column]);
                let known = !table.keys.contains(&column);
                let of = value
                    .filter(|_| known)
                    .and_then(|v| interval(v, &mut simulated));
                intervals.push(of.map(|(_, low, high)| (low, high)));
                errors.push(of.map(|(error, ..)| error));
            }
            table.intervals.push(intervals);
            table.standard_errors.push(errors);
        }
    }

    /// For each output, of how many the sum is that stands there.
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

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(value) => Some(*value as f64),
        Value::Real(value) => Some(*value),
        _ => None,
    }
}
