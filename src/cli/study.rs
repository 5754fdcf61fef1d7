//! `study`: many runs from one plan, and what their differences are worth.

use super::progress::{Progress, StudyProgress};
use super::train::list;
use super::{output, signals};
use crate::config::Overrides;
use crate::error::{Error, Result};
use crate::kernels::threads::pool;
use crate::study::{self, Cell, CellResult, Folder, PLANS, Plan, Table};
use serde::Serialize;
use std::path::PathBuf;
use toml::Value;

/// Flags of `study`.
#[derive(clap::Args)]
pub struct Args {
    /// Plan: a TOML file or a built-in plan; see below
    #[arg(value_name = "PLAN")]
    plan: String,
    /// Study folder: each run in a folder of its own under it; what is there already is kept
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Images: demo (drawn faces), a Kaggle CSV (also .gz) or a folder train|test/<class>/*.png|jpg [default: the plan's]
    #[arg(long, value_name = "SRC")]
    data: Option<String>,
    /// Wiring: column (embedded, statistical) or a folder or file of measured data [default: the plan's]
    #[arg(long, value_name = "SRC")]
    connectome: Option<String>,
    /// Seeds 1 to N instead of those of the plan
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Set any configuration key of every model; keys that a model or level of the plan sets outrank it; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Only the run of this number, from 0: for arrays of jobs; the same command without it gathers the results
    #[arg(long, value_name = "K")]
    index: Option<usize>,
    /// Worker threads of all runs together; 0 = one per core; the results do not depend on it
    #[arg(long, value_name = "T", default_value_t = 0)]
    threads: u16,
    /// List the runs, and how far each is; train nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the table as Markdown
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `study --json` prints.
#[derive(Serialize)]
struct Report<'a> {
    title: &'a str,
    /// Runs of the study, and how many have scores.
    runs: usize,
    done: usize,
    failed: Vec<String>,
    table: &'a Table,
}

/// What `study --dry-run --json` prints of a run.
#[derive(Serialize)]
struct Listed {
    index: usize,
    model: String,
    seed: u64,
    run: String,
    progress: &'static str,
}

/// Runs what is missing, then prints the table.
///
/// # Errors
/// `Usage` for a wrong plan or flag; those of [`study::run`]; `Other` if runs failed; `Stopped` where the plan's time is up.
pub fn run(args: &Args) -> Result<()> {
    let mut plan = Plan::load(&args.plan)?;
    if let Some(n) = args.seeds {
        plan.take_seeds(n.into());
    }
    let source = |v: &Option<String>| v.clone().map(Value::String);
    let flags = [("data.source", source(&args.data)), ("connectome.source", source(&args.connectome))];
    let flags = flags.into_iter().filter_map(|(key, value)| value.map(|v| (key, v))).collect();
    let cells = plan.cells(&Overrides { file: None, sets: args.set.clone(), flags })?;
    Folder::refuse_other(&args.out)?;
    if args.dry_run {
        return print_list(args, &cells);
    }
    let threads = pool(usize::from(args.threads))?.threads();
    match args.index {
        Some(index) => run_one(args, &plan, &cells, index, threads),
        None => run_all(args, &plan, &cells, threads),
    }
}

fn run_one(args: &Args, plan: &Plan, cells: &[Cell], index: usize, threads: usize) -> Result<()> {
    let Some(cell) = cells.get(index) else {
        return Err(Error::usage(
            format!("--index {index}: the study has {} runs", cells.len()),
            format!("use 0 to {}", cells.len() - 1),
        ));
    };
    let mut folder = Folder::open(&args.out)?;
    if let study::Progress::Done(result) = folder.progress(cell)? {
        return print_result(args, &result);
    }
    folder.begin(plan, [cell].into_iter())?;
    let mut progress = Progress::new();
    let stop = signals::listen()?;
    progress.note(&format!("run {index} of 0 to {}: {}", cells.len() - 1, cell.folder()));
    let result = study::finish(cell, &args.out, threads, &mut |event| progress.event(event), stop)?;
    drop(progress);
    print_result(args, &result)
}

fn print_result(args: &Args, result: &CellResult) -> Result<()> {
    if args.json { output::json(result) } else { output::result(&result.line()) }
}

fn run_all(args: &Args, plan: &Plan, cells: &[Cell], threads: usize) -> Result<()> {
    let progress = StudyProgress::new();
    let stop = signals::listen()?;
    let _held = Folder::hold(&args.out)?;
    let mut folder = Folder::open(&args.out)?;
    let outcome = study::run(plan, cells, &mut folder, threads, &mut |event| progress.event(&event), stop)?;
    drop(progress);
    let table = folder.tabulate(plan, &outcome.results)?;
    let (done, failed) = (outcome.results.len(), &outcome.failed);
    if args.json {
        let failed = failed.iter().map(|(cell, e)| format!("{cell}: {e}")).collect();
        output::json(&Report { title: &plan.title, runs: cells.len(), done, failed, table: &table })?;
    } else if args.markdown {
        output::result(&table.to_markdown())?;
    } else {
        let (csv, out) = (args.out.join(study::RESULTS), args.out.display());
        let text = format!("{}: {done} of {} runs\n\n{}", plan.title, cells.len(), table.to_text());
        output::result(&format!(
            "{text}\nraw results      {}\nreport           bionic-cpu report {out}",
            csv.display()
        ))?;
    }
    if let Some((cell, error)) = failed.first() {
        let what = format!("{} of {} runs failed, first {cell}: {}", failed.len(), cells.len(), error.what());
        return Err(Error::other(what, "mend what they say; the same command trains only what is missing"));
    }
    match outcome.left {
        0 => Ok(()),
        left => Err(Error::stopped(75, format!("the plan's time is up with {left} runs left"), "repeat the command")),
    }
}

fn print_list(args: &Args, cells: &[Cell]) -> Result<()> {
    let mut folder = Folder::open(&args.out)?;
    let listed = |(index, cell): (usize, &Cell)| {
        let progress = match folder.progress(cell)? {
            study::Progress::Missing => "missing",
            study::Progress::Begun => "begun",
            study::Progress::Done(_) => "done",
        };
        let (model, run) = (cell.model.clone(), args.out.join(cell.folder()).display().to_string());
        Ok(Listed { index, model, seed: cell.seed, run, progress })
    };
    let rows: Vec<Listed> = cells.iter().enumerate().map(listed).collect::<Result<_>>()?;
    if args.json {
        return output::json(&serde_json::json!({ "runs": rows }));
    }
    let width = rows.iter().map(|r| r.model.len()).max().unwrap_or(0).max("model".len());
    let mut text = format!("{:>5}  {:<width$} {:>6}  {:<8} run\n", "index", "model", "seed", "progress");
    for r in &rows {
        text += &format!("{:>5}  {:<width$} {:>6}  {:<8} {}\n", r.index, r.model, r.seed, r.progress, r.run);
    }
    output::result(&text)
}

/// Adds the plans and their form.
pub fn complete_help(command: clap::Command) -> clap::Command {
    let plans = list("Built-in plans", PLANS.iter().map(|p| (p.name, p.doc)));
    command.after_help(plans.clone()).after_long_help(format!(
        "{plans}\nA plan file:\n{}\nEach seed draws its own null wiring. Runs that are done are not trained again; what was cut \
         short goes on to the same bits. With --index the exit codes are those of a single run.",
        study::PLAN_FORM.lines().map(|line| format!("  {line}\n")).collect::<String>(),
    ))
}
