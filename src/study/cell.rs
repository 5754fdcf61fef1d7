//! One run of a study: trained, resumed or found finished, then scored once.

use super::folder::{Progress, RESULT, progress};
use super::plan::Cell;
use super::results::{CellResult, RunNumbers};
use crate::config::{Config, Overrides};
use crate::error::Result;
use crate::eval::{EvalSplit, evaluate};
use crate::store;
use crate::train::{self, Event, Stop};
use std::path::Path;
use toml::Value;

/// Brings `cell` to its end in the study folder `study`: trains it or goes on with it, and scores its best epoch on
/// PublicTest, PrivateTest and both. The result does not depend on `threads`, or on how often that was begun.
///
/// # Errors
/// `State` if the run's folder holds another run; those of [`train()`](train::train), [`resume`](train::resume) and
/// [`evaluate`]; `Stopped` after a signal, with the state saved.
pub fn finish(
    cell: &Cell,
    study: &Path,
    threads: usize,
    observer: &mut (dyn FnMut(Event) + Send),
    stop: &Stop,
) -> Result<CellResult> {
    let run = study.join(cell.folder());
    let summary = match progress(cell, study)? {
        Progress::Done(result) => return Ok(*result),
        Progress::Missing => train::train(&Config { threads, ..cell.config.clone() }, &run, observer, stop)?,
        Progress::Begun => {
            if run.join(RESULT).exists() {
                let text = format!("{}: damaged: the run is scored again", run.join(RESULT).display());
                observer(Event::Warning(text));
            }
            // Images and wiring may have moved since.
            let places =
                [("data.source", &cell.config.data.source), ("connectome.source", &cell.config.connectome.source)];
            let flags = places.map(|(key, place)| (key, Value::String(place.clone()))).into_iter().collect();
            let sets = vec![format!("threads={threads}")];
            train::resume(&run, &Overrides { file: None, sets, flags }, false, observer, stop)?
        }
    };
    let mut warn = |text: &str| observer(Event::Warning(text.to_string()));
    let evaluation = evaluate(&run, None, EvalSplit::Test, false, threads, &mut warn)?;
    let result = CellResult::new(&cell.model, RunNumbers::from(&summary), &evaluation);
    store::replace(&run.join(RESULT), train::to_json(&result)?.as_bytes())?;
    Ok(result)
}

impl CellResult {
    /// One line for a log.
    pub fn line(&self) -> String {
        let percent = |s: &super::SplitScores| format!("{:.2} %", 100.0 * s.accuracy);
        let public = self.public.as_ref().map_or(String::new(), |s| format!("PublicTest {}  ", percent(s)));
        let Self { model, run, .. } = self;
        format!(
            "{model:<24} seed {:<3} {public}test {}  macro F1 {:.3}",
            run.seed,
            percent(&self.test),
            self.test.macro_f1
        )
    }
}
