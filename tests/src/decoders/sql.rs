//! Decoders of the planner: any text of a querier is planned or refused.

use std::sync::LazyLock;

use dispers_base::encoding::to_bytes;
use dispers_circuit::Circuit;
use dispers_query::{
    catalogue::{Cardinality, Catalogue, Doctype, EVERY_HOME, Field, FieldKind},
    local::LocalQuery,
};
use dispers_sql::plan::{Plan, PlanLimits};

use super::{Decoder, decoded};

/// Catalogue with every kind of field, and with one and many documents per home.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let field = |name: &str, kind, range, nullable| Field {
        name: name.into(),
        kind,
        unit: String::new(),
        range,
        nullable,
    };
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
                    field("meta.end", Integer, None, false),
                ],
            },
            Doctype {
                name: "heartrate".into(),
                cardinality: Cardinality::Many,
                fields: vec![
                    field("bpm", Integer, Some((30.0, 220.0)), false),
                    field("day", Text, None, true),
                ],
            },
            Doctype {
                name: "io.cozy.bank.operations".into(),
                cardinality: Cardinality::Many,
                fields: vec![field("amount", Real, None, true)],
            },
        ],
        concepts: [EVERY_HOME, "sex>female", "sex>male", "asthma>1"]
            .map(String::from)
            .into(),
    }
});

pub(super) fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

pub(super) const DECODERS: &[Decoder] = &[Decoder {
    name: "SQL",
    accepts: |bytes| {
        let Ok(text) = str::from_utf8(bytes) else {
            return false;
        };
        match Plan::new(text, catalogue(), &PlanLimits::default()) {
            Ok(plan) => {
                let local = to_bytes(&plan.local);
                assert!(decoded::<LocalQuery>(&local).is_some());
                // A shape that is too large for one circuit is refused.
                let _ = Circuit::compile(&plan.shape);
                true
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                false
            }
        }
    },
}];
