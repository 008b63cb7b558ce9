//! Progress of a session on stderr: a bar on a terminal, a line per round elsewhere.

use std::io::{IsTerminal, stderr};

use dispers_core::conduct::Phase;
use dispers_querier::TrainingStep;
use dispers_training::Task;
use indicatif::{ProgressBar, ProgressStyle};

/// Display of a session's progress.
pub(super) struct Progress {
    /// True if stderr is a terminal.
    terminal: bool,
    bar: ProgressBar,
}

impl Progress {
    /// Begins to show a session of `rounds` rounds.
    pub(super) fn new(rounds: usize) -> Self {
        let bar = ProgressBar::new(rounds as u64);
        let style = ProgressStyle::with_template("{prefix:>10} {bar:30} {pos}/{len} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix("train");
        Self {
            terminal: stderr().is_terminal(),
            bar,
        }
    }

    /// Shows a step of the session.
    pub(super) fn step(&mut self, step: &TrainingStep<'_>) {
        match step {
            TrainingStep::Keep(..) => {}
            TrainingStep::Preparing => self.bar.set_message("concepts and keys"),
            TrainingStep::Running(status) => {
                if status.phase == Phase::Find {
                    self.bar.set_message("choosing homes");
                }
            }
            TrainingStep::Round(round, time) => {
                let what = match round.task {
                    Task::Scale => "scale",
                    Task::Candidates => "first points",
                    Task::Update => "update",
                    Task::Validate => "validate",
                };
                let loss = round
                    .loss
                    .map_or(String::new(), |loss| format!(", loss {loss:.4}"));
                let seconds = time.as_secs_f64();
                let line = format!("{what}{loss}, {} homes, {seconds:.1} s", round.homes);
                self.bar.set_position(u64::from(round.number) + 1);
                // The bar is drawn on a terminal only. A log gets a line for each round instead.
                match self.terminal {
                    true => self.bar.set_message(line),
                    false => eprintln!("round {}: {line}", round.number),
                }
            }
        }
    }

    /// Ends the display, and leaves the bar as it is.
    pub(super) fn end(&self) {
        self.bar.abandon();
    }
}
