//! Reading what a run has written about itself: what it was made from, and its epochs.

use super::files::{METRICS, RUN};
use super::progress::EpochRecord;
use crate::error::{Error, Result};
use crate::input;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest file that is read, bytes: some 90,000 epochs.
const MAX_BYTES: u64 = 64 << 20;

/// `run.json`: what a run was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    /// Version of the program that began it.
    pub version: String,
    /// Name of the processor.
    pub cpu: String,
    /// What decides the last bits of a sum.
    pub kernels: String,
    /// Seed.
    pub seed: u64,
    /// Where the images came from.
    pub data: String,
    /// Where the wiring came from, if it has a column.
    pub connectome: Option<String>,
    /// Trained parameters.
    pub parameters: usize,
    /// Synapses of the connectome that carry a weight.
    pub synapses: usize,
    /// 16 hexadecimal digits each.
    pub fingerprints: AboutFingerprints,
}

/// Fingerprints of what a run was made from, 16 hexadecimal digits each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AboutFingerprints {
    /// Of the data set.
    pub data: String,
    /// Of the connectome; zeros without a column.
    pub connectome: String,
    /// Of what decides the result in the configuration.
    pub configuration: String,
}

/// What the run in folder `run` was made from.
///
/// # Errors
/// Those of [`read_about`].
pub fn load_about(run: &Path) -> Result<About> {
    read_about(&run.join(RUN))
}

/// What `run.json` at `path` says.
///
/// # Errors
/// `State` if it is not there or not what this version writes.
pub fn read_about(path: &Path) -> Result<About> {
    let bytes = input::read(path, MAX_BYTES).map_err(|e| refused(path.display(), e.what()))?;
    serde_json::from_slice(&bytes).map_err(|e| refused(path.display(), &format!("not the record of a run: {e}")))
}

/// The epochs of the run in folder `run`, in order, of which `finished` are known to have ended.
///
/// # Errors
/// Those of [`read_metrics`]; `State` if records of finished epochs are lost.
pub fn load_metrics(run: &Path, finished: usize) -> Result<Vec<EpochRecord>> {
    let path = run.join(METRICS);
    let records = read_metrics(&path)?;
    if records.len() < finished {
        return Err(refused(path.display(), &format!("has {} of the {finished} finished epochs", records.len())));
    }
    Ok(records)
}

/// The epochs in `metrics.jsonl` at `path`, in order. A last line without its end, which a run may be writing, is left out.
///
/// # Errors
/// `State`, naming the line, if it is not there or not what this version writes.
pub fn read_metrics(path: &Path) -> Result<Vec<EpochRecord>> {
    let bytes = input::read(path, MAX_BYTES).map_err(|e| refused(path.display(), e.what()))?;
    let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let mut records: Vec<EpochRecord> = Vec::new();
    for (i, line) in bytes[..whole].split_inclusive(|&b| b == b'\n').enumerate() {
        let at = || format!("{} line {}", path.display(), i + 1);
        let record: EpochRecord =
            serde_json::from_slice(line).map_err(|e| refused(at(), &format!("not the record of an epoch: {e}")))?;
        if record.epoch != i + 1 {
            return Err(refused(at(), &format!("epoch is {}, expected {}", record.epoch, i + 1)));
        }
        records.push(record);
    }
    Ok(records)
}

fn refused(place: impl std::fmt::Display, what: &str) -> Error {
    Error::state(place, what, "restore the file from a copy of the run")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn line(epoch: usize) -> String {
        format!(
            "{{\"epoch\":{epoch},\"train_loss\":1.5,\"train_accuracy\":0.4,\"val_loss\":1.25,\"val_accuracy\":0.5,\
             \"learning_rate\":0.003,\"images_per_second\":10.0,\"seconds\":2.0}}\n"
        )
    }

    #[test]
    fn finished_epochs_are_read_and_the_one_in_work_is_not() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join(METRICS);
        fs::write(&path, line(1) + &line(2) + &line(3)[..40]).unwrap();
        let records = load_metrics(run.path(), 2).unwrap();
        assert_eq!(records.iter().map(|r| r.epoch).collect::<Vec<_>>(), [1, 2]);
        assert_eq!((records[1].val_accuracy, records[1].hebbian_share.len()), (0.5, 0));
        assert_eq!(format!("{}\n", serde_json::to_string(&records[0]).unwrap()), line(1));
        let lost = load_metrics(run.path(), 3).unwrap_err();
        assert!(lost.exit_code() == 5 && lost.to_string().contains("has 2 of the 3 finished epochs"), "{lost}");
        fs::write(&path, "").unwrap();
        assert!(load_metrics(run.path(), 0).unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_named() {
        let run = tempfile::tempdir().unwrap();
        let refused = |text: &str, part: &str| {
            fs::write(run.path().join(METRICS), text).unwrap();
            let error = load_metrics(run.path(), 0).unwrap_err();
            assert!(error.exit_code() == 5 && error.to_string().contains(part), "{error}");
        };
        refused(&(line(1) + "{}\n"), "metrics.jsonl line 2: not the record");
        refused(&(line(1) + &line(1)), "line 2: epoch is 1, expected 2");
        refused("\n", "line 1");
        fs::remove_file(run.path().join(METRICS)).unwrap();
        assert_eq!(load_metrics(run.path(), 0).unwrap_err().exit_code(), 5);
        assert_eq!(load_about(run.path()).unwrap_err().exit_code(), 5);
    }
}
