//! A trained model: its training, its weights, and its predictions for new documents.

use ndarray::Array1;

use super::data::{Design, Document};
use super::graph::{Graph, Operation};
use super::scores::{State, argmax};
use super::{Labels, Training};
use dispers_query::local::LocalQuery;

/// Kind of prediction that a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Number.
    Number,
    /// One of several classes.
    Class,
    /// Nearest cluster.
    Cluster,
}

/// Prediction for one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Most likely class, or nearest cluster; 0 if the model predicts a number.
    pub class: usize,
    /// Predicted number; chance of the class, or of the second class if there are two; or squared distance to the
    /// cluster, divided by the number of columns.
    pub score: f64,
}

/// A trained model.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Training that made the model.
    pub training: Training,
    /// Local query whose measures the model reads.
    pub local: LocalQuery,
    /// Scales and weights, as parameters of a round have them.
    pub state: State,
}

impl Training {
    /// Returns the kind of prediction that the model makes.
    pub fn kind(&self) -> Kind {
        match (self.family.labels(), self.label) {
            (Labels::None, _) | (_, None) => Kind::Cluster,
            (_, Some(label)) if label.classes == 0 => Kind::Number,
            _ => Kind::Class,
        }
    }

    /// Returns the range of a label that is a number; 0 to 1 for classes.
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
    /// Returns the kind of prediction that the model makes.
    pub fn kind(&self) -> Kind {
        self.training.kind()
    }

    /// Returns whether the state has as many numbers as the model needs, all of them finite.
    pub fn is_whole(&self) -> bool {
        let design = self.design();
        self.state.weights.len() == self.training.family.algorithm().weights(&design)
            && self.state.holds(design.columns())
    }

    /// Returns the mapping of documents to rows.
    pub fn design(&self) -> Design {
        Design::of(&self.training, &self.local)
    }

    /// Predicts each document. Returns `None` for a document in which a value is missing.
    pub fn predict(&self, documents: &[Document]) -> Vec<Option<Prediction>> {
        // Rows are made without a label, because documents to predict need not have one.
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

    /// Returns the model as operations on the columns in the features' units. They end in the number, the chance of the
    /// second class, or a chance for each class. Returns `None` for a model without a graph.
    pub fn graph(&self) -> Option<Graph> {
        let design = self.design();
        let algorithm = self.training.family.algorithm();
        let (own, scores) = algorithm.graph(&design, &self.state.weights)?;
        let (lows, highs): (Vec<f64>, Vec<f64>) = design.bounds().into_iter().unzip();
        let mut centres = Vec::with_capacity(lows.len());
        let mut scales = Vec::with_capacity(lows.len());
        for (column, (lo, hi)) in lows.iter().zip(&highs).enumerate() {
            // Mapping to 0 to 1 and scaling are one subtraction and one division together.
            let (mean, spread) = self.state.scale(column);
            let width = hi - lo;
            centres.push(lo + width * mean);
            scales.push(width * spread);
        }
        let mut operations = vec![
            // Values outside their bounds are moved to the ends, as in rows at homes.
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
            // Of two classes the score is always the second's, so that documents can be ranked by it.
            let place = if outputs.len() == 2 { 1 } else { class };
            Prediction {
                class,
                score: outputs[place],
            }
        }
    }
}
