//! Models as ONNX (onnx.ai, `onnx.proto3`).
//!
//! The input `x` has one row per document and one column per column of the model, in the features' units. A category
//! has one column for each value but the first, which is 1 where the document has that value. The output `y` is the
//! number, the chance of the second class, or a chance for each class. The model itself determines its operations
//! ([`Graph`]).

mod messages;
#[cfg(test)]
mod tests;

use anyhow::anyhow;
use dispers_training::graph::{Graph, Operation};
use prost::Message;

use super::file::ModelFile;
use messages::{
    Attribute, Dimension, Entry, GraphProto, ModelProto, Node, Operators, Shape, Tensor,
    TensorType, Type, Value,
};

/// Version of ONNX's operator set. From this version on, `Softmax` is along one axis.
const OPERATORS: i64 = 13;
/// Version of ONNX's file format.
const FORMAT: i64 = 8;
/// Type of tensor elements that are numbers of 32 bits.
const FLOAT: i32 = 1;
/// Type of an attribute that is an integer.
const INTEGER: i32 = 2;

/// Nodes and tensors of a graph. Each node takes the output of the one before.
struct Builder {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
    /// Name of the last node's output.
    last: String,
}

impl Builder {
    /// Creates a graph without nodes, which begins at the input `x`.
    fn new() -> Self {
        Self {
            nodes: Vec::new(),
            tensors: Vec::new(),
            last: "x".to_owned(),
        }
    }

    /// Adds a tensor and returns its name.
    fn tensor(&mut self, dims: &[usize], values: &[f64]) -> String {
        let name = format!("w{}", self.tensors.len());
        self.tensors.push(Tensor {
            dims: dims.iter().map(|one| *one as i64).collect(),
            data_type: FLOAT,
            float_data: values.iter().map(|value| *value as f32).collect(),
            name: name.clone(),
        });
        name
    }

    /// Adds a node that takes the output of the one before, and the tensors `others`.
    fn node(&mut self, operation: &str, others: Vec<String>, attribute: Vec<Attribute>) {
        let output = format!("v{}", self.nodes.len());
        let mut input = vec![std::mem::replace(&mut self.last, output.clone())];
        input.extend(others);
        self.nodes.push(Node {
            input,
            output: vec![output],
            op_type: operation.to_owned(),
            attribute,
        });
    }

    /// Adds an operation on each value and its own number.
    fn each(&mut self, operation: &str, values: &[f64]) {
        let tensor = self.tensor(&[values.len()], values);
        self.node(operation, vec![tensor], Vec::new());
    }

    /// Adds the nodes of an operation.
    fn operation(&mut self, operation: &Operation) {
        match operation {
            Operation::Max(values) => self.each("Max", values),
            Operation::Min(values) => self.each("Min", values),
            Operation::Subtract(values) => self.each("Sub", values),
            Operation::Divide(values) => self.each("Div", values),
            Operation::Multiply(values) => self.each("Mul", values),
            Operation::Add(values) => self.each("Add", values),
            Operation::Layer {
                inputs,
                slopes,
                constants,
            } => {
                // Slopes are stored output by output, so `Gemm` has to transpose them.
                let slopes = self.tensor(&[constants.len(), *inputs], slopes);
                let constants = self.tensor(&[constants.len()], constants);
                self.node("Gemm", vec![slopes, constants], vec![integer("transB", 1)]);
            }
            Operation::Relu => self.node("Relu", Vec::new(), Vec::new()),
            Operation::Sigmoid => self.node("Sigmoid", Vec::new(), Vec::new()),
            Operation::Softmax => self.node("Softmax", Vec::new(), vec![integer("axis", -1)]),
        }
    }
}

/// Makes an attribute that is an integer.
fn integer(name: &str, value: i64) -> Attribute {
    Attribute {
        name: name.to_owned(),
        i: value,
        kind: INTEGER,
    }
}

/// Describes an input or output with one row per document.
fn value(name: &str, columns: usize) -> Value {
    Value {
        name: name.to_owned(),
        kind: Some(Type {
            tensor: Some(TensorType {
                element: FLOAT,
                shape: Some(Shape {
                    dimension: vec![
                        Dimension {
                            value: None,
                            name: Some("documents".to_owned()),
                        },
                        Dimension {
                            value: Some(columns as i64),
                            name: None,
                        },
                    ],
                }),
            }),
        }),
    }
}

/// Encodes a model as ONNX.
///
/// # Errors
/// For a model without a graph, and for a model file that is damaged.
pub(super) fn encode(file: &ModelFile) -> anyhow::Result<Vec<u8>> {
    let graph = file.model()?.graph();
    let Graph {
        operations,
        outputs,
    } = graph.ok_or_else(|| anyhow!("this model is not written as ONNX"))?;
    let mut builder = Builder::new();
    for operation in &operations {
        builder.operation(operation);
    }
    // The output has one name, whatever the number of operations.
    if let Some(last) = builder.nodes.last_mut() {
        last.output = vec!["y".to_owned()];
    }
    let names = file.columns.iter().map(|column| column.name.as_str());
    let onnx = ModelProto {
        ir_version: FORMAT,
        producer_name: "dispers".to_owned(),
        graph: Some(GraphProto {
            node: builder.nodes,
            name: file.model.clone(),
            initializer: builder.tensors,
            input: vec![value("x", file.columns.len())],
            output: vec![value("y", outputs)],
        }),
        opset_import: vec![Operators {
            domain: String::new(),
            version: OPERATORS,
        }],
        metadata: vec![
            Entry {
                key: "columns".to_owned(),
                value: names.collect::<Vec<_>>().join("\n"),
            },
            Entry {
                key: "classes".to_owned(),
                value: file.classes.join("\n"),
            },
        ],
    };
    Ok(onnx.encode_to_vec())
}
