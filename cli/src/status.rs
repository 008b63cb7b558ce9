//! Descriptions of a query's state, for people and for programs.

use dispers_base::id::Timestamp;
use dispers_querier::{Phase, Status};
use serde_json::json;

/// Returns the name of a phase.
fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Find => "find",
        Phase::Ask => "ask",
        Phase::Release => "release",
        Phase::Between => "between rounds",
        Phase::Done => "done",
        Phase::Failed => "failed",
    }
}

/// Describes the state of a query, and for each node that it waits for: since when, until when, and what
/// happens then.
pub(crate) fn lines(status: &Status, now: Timestamp) -> Vec<String> {
    let homes = &status.homes;
    let about = if status.about { "about " } else { "" };
    let mut line = format!(
        "{}: {about}{} homes targeted, {} asked, {} answered, {} accepted",
        phase(status.phase),
        homes.targeted,
        homes.asked,
        homes.answered,
        homes.accepted,
    );
    // Numbers of batches would reveal the number of homes, which is noisy here.
    if !status.about {
        let (done, batches) = (status.batches_done, status.batches);
        line.push_str(&format!("; {done} of {batches} batches done"));
    }
    let mut lines = vec![line];
    if let Some(failure) = &status.failure {
        lines.push(failure.to_string());
    }
    let missing: Vec<String> = status.missing.iter().map(ToString::to_string).collect();
    if !missing.is_empty() {
        lines.push(format!("goes on without aggregator {}", missing.join(", ")));
    }
    for wait in &status.waiting {
        lines.push(format!(
            "waits for {}, which {}, for {} s and at most {} s more; then {}",
            wait.node,
            wait.step.doing(),
            now.0.saturating_sub(wait.since.0) / 1000,
            // Rounded up, so that a wait that is not over never shows 0 seconds.
            wait.until.0.saturating_sub(now.0).div_ceil(1000),
            wait.step.then(),
        ));
    }
    lines
}

/// Describes the state of a query as a JSON object.
pub(crate) fn object(status: &Status) -> serde_json::Value {
    let homes = &status.homes;
    let waiting: Vec<_> = status
        .waiting
        .iter()
        .map(|wait| {
            json!({
                "node": wait.node.as_str(),
                "doing": wait.step.doing(),
                "since_ms": wait.since.0,
                "until_ms": wait.until.0,
                "then": wait.step.then(),
            })
        })
        .collect();
    json!({
        "phase": phase(status.phase),
        "homes": {
            "targeted": homes.targeted,
            "asked": homes.asked,
            "answered": homes.answered,
            "accepted": homes.accepted,
        },
        "about": status.about,
        "batches": status.batches,
        "batches_done": status.batches_done,
        "missing_aggregators": status.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failure": status.failure.as_ref().map(ToString::to_string),
        "waiting": waiting,
    })
}
