//! Progress on stderr: one bar on a terminal, one plain line per epoch elsewhere.
//!
//! No colour is used, so `NO_COLOR` has nothing to switch off here; the parser's help texts honour it.

use super::output;
use crate::study;
use crate::train::{EpochRecord, Event};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// stderr while something is going on: a bar on a terminal that shows one, and lines of text.
pub(super) struct Screen {
    bar: Option<ProgressBar>,
}

impl Screen {
    /// A bar of the form `template` on a terminal; with `--quiet` nothing at all, but for what goes wrong.
    pub(super) fn new(template: &str) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        let bar = (!output::is_quiet() && !dumb && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style.progress_chars("=> "))
        });
        Self { bar }
    }

    /// The bar, where there is one.
    pub(super) fn bar(&self) -> Option<&ProgressBar> {
        self.bar.as_ref()
    }

    /// Shows a line of text, unless quiet.
    pub(super) fn note(&self, text: &str) {
        self.suspended(|| output::note(text));
    }

    /// Shows what is doubtful and does no harm, unless quiet.
    pub(super) fn warning(&self, text: &str) {
        self.suspended(|| output::warning(text));
    }

    /// Shows a line of text.
    fn message(&self, text: &str) {
        self.suspended(|| output::message(text));
    }

    /// Runs `show` while the bar is out of the way.
    fn suspended(&self, show: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(show),
            None => show(),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Shows the events of a training run.
pub struct Progress {
    screen: Screen,
    pace: Pace,
    /// Time left, seconds; unknown until two steps are done.
    left: Option<f64>,
}

impl Progress {
    /// Shows progress on stderr; with `--quiet` nothing at all.
    pub fn new() -> Self {
        let screen = Screen::new("{prefix} [{bar:24}] {pos}/{len}  {msg}");
        Self { screen, pace: Pace::default(), left: None }
    }

    /// Shows a line of text.
    pub fn note(&self, text: &str) {
        self.screen.note(text);
    }

    /// Shows what is doubtful and does no harm.
    pub fn warning(&self, text: &str) {
        self.screen.warning(text);
    }

    /// Shows what the run tells.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Note(text) => self.note(&text),
            Event::Warning(text) => self.warning(&text),
            Event::Step { epoch, epochs, step, steps, images_per_second } => {
                let done = epoch.saturating_sub(1) * steps + step;
                self.left = self.pace.left(Instant::now(), done, epochs * steps);
                if let Some(bar) = self.screen.bar() {
                    bar.set_prefix(format!("epoch {epoch:>3}/{epochs}"));
                    bar.set_length(steps as u64);
                    bar.set_position(step as u64);
                    bar.set_message(format!("{images_per_second:.0} images/s{}", left_text(self.left)));
                }
            }
            Event::Epoch { record, epochs, best } => {
                let left = if record.epoch < epochs { left_text(self.left) } else { String::new() };
                self.note(&format!("{}{left}", epoch_line(record, epochs, best)));
            }
        }
    }
}

/// Shows the events of a study: one bar over all its runs on a terminal, one line per finished run everywhere.
pub struct StudyProgress(Screen);

/// Parts of a run that the bar of a study tells apart.
const PARTS: f64 = 1000.0;

impl StudyProgress {
    /// Shows progress on stderr; with `--quiet` nothing at all.
    pub fn new() -> Self {
        Self(Screen::new("study [{bar:24}] {msg}"))
    }

    /// Shows what the study tells.
    pub fn event(&self, event: &study::Event) {
        match event {
            study::Event::Note(text) => self.0.note(text),
            study::Event::Warning { cell, text } => self.0.warning(&format!("{}: {text}", cell.folder())),
            study::Event::Step { done, cells, left } => {
                if let Some(bar) = self.0.bar() {
                    bar.set_length((*cells as f64 * PARTS) as u64);
                    bar.set_position((done * PARTS) as u64);
                    bar.set_message(format!("{done:.1} of {cells} runs{}", left_text(*left)));
                }
            }
            study::Event::Finished { result, done, cells, left } => {
                self.0.note(&format!("run {done:.1} of {cells}  {}{}", result.line(), left_text(*left)));
            }
            study::Event::Failed { cell, error } => self.0.message(&format!("{} failed: {error}", cell.folder())),
        }
    }
}

/// Estimates the time left of the whole run from the steps of this process, validation and saving included.
#[derive(Default)]
pub(super) struct Pace {
    /// When the first step was seen, and how many were done then.
    first: Option<(Instant, usize)>,
}

impl Pace {
    /// Seconds for the remaining `total - done` steps; `None` until time has passed over at least one step.
    pub(super) fn left(&mut self, now: Instant, done: usize, total: usize) -> Option<f64> {
        let (start, before) = *self.first.get_or_insert((now, done));
        let (steps, elapsed) = (done.checked_sub(before)?, now.duration_since(start));
        if steps == 0 || elapsed == Duration::ZERO {
            return None;
        }
        Some(total.saturating_sub(done) as f64 * elapsed.as_secs_f64() / steps as f64)
    }
}

fn epoch_line(r: &EpochRecord, epochs: usize, best: bool) -> String {
    format!(
        "epoch {:>3}/{epochs}  train loss {:.4} accuracy {:5.2} %  validation loss {:.4} accuracy {:5.2} %{}  lr {:.2e}  \
         {:.0} images/s  {}",
        r.epoch,
        r.train_loss,
        100.0 * r.train_accuracy,
        r.val_loss,
        100.0 * r.val_accuracy,
        if best { " (best)" } else { "       " },
        r.learning_rate,
        r.images_per_second,
        duration(r.seconds),
    )
}

fn left_text(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |s| format!("  {} left", duration(s)))
}

/// `7.4 s`, `42 s`, `12 min`, `3 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        s if s < 9.95 => format!("{s:.1} s"),
        s if s < 99.5 => format!("{s:.0} s"),
        _ if minutes < 100 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let texts = [0.0, 7.44, 9.96, 99.4, 99.6, 720.0, 11_100.0].map(duration);
        assert_eq!(texts, ["0.0 s", "7.4 s", "10 s", "99 s", "2 min", "12 min", "3 h 05 min"]);
    }

    #[test]
    fn time_left_counts_only_the_steps_of_this_process() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        // Resumed at step 500 of 1,000; 100 steps then take 10 s.
        assert_eq!(pace.left(start, 500, 1000), None);
        assert_eq!(pace.left(start + Duration::from_secs(10), 600, 1000), Some(40.0));
        assert_eq!(pace.left(start + Duration::from_secs(50), 1000, 1000), Some(0.0));
    }

    #[test]
    fn an_epoch_is_one_line() {
        let record = EpochRecord {
            epoch: 3,
            train_loss: 1.5,
            train_accuracy: 0.41,
            val_loss: 1.4,
            val_accuracy: 0.4321,
            learning_rate: 0.001,
            images_per_second: 1234.5,
            seconds: 23.0,
            hebbian_share: std::collections::BTreeMap::new(),
        };
        let line = epoch_line(&record, 50, true);
        assert!(line.contains("43.21 % (best)") && line.contains("1.00e-3") && !line.contains('\n'), "{line}");
    }
}
