//! `dispers predict`: applies a model to new documents. Nothing leaves this machine.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use dispers_query::local::{LocalQuery, Node};
use dispers_stack::{Sheet, engine::Engine};
use dispers_training::{Cell, Document, Kind};
use serde_json::json;

use crate::{
    exit::Exit,
    train::{Printed, file::ModelFile},
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// A model that `dispers train --output` wrote.
    #[arg(long, value_name = "model.json")]
    model: PathBuf,
    /// The documents: a CSV file with the columns that the features read.
    #[arg(long, value_name = "FILE.csv")]
    data: PathBuf,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Printed::Table)]
    format: Printed,
}

/// Returns the names of the fields that the given measures read.
fn needed(local: &LocalQuery, measures: impl Iterator<Item = usize>) -> Vec<&str> {
    // Measures over an inner SELECT read its columns and no fields, so all fields count as needed.
    if local.inner.is_some() {
        return local.fields().collect();
    }
    let nodes = measures.flat_map(|at| local.measures[at].expr.nodes());
    let fields = nodes.filter_map(|node| match node {
        Node::Column(field) => local.fields.get(usize::from(*field)),
        _ => None,
    });
    fields.map(|field| field.name.as_str()).collect()
}

/// Runs `dispers predict`.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    let file = ModelFile::read(&arguments.model).map_err(Exit::misuse)?;
    let mut model = file.model().map_err(Exit::misuse)?;
    let sheet = Sheet::read(&arguments.data).map_err(Exit::misuse)?;
    // Every row gets a prediction, also those that the session's condition would leave out.
    model.local.filter = None;
    let local = &model.local;
    let label = model.training.label.map(|label| usize::from(label.measure));
    // The label is what the model predicts, so the file need not have it.
    let features = (0..local.measures.len()).filter(|at| Some(*at) != label);
    let missing: Vec<&str> = needed(local, features)
        .into_iter()
        .filter(|field| sheet.column(field).is_none())
        .collect();
    if !missing.is_empty() {
        return Err(Exit::misuse(anyhow!(
            "{} has no column {}, which the model's features read",
            arguments.data.display(),
            missing.join(", ")
        )));
    }
    let places: Vec<Option<usize>> = local.fields().map(|field| sheet.column(field)).collect();
    let rows = (0..sheet.len()).map(|row| {
        let values = sheet.row(row);
        let fields = places.iter().map(|place| {
            place.map_or(dispers_query::local::FieldValue::Null, |at| {
                values[at].clone()
            })
        });
        (row as u32, fields.collect())
    });
    let measured = Engine::open_in_memory().and_then(|mut engine| engine.measure(local, rows));
    // Measured rows name their place. A row without a measured document keeps NULL, and gets no prediction.
    let mut documents: Vec<Document> = vec![vec![Cell::Null; local.measures.len()]; sheet.len()];
    for (row, document) in measured.map_err(Exit::other)? {
        if let Some(place) = documents.get_mut(row as usize) {
            *place = document;
        }
    }
    let predictions = model.predict(&documents);
    let said = predictions.iter().map(|one| {
        let label = one.as_ref().map(|one| match model.kind() {
            Kind::Number => json!(one.score),
            Kind::Class => json!(file.classes.get(one.class)),
            Kind::Cluster => json!(one.class),
        });
        let score = one.as_ref().map(|one| one.score);
        json!({ "label": label, "score": score })
    });
    match arguments.format {
        Printed::Json => println!("{}", json!({ "predictions": said.collect::<Vec<_>>() })),
        Printed::Table => {
            println!("label\tscore");
            for one in said {
                println!("{}\t{}", unquoted(&one["label"]), unquoted(&one["score"]));
            }
        }
    }
    Ok(())
}

/// Formats a value for a table: a text without quotes, and nothing for null.
fn unquoted(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    }
}
