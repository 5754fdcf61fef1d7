//! The folder of a run.
//!
//! ```text
//! config.toml     the effective configuration
//! run.json        version, seed, fingerprints
//! connectome/     the wiring that the run uses, so that it stands alone
//! metrics.jsonl   one object per epoch
//! work.bcw        weights in work, mapped and changed in place; worth nothing after a crash
//! state.bcw       last saved state: weights, moments, running state; written beside and renamed
//! best.bcw        weights of the best epoch on PublicTest
//! ```

use super::memory::Regions;
use super::progress::{EpochRecord, Progress};
use crate::config::{Config, Overrides, effective, missing_key, to_commented_toml};
use crate::connectome::{self, Connectome};
use crate::data::Standardize;
use crate::error::{Error, Result};
use crate::model::{Network, presets};
use crate::store::{self, Fingerprints};
use std::fs;
use std::io::Write;
use std::path::Path;

pub(super) const CONFIG: &str = "config.toml";
pub(super) const RUN: &str = "run.json";
pub(super) const CONNECTOME: &str = "connectome";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const WORK: &str = "work.bcw";
pub(super) const STATE: &str = "state.bcw";
pub(super) const BEST: &str = "best.bcw";

/// Fingerprint of what decides the result: every value but the number of threads.
pub(super) fn configuration_fingerprint(config: &Config) -> Result<u64> {
    let same = Config { threads: 0, ..config.clone() };
    Ok(xxhash_rust::xxh3::xxh3_64(to_commented_toml(&same)?.as_bytes()))
}

/// Makes the folder of a new run, with its configuration and wiring.
pub(super) fn create(
    out: &Path,
    config: &Config,
    connectome: Option<&Connectome>,
    run: &serde_json::Value,
) -> Result<()> {
    fs::create_dir_all(out).map_err(|e| Error::io(out, "making the run folder", &e))?;
    store::replace(&out.join(CONFIG), to_commented_toml(config)?.as_bytes())?;
    store::replace(&out.join(RUN), format!("{run:#}\n").as_bytes())?;
    if let Some(c) = connectome {
        connectome::write_folder(c, &out.join(CONNECTOME))?;
    }
    store::replace(&out.join(METRICS), b"")
}

/// Refuses a folder that already holds something.
pub(super) fn refuse_existing(out: &Path) -> Result<()> {
    let occupied = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || out.is_file() {
        return Err(Error::usage(
            format!("--out {}: exists and is not empty", out.display()),
            "choose another folder, or continue that run with --resume",
        ));
    }
    Ok(())
}

/// Takes back a run folder whose making failed: it was absent or empty before.
pub(super) fn remove(out: &Path) {
    // The failure that led here is what the user has to know.
    let _ = fs::remove_dir_all(out);
}

/// `config` with the path of its images made absolute, so that the run can be scored from any folder.
pub(super) fn with_absolute_source(config: &Config) -> Config {
    let mut config = config.clone();
    if let Ok(path) = fs::canonicalize(&config.data.source)
        && config.data.source != "demo"
    {
        config.data.source = path.display().to_string();
    }
    config
}

/// The configuration of the run in folder `run`.
///
/// # Errors
/// `State` if there is none or it cannot be read.
pub fn load_config(run: &Path) -> Result<Config> {
    let path = run.join(CONFIG);
    let no_run = |what: String| Error::state(path.display(), what, "name a folder made by `bionic-cpu train`");
    let text = fs::read_to_string(&path).map_err(|e| no_run(format!("not a run: {e}")))?;
    if let Some(key) = missing_key(&text) {
        return Err(no_run(format!("lacks the key `{key}`: the file is not whole")));
    }
    let overrides = Overrides { file: Some((path.display().to_string(), text)), ..Overrides::default() };
    effective(&presets::preset("bionic")?, &overrides).map_err(|e| no_run(format!("cannot be used: {e}")))
}

/// The wiring that the run in folder `run` uses, if it has a column.
///
/// # Errors
/// As [`connectome::read_folder`].
pub fn load_connectome(run: &Path, config: &Config) -> Result<Option<Connectome>> {
    if !config.column.enabled {
        return Ok(None);
    }
    connectome::read_folder(&run.join(CONNECTOME)).map(Some)
}

/// A trained network, ready to classify.
pub struct Trained {
    /// Configuration of the run.
    pub config: Config,
    /// The network.
    pub network: Network,
    /// Its wiring, if it has a column.
    pub connectome: Option<Connectome>,
    /// Weights of the best epoch.
    pub weights: Vec<f32>,
    /// Running statistics of the best epoch.
    pub buffers: Vec<f32>,
    /// How pixels are standardised.
    pub standardize: Standardize,
    /// Fingerprint of the data set that it was trained on.
    pub data_fingerprint: u64,
}

