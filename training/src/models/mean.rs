//! Mean of the label, whatever the features: the smallest model, which shows everything that a model must implement.

use dispers_base::field;
use dispers_circuit::Circuit;
use dispers_query::local::{Expr, LocalQuery, Measure, Node};
use dispers_query::quantise::{Quantiser, Step as Width};
use ndarray::Array1;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Algorithm, Steps, Vectors, Weights, require};
use crate::data::{Cell, Design, Document, Row};
use crate::fit::{Fit, FitError, Released, Settings, Step};
use crate::home::vector;
use crate::layout::{Layout, Section, Values};
use crate::scores::{State, mean};
use crate::{Family, Feature, InvalidTraining, Label, Labels, Task, Training};

/// Mean of the label.
pub(crate) struct Mean;

impl Algorithm for Mean {
    fn name(&self) -> &'static str {
        "mean"
    }

    fn labels(&self) -> Labels {
        Labels::Number
    }

    fn check(&self, label: Option<Label>) -> Result<(), InvalidTraining> {
        require(
            label.is_some_and(|label| label.classes == 0),
            "a mean needs a number",
        )
    }

    fn rounds(&self, _updates: u16) -> Vec<Task> {
        vec![Task::Update]
    }

    fn steps(&self, _design: &Design, _settings: &Settings) -> Box<dyn Steps> {
        Box::new(Self)
    }
}

impl Vectors for Mean {
    fn layout(&self, _task: Task, _design: &Design, _clip: f64) -> Layout {
        Layout::full(Section::default().centred(1, 0.0, 1.0))
    }

    fn values(
        &self,
        _task: Task,
        _design: &Design,
        _clip: f64,
        _state: &State,
        rows: &[Row],
    ) -> Option<Values> {
        Some(vec![Some(vec![mean(rows.iter().map(|row| row.label))])])
    }

    fn operations(&self, _design: &Design) -> usize {
        1
    }
}

impl Weights for Mean {
    fn weights(&self, _design: &Design) -> usize {
        1
    }

    fn predict(&self, _design: &Design, state: &State, rows: &[Row]) -> Option<Vec<Array1<f64>>> {
        let weight = *state.weights.first()?;
        Some(vec![Array1::from(vec![weight]); rows.len()])
    }
}

impl Steps for Mean {
    fn take(
        &mut self,
        released: &Released<'_>,
        state: &mut State,
        _rng: &mut StdRng,
    ) -> Result<Step, FitError> {
        state.weights = released.means.to_vec();
        Ok(Step::default())
    }
}

/// Makes a local query with a label from −10 to 30 and one feature.
fn query() -> LocalQuery {
    LocalQuery {
        doctype: "days".into(),
        fields: Vec::new(),
        inner: None,
        filter: None,
        keys: Vec::new(),
        measures: vec![measure(0, -10.0, 30.0), measure(1, 0.0, 1.0)],
        moments: Vec::new(),
    }
}

/// Makes a measure of one column, in steps of 1.
fn measure(column: u16, lo: f64, hi: f64) -> Measure {
    Measure {
        expr: Expr::new(vec![Node::Column(column)]).unwrap(),
        quantiser: Some(Quantiser::new(lo, hi, Width::Exact(1.0)).unwrap()),
        nullable: false,
        one_hot: false,
    }
}

#[test]
fn the_smallest_model_is_checked_laid_out_computed_trained_and_validated() {
    let local = query();
    let training = Training {
        features: vec![Feature::Number(1)],
        label: Some(Label {
            measure: 0,
            classes: 0,
        }),
        family: Family::Mean,
        bits: 16,
        clip: 1.0,
        held_out: 250,
        updates: 1,
        guarded: true,
    };
    training.validate(&local, 2).unwrap();
    let unlabelled = Training {
        label: None,
        ..training.clone()
    };
    assert_eq!(
        unlabelled.validate(&local, 2),
        Err(InvalidTraining::Bound("a mean needs a number"))
    );

    // The rounds and the layout of a home's vector follow from this file alone.
    assert_eq!(training.schedule(), [Task::Update, Task::Validate]);
    let design = Design::of(&training, &local);
    let homes = (0..40).map(|home| f64::from(home) / 2.0);
    let homes: Vec<Document> = homes
        .map(|label| [label, 0.5].map(Cell::Number).into())
        .collect();
    let mut rng = StdRng::seed_from_u64(1);
    let settings = Settings {
        rate: 1.0,
        momentum: 0.0,
        l2: 0.0,
        adaptive: false,
        seed: 1,
    };
    let mut fit = Fit::new(&training, &local, vec!["feature".into()], settings);
    while let Some((round, state)) = fit.next() {
        let task = training.task(round).unwrap();
        let layout = Layout::of(&training, &design, task);
        let circuit = Circuit::vector(&layout.shape()).unwrap();
        let vectors = circuit.as_vector().unwrap();
        let mut sums = vec![0; circuit.outputs().len()];
        for (number, document) in homes.iter().enumerate() {
            let out = number % 4 == 0;
            let documents = std::slice::from_ref(document);
            let row = vector(&training, &local, task, &state, out, documents, &mut rng);
            circuit.add_outputs(&vectors.encode(row.as_ref()), &mut sums);
        }
        let outputs: Vec<_> = sums.iter().map(|sum| Some(field::signed(*sum))).collect();
        fit.take(&outputs, &[]).unwrap();
    }
    // The model is the mean of 0 to 19.5 without every fourth number. Its error is measured at every fourth.
    let said = fit.model().predict(&[vec![Cell::Null, Cell::Number(0.1)]]);
    let score = said[0].as_ref().unwrap().score;
    assert!((score - 10.0).abs() < 1e-2, "{score}");
    let rmse = fit.metrics.unwrap().rmse.unwrap();
    let squares = (0..10).map(|home| (f64::from(home) * 2.0 - 10.0).powi(2));
    let expected = (squares.sum::<f64>() / 10.0).sqrt();
    assert!((rmse - expected).abs() < 1e-2, "{rmse} {expected}");
}
