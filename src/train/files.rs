//! The folder of a run.
//!
//! ```text
//! work.bcw        weights in work, mapped and changed in place; locked; worth nothing after a crash
//! config.toml     the effective configuration
//! run.json        version, CPU, seed, fingerprints
//! connectome/     the wiring that the run uses, so that it stands alone
//! metrics.jsonl   one object per epoch; each commit says how much of it counts
//! state.bcw       durable: weights, moments, running state, the best epoch on PublicTest, in two slots
//! ```
//!
//! They are made in this order. A folder without `state.bcw` holds a run that has not begun.

use super::material::Material;
use super::memory::{Regions, is_best};
use super::origin::configuration_fingerprint;
use super::progress::{EpochRecord, Saved};
use super::records::{About, AboutFingerprints};
use crate::config::{self, Config, Overrides, effective, missing_key, to_commented_toml};
use crate::connectome::{self, Connectome};
use crate::data::Standardize;
use crate::error::{Error, Kind, Result};
use crate::kernels::threads;
use crate::learning::Hebbian;
use crate::model::{Network, presets};
use crate::store::{self, Fingerprints, WorkFile};
use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

const CONFIG: &str = "config.toml";
pub(super) const RUN: &str = "run.json";
const CONNECTOME: &str = "connectome";
pub(super) const METRICS: &str = "metrics.jsonl";
pub(super) const WORK: &str = "work.bcw";
pub(super) const STATE: &str = "state.bcw";

/// Writes what a run is made from, and an empty log.
pub(super) fn begin(out: &Path, material: &Material, fingerprints: &Fingerprints) -> Result<()> {
    describe(out, material, fingerprints)?;
    if let Some(c) = &material.connectome {
        write_connectome(out, c)?;
    }
    store::replace(&out.join(METRICS), b"")
}

/// Writes configuration and fingerprints.
pub(super) fn describe(out: &Path, material: &Material, fingerprints: &Fingerprints) -> Result<()> {
    let Fingerprints { data, connectome, configuration, kernels: _ } = fingerprints;
    let hex = |f: &u64| format!("{f:016x}");
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpu: cpu(),
        kernels: material.arithmetic(),
        seed: material.config.seed,
        data: material.dataset.source.clone(),
        connectome: material.connectome.as_ref().map(|c| c.origin.clone()),
        parameters: material.network.parameters(),
        synapses: material.network.synapses(),
        fingerprints: AboutFingerprints {
            data: hex(data),
            connectome: hex(connectome),
            configuration: hex(configuration),
        },
    };
    let run = to_json(&about)?;
    store::replace(&out.join(CONFIG), to_commented_toml(&material.config)?.as_bytes())?;
    store::replace(&out.join(RUN), run.as_bytes())
}

/// `record` as a file of JSON to read.
///
/// # Errors
/// `Other` if it does not serialise.
pub(crate) fn to_json(record: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(record)
        .map_err(|e| Error::other(format!("a record does not serialise: {e}"), "report this as a bug"))?;
    Ok(text + "\n")
}

/// Replaces the run's own copy of its wiring.
pub(super) fn write_connectome(out: &Path, connectome: &Connectome) -> Result<()> {
    connectome::write_folder(connectome, &out.join(CONNECTOME))
}

/// Name of the processor, where the system tells.
fn cpu() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = told.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| std::env::consts::ARCH.to_string(), |(_, name)| name.to_string())
}

/// Refuses a folder that already holds something but what a start that was cut short may leave.
///
/// # Errors
/// `Usage` naming the folder.
pub fn refuse_occupied(out: &Path) -> Result<()> {
    let left_over = |name: &str| name == WORK || store::is_left_over(name, CONFIG);
    let occupied = match fs::read_dir(out) {
        Ok(mut entries) => entries
            .any(|e| !e.is_ok_and(|e| e.file_name().to_str().is_some_and(left_over)))
            .then_some("the folder is not empty"),
        Err(_) if out.exists() => Some("it is no folder that can be read"),
        Err(_) => None,
    };
    match occupied {
        Some(why) => Err(Error::usage(
            format!("--out {}: {why}", out.display()),
            "name a new folder, or go on with the run in it: train --resume --out RUN",
        )),
        None => Ok(()),
    }
}

/// Whether `out` holds nothing but what a start leaves that was stopped before it wrote anything.
pub fn never_began(out: &Path) -> bool {
    out.join(WORK).is_file() && refuse_occupied(out).is_ok()
}

