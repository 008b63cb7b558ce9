//! Model as operations on a row of numbers, independent of any runtime's format.

/// Operations of a model. Each takes the output of the one before; the first takes the columns in the features' units.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// Operations, in order.
    pub operations: Vec<Operation>,
    /// Number of outputs of the last operation.
    pub outputs: usize,
}

/// Operation on the values of a row. Its numbers are one for each value, or one for all values.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Larger of the value and a number.
    Max(Vec<f64>),
    /// Smaller of the value and a number.
    Min(Vec<f64>),
    /// Value minus a number.
    Subtract(Vec<f64>),
    /// Value divided by a number.
    Divide(Vec<f64>),
    /// Value times a number.
    Multiply(Vec<f64>),
    /// Value plus a number.
    Add(Vec<f64>),
    /// Weighted sums of all values, each with a constant.
    Layer {
        /// Number of values that the layer takes.
        inputs: usize,
        /// Weights of the inputs for each output, output by output.
        slopes: Vec<f64>,
        /// Constants, one for each output.
        constants: Vec<f64>,
    },
    /// Value, or 0 if the value is below 0.
    Relu,
    /// 1 / (1 + e^−value).
    Sigmoid,
    /// e^value, divided by the sum of e^value over all values.
    Softmax,
}

impl Operation {
    /// Makes a layer from weights, outputs by inputs, the constant's weight first.
    pub(crate) fn layer(weights: &[f64], inputs: usize, outputs: usize) -> Self {
        let rows = weights.chunks(inputs + 1).take(outputs);
        Self::Layer {
            inputs,
            slopes: rows.clone().flat_map(|row| row[1..].to_vec()).collect(),
            constants: rows.map(|row| row[0]).collect(),
        }
    }
}
