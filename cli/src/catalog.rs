//! `dispers catalog`: the doctypes, fields and concepts that a query may use.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dispers_node::Config;
use dispers_query::catalogue::{Cardinality, Catalogue, EVERY_HOME, FieldKind};
use serde_json::json;

use crate::exit::Exit;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Any configuration file of the network.
    #[arg(long, value_name = "FILE.toml")]
    config: PathBuf,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Exit> {
    // Only the directory is read, so the configuration of any role will do.
    let directory = Config::<()>::load_any(&arguments.config)?.directory()?;
    match arguments.format {
        Format::Table => print(&directory.catalogue),
        Format::Json => println!("{}", json(&directory.catalogue)),
    }
    Ok(())
}

fn kind(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Integer => "integer",
        FieldKind::Real => "real",
        FieldKind::Text => "text",
    }
}

fn cardinality(cardinality: Cardinality) -> &'static str {
    match cardinality {
        Cardinality::One => "one",
        Cardinality::Many => "many",
    }
}

fn print(catalogue: &Catalogue) {
    for doctype in &catalogue.doctypes {
        let documents = cardinality(doctype.cardinality);
        println!("{} ({documents} per home)", doctype.name);
        for field in &doctype.fields {
            let range = field
                .range
                .map_or(String::new(), |(low, high)| format!(" {low} to {high}"));
            let unit = match field.unit.as_str() {
                "" => String::new(),
                unit => format!(" {unit}"),
            };
            let null = if field.nullable { ", may be NULL" } else { "" };
            println!("  {}: {}{range}{unit}{null}", field.name, kind(field.kind));
        }
    }
    println!("concepts");
    println!("  {EVERY_HOME}");
    for concept in &catalogue.concepts {
        println!("  {concept}");
    }
}

fn json(catalogue: &Catalogue) -> serde_json::Value {
    let doctypes: Vec<_> = catalogue
        .doctypes
        .iter()
        .map(|doctype| {
            let fields: Vec<_> = doctype
                .fields
                .iter()
                .map(|field| {
                    json!({
                        "name": field.name,
                        "type": kind(field.kind),
                        "unit": field.unit,
                        "range": field.range.map(|(low, high)| [low, high]),
                        "nullable": field.nullable,
                    })
                })
                .collect();
            json!({
                "name": doctype.name,
                "documents": cardinality(doctype.cardinality),
                "fields": fields,
            })
        })
        .collect();
    let mut concepts = vec![EVERY_HOME];
    concepts.extend(catalogue.concepts.iter().map(String::as_str));
    json!({"doctypes": doctypes, "concepts": concepts})
}
