//! Models as ONNX (onnx.ai, `onnx.proto3`), the few messages that they take.
//!
//! Input `x`, one row per document and one column per column of the model, in the features' units; a category
//! is one column for each value but the first, 1 where it is that one. Output `y`: the number; the chance of the
//! second class; or a chance for each class.

use anyhow::bail;
use dispers_training::{Family, Kind};
use prost::Message;

use super::file::ModelFile;

/// Of the operators that are used; also the first that every runtime of the last years knows.
const OPERATORS: i64 = 13;
const FORMAT: i64 = 8;
const FLOAT: i32 = 1;

#[derive(Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<Operators>,
    #[prost(message, repeated, tag = "14")]
    metadata: Vec<Entry>,
}

#[derive(Message)]
struct Operators {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<Value>,
}

#[derive(Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(string, tag = "8")]
    name: String,
}

#[derive(Message)]
struct Value {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

#[derive(Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dimension: Vec<Dimension>,
}

#[derive(Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
    last: String,
}

impl Builder {
    fn tensor(&mut self, dims: &[usize], values: impl IntoIterator<Item = f64>) -> String {
        let name = format!("w{}", self.tensors.len());
        self.tensors.push(Tensor {
            dims: dims.iter().map(|one| *one as i64).collect(),
            data_type: FLOAT,
            float_data: values.into_iter().map(|value| value as f32).collect(),
            name: name.clone(),
        });
        name
    }

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

    /// Each column with its own number.
    fn each(&mut self, operation: &str, values: Vec<f64>) {
        let count = values.len();
        let tensor = self.tensor(&[count], values);
        self.node(operation, vec![tensor], Vec::new());
    }

    /// A layer: outputs by inputs, the constant's weight first.
    fn layer(&mut self, weights: &[f64], inputs: usize, outputs: usize) {
        let rows = || weights.chunks(inputs + 1);
        let slopes = rows().flat_map(|row| row[1..].to_vec()).collect::<Vec<_>>();
        let slopes = self.tensor(&[outputs, inputs], slopes);
        let constants = self.tensor(&[outputs], rows().map(|row| row[0]));
        let transposed = Attribute {
            name: "transB".to_owned(),
            i: 1,
            kind: 2,
        };
        self.node("Gemm", vec![slopes, constants], vec![transposed]);
    }
}

fn value(name: &str, columns: usize) -> Value {
    let dimension = |value, name: Option<&str>| Dimension {
        value,
        name: name.map(str::to_owned),
    };
    Value {
        name: name.to_owned(),
        kind: Some(Type {
            tensor: Some(TensorType {
                element: FLOAT,
                shape: Some(Shape {
                    dimension: vec![
                        dimension(None, Some("documents")),
                        dimension(Some(columns as i64), None),
                    ],
                }),
            }),
        }),
    }
}

