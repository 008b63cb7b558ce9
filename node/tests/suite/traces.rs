//! Tests of traces over OTLP, which a collector in the test takes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dispers_base::id::Role;
use dispers_node::{Channels, TelemetryConfig, telemetry};
use dispers_testing::collector::Collector;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    network::Network,
    service::{PATIENCE, Served, node},
};

/// Returns all spans of a collector. Asserts that they have no attributes but the allowed ones.
fn spans(collector: &Collector) -> Vec<Span> {
    let mut spans = Vec::new();
    let requests = collector.requests();
    for resource in requests.iter().flat_map(|it| &it.resource_spans) {
        let told = &resource.resource.as_ref().unwrap().attributes;
        let told: Vec<_> = told.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(told, ["service.name"]);
        for span in resource.scope_spans.iter().flat_map(|it| &it.spans) {
            let told: BTreeSet<_> = span.attributes.iter().map(|it| it.key.as_str()).collect();
            assert!(
                told.is_subset(&["role", "code", "target"].into()),
                "{told:?}"
            );
            assert!(span.events.is_empty() && span.links.is_empty(), "{span:?}");
            spans.push(span.clone());
        }
    }
    spans
}

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_from_node_to_node_but_not_with_a_host() {
    let network = Network::new();
    let served = Served::start(&network, PATIENCE).await;
    let (collector, address) = Collector::start().await;
    let config = TelemetryConfig {
        otlp: Some(address),
    };
    let traces = telemetry::init_with("off", false, &config, "conductor").unwrap();

    let key = network.keys("c").tls.key();
    for (client, role) in [("da1", Role::DataAggregator), ("host", Role::Stack)] {
        let channels = Channels::new(Arc::new(node(&network, client, role)));
        let channel = channels.to(&served.address.to_string(), key).unwrap();
        let service = "home-marker".to_owned();
        let asked = HealthClient::new(channel)
            .check(HealthCheckRequest { service })
            .await;
        assert!(asked.is_err());
        tracing::info!(
            query = "query-marker",
            "a line of the log is no part of a trace"
        );
    }
    served
        .until_counted(&[
            r#"dispers_requests_total{role="conductor",method="Health/Check",code="NOT_FOUND"} 2"#,
        ])
        .await;
    // This sends the remaining traces.
    drop(traces);

    let spans = spans(&collector);
    let mine: Vec<&Span> = spans
        .iter()
        .filter(|span| span.name == "Health/Check")
        .collect();
    let of_role = |span: &Span| {
        let role = span.attributes.iter().find(|it| it.key == "role");
        format!("{:?}", role.unwrap().value)
    };
    let mut clients: BTreeMap<&str, &Span> = BTreeMap::new();
    for span in mine.iter().filter(|span| span.kind == CLIENT) {
        if of_role(span).contains("\"data-aggregator\"") {
            clients.insert("da1", span);
        } else if of_role(span).contains("\"stack\"") {
            clients.insert("host", span);
        }
    }
    assert_eq!(clients.len(), 2, "{mine:?}");
    let continues = |client: &Span| {
        let server = mine.iter().find(|span| {
            span.kind == SERVER
                && span.trace_id == client.trace_id
                && span.parent_span_id == client.span_id
        });
        server.is_some()
    };
    assert!(continues(clients["da1"]));
    assert!(!continues(clients["host"]));
    let of_host = &clients["host"].trace_id;
    assert_eq!(
        mine.iter().filter(|span| &span.trace_id == of_host).count(),
        1
    );

    let told = format!("{:?}", collector.requests());
    assert!(!told.contains("marker"), "{told}");
}
