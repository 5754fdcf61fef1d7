//! Many runs: several at once within the cores, what is there already left alone.

use super::cell::finish;
use super::folder::{Folder, Progress, check_alike};
use super::plan::{Cell, Plan};
use super::results::CellResult;
use crate::error::{Error, Kind, Result};
use crate::train::{self, Stop};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a study tells while it runs.
pub enum Event<'a> {
    /// Something worth a line.
    Note(String),
    /// A run met damage that did no harm.
    Warning {
        /// The run.
        cell: &'a Cell,
        /// What was found.
        text: String,
    },
    /// Some run has done a step. `done` counts finished runs, and those in work by the part that they have done.
    Step {
        /// Runs done, with fractions.
        done: f64,
        /// Runs of the study.
        cells: usize,
        /// Time left, seconds; `None` until something was trained.
        left: Option<f64>,
    },
    /// A run is trained and scored.
    Finished {
        /// Its scores.
        result: &'a CellResult,
        /// Runs done, with fractions.
        done: f64,
        /// Runs of the study.
        cells: usize,
        /// Time left, seconds; `None` until something was trained.
        left: Option<f64>,
    },
    /// A run ended without a result; the others go on.
    Failed {
        /// Its folder.
        cell: &'a Cell,
        /// Why.
        error: &'a Error,
    },
}

/// How much of the machine a study takes.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Worker threads of all runs together.
    threads: usize,
    /// Runs side by side; 0 = one per thread.
    at_once: usize,
    /// No run starts later than so long after the study did.
    time: Option<Duration>,
}

/// What a study has.
pub struct Outcome {
    /// Scores of every finished run, in the order of the plan.
    pub results: Vec<CellResult>,
    /// Runs that ended without a result, and why.
    pub failed: Vec<(String, Error)>,
    /// Runs that nobody has begun or finished, without the failed ones.
    pub left: usize,
}

/// Trains and scores what is missing of the `cells` of `plan` in `folder`, on `threads` worker threads; `results.csv`
/// grows with each. Killed at any moment and started again it goes on where each run was saved. Whoever calls it
/// [holds](Folder::hold) the folder.
///
/// # Errors
/// The first failure that the next runs would meet as well (data, connectome, disk, folders of another study); `Stopped`
/// after a signal, every run with its state saved. A run that fails alone (its loss diverges, its model and no other
/// cannot be built) is in the outcome.
pub fn run(
    plan: &Plan,
    cells: &[Cell],
    folder: &mut Folder,
    threads: usize,
    observer: &mut (dyn FnMut(Event) + Send),
    stop: &Stop,
) -> Result<Outcome> {
    let (mut waiting, mut results) = (VecDeque::new(), Vec::new());
    for (i, cell) in cells.iter().enumerate() {
        match folder.progress(cell)? {
            Progress::Done(result) => results.push((i, *result)),
            Progress::Begun | Progress::Missing => waiting.push_back(i),
        }
    }
    if !results.is_empty() {
        observer(Event::Note(format!("{} of {} runs are done already", results.len(), cells.len())));
    }
    folder.begin(plan, waiting.iter().map(|&i| &cells[i]))?;
    let limits = plan.limits(threads);
    // What was begun is brought to its end first.
    waiting.make_contiguous().sort_by_key(|&i| !folder.path().join(cells[i].folder()).exists());
    let at_once = if limits.at_once == 0 { limits.threads } else { limits.at_once };
    let workers = at_once.min(waiting.len());
    let board = Board {
        observer,
        folder,
        waiting,
        idle_threads: limits.threads.max(1),
        idle_workers: workers,
        in_work: vec![None; cells.len()],
        trained: 0.0,
        start: Instant::now(),
        results,
        failed: Vec::new(),
        unbuilt: HashMap::new(),
        end: None,
    };
    let board = Mutex::new(board);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(cells, limits, start, &board, stop));
        }
    });
    let mut board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(end) = board.end {
        return Err(match end.kind() {
            Kind::Stopped(code) => Error::stopped(
                code,
                format!("stopped with {} of {} runs done and the others saved", board.results.len(), cells.len()),
                "repeat the command to go on",
            ),
            _ => end,
        });
    }
    board.results.sort_by_key(|(i, _)| *i);
    let left = cells.len() - board.results.len() - board.failed.len();
    let results: Vec<CellResult> = board.results.into_iter().map(|(_, r)| r).collect();
    board.folder.keep(&results)?;
    check_alike(cells, &results)?;
    Ok(Outcome { results, failed: board.failed, left })
}

