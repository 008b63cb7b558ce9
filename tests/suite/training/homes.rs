//! A session without a network: the homes' vectors are computed and added up in one process.

use std::path::Path;

use dispers_base::field;
use dispers_circuit::{Circuit, VectorRow};
use dispers_query::{
    catalogue::{Catalogue, FieldKind},
    local::FieldValue,
};
use dispers_sql::plan::{TrainingPlan, TrainingRequest};
use dispers_stack::engine::Engine;
use dispers_training::{
    Design, Document, Layout, Model, Task, Training,
    fit::{Fit, FitError, Settings},
    home::vector,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::plain;

/// Smallest number of homes of a section that is released.
const COHORT: i128 = 10;

/// Homes of a CSV file.
pub(crate) struct Homes {
    pub(crate) catalogue: Catalogue,
    pub(crate) documents: Vec<Vec<plain::Document>>,
}

impl Homes {
    /// Reads the homes of the sample data, with one document each.
    pub(crate) fn of_sample() -> Self {
        let options = dispers_sandbox::Options::default();
        let (catalogue, count) = dispers_sandbox::catalogue(&options).unwrap();
        let documents = plain::documents(Path::new("../examples/nhefs.csv"));
        assert_eq!(documents.len(), count);
        Self {
            catalogue,
            documents: documents.into_iter().map(|one| vec![one]).collect(),
        }
    }

    /// Reads the homes of a CSV file, which `column` identifies.
    pub(crate) fn of_file(path: &Path, column: &str) -> Self {
        let options = dispers_sandbox::Options {
            data: vec![path.to_owned()],
            home_column: Some(column.to_owned()),
            ..dispers_sandbox::Options::default()
        };
        Self {
            catalogue: dispers_sandbox::catalogue(&options).unwrap().0,
            documents: plain::by_home(plain::documents(path), column),
        }
    }

    pub(crate) fn plan(&self, request: &TrainingRequest) -> TrainingPlan {
        TrainingPlan::new(request, &self.catalogue).unwrap()
    }

    /// Returns the measured documents of each home.
    pub(crate) fn measured(&self, plan: &TrainingPlan) -> Vec<Vec<Document>> {
        let value = |document: &plain::Document, name: &str, kind| {
            let cell = document.get(name);
            cell.map_or(FieldValue::Null, |cell| match kind {
                FieldKind::Text => FieldValue::Text(cell.clone()),
                _ => FieldValue::Real(cell.parse().unwrap()),
            })
        };
        let rows = self.documents.iter().enumerate().flat_map(|(home, all)| {
            all.iter().map(move |document| {
                let fields = plan.local.fields.iter();
                let values = fields.map(|field| value(document, &field.name, field.kind));
                (home as u32, values.collect())
            })
        });
        let mut engine = Engine::open_in_memory().unwrap();
        let mut homes = vec![Vec::new(); self.documents.len()];
        for (home, document) in engine.measure(&plan.local, rows).unwrap() {
            homes[home as usize].push(document);
        }
        homes
    }
}

/// Returns the values that the network releases for the homes' vectors.
pub(crate) fn released(
    circuit: &Circuit,
    rows: impl IntoIterator<Item = Option<VectorRow>>,
) -> Vec<Option<i128>> {
    let mut sums = vec![0; circuit.outputs().len()];
    for row in rows {
        circuit.add_outputs(
            &circuit.as_vector().unwrap().encode(row.as_ref()),
            &mut sums,
        );
    }
    let mask = circuit.mask(COHORT, |output| field::signed(sums[output]));
    let shown = mask.apply(&sums).into_iter();
    shown.map(|sum| sum.map(field::signed)).collect()
}

/// Compiles the circuit of a round.
pub(crate) fn circuit(plan: &TrainingPlan, task: Task) -> Circuit {
    let design = Design::of(&plan.training, &plan.local);
    let shape = Layout::of(&plan.training, &design, task).shape();
    Circuit::vector(&shape).unwrap()
}

/// Trains over homes; every fifth is held out if any is. `change` may change each vector before it is added.
pub(crate) fn train_with(
    plan: &TrainingPlan,
    homes: &[Vec<Document>],
    settings: &Settings,
    mut change: impl FnMut(u16, usize, &mut Option<VectorRow>),
) -> Result<Fit, FitError> {
    let mut rng = StdRng::seed_from_u64(7);
    let Training { held_out, .. } = plan.training;
    let mut fit = Fit::new(
        &plan.training,
        &plan.local,
        plan.names.clone(),
        settings.clone(),
    );
    while let Some((round, state)) = fit.next() {
        let task = plan.training.task(round).unwrap();
        let rows = homes.iter().enumerate().map(|(number, documents)| {
            let out = held_out > 0 && number % 5 == 0;
            let (training, local) = (&plan.training, &plan.local);
            let mut row = vector(training, local, task, &state, out, documents, &mut rng);
            change(round, number, &mut row);
            row
        });
        let outputs = released(&circuit(plan, task), rows);
        fit.take(&outputs, &[])?;
    }
    Ok(fit)
}

pub(crate) fn train(plan: &TrainingPlan, homes: &[Vec<Document>], settings: &Settings) -> Fit {
    train_with(plan, homes, settings, |_, _, _| {}).unwrap()
}

/// Returns the model's class and the label of each document that has both.
pub(crate) fn said(model: &Model, homes: &[Vec<Document>]) -> Vec<(f64, f64)> {
    let documents: Vec<Document> = homes.iter().flatten().cloned().collect();
    let label = model.training.label.unwrap().measure;
    let said = model.predict(&documents).into_iter().zip(&documents);
    said.filter_map(|(said, document)| {
        let dispers_training::Cell::Number(label) = document[usize::from(label)] else {
            return None;
        };
        Some((said?.class as f64, label))
    })
    .collect()
}

/// Returns the share of documents whose class is right.
pub(crate) fn accuracy(said: &[(f64, f64)]) -> f64 {
    let right = said.iter().filter(|(said, label)| said == label).count();
    right as f64 / said.len() as f64
}
