//! Encoded graphs that are decoded and evaluated.

use std::collections::HashMap;

use dispers_query::catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind};
use dispers_sql::plan::{TrainingPlan, TrainingRequest};
use dispers_training::{Cell, Document, Family, Model, home::State};

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

/// Makes a model with arbitrary weights, over two numbers and a category of two values.
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

/// Evaluates a graph for one row, as a runtime does.
fn run(graph: &GraphProto, x: Vec<f64>) -> Vec<f64> {
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
        // This fails if a node reads something that no node before it gives.
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
