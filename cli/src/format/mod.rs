//! Output of a result: a table for people, JSON, CSV, Arrow or Parquet for programs, a bar chart for papers.

#[cfg(feature = "files")]
mod columns;
mod plot;

use std::{
    fs::File,
    io::{IsTerminal, Write, stdout},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use dispers_node::private;
use dispers_querier::QueryResult;
use dispers_sql::decode::{Table, Value};
use serde_json::{Map, Number, json};

use crate::exit::Exit;

#[cfg(not(feature = "files"))]
const NO_FILES: dispers_node::LeftOut = dispers_node::LeftOut("Arrow and Parquet");

/// How a result is printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns; what was suppressed is told on stderr.
    Table,
    /// One object with everything.
    Json,
    /// The rows only.
    Csv,
    /// An Arrow file, for pandas and R.
    Arrow,
    /// A Parquet file.
    Parquet,
}

/// Where a result goes.
#[derive(Args)]
pub(crate) struct Output {
    /// How the answer is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write the answer to a file instead of stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also draw it: bars with 95 % intervals, one panel for each number.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

impl Output {
    /// Refuses an output that could not be written. This is called before a question is asked, so that no
    /// answer that was paid for is lost.
    pub(crate) fn check(&self) -> Result<(), Exit> {
        #[cfg(not(feature = "files"))]
        if self.is_binary() {
            return Err(Exit::misuse(NO_FILES));
        }
        for path in [&self.output, &self.plot].into_iter().flatten() {
            private::check_writable(path)
                .with_context(|| format!("cannot write {}", path.display()))
                .map_err(Exit::misuse)?;
        }
        if self.is_binary() && self.output.is_none() && stdout().is_terminal() {
            return Err(Exit::misuse(anyhow!(
                "this format is not for terminals: give --output FILE"
            )));
        }
        Ok(())
    }

    fn is_binary(&self) -> bool {
        matches!(self.format, Format::Arrow | Format::Parquet)
    }

