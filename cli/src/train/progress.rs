//! Progress of a session on stderr: a bar on a terminal, a line per round elsewhere.

use std::io::{IsTerminal, stderr};

use dispers_querier::{Error, InTraining, Phase, Trained, TrainingProgress};
use dispers_training::Task;
use indicatif::{ProgressBar, ProgressStyle};

/// Display of a session's progress.
pub(super) struct Progress {
    /// True if stderr is a terminal.
    terminal: bool,
    bar: ProgressBar,
    /// True once the id of the session, or the reason why it cannot be resumed, is on stderr.
    told: bool,
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
            told: false,
        }
    }

    /// Leaves out the id, for a user who resumed the session by it.
    pub(super) fn of_resumed(mut self) -> Self {
        self.told = true;
        self
    }

    /// Shows the progress of a session until it ends. Returns the model.
    pub(super) async fn follow(mut self, mut training: InTraining) -> Result<Trained, Error> {
        while let Some(step) = training.next().await {
            self.step(&step);
        }
        self.bar.abandon();
        training.await
    }

    fn tell(&mut self, line: &str) {
        if !std::mem::replace(&mut self.told, true) {
            eprintln!("{line}");
        }
    }

    /// Shows a step of the session.
    fn step(&mut self, step: &TrainingProgress) {
        match step {
            TrainingProgress::Kept(id) => {
                self.tell(&format!(
                    "session {id}: `dispers resume {id}` goes on with it"
                ));
            }
            TrainingProgress::Unkept(_, error) => {
                self.tell(&format!("the session cannot be resumed: {error}"));
            }
            TrainingProgress::Preparing => self.bar.set_message("concepts and keys"),
            TrainingProgress::Running(status) if status.phase == Phase::Find => {
                self.bar.set_message("choosing homes");
            }
            TrainingProgress::Round(round, time) => {
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
            _ => {}
        }
    }
}
