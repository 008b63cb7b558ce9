//! A trained model: what it was trained as, its weights, and what it says of new documents.

use ndarray::Array1;

use super::data::{Design, Document};
use super::graph::{Graph, Operation};
use super::scores::{State, argmax};
use super::{Labels, Training};
use dispers_query::local::LocalQuery;

/// What a model says of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// One of several classes.
    Class,
    /// The cluster that is nearest.
    Cluster,
}

/// What a model says of one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The most likely class, or the nearest cluster; 0 of a number.
    pub class: usize,
    /// The number; the chance of the class, of two that of the second; the squared distance to the cluster for
    /// each column.
    pub score: f64,
}

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// What was trained.
    pub training: Training,
    /// What it reads of a document.
    pub local: LocalQuery,
    /// Scales and weights, as homes got them.
    pub state: State,
}

impl Training {
    /// Returns what the model says of documents.
    pub fn kind(&self) -> Kind {
        match (self.family.labels(), self.label) {
            (Labels::None, _) | (_, None) => Kind::Cluster,
            (_, Some(label)) if label.classes == 0 => Kind::Number,
            _ => Kind::Class,
        }
    }

    /// Returns the range of a label that is a number; 0 and 1 of classes.
    pub(crate) fn label_range(&self, local: &LocalQuery) -> (f64, f64) {
        let label = self.label.map(|label| usize::from(label.measure));
        let measure = label.and_then(|number| local.measures.get(number));
        let grid = measure.and_then(|measure| measure.quantiser);
        match (self.kind(), grid) {
            (Kind::Number, Some(grid)) => (grid.lo(), grid.hi()),
            _ => (0.0, 1.0),
        }
    }
}

impl Model {
    /// Returns what the model says.
    pub fn kind(&self) -> Kind {
        self.training.kind()
    }

    /// Returns whether there are as many numbers as the model has, and all are finite.
    pub fn is_whole(&self) -> bool {
        let design = self.design();
        self.state.weights.len() == self.training.family.algorithm().weights(&design)
            && self.state.holds(design.columns())
    }

    /// Returns how documents become rows.
    pub fn design(&self) -> Design {
        Design::of(&self.training, &self.local)
    }

    /// Returns what the model says of each document; `None` where a value is missing.
    pub fn predict(&self, documents: &[Document]) -> Vec<Option<Prediction>> {
        // The label is what is asked: documents need not have it.
        let unlabelled = Training {
            label: None,
            ..self.training.clone()
        };
        let (design, bare) = (self.design(), Design::of(&unlabelled, &self.local));
        let range = self.training.label_range(&self.local);
        let algorithm = self.training.family.algorithm();
        let predictions = documents.iter().map(|document| {
            let row = bare.row(document)?;
            let outputs = algorithm.predict(&design, &self.state, &[row])?;
            Some(prediction(self.kind(), outputs.first()?, range))
        });
        predictions.collect()
    }

    /// Returns the model as operations on the columns in the features' units: the number, the chance of the second
    /// class, or a chance for each class. Returns `None` for a model that has no such graph.
    pub fn graph(&self) -> Option<Graph> {
        let design = self.design();
        let algorithm = self.training.family.algorithm();
        let (own, scores) = algorithm.graph(&design, &self.state.weights)?;
        let (lows, highs): (Vec<f64>, Vec<f64>) = design.bounds().into_iter().unzip();
        let mut centres = Vec::with_capacity(lows.len());
        let mut scales = Vec::with_capacity(lows.len());
        for (column, (lo, hi)) in lows.iter().zip(&highs).enumerate() {
            let (mean, spread) = self.state.scale(column);
            let width = hi - lo;
            centres.push(lo + width * mean);
            scales.push(width * spread);
        }
        let mut operations = vec![
            Operation::Max(lows),
            Operation::Min(highs),
            Operation::Subtract(centres),
            Operation::Divide(scales),
        ];
        operations.extend(own);
        match (self.kind(), scores) {
            (Kind::Number, _) => {
                let (lo, hi) = self.training.label_range(&self.local);
                operations.push(Operation::Multiply(vec![hi - lo]));
                operations.push(Operation::Add(vec![lo]));
            }
            (_, 1) => operations.push(Operation::Sigmoid),
            _ => operations.push(Operation::Softmax),
        }
        Some(Graph {
            operations,
            outputs: scores,
        })
    }
}

/// Makes the prediction from a model's outputs for one document. `range` is that of a label that is a number.
fn prediction(kind: Kind, outputs: &Array1<f64>, range: (f64, f64)) -> Prediction {
    match kind {
        Kind::Number => {
            let (lo, hi) = range;
            Prediction {
                class: 0,
                score: lo + (hi - lo) * outputs[0],
            }
        }
        Kind::Cluster => Prediction {
            class: outputs[0] as usize,
            score: outputs[1],
        },
        Kind::Class => {
            let class = argmax(outputs);
            let place = if outputs.len() == 2 { 1 } else { class };
            Prediction {
                class,
                score: outputs[place],
            }
        }
    }
}