    /// Prints a result, and draws it if a plot is wanted.
    pub(crate) fn print(&self, result: &QueryResult) -> anyhow::Result<()> {
        match &self.output {
            None => write(result, self.format, &mut stdout())?,
            Some(path) => replace(path, |file| write(result, self.format, file))?,
        }
        // Remarks go to stderr, so that stdout can be piped to a program.
        tell(result);
        if let Some(path) = &self.plot {
            let drawing = plot::draw(&result.table)?;
            replace(path, |file| Ok(file.write_all(drawing.as_bytes())?))?;
        }
        Ok(())
    }
}

/// Writes a file completely or not at all.
fn replace(path: &Path, fill: impl FnOnce(&mut File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    private::replace(path, fill).with_context(|| format!("cannot write {}", path.display()))
}

fn write<W: Write + Send>(result: &QueryResult, format: Format, out: &mut W) -> anyhow::Result<()> {
    match format {
        Format::Table => table(result, out),
        Format::Json => {
            let text = serde_json::to_string(&object(result))?;
            writeln!(out, "{text}")?;
            Ok(())
        }
        Format::Csv => csv(result, out),
        #[cfg(feature = "files")]
        Format::Arrow => columns::arrow(result, out),
        #[cfg(feature = "files")]
        Format::Parquet => columns::parquet(result, out),
        #[cfg(not(feature = "files"))]
        Format::Arrow | Format::Parquet => Err(NO_FILES.into()),
    }
}

/// Prints on stderr the remarks that a reader must know to read the numbers.
fn tell(result: &QueryResult) {
    let table = &result.table;
    if !table.suppressed_groups.is_empty() {
        let count = counted(table.suppressed_groups.len(), "group is", "groups are");
        eprintln!("{count} suppressed: fewer people than the minimum cohort in each");
    }
    if !table.withheld.is_empty() {
        let count = counted(table.withheld.len(), "cell is", "cells are");
        eprintln!(
            "{count} withheld: fewer people than the minimum cohort are behind each, or would follow from it and \
             other numbers of this result"
        );
    }
    for note in &table.notes {
        eprintln!("{note}");
    }
    let aggregators = &result.aggregators;
    eprintln!(
        "{} aggregators verified every answer; {} would have to collude to learn one",
        aggregators.verified, aggregators.needed
    );
}

/// Formats a value for people, with at most four decimals.
fn short(value: &Value) -> String {
    match value {
        Value::Real(real) => {
            let text = format!("{real:.4}");
            match text.trim_end_matches('0').trim_end_matches('.') {
                // A small negative number rounds to -0.
                "" | "-0" => "0".to_owned(),
                text => text.to_owned(),
            }
        }
        value => exact(value),
    }
}

/// Formats a value such that it reads back unchanged.
fn exact(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Integer(integer) => integer.to_string(),
        // These are the fewest digits that read back as the same number.
        Value::Real(real) => real.to_string(),
        Value::Text(text) => text.clone(),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn table(result: &QueryResult, out: &mut impl Write) -> anyhow::Result<()> {
    let table = &result.table;
    let places = 0..table.columns.len();
    let cells: Vec<Vec<String>> = (0..table.rows.len())
        .map(|row| {
            let columns = places.clone();
            columns.map(|column| cell(table, row, column)).collect()
        })
        .collect();
    let layout: Vec<Layout> = places
        .map(|column| {
            let in_rows = cells.iter().map(|row| row[column].chars().count());
            let header = table.columns[column].chars().count();
            Layout {
                width: in_rows.max().unwrap_or(0).max(header),
                is_text: table
                    .rows
                    .iter()
                    .any(|row| matches!(row[column], Value::Text(_))),
            }
        })
        .collect();
    writeln!(out, "{}", line(&layout, &table.columns))?;
    let rules: Vec<String> = layout
        .iter()
        .map(|column| "-".repeat(column.width))
        .collect();
    writeln!(out, "{}", rules.join("  "))?;
    for row in &cells {
        writeln!(out, "{}", line(&layout, row))?;
    }
    Ok(())
}

/// Layout of a column of a printed table.
struct Layout {
    /// Width in characters.
    width: usize,
    /// True for a column of texts, which are aligned left. Numbers are aligned right, so that digits line up.
    is_text: bool,
}

/// Formats a line of a printed table.
fn line(layout: &[Layout], row: &[String]) -> String {
    let parts: Vec<String> = row
        .iter()
        .zip(layout)
        .map(|(cell, Layout { width, is_text })| match is_text {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        })
        .collect();
    parts.join("  ").trim_end().to_owned()
}

/// Formats a value of a printed table, with its interval or its resolution if it has one.
fn cell(table: &Table, row: usize, column: usize) -> String {
    let text = short(&table.rows[row][column]);
    let intervals = table.intervals.get(row);
    if let Some((low, high)) = intervals.and_then(|row| *row.get(column)?) {
        let (low, high) = (short(&Value::Real(low)), short(&Value::Real(high)));
        return format!("{text} [{low}, {high}]");
    }
    match table.resolutions.get(row).and_then(|row| row[column]) {
        Some(resolution) => format!("{text} ±{}", short(&Value::Real(resolution))),
        None => text,
    }
}

/// Returns whether a column of a result is noisy. In files, its interval and standard error follow it.
fn noisy(result: &QueryResult, column: usize) -> bool {
    let mut intervals = result.table.intervals.iter();
    intervals.any(|row| row.get(column).copied().flatten().is_some())
}

fn csv(result: &QueryResult, out: &mut impl Write) -> anyhow::Result<()> {
    let table = &result.table;
    let mut writer = csv::Writer::from_writer(out);
    let mut header = Vec::new();
    for (column, name) in table.columns.iter().enumerate() {
        header.push(name.clone());
        if noisy(result, column) {
            header.extend(["low", "high", "se"].map(|what| format!("{name}_{what}")));
        }
    }
    writer.write_record(&header)?;
    for (place, row) in table.rows.iter().enumerate() {
        let mut record = Vec::new();
        for (column, value) in row.iter().enumerate() {
            record.push(exact(value));
            if noisy(result, column) {
                let interval = table.intervals[place][column];
                let error = table.standard_errors[place][column];
                let bounds = [interval.map(|i| i.0), interval.map(|i| i.1), error];
                record.extend(bounds.map(|bound| bound.map_or(String::new(), |b| b.to_string())));
            }
        }
        writer.write_record(&record)?;
    }
    writer.flush()?;
    Ok(())
}

fn json_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Boolean(boolean) => json!(boolean),
        Value::Integer(integer) => match i64::try_from(*integer) {
            Ok(integer) => json!(integer),
            // JSON readers lose digits of integers beyond 64 bits. A text keeps them.
            Err(_) => json!(integer.to_string()),
        },
        Value::Real(real) => json_number(real),
        Value::Text(text) => json!(text),
    }
}

/// Converts a number. JSON has no NaN and no infinity, so these become null.
fn json_number(number: &f64) -> serde_json::Value {
    Number::from_f64(*number).map_or(serde_json::Value::Null, Into::into)
}

fn row_object(columns: &[String], row: &[Value]) -> serde_json::Value {
    let pairs = columns.iter().cloned().zip(row.iter().map(json_value));
    serde_json::Value::Object(pairs.collect::<Map<_, _>>())
}

fn object(result: &QueryResult) -> serde_json::Value {
    let table = &result.table;
    let rows: Vec<_> = table
        .rows
        .iter()
        .map(|row| row_object(&table.columns, row))
        .collect();
    let suppressed: Vec<_> = table
        .suppressed_groups
        .iter()
        .map(|group| row_object(&table.group_columns, group))
        .collect();
    let withheld: Vec<_> = table
        .withheld
        .iter()
        .map(|(row, column)| json!({"row": row, "column": column}))
        .collect();
    let phases = result.phases_ms.iter();
    let phases: Map<_, _> = phases
        .map(|(name, ms)| ((*name).to_owned(), json!(ms)))
        .collect();
    let homes = &result.homes;
    let mut object = json!({
        "query": result.query.to_string(),
        "columns": table.columns,
        "rows": rows,
        "suppressed_groups": suppressed,
        "withheld": withheld,
        "homes": {
            "targeted": homes.targeted,
            "asked": homes.asked,
            "answered": homes.answered,
            "accepted": homes.accepted,
            "rejected": homes.rejected,
        },
        "aggregators": {
            "needed": result.aggregators.needed,
            "verified": result.aggregators.verified,
        },
        "notes": table.notes,
        "phases_ms": phases,
    });
    if homes.about {
        object["homes"]["about"] = json!(true);
    }
    // These fields exist only for noisy values and for values that were read off a histogram.
    for (name, cells) in [
        (
            "intervals",
            cells(&table.columns, &table.intervals, |(low, high)| {
                json!([json_number(low), json_number(high)])
            }),
        ),
        (
            "standard_errors",
            cells(&table.columns, &table.standard_errors, json_number),
        ),
        (
            "resolutions",
            cells(&table.columns, &table.resolutions, json_number),
        ),
    ] {
        if !cells.is_empty() {
            object[name] = cells.into();
        }
    }
    object
}

/// Returns for each row an object of the columns that have a value there.
fn cells<T>(
    columns: &[String],
    rows: &[Vec<Option<T>>],
    value: impl Fn(&T) -> serde_json::Value,
) -> Vec<serde_json::Value> {
    let objects = rows.iter().map(|row| {
        let cells = columns.iter().zip(row);
        let known =
            cells.filter_map(|(column, cell)| Some((column.clone(), value(cell.as_ref()?))));
        serde_json::Value::Object(known.collect::<Map<_, _>>())
    });
    objects.collect()
}
