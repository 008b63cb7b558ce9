//! Operations as CSV files, and the predictions of `dispers predict`.

use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{CATEGORIES, Operation};

const HEADER: [&str; 6] = [
    "home",
    "date",
    "originalBankLabel",
    "label",
    "amount",
    "category",
];

/// Writes operations to a CSV file, one a row.
///
/// # Errors
/// Names the file that cannot be written.
pub fn write(path: &Path, operations: &[Operation]) -> anyhow::Result<()> {
    write_records(path, operations).with_context(|| format!("cannot write {}", path.display()))
}

fn write_records(path: &Path, operations: &[Operation]) -> anyhow::Result<()> {
    let mut file = csv::Writer::from_path(path)?;
    file.write_record(HEADER)?;
    for one in operations {
        let record = [
            &one.home.to_string(),
            &one.date,
            &one.original,
            &one.label,
            &format!("{:.2}", one.amount),
            CATEGORIES[one.category],
        ];
        file.write_record(record)?;
    }
    // A writer that is dropped ignores errors.
    file.flush()?;
    Ok(())
}

/// Reads the operations of a CSV file.
///
/// # Errors
/// Names the file, and the row that is not an operation.
pub fn read(path: &Path) -> anyhow::Result<Vec<Operation>> {
    let mut file = csv::Reader::from_path(path).with_context(|| {
        format!(
            "cannot read {}: write it with `bank generate`",
            path.display()
        )
    })?;
    let header: Vec<String> = file.headers()?.iter().map(str::to_owned).collect();
    ensure!(
        header == HEADER,
        "{}: its columns are not {HEADER:?}",
        path.display()
    );
    let mut operations = Vec::new();
    for (number, record) in file.records().enumerate() {
        let operation = record.map_err(anyhow::Error::from);
        let operation = operation.and_then(|record| operation_of(&record));
        let operation = operation
            .with_context(|| format!("{}: row {} is no operation", path.display(), number + 1))?;
        operations.push(operation);
    }
    Ok(operations)
}

fn operation_of(record: &csv::StringRecord) -> anyhow::Result<Operation> {
    Ok(Operation {
        home: record[0].parse()?,
        date: record[1].to_owned(),
        original: record[2].to_owned(),
        label: record[3].to_owned(),
        amount: record[4].parse()?,
        category: category(&record[5]).context("this category is unknown")?,
    })
}

fn category(name: &str) -> Option<usize> {
    CATEGORIES.iter().position(|category| *category == name)
}

/// Reads the categories that `dispers predict --format json` printed, one for each operation. A prediction
/// that is not a category is `None`.
///
/// # Errors
/// Names the file if it is not the output of `dispers predict`, or has another number of operations.
pub fn predictions(path: &Path, operations: usize) -> anyhow::Result<Vec<Option<usize>>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let said: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    let said = said["predictions"].as_array();
    let said = said.with_context(|| format!("{} holds no predictions", path.display()))?;
    ensure!(
        // Predictions belong to operations by their order alone.
        said.len() == operations,
        "{} has {} predictions for {operations} operations",
        path.display(),
        said.len()
    );
    let labels = said.iter().map(|one| one["label"].as_str());
    Ok(labels.map(|label| category(label?)).collect())
}
