//! Progress on stderr: a bar for each phase on a terminal, a line for each phase elsewhere, and finally the
//! number of homes at each step.

use std::io::{IsTerminal, stderr};

use dispers_core::conduct::{Phase, Status};
use dispers_node::now;
use dispers_querier::{Asking, Progress, QueryResult};
use dispers_sandbox::Progress as Starting;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::status::lines;

/// Progress bars of one command.
pub(crate) struct Bars {
    terminal: bool,
    all: MultiProgress,
    phase: Option<(&'static str, ProgressBar)>,
    last: Option<Status>,
    /// Lines that were printed last on whom the query waits for. `None` if they are not to be printed.
    telling: Option<Vec<String>>,
}

impl Bars {
    pub(crate) fn new() -> Self {
        Self {
            terminal: stderr().is_terminal(),
            all: MultiProgress::new(),
            phase: None,
            last: None,
            telling: None,
        }
    }

    /// Sets whether to print in words, on stderr, the state of a query and whom it waits for.
    pub(crate) fn telling(mut self, telling: bool) -> Self {
        self.telling = telling.then(Vec::new);
        self
    }

    fn tell(&mut self, status: &Status) {
        let lines = lines(status, now());
        if let Some(told) = &mut self.telling
            // The status is polled. Only a change is worth a new line.
            && *told != lines
        {
            for line in &lines {
                match self.terminal {
                    // The bars must redraw around the line, so it goes through them on a terminal.
                    true => drop(self.all.println(line)),
                    false => eprintln!("{line}"),
                }
            }
            *told = lines;
        }
    }

    fn show(&mut self, name: &'static str, position: u64, of: u64, note: String) {
        if self
            .phase
            .as_ref()
            .is_none_or(|(current, _)| *current != name)
        {
            self.close();
            // Outside a terminal, such as in a log file, one line for each phase must do.
            if !self.terminal {
                eprintln!("{name} …");
            }
            let bar = self.all.add(ProgressBar::new(of.max(1)));
            let style = ProgressStyle::with_template("{prefix:>10} {bar:30} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name);
            self.phase = Some((name, bar));
        }
        if let Some((_, bar)) = &self.phase {
            bar.set_length(of.max(1));
            bar.set_position(position);
            bar.set_message(note);
        }
    }

    fn close(&mut self) {
        if let Some((_, bar)) = self.phase.take() {
            bar.set_position(bar.length().unwrap_or(1));
            // `abandon` leaves the bar on the screen, as a record of the phase.
            bar.abandon();
        }
    }

    /// Shows the progress of a sandbox's start.
    pub(crate) fn starting(&mut self, progress: Starting) {
        match progress {
            Starting::Starting { services } => {
                self.show("start", 0, 1, format!("{services} services"));
            }
            Starting::Subscribed { homes, of } => {
                let note = format!("{homes} of {of} homes");
                self.show("subscribe", homes as u64, of as u64, note);
            }
        }
    }

    /// Shows the progress of a query.
    pub(crate) fn step(&mut self, progress: &Progress) {
        let status = match progress {
            Progress::Preparing => return self.show("prepare", 0, 1, "concepts and keys".into()),
            Progress::Running(status) => status,
            _ => return,
        };
        self.tell(status);
        let homes = &status.homes;
        match status.phase {
            Phase::Find => self.show("find", 0, 1, "choosing homes".into()),
            Phase::Ask => {
                let note = match status.about {
                    // Numbers of homes may be noisy, so that they do not tell the querier how many match. The
                    // text says so.
                    true => format!("about {} asked", homes.asked),
                    false => format!(
                        "{} asked → {} answered → {} accepted",
                        homes.asked, homes.answered, homes.accepted
                    ),
                };
                self.show("ask", homes.accepted, homes.targeted, note);
            }
            Phase::Release => self.show("release", 0, 1, "agreeing on one release".into()),
            Phase::Between | Phase::Done | Phase::Failed => self.close(),
        }
        self.last = Some(status.clone());
    }

    /// Shows the progress of a query until it ends. Returns the answer.
    pub(crate) async fn follow(
        mut self,
        mut asking: Asking,
    ) -> Result<QueryResult, dispers_querier::Error> {
        while let Some(progress) = asking.next().await {
            self.step(&progress);
        }
        self.end();
        asking.await
    }

    /// Closes the bars and prints the number of homes at each step.
    pub(crate) fn end(mut self) {
        self.close();
        if let Some(status) = self.last.take() {
            let homes = status.homes;
            let about = if status.about { "about " } else { "" };
            eprintln!(
                "homes: {about}{} targeted → {} asked → {} answered → {} accepted",
                homes.targeted, homes.asked, homes.answered, homes.accepted
            );
        }
    }
}