/// What the workers share.
struct Board<'a> {
    observer: &'a mut (dyn FnMut(Event) + Send),
    folder: &'a mut Folder,
    /// Runs that nobody has taken.
    waiting: VecDeque<usize>,
    idle_threads: usize,
    idle_workers: usize,
    /// Part that each run has done, while it is in work.
    in_work: Vec<Option<f64>>,
    /// Runs that were trained here, with fractions: what was there already says nothing about the pace.
    trained: f64,
    start: Instant,
    results: Vec<(usize, CellResult)>,
    failed: Vec<(String, Error)>,
    /// The model that met each wrong configuration.
    unbuilt: HashMap<String, String>,
    /// What ends the study.
    end: Option<Error>,
}

impl Board<'_> {
    /// Takes the next run and its share of the threads.
    fn take(&mut self) -> Option<(usize, usize)> {
        let takers = self.idle_workers.min(self.waiting.len()).max(1);
        let cell = self.waiting.pop_front()?;
        let threads = (self.idle_threads / takers).max(1);
        self.idle_threads = self.idle_threads.saturating_sub(threads);
        self.idle_workers = self.idle_workers.saturating_sub(1);
        Some((cell, threads))
    }

    fn done(&self) -> f64 {
        self.results.len() as f64 + self.in_work.iter().flatten().sum::<f64>()
    }

    fn left(&self, cells: usize) -> Option<f64> {
        let seconds = self.start.elapsed().as_secs_f64();
        (self.trained > 0.0).then(|| (cells as f64 - self.done()) * seconds / self.trained)
    }

    /// Whether run `i` could not be built for what its model alone asks: no other model has met the same.
    fn is_of_the_model(&mut self, i: usize, cells: &[Cell], error: &Error) -> bool {
        let model = &cells[i].model;
        let mut met = || self.unbuilt.insert(error.to_string(), model.clone());
        error.kind() == Kind::Usage && met().is_none_or(|other| other == *model)
    }

    /// Notes how a run went.
    fn put(&mut self, i: usize, threads: usize, cells: &[Cell], outcome: Result<CellResult>) {
        self.idle_threads += threads;
        self.idle_workers += 1;
        self.in_work[i] = None;
        match outcome.and_then(|result| self.folder.keep(std::slice::from_ref(&result)).map(|()| result)) {
            Ok(result) => {
                self.results.push((i, result));
                let (done, cells) = (self.done(), cells.len());
                let (left, (_, result)) = (self.left(cells), &self.results[self.results.len() - 1]);
                (self.observer)(Event::Finished { result, done, cells, left });
            }
            // Every worker meets the same stop; the first tells.
            Err(error)
                if matches!(error.kind(), Kind::Other | Kind::State) || self.is_of_the_model(i, cells, &error) =>
            {
                (self.observer)(Event::Failed { cell: &cells[i], error: &error });
                self.failed.push((cells[i].folder(), error));
            }
            Err(error) => {
                self.waiting.clear();
                self.end.get_or_insert(error);
            }
        }
    }
}

fn lock<'m, 'a>(board: &'m Mutex<Board<'a>>) -> MutexGuard<'m, Board<'a>> {
    board.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes runs and finishes them until there are none, time is up, or something ends the study.
fn work(cells: &[Cell], limits: Limits, start: Instant, board: &Mutex<Board>, stop: &Stop) {
    let study = lock(board).folder.path().to_path_buf();
    loop {
        if limits.time.is_some_and(|limit| start.elapsed() >= limit) {
            return;
        }
        let Some((i, threads)) = lock(board).take() else { return };
        let cell = &cells[i];
        let mut observer = |event: train::Event| {
            let mut board = lock(board);
            match event {
                train::Event::Step { epoch, epochs, step, steps, .. } => {
                    let done = (epoch.saturating_sub(1) * steps + step) as f64 / (epochs * steps).max(1) as f64;
                    // A run is done when it is scored.
                    let done = done.min(0.999);
                    board.trained += board.in_work[i].replace(done).map_or(0.0, |before| done - before);
                    let (done, left) = (board.done(), board.left(cells.len()));
                    (board.observer)(Event::Step { done, cells: cells.len(), left });
                }
                train::Event::Warning(text) => (board.observer)(Event::Warning { cell, text }),
                train::Event::Note(_) | train::Event::Epoch { .. } => {}
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| finish(cell, &study, threads, &mut observer, stop)));
        let bug = |_| Err(Error::other("the program failed in this run", "report this as a bug"));
        lock(board).put(i, threads, cells, outcome.unwrap_or_else(bug));
    }
}

impl Plan {
    /// The limits that the plan sets, on `threads` worker threads.
    fn limits(&self, threads: usize) -> Limits {
        let time = self.hours.map(|h| Duration::try_from_secs_f64(h * 3600.0).unwrap_or(Duration::MAX));
        Limits { threads, at_once: self.at_once, time }
    }
}
