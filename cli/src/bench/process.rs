//! Figures that the system keeps on this process: processor time of its threads, peak memory.

use std::{collections::BTreeMap, fs};

/// Ticks per second of the processor times that Linux shows to programs. It is fixed and independent of the
/// kernel's own clock.
const TICKS: f64 = 100.0;

/// Returns the processor time so far, in seconds, by name of thread. Empty where there is no `/proc`.
pub(crate) fn processor_seconds() -> BTreeMap<String, f64> {
    let mut seconds = BTreeMap::new();
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return seconds;
    };
    for thread in threads.flatten() {
        let Ok(stat) = fs::read_to_string(thread.path().join("stat")) else {
            // A thread may end while the folder is read.
            continue;
        };
        if let Some((name, ticks)) = parse(&stat) {
            *seconds.entry(name.to_owned()).or_default() += ticks as f64 / TICKS;
        }
    }
    seconds
}

/// Parses a thread's `stat`: its name, and its ticks in user and kernel mode together.
fn parse(stat: &str) -> Option<(&str, u64)> {
    // A name may contain brackets and spaces, so it ends at the last bracket.
    let name = stat.get(stat.find('(')? + 1..stat.rfind(')')?)?;
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((name, user + system))
}

/// Returns the most memory that the process held at a time, in bytes; 0 where there is no `/proc`.
pub(crate) fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_name_may_hold_spaces_and_brackets() {
        let stat = "7 (data (1) x) S 1 7 7 0 -1 4194560 80 0 0 0 250 50 0 0 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some(("data (1) x", 300)));
        assert_eq!(parse("7 (x"), None);
    }
}
