//! Decoders of the planner: any text of a querier is planned or refused.

use std::sync::LazyLock;

use dispers_base::encoding::to_bytes;
use dispers_circuit::Circuit;
use dispers_query::{
    catalogue::{Catalogue, EVERY_HOME},
    local::LocalQuery,
};
use dispers_sql::plan::{Plan, PlanLimits};

use super::{Decoder, decoded};

/// Catalogue of the tests of the planner, with the concept that every home has.
static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut catalogue = dispers_testing::catalogue::catalogue();
    catalogue.concepts.push(EVERY_HOME.into());
    catalogue
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
