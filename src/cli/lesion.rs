//! `lesion`: what a run, or each of several, loses when neurons fall silent.

use super::output;
use super::progress::{Pace, Screen, duration};
use crate::connectome::Polarity;
use crate::error::Result;
use crate::eval::EvalSplit;
use crate::lesion::{self, Across, Each, Match, Report, Request, Selection, Step, What, ids};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Flags of `lesion`.
#[derive(clap::Args)]
#[command(after_help = SEMANTICS)]
pub struct Args {
    /// Run folder; several, which differ in their seeds, for means over the runs
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Silence the cells of this type; may be repeated for several types
    #[arg(long, value_name = "T")]
    cell_type: Vec<String>,
    /// Silence the cells of this lamina; may be repeated
    #[arg(long, value_name = "L")]
    lamina: Vec<String>,
    /// Silence excitatory or inhibitory cells
    #[arg(long, value_name = "E|I")]
    polarity: Option<Sign>,
    /// Silence these cells: identifiers of the run's connectome separated by commas, or a file of them (one per line, or a
    /// table with a column `id`, such as tuning.csv)
    #[arg(long, value_name = "FILE|ID,ID,...")]
    ids: Option<String>,
    /// Name of the selection in the results
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["each", "random"])]
    name: Option<String>,
    /// Silence the selected cells part by part instead of at once; several separated by commas
    #[arg(long, value_name = "PART", value_delimiter = ',', conflicts_with = "random")]
    each: Vec<Part>,
    /// Silence N random ones of the selected cells instead of all; may be repeated
    #[arg(long, value_name = "N")]
    random: Vec<usize>,
    /// Draws of random cells for each lesion, or for each --random [default: 40; none for single neurons]
    #[arg(long, value_name = "R")]
    repeats: Option<usize>,
    /// What the random cells of a draw share with those that they stand for; several separated by commas
    #[arg(long = "match", value_name = "KIND", value_delimiter = ',', default_values_t = [Like::Polarity, Like::Lamina], value_enum)]
    matched: Vec<Like>,
    /// Seed of the draws
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Images: demo (drawn faces), a Kaggle CSV (also .gz) or a folder train|test/<class>/*.png|jpg
    /// [default: what RUN was trained on]
    #[arg(long, value_name = "SRC")]
    data: Option<String>,
    /// Which of them to score; test = public + private (7,178 images of FER-2013)
    #[arg(long, value_enum, default_value_t = Split::Test)]
    split: Split,
    /// Worker threads; 0 = one per core; the result does not depend on it
    #[arg(long, value_name = "T", default_value_t = 0)]
    threads: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

const SEMANTICS: &str = "\
Without a condition and without --each or --random, every cell type and every lamina is silenced in turn. Conditions are
joined by AND: --cell-type BC --lamina L4 are the basket cells of L4.

A silent excitatory neuron sends nothing: its output and its first response in the recurrent step are 0 for every target,
while its own input is as it was and LayerNorm goes on counting it. Interneurons (column.inhibition = interneurons) send
nothing either. With graded inhibition inhibitory cells are no units: their synapses are taken out of the doses of the
neurons that they inhibit. Cells that the network does not have (unsure types, inhibitory cells without inhibition) are
counted and change nothing. The weights are those of the best epoch; nothing is trained again.

Each lesion is compared with --repeats draws of as many random cells of the same polarity, and with as many draws within
the same laminae, out of all that the network has, those of the lesion among them. p is two-sided, for nobody chose the
side beforehand: twice (k + 1) / (R + 1) for the k of R draws that are at least as extreme on the side shown (`more` if
the lesion costs more than random cells, else `less`), at most 1. It is not corrected for the number of lesions. p_more
and p_less in --json are one-sided.

Several RUNs, trained with different seeds, give one table of means over the runs, of each lesion and of each draw, which is
of the same cells in all of them. p ranks the lesion among the draws and holds for these networks, taken together; whether
one trained anew would show the same is told by the standard deviation of the change over the runs, and by the reports of
each. In --json `reports` are those of each run, and `across` has the means (of `lost` and `gained` the sums).

Each RUN/lesions.csv gets a row for each lesion and each draw, with the identifiers of the silenced cells; rows of the same
lesion, split and data are replaced, others of the same weights stay. It is written every ten seconds, and cells whose
scores it has for the same weights, and the same images in the same place, are not scored again: a call that was cut
short goes on from there.
Each RUN/tuning.csv gets a row for each neuron of the intact network: mean response, share of images with a response,
preferred class, selectivity, lifetime sparseness, mean response by class. Scores in both are fractions.

Examples:
  bionic-cpu lesion RUN                                  every type and lamina against random cells
  bionic-cpu lesion STUDY/full-s*                        the same in each run of a model, and over the runs
  bionic-cpu lesion RUN --cell-type 4P                   one type
  bionic-cpu lesion RUN --lamina L5 --each cell-type     the types of one lamina
  bionic-cpu lesion RUN --polarity E --random 100 --random 300
  bionic-cpu lesion RUN --each neuron                    the effect of every single neuron";

/// Value of `--polarity`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sign {
    /// Excitatory
    #[value(name = "E", alias = "e", alias = "excitatory")]
    Excitatory,
    /// Inhibitory
    #[value(name = "I", alias = "i", alias = "inhibitory")]
    Inhibitory,
}

/// Value of `--each`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The cells of each type
    CellType,
    /// The cells of each lamina
    Lamina,
    /// The cells of each polarity
    Polarity,
    /// Each cell alone
    Neuron,
}

/// Value of `--match`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Like {
    /// Polarity
    Polarity,
    /// Polarity and lamina
    Lamina,
}

impl Like {
    fn kind(self) -> Match {
        match self {
            Self::Polarity => Match::Polarity,
            Self::Lamina => Match::Lamina,
        }
    }
}

/// Value of `--split`.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Split {
    Public,
    Private,
    Test,
}

/// Silences, scores, and prints what changed.
///
/// # Errors
/// Those of [`ids`] and [`lesion::lesions`]; `Io` if stdout refuses the result.
pub fn run(args: &Args) -> Result<()> {
    let progress = Mutex::new(Progress::new(args.runs.len()));
    let held = || progress.lock().unwrap_or_else(PoisonError::into_inner);
    let mut observe = |run, step| held().step(run, step);
    let reports = lesion::lesions(&args.runs, &request(args)?, &mut observe, &mut |w| held().screen.warning(w))?;
    drop(progress);
    match reports.as_slice() {
        [report] if args.json => output::json(report),
        [report] => output::result(&report.to_text()),
        reports => {
            let across = lesion::across(&reports.iter().map(|r| r.rows.as_slice()).collect::<Vec<_>>());
            if args.json { output::json(&Answer { reports, across }) } else { output::result(&across.to_text(reports)) }
        }
    }
}

/// The JSON answer for several runs.
#[derive(Serialize)]
struct Answer<'a> {
    reports: &'a [Report],
    across: Across,
}

/// What the flags ask for.
fn request(args: &Args) -> Result<Request> {
    let selection = Selection {
        cell_types: args.cell_type.clone(),
        laminae: args.lamina.clone(),
        polarity: args.polarity.map(|p| match p {
            Sign::Excitatory => Polarity::Excitatory,
            Sign::Inhibitory => Polarity::Inhibitory,
        }),
        ids: args.ids.as_deref().map(ids).transpose()?.unwrap_or_default(),
    };
    let part = |p: &Part| match p {
        Part::CellType => Each::CellType,
        Part::Lamina => Each::Lamina,
        Part::Polarity => Each::Polarity,
        Part::Neuron => Each::Neuron,
    };
    let what = match (args.random.is_empty(), args.each.as_slice()) {
        (false, _) => What::Random(args.random.clone()),
        (true, []) if selection.is_everything() && args.name.is_none() => {
            What::Each(vec![Each::CellType, Each::Lamina])
        }
        (true, []) => What::Together(args.name.clone()),
        (true, each) => What::Each(each.iter().map(part).collect()),
    };
    Ok(Request {
        selection,
        what,
        data: args.data.clone(),
        split: match args.split {
            Split::Public => EvalSplit::Public,
            Split::Private => EvalSplit::Private,
            Split::Test => EvalSplit::Test,
        },
        repeats: args.repeats,
        matched: Match::ALL.into_iter().filter(|m| args.matched.iter().any(|like| like.kind() == *m)).collect(),
        seed: args.seed,
        threads: usize::from(args.threads),
        save_every: lesion::SAVE_EVERY,
    })
}

/// Time between lines on stderr where it is no terminal.
const LINES_APART: Duration = Duration::from_secs(10);

/// How far the scorings are, on stderr: a bar on a terminal, elsewhere a line now and then.
struct Progress {
    screen: Screen,
    /// How many runs there are, and which is in work.
    runs: usize,
    run: usize,
    pace: Pace,
    last_line: Instant,
}

impl Progress {
    fn new(runs: usize) -> Self {
        let screen = Screen::new("silencing{prefix} [{bar:24}] {pos}/{len}  {msg}");
        Self { screen, runs, run: 0, pace: Pace::default(), last_line: Instant::now() }
    }

    fn step(&mut self, run: usize, Step { done, total }: Step) {
        if run != self.run {
            (self.run, self.pace) = (run, Pace::default());
        }
        let (which, of) = match self.runs {
            1 => (String::new(), ""),
            runs => (format!(", run {} of {runs}", run + 1), " of this run"),
        };
        let left = self.pace.left(Instant::now(), done, total).filter(|_| done < total);
        let left = left.map_or_else(String::new, |s| format!("{} left{of}", duration(s)));
        if let Some(bar) = self.screen.bar() {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_prefix(which);
            bar.set_message(left);
        } else if self.last_line.elapsed() >= LINES_APART {
            self.last_line = Instant::now();
            self.screen.note(&format!("silencing{which}: {done} of {total} scorings done, {left}"));
        }
    }
}
