//! What a person sees while it runs: a bar on a terminal, else a line per interval, on standard
//! error.

use crate::model::Standing;
use indicatif::{ProgressBar, ProgressStyle};
use std::{io::IsTerminal, time::Duration};

/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows rate and running accuracy.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last_line: Duration,
    last_count: u64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            let style = "{spinner} {pos} texts, {per_sec}, {msg} [{elapsed}]";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar
        });
        Self {
            bar,
            last_line: Duration::ZERO,
            last_count: 0,
        }
    }

    /// Shows where things stand, `elapsed` after the start.
    pub(crate) fn show(&mut self, standing: &Standing, elapsed: Duration) {
        let grade = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.4}"));
        let grades = &standing.grades;
        let message = format!(
            "accuracy {} (last {}: {}), log-loss {}",
            grade(grades.accuracy()),
            grades.window(),
            grade(grades.rolling_accuracy()),
            grade(grades.log_loss()),
        );
        let count = standing.learned;
        if let Some(bar) = &self.bar {
            bar.set_position(count);
            bar.set_message(message);
            return;
        }
        let since = elapsed.saturating_sub(self.last_line);
        // Nothing new is no news: an idle program fills nobody's log.
        if since >= LINE_INTERVAL && count != self.last_count {
            let learned = count.saturating_sub(self.last_count);
            let rate = f64::from(u32::try_from(learned).unwrap_or(u32::MAX)) / since.as_secs_f64();
            eprintln!("{count} texts, {rate:.0}/s, {message}");
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
