//! What a run reports while it trains, what it keeps to go on, and how it is stopped.

use super::origin::Origin;
use crate::error::{Error, Result};
use crate::learning::{Schedule, Share};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Something worth showing.
pub enum Event<'a> {
    /// Free text: what was loaded, counts.
    Note(String),
    /// Damage that did no harm.
    Warning(String),
    /// Progress inside an epoch.
    Step {
        /// Epoch, from 1.
        epoch: usize,
        /// Epochs in all.
        epochs: usize,
        /// Steps done in this epoch.
        step: usize,
        /// Steps of an epoch.
        steps: usize,
        /// Speed in this epoch so far.
        images_per_second: f64,
    },
    /// An epoch ended.
    Epoch {
        /// Its record, as in `metrics.jsonl`.
        record: &'a EpochRecord,
        /// Epochs in all.
        epochs: usize,
        /// True if it is the best so far.
        best: bool,
    },
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean training loss (label smoothing included).
    pub train_loss: f64,
    /// Accuracy on the augmented training images, as they were trained on.
    pub train_accuracy: f64,
    /// Mean cross-entropy on PublicTest.
    pub val_loss: f64,
    /// Accuracy on PublicTest.
    pub val_accuracy: f64,
    /// Learning rate of the epoch's last step.
    pub learning_rate: f64,
    /// Training speed, scoring left out.
    pub images_per_second: f64,
    /// Wall time of the epoch, scoring included, seconds.
    pub seconds: f64,
    /// Mean over steps of |Δ_local| / (|Δ_local| + |Δ_optimizer|), by projection: 1 in mode `local`, empty in
    /// `backprop`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hebbian_share: BTreeMap<String, f64>,
}

/// Outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Folder of the run.
    pub out: String,
    /// Epochs trained.
    pub epochs: usize,
    /// Epoch with the best PublicTest accuracy; its weights are kept.
    pub best_epoch: usize,
    /// Its PublicTest accuracy.
    pub val_accuracy: f64,
    /// Trained parameters.
    pub parameters: usize,
    /// Synapses of the connectome that carry a weight.
    pub synapses: usize,
    /// Wall time of all epochs, seconds.
    pub seconds: f64,
    /// Mean training speed.
    pub images_per_second: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Wall time that training has waited for saved states, seconds, in this process.
    pub saving_seconds: f64,
    /// Checksum over all weights, moments and running state at the end: equal for runs that are equal to the bit.
    pub fingerprint: String,
    /// Fingerprint of the data set.
    pub data_fingerprint: String,
    /// Fingerprint of the wiring that the network has, null wirings included; zeros without a column.
    pub connectome_fingerprint: String,
    /// Fingerprint of what decides the result beside the two: [`configuration_fingerprint`](super::configuration_fingerprint).
    pub configuration_fingerprint: String,
}

/// What must be kept beside the weights for the run to go on with the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Epochs finished.
    pub epoch: usize,
    /// Steps done in the unfinished epoch.
    pub cursor: usize,
    /// Steps done in all.
    pub step: u64,
    /// Sums over the unfinished epoch.
    pub loss: f64,
    pub correct: usize,
    pub seen: usize,
    pub shares: Vec<Share>,
    pub schedule: Schedule,
    pub best_epoch: usize,
    pub best_accuracy: f64,
    pub best_loss: f64,
    /// Bytes of `metrics.jsonl` that belong to this state.
    pub log_len: u64,
    /// Training time of the unfinished epoch before it was stopped, seconds.
    pub epoch_seconds: f64,
    /// Wall time of the finished epochs, and of their training alone, seconds.
    pub seconds: f64,
    pub training_seconds: f64,
    pub images: u64,
    /// Mean and deviation that standardise the pixels of every image alike; (0, 1) where each has its own.
    pub mean: f32,
    pub sd: f32,
}

/// The text beside the weights in a state.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    pub progress: Progress,
    pub origin: Origin,
}

impl Saved {
    /// Reads it from the state at `path`.
    ///
    /// # Errors
    /// `State` if it is not what this version writes.
    pub fn from_text(path: &Path, text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| {
            Error::state(path.display(), format!("progress record: {e}"), "the file was made by another version")
        })
    }

    /// As text.
    ///
    /// # Errors
    /// `Other` if it does not serialise.
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|e| Error::other(format!("the progress record does not serialise: {e}"), "report this as a bug"))
    }
}

/// A request to stop, polled at each step; safe to set from a signal handler's thread.
pub struct Stop {
    code: AtomicU32,
    polled: AtomicBool,
}

impl Stop {
    /// Nothing requested.
    pub const fn new() -> Self {
        Self { code: AtomicU32::new(0), polled: AtomicBool::new(false) }
    }

    /// Asks the run to save its state and to end with `exit_code`. False if nobody has asked [`Stop::requested`] so far:
    /// the run is not training yet and may take its time to notice.
    pub fn request(&self, exit_code: u8) -> bool {
        self.code.store(u32::from(exit_code), Ordering::SeqCst);
        self.polled.load(Ordering::SeqCst)
    }

    /// The exit code asked for, if any.
    pub fn requested(&self) -> Option<u8> {
        if !self.polled.load(Ordering::Relaxed) {
            self.polled.store(true, Ordering::SeqCst);
        }
        match self.code.load(Ordering::SeqCst) {
            0 => None,
            code => Some(code as u8),
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parsers of JSON may be off by the last digit unless asked not to be: a resumed run would end with other sums.
    #[test]
    fn sums_survive_the_record_to_the_last_bit() {
        let mut share = Share { name: "w".into(), sum: 0.0, steps: 1 };
        let mut value = 0.1f64;
        for _ in 0..10_000 {
            value = (value * 1.618_033_988_749_895 + 0.577).fract() * 300.0;
            share.sum = value;
            let read: Share = serde_json::from_str(&serde_json::to_string(&share).unwrap()).unwrap();
            assert_eq!(read.sum.to_bits(), value.to_bits(), "{value:?}");
        }
    }
}
