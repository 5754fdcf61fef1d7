//! `train`: from flags to one configuration and one run folder.

use super::progress::{Progress, duration};
use super::{info, output, signals};
use crate::config::{Config, Overrides, effective, read_file, to_commented_toml};
use crate::data::LOADERS;
use crate::error::Result;
use crate::learning::RULES;
use crate::model::LAYERS;
use crate::model::presets::{PRESETS, preset};
use crate::train::{Summary, never_began, plan, refuse_occupied, resume, train};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use toml::Value;

/// Preset where neither a flag nor a file names one.
pub const DEFAULT_PRESET: &str = "bionic";

/// Flags of `train`.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder, new or empty [default: runs/<preset>-<UTC date and time>-s<seed>]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Images: demo (drawn faces), a Kaggle CSV (also .gz) or a folder train|test/<class>/*.png|jpg
    #[arg(long, value_name = "SRC")]
    data: Option<String>,
    /// Wiring: column (embedded, statistical) or a folder or file of measured data
    #[arg(long, value_name = "SRC")]
    connectome: Option<String>,
    /// Configuration to start from; see the list below
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// TOML file with configuration keys; outranks the preset
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any configuration key, e.g. learning.learning_rate=0.002; outranks the file; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Passes over the training images
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Images per step
    #[arg(long, value_name = "B")]
    batch: Option<u32>,
    /// Seed of every random stream of the run
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Worker threads; 0 = one per core; the result does not depend on it
    #[arg(long, value_name = "T")]
    threads: Option<u16>,
    /// Go on with the run in --out; other flags are laid over its configuration, and one that would change the result is
    /// refused; the command that started the run may be repeated with --resume
    #[arg(long, requires = "out")]
    resume: bool,
    /// With --resume: go on even if data, connectome, configuration or arithmetic (vector width, bf16 by AMX) differ
    /// from those of the run
    #[arg(long, requires = "resume")]
    force: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print the effective configuration as commented TOML and do not train
    #[arg(long, conflicts_with_all = ["resume", "dry_run", "json"])]
    print_config: bool,
    /// Print layers, sizes and the expected time and do not train
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
}

/// Flags that set a configuration key, and the key.
const CONFIG_FLAGS: [(&str, &str); 7] = [
    ("data", "data.source"),
    ("connectome", "connectome.source"),
    ("preset", "preset"),
    ("epochs", "epochs"),
    ("batch", "batch"),
    ("seed", "seed"),
    ("threads", "threads"),
];

/// Trains, plans or prints the configuration.
///
/// # Errors
/// `Usage` for a wrong flag or configuration; those of [`train()`], [`resume`] and [`plan`].
pub fn run(args: Args) -> Result<()> {
    let overrides = overrides(&args)?;
    if let (true, Some(out)) = (args.resume, args.out.as_ref().filter(|out| !never_began(out))) {
        let mut progress = start();
        let stop = signals::listen()?;
        let summary = resume(out, &overrides, args.force, &mut |event| progress.event(event), stop)?;
        drop(progress);
        return report(&args, &summary);
    }
    let config = configuration(&overrides)?;
    if args.print_config {
        return output::result(&to_commented_toml(&config)?);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => default_out(Path::new("runs"), &config, SystemTime::now()),
    };
    refuse_occupied(&out)?;
    if args.dry_run {
        let plan = plan(&config)?;
        return if args.json { output::json(&plan) } else { output::result(&plan.to_text()) };
    }
    let mut progress = start();
    if args.resume {
        progress.note("nothing was saved yet: starting from the beginning");
    }
    let stop = signals::listen()?;
    let summary = train(&config, &out, &mut |event| progress.event(event), stop)?;
    drop(progress);
    report(&args, &summary)
}

fn start() -> Progress {
    let progress = Progress::new();
    if let Some(warning) = info::width_warning() {
        progress.warning(&warning);
    }
    progress
}

fn report(args: &Args, summary: &Summary) -> Result<()> {
    if args.json {
        return output::json(summary);
    }
    output::result(&format!(
        "run              {}\nvalidation       {:.2} % (epoch {} of {})\nparameters       {}\nsynapses         {}\n\
         time             {} at {:.0} images/s\nseed             {}\nfingerprint      {}\nscore it with    bionic-cpu eval {}",
        summary.out,
        100.0 * summary.val_accuracy,
        summary.best_epoch,
        summary.epochs,
        summary.parameters,
        summary.synapses,
        duration(summary.seconds),
        summary.images_per_second,
        summary.seed,
        summary.fingerprint,
        summary.out,
    ))
}

