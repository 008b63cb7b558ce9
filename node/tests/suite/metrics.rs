//! Tests of the text that Prometheus reads.

use std::collections::BTreeMap;

use dispers_node::serve_metrics;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    network::Network,
    service::{PATIENCE, Served, call},
};

/// Returns whether a label may have this value; bounds of histograms are not looked at.
fn allowed(label: &str, value: &str) -> bool {
    let values: &[&str] = match label {
        "role" => &["conductor"],
        "direction" => &["in", "out"],
        "phase" => &["find", "ask", "release", "aggregate"],
        "code" => &["OK", "NOT_FOUND", "CANCELLED", "UNIMPLEMENTED"],
        "method" => {
            let known = dispers_proto::METHODS
                .iter()
                .any(|(_, name)| *name == value);
            return known || ["other", "Health/Check", "Health/Watch"].contains(&value);
        }
        "le" => return value == "+Inf" || value.parse::<f64>().is_ok(),
        _ => &[],
    };
    values.contains(&value)
}

/// Returns the values of all samples. Asserts that all labels have values of their closed sets.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let labels = sample.split_once('{').unwrap().1.strip_suffix('}').unwrap();
        for label in labels.split(',') {
            let (label, quoted) = label.split_once('=').unwrap();
            assert!(allowed(label, quoted.trim_matches('"')), "{line}");
        }
        samples.insert(sample, value.parse().unwrap());
    }
    samples
}

async fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn requests_are_counted_by_method_and_code_and_a_strangers_words_are_not_repeated() {
    let network = Network::new();
    let served = Served::start(&network, PATIENCE).await;
    let channel = served.channel(&network, "querier");
    let mut health = HealthClient::new(channel.clone());
    let check = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    for _ in 0..2 {
        health.check(check("")).await.unwrap();
    }
    let unknown = health.check(check("home-marker")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let path = "/city-marker.lyon.v1/query-marker";
    let unknown = call(channel.clone(), path).await;
    assert_eq!(unknown, Some(Code::Unimplemented));

    let held = tokio::spawn(call(channel, "/dispers.v1.Conductor/Totals"));
    let (_, answer) = served.arrived().await;
    served
        .until_counted(&[
            r#"dispers_requests_total{role="conductor",method="Health/Check",code="OK"} 2"#,
            r#"dispers_requests_total{role="conductor",method="Health/Check",code="NOT_FOUND"} 1"#,
            r#"dispers_requests_running{role="conductor",method="Conductor/Totals"} 1"#,
            r#"dispers_requests_running{role="conductor",method="Health/Check"} 0"#,
        ])
        .await;
    let mut query = served.activity.query();
    query.enters(dispers_node::QueryPhase::Ask);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(serve_metrics(listener, served.activity.clone()));
    let (head, text) = get(&address, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("application/openmetrics-text"), "{head}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(!text.contains("marker") && !text.contains("lyon"), "{text}");
    let samples = samples(&text);
    let of = |sample: &str| samples.get(sample).copied();
    for (sample, value) in [
        (
            r#"dispers_request_duration_seconds_count{role="conductor",method="Health/Check"}"#,
            3.0,
        ),
        (
            r#"dispers_queries_running{role="conductor",phase="find"}"#,
            0.0,
        ),
        (
            r#"dispers_queries_running{role="conductor",phase="ask"}"#,
            1.0,
        ),
        (r#"dispers_draining{role="conductor"}"#, 0.0),
        (r#"dispers_batches_committed_total{role="conductor"}"#, 0.0),
        // Two answers of one field with one byte each, after the five bytes of gRPC's own frame.
        (
            r#"dispers_message_bytes_total{role="conductor",method="Health/Check",direction="out"}"#,
            14.0,
        ),
        // Three requests, one of which names a service.
        (
            r#"dispers_message_bytes_total{role="conductor",method="Health/Check",direction="in"}"#,
            28.0,
        ),
    ] {
        assert_eq!(of(sample), Some(value), "{sample} in {text}");
    }
    let expires = of(r#"dispers_directory_expires_timestamp_seconds{role="conductor"}"#);
    assert_eq!(expires, Some(network.body.expires.0 as f64 / 1000.0));

    let (head, _) = get(&address, "/").await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");

    // A request whose caller goes away is counted too.
    held.abort();
    served
        .until_counted(&[
            r#"dispers_requests_total{role="conductor",method="Conductor/Totals",code="CANCELLED"} 1"#,
        ])
        .await;
    drop(answer);
}
