//! Perceptron: its outputs, and the steps that a home takes with it.

use ndarray::{Array2, Axis};

use super::scores::softmax;

/// Perceptron with its weights.
pub(crate) struct Network {
    /// Weights of each layer, outputs by inputs. The first weight of each output is its constant.
    layers: Vec<Array2<f64>>,
    /// Number of classes; 0 if the output is a number.
    classes: usize,
}

impl Network {
    /// Makes a network of layers with these widths, from the inputs to the outputs. Returns `None` if it needs more or
    /// fewer weights.
    pub(crate) fn of(widths: &[usize], weights: &[f64]) -> Option<Self> {
        let mut layers = Vec::with_capacity(widths.len() - 1);
        let mut rest = weights;
        for pair in widths.windows(2) {
            let (layer, after) = rest.split_at_checked((pair[0] + 1) * pair[1])?;
            layers.push(Array2::from_shape_vec((pair[1], pair[0] + 1), layer.to_vec()).ok()?);
            rest = after;
        }
        let outputs = widths.last().copied().unwrap_or(1);
        rest.is_empty().then_some(Self {
            layers,
            classes: if outputs == 1 { 0 } else { outputs },
        })
    }

    /// Returns all weights, in the order in which `of` takes them.
    pub(crate) fn weights(&self) -> Vec<f64> {
        self.layers.iter().flatten().copied().collect()
    }

    /// Returns the inputs, then the outputs of each layer, one row per document. All layers but the last end in a
    /// rectifier.
    pub(crate) fn forward(&self, inputs: &Array2<f64>) -> Vec<Array2<f64>> {
        let mut given = vec![inputs.clone()];
        for (number, layer) in self.layers.iter().enumerate() {
            let before = &given[number];
            let mut next = before.dot(&layer.view().split_at(Axis(1), 1).1.t()) + layer.column(0);
            if number + 1 < self.layers.len() {
                next.mapv_inplace(|value| value.max(0.0));
            }
            given.push(next);
        }
        given
    }

    /// Returns the derivatives of each row's loss by the last layer's outputs, and the mean loss.
    fn errors(&self, last: &Array2<f64>, labels: &[f64]) -> (Array2<f64>, f64) {
        let mut errors = last.clone();
        let mut loss = 0.0;
        for (mut row, label) in errors.axis_iter_mut(Axis(0)).zip(labels) {
            if self.classes == 0 {
                // Half of the squared error's derivative: the factor 2 is left to the length of steps.
                row[0] -= label;
                loss += row[0] * row[0];
                continue;
            }
            let chances = softmax(row.to_owned());
            // A chance of 0 would make the loss infinite.
            loss -= chances[*label as usize].max(1e-12).ln();
            row.assign(&chances);
            row[*label as usize] -= 1.0;
        }
        (errors, loss / labels.len() as f64)
    }

    /// Returns the mean loss over all rows.
    pub(crate) fn loss(&self, inputs: &Array2<f64>, labels: &[f64]) -> f64 {
        let given = self.forward(inputs);
        given.last().map_or(0.0, |last| self.errors(last, labels).1)
    }

    /// Takes one step down the gradient over all rows.
    pub(crate) fn step(&mut self, inputs: &Array2<f64>, labels: &[f64], rate: f64) {
        let given = self.forward(inputs);
        let Some(last) = given.last() else { return };
        let mut errors = self.errors(last, labels).0;
        let share = rate / labels.len() as f64;
        for number in (0..self.layers.len()).rev() {
            let before = &given[number];
            let layer = &mut self.layers[number];
            // The errors of the layer before follow from this layer's weights before the step.
            let mut back = errors.dot(&layer.view().split_at(Axis(1), 1).1);
            back.zip_mut_with(before, |error, value| {
                // Where a rectifier gives 0, it passes no slope.
                if *value <= 0.0 {
                    *error = 0.0;
                }
            });
            layer
                .column_mut(0)
                .scaled_add(-share, &errors.sum_axis(Axis(0)));
            let gradient = errors.t().dot(before);
            let mut slopes = layer.view_mut().split_at(Axis(1), 1).1;
            slopes.scaled_add(-share, &gradient);
            errors = back;
        }
    }
}