/// Takes back what a start that failed has made in `out`, which held nothing; the folder too if that was `made`.
pub(super) fn take_back(out: &Path, made: bool) {
    // Another process may have begun here since.
    let Ok(_locked) = WorkFile::lock(&out.join(WORK)) else { return };
    // The failure that led here is what the user has to know.
    let _ = fs::remove_dir_all(out.join(CONNECTOME));
    for name in [STATE, METRICS, RUN, CONFIG, WORK] {
        let _ = fs::remove_file(out.join(name));
    }
    if made {
        let _ = fs::remove_dir(out);
    }
}

/// `config` with the paths of images and wiring made absolute, so that the run can be scored and resumed from any folder.
pub fn with_absolute_sources(mut config: Config) -> Config {
    for (source, embedded) in [(&mut config.data.source, "demo"), (&mut config.connectome.source, "column")] {
        if let Ok(path) = fs::canonicalize(&*source)
            && source != embedded
        {
            *source = path.display().to_string();
        }
    }
    config
}

/// Whether the run in folder `run` has a saved state.
///
/// # Errors
/// `State` if it had one, for epochs are recorded, and it is gone; `Io` if the system refuses to look.
pub(super) fn has_state(run: &Path) -> Result<bool> {
    let path = run.join(STATE);
    // A link to a disk that is not there is a state that cannot be read, not none.
    match fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&path, "looking for the saved state", &e)),
        Err(_) if fs::metadata(run.join(METRICS)).is_ok_and(|m| m.len() > 0) => Err(Error::state(
            path.display(),
            format!("is gone, though {METRICS} records epochs"),
            "restore it from a copy, or train into another folder",
        )),
        Err(_) => Ok(false),
    }
}

/// The configuration of the run in folder `run`.
///
/// # Errors
/// `State` if there is none or it cannot be used; `Io` if the system refuses to read it.
pub fn load_config(run: &Path) -> Result<Config> {
    let path = run.join(CONFIG);
    let no_run = |what: String| Error::state(path.display(), what, "name a folder made by `bionic-cpu train`");
    let unread = |e: Error| if e.kind() == Kind::Io { e } else { no_run(format!("not a run: {}", e.what())) };
    let (_, text) = config::read_file(&path).map_err(unread)?;
    if let Some(key) = missing_key(&text) {
        return Err(no_run(format!("lacks the key `{key}`: the file is not whole")));
    }
    let overrides = Overrides { file: Some((path.display().to_string(), text)), ..Overrides::default() };
    effective(&presets::preset("bionic")?, &overrides).map_err(|e| no_run(format!("cannot be used: {}", e.what())))
}

/// The wiring that the run in folder `run` uses, if it has a column.
///
/// # Errors
/// `State` if it is damaged; `Io` if the system refuses to read it.
pub fn load_connectome(run: &Path, config: &Config) -> Result<Option<Connectome>> {
    if !config.column.enabled {
        return Ok(None);
    }
    connectome::read_folder(&run.join(CONNECTOME)).map(Some).map_err(|e| match e.kind() {
        Kind::Input => e.into_state().with_remedy("restore the folder `connectome` of the run from a copy"),
        _ => e,
    })
}

/// A trained network, ready to classify.
pub struct Trained {
    /// Configuration of the run.
    pub config: Config,
    /// The network.
    pub network: Network,
    /// Its wiring, if it has a column.
    pub connectome: Option<Connectome>,
    /// The best epoch, from 1.
    pub epoch: usize,
    /// Epochs that had finished when the state was saved.
    pub finished: usize,
    /// Weights of the best epoch.
    pub weights: Vec<f32>,
    /// Running statistics of the best epoch.
    pub buffers: Vec<f32>,
    /// How pixels are standardised.
    pub standardize: Standardize,
    /// Fingerprint of the data set that it was trained on.
    pub data_fingerprint: u64,
}