/// Loads the best epoch of the run in folder `run`.
///
/// # Errors
/// `State` if a file is damaged or belongs to another network, connectome or configuration.
pub fn load_best(run: &Path) -> Result<Trained> {
    let config = load_config(run)?;
    let connectome = load_connectome(run, &config)?;
    let network = Network::build(&config, connectome.as_ref())?;
    let path = run.join(BEST);
    if !path.exists() {
        return Err(Error::state(path.display(), "no epoch has finished yet", "train the run for at least one epoch"));
    }
    let saved = store::load(&path)?;
    check_connectome(&path, &saved.fingerprints, connectome.as_ref())?;
    if saved.fingerprints.configuration != configuration_fingerprint(&config)? {
        return Err(Error::state(
            path.display(),
            format!("was saved with another configuration than {CONFIG}"),
            format!(
                "restore {CONFIG}, or train on with it: `bionic-cpu train --resume --force --out {}`",
                run.display()
            ),
        ));
    }
    let regions = Regions::new(&network, 0);
    let mut floats = vec![0.0; regions.len()];
    regions.restore(&path, &saved, &network, false, &mut floats)?;
    let progress = read_progress(&path, &saved.progress)?;
    let standardize = Standardize::of(&config.data.standardize, (progress.mean, progress.sd));
    let parts = regions.split(&mut floats);
    let (weights, buffers) = (parts.weights.to_vec(), parts.buffers.to_vec());
    Ok(Trained {
        config,
        network,
        connectome,
        weights,
        buffers,
        standardize,
        data_fingerprint: saved.fingerprints.data,
    })
}

pub(super) fn read_progress(path: &Path, text: &str) -> Result<Progress> {
    serde_json::from_str(text).map_err(|e| {
        Error::state(path.display(), format!("progress record: {e}"), "the file was made by another version")
    })
}

pub(super) fn connectome_fingerprint(connectome: Option<&Connectome>) -> u64 {
    connectome.map_or(0, Connectome::fingerprint)
}

fn check_connectome(path: &Path, found: &Fingerprints, connectome: Option<&Connectome>) -> Result<()> {
    let expected = connectome_fingerprint(connectome);
    if found.connectome == expected {
        return Ok(());
    }
    Err(Error::state(
        path.display(),
        format!("belongs to another connectome: fingerprint {:016x}, the run's is {expected:016x}", found.connectome),
        "restore the run's own connectome folder and weights",
    ))
}

/// Refuses a state that was made with other data, wiring or configuration.
pub(super) fn check_fingerprints(path: &Path, found: &Fingerprints, expected: &Fingerprints) -> Result<()> {
    let differing: Vec<&str> = [
        ("data set", found.data != expected.data),
        ("connectome", found.connectome != expected.connectome),
        ("configuration", found.configuration != expected.configuration),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(Error::state(
        path.display(),
        format!("was saved with another {}", differing.join(" and ")),
        "restore what differs, or continue all the same with --force",
    ))
}

/// Writes the sections of `floats` to `path` by write-and-rename.
pub(super) fn save(
    path: &Path,
    regions: &Regions,
    network: &Network,
    whole: bool,
    fingerprints: &Fingerprints,
    progress: &Progress,
    floats: &[f32],
) -> Result<()> {
    let (sections, ranges): (Vec<_>, Vec<_>) = regions.sections(network, whole).into_iter().unzip();
    let values: Vec<&[f32]> = ranges.into_iter().map(|r| &floats[r]).collect();
    let progress = serde_json::to_string(progress)
        .map_err(|e| Error::other(format!("the progress record does not serialise: {e}"), "report this as a bug"))?;
    store::save(path, &sections, fingerprints, &progress, &values)
}

/// Cuts `metrics.jsonl` to the part that belongs to the saved state.
///
/// # Errors
/// `State` if that part is not all there.
pub(super) fn truncate_metrics(path: &Path, len: u64) -> Result<()> {
    let found = fs::metadata(path).map_or(0, |m| m.len());
    if found < len {
        return Err(Error::state(
            path.display(),
            format!("has {found} bytes, expected at least {len}: records of finished epochs are lost"),
            "restore the file from a copy",
        ));
    }
    let failed = |e: std::io::Error| Error::io(path, "cutting", &e);
    let file = fs::OpenOptions::new().write(true).open(path).map_err(failed)?;
    file.set_len(len).map_err(failed)
}

/// Appends one record to `metrics.jsonl`; returns the length of the file.
pub(super) fn append_record(path: &Path, record: &EpochRecord) -> Result<u64> {
    let line = serde_json::to_string(record)
        .map_err(|e| Error::other(format!("the record does not serialise: {e}"), "report this as a bug"))?;
    let failed = |e: std::io::Error| Error::io(path, "appending", &e);
    let mut file = fs::OpenOptions::new().append(true).open(path).map_err(failed)?;
    writeln!(file, "{line}").map_err(failed)?;
    file.sync_data().map_err(failed)?;
    Ok(file.metadata().map_err(failed)?.len())
}
