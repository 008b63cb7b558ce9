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
    let cannot = || format!("cannot write {}", path.display());
    let mut file = csv::Writer::from_path(path).with_context(cannot)?;
    file.write_record(HEADER).with_context(cannot)?;
    for one in operations {
        let record = [
            &one.home.to_string(),
            &one.date,
            &one.original,
            &one.label,
            &format!("{:.2}", one.amount),
            CATEGORIES[one.category],
        ];
        file.write_record(record).with_context(cannot)?;
    }
    file.flush().with_context(cannot)
}

/// Reads the operations of a CSV file.
///
/// # Errors
/// Names the file, and the row that is not an operation.
pub fn read(path: &Path) -> anyhow::Result<Vec<Operation>> {
    let cannot = || {
        format!(
            "cannot read {}: write it with `bank generate`",
            path.display()
        )
    };
    let mut file = csv::Reader::from_path(path).with_context(cannot)?;
    let header: Vec<String> = file.headers()?.iter().map(str::to_owned).collect();
    ensure!(
        header == HEADER,
        "{}: its columns are not {HEADER:?}",
        path.display()
    );
    let mut operations = Vec::new();
    for (number, record) in file.records().enumerate() {
        let wrong = || format!("{}: row {} is no operation", path.display(), number + 1);
        let record = record.with_context(wrong)?;
        let category = CATEGORIES.iter().position(|name| *name == &record[5]);
        operations.push(Operation {
            home: record[0].parse().with_context(wrong)?,
            date: record[1].to_owned(),
            original: record[2].to_owned(),
            label: record[3].to_owned(),
            amount: record[4].parse().with_context(wrong)?,
            category: category.with_context(wrong)?,
        });
    }
    Ok(operations)
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
    let category = |one: &Value| {
        let name = one["label"].as_str()?;
        CATEGORIES.iter().position(|category| *category == name)
    };
    Ok(said.iter().map(category).collect())
}