/// A model in ONNX's encoding.
///
/// # Errors
/// For a model that has none here.
pub(super) fn encode(file: &ModelFile) -> anyhow::Result<Vec<u8>> {
    let model = file.model()?;
    let columns = file.columns.len();
    let (lows, highs): (Vec<f64>, Vec<f64>) = file.columns.iter().map(|c| (c.lo, c.hi)).unzip();
    let mut graph = Builder {
        last: "x".to_owned(),
        ..Builder::default()
    };
    graph.each("Max", lows.clone());
    graph.each("Min", highs.clone());
    let widths = || lows.iter().zip(&highs).map(|(lo, hi)| hi - lo);
    let mean = |place: usize| file.state.means.get(place).copied().unwrap_or(0.0);
    let spread = |place: usize| file.state.spreads.get(place).copied().unwrap_or(1.0);
    let centre = widths()
        .enumerate()
        .map(|(place, width)| lows[place] + width * mean(place));
    graph.each("Sub", centre.collect());
    graph.each(
        "Div",
        widths()
            .enumerate()
            .map(|(place, width)| width * spread(place))
            .collect(),
    );
    let weights = &file.state.weights;
    let outputs;
    match &model.training.family {
        Family::Linear | Family::Logistic { .. } | Family::Svm => {
            outputs = weights.len() / (columns + 1);
            graph.layer(weights, columns, outputs);
        }
        Family::Mlp { hidden, .. } => {
            let mut inputs = columns;
            let mut rest = &weights[..];
            outputs = file.classes.len().max(1);
            let layers = hidden
                .iter()
                .map(|width| usize::from(*width))
                .chain([outputs]);
            for (number, width) in layers.enumerate() {
                if number > 0 {
                    graph.node("Relu", Vec::new(), Vec::new());
                }
                let (of, after) = rest.split_at((inputs + 1) * width);
                graph.layer(of, inputs, width);
                (inputs, rest) = (width, after);
            }
        }
        Family::Bayes | Family::KMeans { .. } => bail!("this model is not written as ONNX"),
    }
    match (model.kind(), outputs) {
        (Kind::Number, _) => {
            let label = model.training.label.map(|label| usize::from(label.measure));
            let grid = label.and_then(|at| model.local.measures.get(at)?.quantiser);
            let (lo, hi) = grid.map_or((0.0, 1.0), |grid| (grid.lo(), grid.hi()));
            graph.each("Mul", vec![hi - lo]);
            graph.each("Add", vec![lo]);
        }
        (_, 1) => graph.node("Sigmoid", Vec::new(), Vec::new()),
        _ => {
            let axis = Attribute {
                name: "axis".to_owned(),
                i: -1,
                kind: 2,
            };
            graph.node("Softmax", Vec::new(), vec![axis]);
        }
    }
    if let Some(last) = graph.nodes.last_mut() {
        last.output = vec!["y".to_owned()];
    }
    let entry = |key: &str, value: String| Entry {
        key: key.to_owned(),
        value,
    };
    let names = file.columns.iter().map(|column| column.name.as_str());
    let onnx = ModelProto {
        ir_version: FORMAT,
        producer_name: "dispers".to_owned(),
        graph: Some(Graph {
            node: graph.nodes,
            name: file.model.clone(),
            initializer: graph.tensors,
            input: vec![value("x", columns)],
            output: vec![value("y", outputs)],
        }),
        opset_import: vec![Operators {
            domain: String::new(),
            version: OPERATORS,
        }],
        metadata: vec![
            entry("columns", names.collect::<Vec<_>>().join("\n")),
            entry("classes", file.classes.join("\n")),
        ],
    };
    Ok(onnx.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use dispers_query::catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind};
    use dispers_sql::plan::{TrainingPlan, TrainingRequest};
    use dispers_training::{Cell, Document, Model, home::State};

    use super::*;

    const FAMILIES: [(Family, &str, usize); 5] = [
        (Family::Linear, "clamp(y, -5, 15)", 4),
        (Family::Logistic { newton: false }, "y > 0", 4),
        (
            Family::Logistic { newton: false },
            "domain(kind, 'a', 'b', 'c')",
            12,
        ),
        (Family::Svm, "y > 0", 4),
        (
            Family::Mlp {
                hidden: Vec::new(),
                epochs: 1,
                rate: 0.1,
            },
            "domain(kind, 'a', 'b', 'c')",
            3 * 4 + 2 * 4 + 3 * 3,
        ),
    ];

    /// A model with weights of no meaning, of two numbers and a category of two values.
    fn model(family: &Family, label: &str, count: usize) -> (Model, TrainingPlan) {
        let field = |name: &str, kind| Field {
            name: name.into(),
            kind,
            unit: String::new(),
            range: None,
            nullable: true,
        };
        let catalogue = Catalogue {
            doctypes: vec![Doctype {
                name: "notes".into(),
                cardinality: Cardinality::One,
                fields: vec![
                    field("x", FieldKind::Real),
                    field("y", FieldKind::Real),
                    field("kind", FieldKind::Text),
                ],
            }],
            concepts: Vec::new(),
        };
        let family = match family {
            Family::Mlp { epochs, rate, .. } => Family::Mlp {
                hidden: vec![3, 2],
                epochs: *epochs,
                rate: *rate,
            },
            other => other.clone(),
        };
        let request = TrainingRequest {
            label: Some(label.into()),
            positive: None,
            features: vec![
                "clamp(x, -1, 3)".into(),
                "clamp(x * x, 0, 9)".into(),
                "domain(kind, 'u', 'v')".into(),
            ],
            from: "notes".into(),
            condition: None,
            family,
            bits: 8,
            clip: None,
            held_out: 0,
            updates: 1,
        };
        let plan = TrainingPlan::new(&request, &catalogue).unwrap();
        let model = Model {
            training: plan.training.clone(),
            local: plan.local.clone(),
            state: State {
                means: vec![0.3, 0.6, 0.5],
                spreads: vec![0.2, 0.1, 0.4],
                weights: (0..count).map(|at| (at as f64 * 1.7).sin()).collect(),
            },
        };
        assert!(model.is_whole());
        (model, plan)
    }

    /// What a runtime does with a graph, one row.
    fn run(graph: &Graph, x: Vec<f64>) -> Vec<f64> {
        let mut known: HashMap<&str, (Vec<i64>, Vec<f64>)> = HashMap::new();
        for tensor in &graph.initializer {
            assert_eq!(tensor.data_type, FLOAT);
            let size: i64 = tensor.dims.iter().product();
            assert_eq!(size as usize, tensor.float_data.len(), "{}", tensor.name);
            let values = tensor.float_data.iter().map(|value| f64::from(*value));
            known.insert(&tensor.name, (tensor.dims.clone(), values.collect()));
        }
        known.insert("x", (vec![x.len() as i64], x));
        for node in &graph.node {
            // Everything that a node reads was there before.
            let input: Vec<_> = node
                .input
                .iter()
                .map(|name| &known[name.as_str()])
                .collect();
            let values = &input[0].1;
            let each = |of: fn(f64, f64) -> f64| -> Vec<f64> {
                let other = &input[1].1;
                assert!(other.len() == values.len() || other.len() == 1);
                let other = other.iter().cycle();
                values.iter().zip(other).map(|(a, b)| of(*a, *b)).collect()
            };
            let output: Vec<f64> = match node.op_type.as_str() {
                "Max" => each(f64::max),
                "Min" => each(f64::min),
                "Sub" => each(|a, b| a - b),
                "Div" => each(|a, b| a / b),
                "Mul" => each(|a, b| a * b),
                "Add" => each(|a, b| a + b),
                "Relu" => values.iter().map(|value| value.max(0.0)).collect(),
                "Sigmoid" => values.iter().map(|v| 1.0 / (1.0 + (-v).exp())).collect(),
                "Softmax" => {
                    assert_eq!(
                        (node.attribute[0].name.as_str(), node.attribute[0].i),
                        ("axis", -1)
                    );
                    let powers: Vec<f64> = values.iter().map(|value| value.exp()).collect();
                    let sum: f64 = powers.iter().sum();
                    powers.iter().map(|power| power / sum).collect()
                }
                "Gemm" => {
                    assert_eq!(
                        (node.attribute[0].name.as_str(), node.attribute[0].i),
                        ("transB", 1)
                    );
                    let (dims, slopes) = input[1];
                    assert_eq!(dims[1] as usize, values.len());
                    let rows = slopes.chunks(values.len()).zip(&input[2].1);
                    let dot = |row: &[f64]| row.iter().zip(values).map(|(w, x)| w * x).sum::<f64>();
                    rows.map(|(row, constant)| dot(row) + constant).collect()
                }
                other => panic!("{other} is not among the operators"),
            };
            known.insert(&node.output[0], (vec![output.len() as i64], output));
        }
        known[graph.output[0].name.as_str()].1.clone()
    }

    #[test]
    fn a_graph_that_is_decoded_and_run_says_what_the_model_says() {
        for (family, label, count) in &FAMILIES {
            let (model, plan) = model(family, label, *count);
            let file = ModelFile::of_model(&model, &plan);
            let bytes = encode(&file).unwrap();
            let onnx = ModelProto::decode(&bytes[..]).unwrap();
            assert_eq!((onnx.ir_version, onnx.opset_import[0].version), (8, 13));
            assert_eq!(onnx.metadata[0].value.lines().count(), 3);
            let graph = onnx.graph.unwrap();
            assert_eq!((graph.input.len(), graph.output.len()), (1, 1));
            for (x, square, second) in [(0.5, 0.25, 0.0), (2.0, 4.0, 1.0), (-9.0, 81.0, 1.0)] {
                // The label is the first of the query's measures.
                let document: Document = [0.0, x, square, second].map(Cell::Number).into();
                let said = model.predict(&[document])[0].clone().unwrap();
                let y = run(&graph, vec![x, square, second]);
                let kind = graph.output[0].kind.as_ref().unwrap();
                let shape = kind.tensor.as_ref().unwrap().shape.as_ref().unwrap();
                assert_eq!(shape.dimension[1].value, Some(y.len() as i64));
                let ours = match y.len() {
                    1 => y[0],
                    _ => y[said.class],
                };
                assert!((ours - said.score).abs() < 1e-4, "{label}: {ours} {said:?}");
            }
        }
    }
}