/// Loads the best epoch of the run in folder `run`, which may still be training. `warn` is told of damage that did no harm.
///
/// # Errors
/// `State` if a file is damaged or belongs to another network, connectome or configuration, or no epoch has finished.
pub fn load_best(run: &Path, warn: &mut dyn FnMut(&str)) -> Result<Trained> {
    let path = run.join(STATE);
    let untrained =
        || Error::state(path.display(), "no epoch has finished yet", "train the run for at least one epoch");
    // Side by side where there is a pool: `predict` spends most of its time on these two. The longer one first: another
    // worker has to wake to take the second.
    let wiring = || {
        let config = load_config(run)?;
        let connectome = load_connectome(run, &config);
        let fingerprint = connectome.as_ref().map_or(0, |c| c.as_ref().map_or(0, Connectome::fingerprint));
        Ok::<_, Error>((config, connectome, fingerprint))
    };
    let (wiring, opened) = threads::join(wiring, || has_state(run)?.then(|| store::read(&path, is_best)).transpose());
    let (config, connectome, fingerprint) = wiring?;
    let opened = opened?.ok_or_else(untrained)?;
    opened.warnings.iter().for_each(|w| warn(&format!("{}: {w}", path.display())));
    let Saved { progress, .. } = Saved::from_text(&path, &opened.text)?;
    if progress.best_epoch == 0 {
        return Err(untrained());
    }
    let connectome = connectome?;
    check_connectome(&path, &opened.fingerprints, fingerprint)?;
    if opened.fingerprints.configuration != configuration_fingerprint(&config)? {
        return Err(Error::state(
            path.display(),
            format!("was saved with another configuration than {CONFIG}"),
            format!(
                "restore {CONFIG}, or train on with it: `bionic-cpu train --resume --force --out {}`",
                run.display()
            ),
        ));
    }
    let network = Network::build(&config, connectome.as_ref())?;
    let regions = Regions::new(&network, Hebbian::new(&config, &network)?.state_len());
    regions.check(&path, &opened, &network)?;
    let data_fingerprint = opened.fingerprints.data;
    let (weights, buffers) = regions.best(opened, &network);
    let standardize = Standardize::of(config.data.standardize, (progress.mean, progress.sd));
    let (epoch, finished) = (progress.best_epoch, progress.epoch);
    Ok(Trained { config, network, connectome, epoch, finished, weights, buffers, standardize, data_fingerprint })
}

fn check_connectome(path: &Path, found: &Fingerprints, expected: u64) -> Result<()> {
    if found.connectome == expected {
        return Ok(());
    }
    Err(Error::state(
        path.display(),
        format!("belongs to another connectome: fingerprint {:016x}, the run's is {expected:016x}", found.connectome),
        "restore the run's own connectome folder and weights",
    ))
}

/// Checks that the part of `metrics.jsonl` that belongs to the saved state is there.
///
/// # Errors
/// `State` if it is not all there.
pub(super) fn check_metrics(path: &Path, len: u64) -> Result<()> {
    match fs::metadata(path).map_or(0, |m| m.len()) {
        found if found < len => Err(Error::state(
            path.display(),
            format!("has {found} bytes, expected at least {len}: records of finished epochs are lost"),
            "restore the file from a copy",
        )),
        _ => Ok(()),
    }
}

/// Cuts `metrics.jsonl` to the part that belongs to the saved state.
pub(super) fn truncate_metrics(path: &Path, len: u64) -> Result<()> {
    let failed = |e: io::Error| Error::io(path, "cutting", &e);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    file.set_len(len).map_err(failed)
}

/// Appends one record to `metrics.jsonl`, to be flushed before the next commit; returns the length of the file.
pub(super) fn append_record(path: &Path, record: &EpochRecord) -> Result<u64> {
    let line = serde_json::to_string(record)
        .map_err(|e| Error::other(format!("the record does not serialise: {e}"), "report this as a bug"))?;
    let failed = |e: io::Error| Error::io(path, "appending", &e).into_io();
    let mut file = fs::OpenOptions::new().append(true).open(path).map_err(failed)?;
    writeln!(file, "{line}").map_err(failed)?;
    Ok(file.metadata().map_err(failed)?.len())
}

/// Flushes `metrics.jsonl` to the disk.
pub(super) fn sync_metrics(path: &Path) -> Result<()> {
    fs::File::open(path).and_then(|file| file.sync_data()).map_err(|e| Error::io(path, "flushing", &e).into_io())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_or_empty_folder_takes_a_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        fs::write(folder.path().join("work.bcw"), "of a start that was cut short").unwrap();
        assert!(refuse_occupied(folder.path()).is_ok());
        assert!(refuse_occupied(&folder.path().join("new")).is_ok());
        fs::write(&file, "x").unwrap();
        assert_eq!(refuse_occupied(folder.path()).unwrap_err().exit_code(), 2);
        assert_eq!(refuse_occupied(&file).unwrap_err().exit_code(), 2);
    }
}
