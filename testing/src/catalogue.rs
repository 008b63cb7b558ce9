//! A catalogue for tests of the planner.

use dispers_query::catalogue::{Cardinality, Catalogue, Doctype, Field, FieldKind};

/// Returns a field without a unit.
pub fn field(name: &str, kind: FieldKind, range: Option<(f64, f64)>, nullable: bool) -> Field {
    Field {
        name: name.into(),
        kind,
        unit: String::new(),
        range,
        nullable,
    }
}

/// Returns a catalogue with every kind of field, and with one and many documents per home.
pub fn catalogue() -> Catalogue {
    use FieldKind::{Integer, Real, Text};
    Catalogue {
        doctypes: vec![
            Doctype {
                name: "nhefs".into(),
                cardinality: Cardinality::One,
                fields: vec![
                    field("age", Integer, Some((25.0, 74.0)), false),
                    field("sex", Text, None, false),
                    field("sbp", Integer, Some((80.0, 230.0)), true),
                    field("weight_kg", Real, Some((30.0, 180.0)), false),
                    field("cigarettes", Integer, None, true),
                    field("order", Integer, None, false),
                    field("interval", Integer, None, false),
                    field("current_date", Text, None, false),
                    field("meta.end", Integer, None, false),
                ],
            },
            Doctype {
                name: "heartrate".into(),
                cardinality: Cardinality::Many,
                fields: vec![
                    field("bpm", Integer, Some((30.0, 220.0)), false),
                    field("day", Text, None, false),
                ],
            },
            Doctype {
                name: "io.cozy.bank.operations".into(),
                cardinality: Cardinality::Many,
                fields: vec![field("amount", Real, None, true)],
            },
        ],
        concepts: ["sex>female", "sex>male", "asthma>1"]
            .map(String::from)
            .into(),
    }
}
