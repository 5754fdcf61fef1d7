//! Training: where the images, the connectome, the network and learning meet.
//!
//! A run is a folder; `files.rs` says what is in it. Everything that decides the result is a function of the
//! configuration and the data, so a resumed run ends with the same bits as one never stopped, with any number of
//! threads.

mod files;
mod material;
mod memory;
mod origin;
mod pace;
mod plan;
mod progress;
mod records;
mod session;
mod step;
mod stepper;

pub(crate) use files::to_json;
pub use files::{
    Trained, load_best, load_config, load_connectome, never_began, refuse_occupied, with_absolute_sources,
};
pub use origin::{configuration_fingerprint, deciding_differences, place_differences, with_seed_of};
pub use plan::{Plan, plan};
pub use progress::{EpochRecord, Event, Stop, Summary};
pub use records::{About, AboutFingerprints, load_about, load_metrics, read_about, read_metrics};
pub use stepper::Stepper;

use crate::config::{Config, Overrides, effective};
use crate::error::Result;
use crate::kernels::threads;
use crate::model::presets::preset;
use session::Session;
use std::path::Path;

/// Trains a new run in the folder `out`, which is made; everything is checked before anything is written.
///
/// # Errors
/// `Input` for data that cannot be used, `Io` for a folder that cannot be written, `Usage` if `out` holds a run,
/// `Stopped` after a signal, with the state saved.
pub fn train(config: &Config, out: &Path, observer: &mut (dyn FnMut(Event) + Send), stop: &Stop) -> Result<Summary> {
    let pool = threads::pool(config.threads)?;
    pool.run(|| Session::start(config, out, observer)?.run(observer, stop))
}

/// Continues the run in the folder `out` from its last saved state, or from the beginning if it was stopped before the
/// first. `changes` are laid over the run's configuration: threads and the places of data and wiring are free, anything
/// else has to be what it was, so that the result is that of a run never stopped. `force` continues although data set,
/// connectome, configuration or arithmetic differ.
///
/// # Errors
/// `State` if the folder holds no usable run, another process trains it, or something differs; otherwise as [`train`].
pub fn resume(
    out: &Path,
    changes: &Overrides,
    force: bool,
    observer: &mut (dyn FnMut(Event) + Send),
    stop: &Stop,
) -> Result<Summary> {
    let was = load_config(out)?;
    let start = match changes.preset()? {
        Some(name) if name != was.preset => preset(&name)?,
        _ => was.clone(),
    };
    let config = effective(&start, changes)?;
    let pool = threads::pool(config.threads)?;
    pool.run(|| Session::resume(config, &was, out, force, observer)?.run(observer, stop))
}
