//! What a person sees while a program runs: a bar on a terminal, else a line per interval, on
//! standard error.

use crate::output::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, time::Duration};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Where a program stands, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// How many records are done.
    pub count: u64,
    /// What else there is to say.
    pub message: String,
}

/// Shows count, rate and message.
pub(crate) struct Progress {
    /// What is counted.
    unit: &'static str,
    bar: Option<ProgressBar>,
    last_line: Duration,
    last_count: u64,
}

impl Progress {
    pub(crate) fn new(unit: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = format!("{{spinner}} {{pos}} {unit}, {{per_sec}}, {{msg}} [{{elapsed}}]");
            if let Ok(style) = ProgressStyle::with_template(&style) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            unit,
            bar,
            last_line: Duration::ZERO,
            last_count: 0,
        }
    }

    /// Shows where things stand, `elapsed` after the start.
    pub(crate) fn show(&mut self, Sight { count, message }: Sight, elapsed: Duration) {
        if let Some(bar) = &self.bar {
            bar.set_position(count);
            bar.set_message(message);
            return;
        }
        let since = elapsed.saturating_sub(self.last_line);
        // Nothing new is no news: an idle program fills nobody's log.
        if since >= LINE_INTERVAL && count != self.last_count {
            let done = count.saturating_sub(self.last_count);
            let rate = f64::from(u32::try_from(done).unwrap_or(u32::MAX)) / since.as_secs_f64();
            say(format_args!(
                "{count} {}, {rate:.0}/s, {message}",
                self.unit
            ));
            self.last_line = elapsed;
            self.last_count = count;
        }
    }

    /// Leaves the last word to whoever comes next.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
