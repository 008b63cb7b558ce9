//! A model as operations on a row of numbers, without the format of any runtime.

/// Operations, each on what the one before gave; the first takes the columns in the features' units.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The operations, in order.
    pub operations: Vec<Operation>,
    /// Number of values that the last operation gives.
    pub outputs: usize,
}

/// One operation. A list of numbers has one for each value, or one for all.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// The larger of the value and a number.
    Max(Vec<f64>),
    /// The smaller of the value and a number.
    Min(Vec<f64>),
    /// The value less a number.
    Subtract(Vec<f64>),
    /// The value over a number.
    Divide(Vec<f64>),
    /// The value times a number.
    Multiply(Vec<f64>),
    /// The value and a number.
    Add(Vec<f64>),
    /// Sums of all values by weight, and a constant.
    Layer {
        /// Number of values that it takes.
        inputs: usize,
        /// Weights of the inputs for each output, output by output.
        slopes: Vec<f64>,
        /// One for each output.
        constants: Vec<f64>,
    },
    /// The value, or 0 where it is below.
    Relu,
    /// 1 / (1 + e^−value).
    Sigmoid,
    /// e^value over the sum of those of all values.
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
