//! Compilation of a shape to its circuit (protocol.md §7).

use std::collections::HashMap;
use std::ops::Range;

use super::Rows;
use super::sums::Sums;
use super::wires::{Builder, Wires};
use crate::{CircuitError, LinearForm, MAX_OUTPUTS, Moment, Output, Shape};

impl Rows {
    /// Compiles `shape`. Every party obtains the same circuit.
    ///
    /// # Errors
    /// [`CircuitError`] for a shape out of bounds, before anything is allocated for it.
    pub fn compile(shape: &Shape) -> Result<Self, CircuitError> {
        shape.check()?;
        let groups = shape.groups.max(1);
        let moments = shape.moments.iter();
        let per_group = 1 + moments.map(|m| shape.outputs_of(m)).sum::<usize>();
        let outputs = per_group * usize::from(groups);
        if outputs > MAX_OUTPUTS {
            return Err(CircuitError::TooManyOutputs { outputs });
        }
        // The bound on outputs comes before anything is built: a stranger's shape costs no memory (protocol.md §7).
        let mut builder = Builder::default();
        let (bits, row) = builder.groups(groups);
        let variables: Vec<Wires> = shape
            .variables
            .iter()
            .map(|variable| builder.variable(variable, &row))
            .collect();
        let sums = Sums::new(&mut builder, &variables, bits);
        let (outputs, runs) = compile_outputs(shape, &variables, sums);
        let starts = (0..outputs.len()).map(|group| group * per_group);
        let runs = starts.clone().flat_map(|start| {
            runs.iter()
                .map(move |run| start + run.start..start + run.end)
        });
        let outputs = starts.zip(outputs).flat_map(|(start, outputs)| {
            outputs.into_iter().map(move |output| Output {
                guard: start + output.guard,
                ..output
            })
        });
        Ok(Self {
            runs: runs.collect(),
            outputs: outputs.collect(),
            constraints: builder.finish()?,
            variables: variables.into_iter().map(|wires| wires.place).collect(),
            shape: shape.clone(),
        })
    }
}

/// Compiles the outputs of each group, with guards and runs as positions within the group.
fn compile_outputs(
    shape: &Shape,
    variables: &[Wires],
    mut sums: Sums<'_>,
) -> (Vec<Vec<Output>>, Vec<Range<usize>>) {
    // The first output of a group is its number of rows.
    let bits = sums.groups();
    let mut outputs: Vec<Vec<Output>> = bits
        .map(|bit| {
            let form = LinearForm::element(bit);
            vec![Output { form, guard: 0 }]
        })
        .collect();
    let mut runs = Vec::new();
    let guards = guards(shape);
    for moment in &shape.moments {
        let place = position(shape, moment);
        match moment {
            Moment::Product { present, factors } => {
                let form = sums.product(present, factors);
                let guard = guards[&present[..]];
                for (outputs, form) in outputs.iter_mut().zip(sums.split(&form)) {
                    outputs.push(Output { form, guard });
                }
            }
            Moment::Levels { variable, merged } => {
                let levels = &variables[usize::from(*variable)].levels;
                for (level, form) in levels.iter().enumerate() {
                    // A counted level guards itself, alone or in its run.
                    let guard = place + level;
                    for (outputs, form) in outputs.iter_mut().zip(sums.split(form)) {
                        outputs.push(Output { form, guard });
                    }
                }
                if *merged {
                    runs.push(place..place + levels.len());
                }
            }
        }
    }
    (outputs, runs)
}

/// Finds the counts, by the variables that are present. A count may stand after the sums that it guards, so all counts
/// are found before any output is compiled.
fn guards(shape: &Shape) -> HashMap<&[u16], usize> {
    let mut guards = HashMap::from([(&[][..], 0)]);
    for moment in &shape.moments {
        if let Moment::Product { present, factors } = moment
            && factors.is_empty()
        {
            guards.insert(&present[..], position(shape, moment));
        }
    }
    guards
}

/// Returns the position in a group of the first output of a moment.
fn position(shape: &Shape, moment: &Moment) -> usize {
    let before = shape.moments.iter().take_while(|other| *other != moment);
    1 + before.map(|other| shape.outputs_of(other)).sum::<usize>()
}
