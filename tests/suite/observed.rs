//! Tests that metrics and traces tell nothing of a person or a question. Those of a whole query are searched for
//! planted markers.

use std::{collections::BTreeSet, time::Duration};

use dispers_base::id::Role;
use dispers_node::{TelemetryConfig, telemetry};
use dispers_testing::collector::Collector;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use crate::knowledge::{STEP, VALUE, run};

const ROLES: [Role; 7] = [
    Role::Conductor,
    Role::ConceptIndexor,
    Role::TargetFinder,
    Role::Target,
    Role::DataAggregator,
    Role::Stack,
    Role::Querier,
];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_and_traces_of_a_query_name_no_concept_home_value_or_query() {
    let (collector, address) = Collector::start().await;
    let config = TelemetryConfig {
        otlp: Some(address),
    };
    let traces = telemetry::init_with("off", false, &config, "sandbox").unwrap();

    let run = run().await;
    let (mut told, mut names) = (String::new(), Vec::new());
    for (name, role, _) in run.network.recording().unwrap().records() {
        names.push(name.to_string());
        if let Some(node) = run.network.node(name.as_str()) {
            let metrics = node.activity.metrics();
            let label = format!("{{role=\"{role}\"");
            assert!(metrics.contains(&label), "{metrics}");
            told.push_str(&metrics);
        }
    }
    for counted in [
        // 30 homes answered. The number is in steps of the cohort.
        r#"dispers_homes_answered_total{role="conductor"} 20"#,
        r#"dispers_batches_committed_total{role="data-aggregator"} 1"#,
        r#"dispers_requests_total{role="conductor",method="Conductor/Submit",code="OK"} 1"#,
        r#"dispers_queries_running{role="data-aggregator",phase="aggregate"} 0"#,
        r#"dispers_requests_total{role="stack",method="Stack/Ask",code="OK"} 1"#,
    ] {
        assert!(told.contains(counted), "{counted} is not in {told}");
    }

    // Dropping the exporter sends the rest. Traces of other tests of this process may be among them.
    drop(traces);
    let mut seen = BTreeSet::new();
    for request in collector.requests() {
        told.push_str(&format!("{request:?}"));
        let spans = request.resource_spans.iter();
        for span in spans
            .flat_map(|it| &it.scope_spans)
            .flat_map(|it| &it.spans)
        {
            for attribute in &span.attributes {
                let value = attribute.value.as_ref().unwrap().value.as_ref().unwrap();
                match (attribute.key.as_str(), value) {
                    ("role", Value::StringValue(role)) => {
                        let known = ROLES.iter().any(|known| known.name() == role);
                        assert!(known, "{span:?}");
                        seen.insert((role.clone(), span.name.clone()));
                    }
                    ("code", Value::IntValue(code)) => assert!((0..=16).contains(code)),
                    ("target", Value::StringValue(target)) => assert_eq!(target, "dispers::trace"),
                    _ => panic!("{span:?}"),
                }
            }
        }
    }
    for (role, method) in [
        ("querier", "Conductor/Submit"),
        ("conductor", "Conductor/Submit"),
        ("target-finder", "TargetFinder/Find"),
        ("target", "Target/Ask"),
        ("data-aggregator", "DataAggregator/Open"),
    ] {
        assert!(seen.contains(&(role.into(), method.into())), "{seen:?}");
    }

    let mut markers = vec![
        "illness".to_owned(),
        "marker".to_owned(),
        "income".to_owned(),
        run.query.to_string(),
    ];
    markers.extend((0..30).map(|home| (VALUE + STEP * home).to_string()));
    markers.extend(names);
    let hexadecimal =
        |bytes: &[u8]| -> String { bytes.iter().map(|b| format!("{b:02x}")).collect() };
    markers.extend(run.tags.iter().map(|tag| hexadecimal(&tag.0)));
    markers.extend(run.pseudonyms.iter().map(|it| hexadecimal(it)));
    markers.push(hexadecimal(&run.query.0));
    // A role's name is also the name of its only node.
    let roles: Vec<&str> = ROLES.iter().map(|role| role.name()).collect();
    markers.retain(|marker| !roles.contains(&marker.as_str()));
    assert!(markers.len() > 60);
    let lower = told.to_lowercase();
    for marker in markers {
        assert!(!lower.contains(&marker.to_lowercase()), "{marker}");
    }
    tokio::time::timeout(Duration::from_secs(60), run.network.stop())
        .await
        .unwrap();
}
