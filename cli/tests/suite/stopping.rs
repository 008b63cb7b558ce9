//! SIGTERM in the middle of a query, and the metrics that an operator sees of a process.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    EXAMPLE, is_about,
    network::SampleNetwork,
    survival::{EVERYBODY, detach, is_exact, result, slow, until_asked},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Returns a port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

/// Turns on the metrics of a service. Returns their port.
fn watch(network: &SampleNetwork, name: &str) -> u16 {
    let port = free_port();
    let table = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n\n[node]\n");
    network.edit(&format!("{name}.toml"), &[("[node]\n", &table)]);
    port
}

#[test]
fn a_service_that_is_terminated_in_the_middle_of_a_query_ends_it_and_begins_none() {
    let mut network = slow(5000);
    let (conductor, aggregator) = (
        watch(&network, "conductor"),
        watch(&network, "data-aggregator-3"),
    );
    network.restart(&[]);

    // An aggregator finishes its query, and the next query runs without it.
    let first = detach(&network);
    until_asked(&network, &first);
    let running = r#"dispers_queries_running{role="data-aggregator",phase="aggregate"} 1"#;
    assert!(
        metrics(aggregator).contains(running),
        "{}",
        metrics(aggregator)
    );
    network.terminate("data-aggregator-3");
    network.until_logged("data-aggregator-3", "stopping: what runs may end");
    let second = detach(&network);
    let answer = result(&network, &first);
    assert_eq!(is_exact(&answer), EVERYBODY);
    assert_eq!(answer["aggregators"]["verified"], 3);
    let answer = result(&network, &second);
    assert_eq!(is_exact(&answer), EVERYBODY);
    assert_eq!(answer["aggregators"]["verified"], 2);
    let (status, log) = network.ended("data-aggregator-3");
    assert!(status.success());
    assert!(!log.contains("stopped while something ran"), "{log}");
    network.start_again("data-aggregator-3");

    // The conductor finishes its queries, and refuses the next question.
    let third = detach(&network);
    until_asked(&network, &third);
    let told = metrics(conductor);
    assert!(told.contains(r#"phase="ask"} 1"#), "{told}");
    // Both queries so far, with the noise that their statuses have.
    let name = r#"dispers_homes_answered_total{role="conductor"} "#;
    let answered = told.lines().find_map(|line| line.strip_prefix(name));
    let answered: u64 = answered.unwrap().parse().unwrap();
    assert!(
        is_about(answered / 2, EVERYBODY) || is_about(answered / 2 - 10, EVERYBODY),
        "{told}"
    );
    assert!(!told.contains(&third), "{told}");
    network.terminate("conductor");
    network.until_logged("conductor", "stopping: what runs may end");
    assert!(metrics(conductor).contains(r#"dispers_draining{role="conductor"} 1"#));
    let refused = network.query(EXAMPLE);
    assert_eq!(refused.code, Some(69), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("is stopping: try again"),
        "{}",
        refused.stderr
    );
    let (status, log) = network.ended("conductor");
    assert!(status.success());
    assert!(log.contains("query ended"), "{log}");
    assert!(!log.contains("stopped while something ran"), "{log}");
    network.start_again("conductor");
    assert_eq!(is_exact(&result(&network, &third)), EVERYBODY);
}

#[test]
fn a_service_that_is_terminated_says_what_it_cut_off_and_goes_on_after_its_next_start() {
    let mut network = slow(5000);
    let short = "[node]\ndrain-seconds = 0\n";
    network.edit("conductor.toml", &[("[node]\n", short)]);
    network.edit("host-2.toml", &[("[node]\n", short)]);
    let host = watch(&network, "host-2");
    network.restart(&[]);
    let id = detach(&network);
    until_asked(&network, &id);
    network.terminate("conductor");
    let (status, log) = network.ended("conductor");
    assert!(status.success());
    assert!(log.contains("stopped while something ran"), "{log}");
    assert!(log.contains("1 queries, 0 requests"), "{log}");
    assert!(!log.contains("query ended"), "{log}");
    network.start_again("conductor");
    assert_eq!(is_exact(&result(&network, &id)), EVERYBODY);

    // A stack that attached itself has no server, but has metrics too.
    let id = detach(&network);
    until_asked(&network, &id);
    let asked = r#"dispers_requests_running{role="stack",method="Stack/Ask"} 1"#;
    let deadline = Instant::now() + PATIENCE;
    while !metrics(host).contains(asked) {
        assert!(Instant::now() < deadline, "{}", metrics(host));
        sleep(Duration::from_millis(20));
    }
    network.terminate("host-2");
    let (status, log) = network.ended("host-2");
    assert!(status.success());
    assert!(log.contains("0 queries, 1 requests"), "{log}");
    network.start_again("host-2");
    is_exact(&result(&network, &id));
}