/// Default < preset < file < `--set` < flag.
fn configuration(overrides: &Overrides) -> Result<Config> {
    let name = overrides.preset()?;
    effective(&preset(name.as_deref().unwrap_or(DEFAULT_PRESET))?, overrides)
}

/// What the flags ask for.
fn overrides(args: &Args) -> Result<Overrides> {
    let file = args.config.as_deref().map(read_file).transpose()?;
    let integer = |v: Option<u32>| v.map(|v| Value::Integer(i64::from(v)));
    let string = |v: &Option<String>| v.clone().map(Value::String);
    let flags = CONFIG_FLAGS.iter().filter_map(|&(flag, key)| {
        let value = match flag {
            "data" => string(&args.data),
            "connectome" => string(&args.connectome),
            "preset" => string(&args.preset),
            "epochs" => integer(args.epochs),
            "batch" => integer(args.batch),
            "seed" => args.seed.and_then(|s| i64::try_from(s).ok()).map(Value::Integer),
            _ => integer(args.threads.map(u32::from)),
        };
        value.map(|v| (key, v))
    });
    Ok(Overrides { file, sets: args.set.clone(), flags: flags.collect() })
}

/// `runs/<preset>-<YYYYMMDD-HHMMSS>-s<seed>`, UTC; with `-2`, `-3`, ... behind it where that is taken.
fn default_out(runs: &Path, config: &Config, now: SystemTime) -> PathBuf {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let name = format!("{}-{}-s{}", config.preset, date_time(seconds), config.seed);
    let numbered = (2..).map(|i| format!("{name}-{i}"));
    std::iter::once(name.clone()).chain(numbered).map(|n| runs.join(n)).find(|p| !p.exists()).unwrap_or_default()
}

/// `YYYYMMDD-HHMMSS` of a Unix time, UTC (civil calendar from days: Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn date_time(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400 + 719_468, unix_seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + 400 * era + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}-{:02}{:02}{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// Adds what only the tables know: default values, presets, sources, layers and learning rules.
pub fn complete_help(mut command: clap::Command) -> clap::Command {
    if let Some(values) = preset(DEFAULT_PRESET).ok().and_then(|c| toml::Table::try_from(c).ok()) {
        for (flag, key) in CONFIG_FLAGS {
            let value = key.split('.').try_fold(None, |at: Option<&Value>, name| match at {
                None => values.get(name).map(Some),
                Some(v) => v.get(name).map(Some),
            });
            let Some(Some(value)) = value else { continue };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            command = command.mut_arg(flag, |arg| {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.help(format!("{help} [default: {value}]"))
            });
        }
    }
    let presets = list("Presets", PRESETS.iter().map(|p| (p.name, p.doc)));
    let images = list("Images (--data)", LOADERS.iter().map(|l| (l.name, l.doc)));
    let layers = list("Layers (configuration key `stem`)", LAYERS.iter().map(|l| (l.name, l.doc)));
    let rules = list("Learning rules (configuration key `plasticity.rule`)", RULES.iter().map(|r| (r.name, r.doc)));
    command.after_help(format!(
        "Priority: default < preset < file < --set < flag. Defaults are those of the preset {DEFAULT_PRESET}.\n\
         `--print-config` lists every configuration key with its meaning and unit;\n\
         `connectome --help` lists the forms of a connectome.\n\n\
         {presets}{images}{layers}{rules}"
    ))
}

/// A titled list for `--help`.
pub fn list(title: &str, rows: impl Iterator<Item = (&'static str, &'static str)>) -> String {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, doc)| format!("  {name:width$}  {doc}\n")).collect();
    format!("{title}:\n{}\n", lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // Checked with `date -u -d @N +%Y%m%d-%H%M%S`.
        for (seconds, text) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (1_709_251_199, "20240229-235959"),
            (1_767_225_600, "20260101-000000"),
            (4_107_542_400, "21000301-000000"),
        ] {
            assert_eq!(date_time(seconds), text);
        }
    }

    #[test]
    fn a_taken_default_folder_gets_a_number() {
        let runs = tempfile::tempdir().unwrap();
        let config = preset(DEFAULT_PRESET).unwrap();
        let first = default_out(runs.path(), &config, UNIX_EPOCH);
        assert!(first.ends_with(format!("bionic-19700101-000000-s{}", config.seed)), "{}", first.display());
        fs::create_dir(&first).unwrap();
        let second = default_out(runs.path(), &config, UNIX_EPOCH);
        assert_eq!(second.display().to_string(), format!("{}-2", first.display()));
    }
}
