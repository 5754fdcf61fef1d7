//! Training: where the images, the connectome, the network and learning meet.
//!
//! A run is a folder; `files.rs` says what is in it. Everything that decides the result is a function of the
//! configuration and the data, so a resumed run ends with the same bits as one never stopped, with any number of
//! threads.

mod files;
mod material;
mod memory;
mod plan;
mod progress;
mod session;
mod step;
mod stepper;

pub use files::{Trained, load_best, load_config, load_connectome};
pub use plan::{Plan, plan};
pub use progress::{EpochRecord, Event, Stop, Summary};
pub use stepper::Stepper;

use crate::config::Config;
use crate::error::Result;
use crate::kernels::threads;
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

/// Continues the run in the folder `out` from its last saved state. `threads` may differ; the result does not.
/// `force` continues although data set, connectome or configuration are not those that the state was made with.
///
/// # Errors
/// `State` if the folder holds no usable run or its fingerprints differ; otherwise as [`train`].
pub fn resume(
    out: &Path,
    threads: Option<usize>,
    force: bool,
    observer: &mut (dyn FnMut(Event) + Send),
    stop: &Stop,
) -> Result<Summary> {
    let config = load_config(out)?;
    let pool = threads::pool(threads.unwrap_or(config.threads))?;
    pool.run(|| Session::resume(&config, out, force, observer)?.run(observer, stop))
}
