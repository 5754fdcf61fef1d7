//! Locks: advisory, and gone with the process that held them. Where files cannot be locked there is one writer, one hopes.

use crate::error::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// What nobody else holds until this is dropped.
#[derive(Debug)]
pub struct Locked {
    _file: File,
}

impl Locked {
    /// Waits until nobody else holds the file or folder `path`: for as long as it takes to read a file, add to it and
    /// replace it.
    ///
    /// # Errors
    /// `Io` if it cannot be opened.
    pub fn wait(path: &Path) -> Result<Self> {
        let file = open(path)?;
        let _ = file.lock();
        Ok(Self { _file: file })
    }

    /// Takes `path` likewise for a piece of work that others are to be kept out of; where somebody else holds it, they are
    /// told this remedy.
    ///
    /// # Errors
    /// `State` if somebody does; `Io` if it cannot be opened.
    pub fn take(path: &Path, remedy: &str) -> Result<Self> {
        let file = open(path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::state(path.display(), "in use by another process", remedy)),
            _ => Ok(Self { _file: file }),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io(path, "opening", &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn one_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let held = Locked::take(place.path(), "wait").unwrap();
        let refused = Locked::take(place.path(), "wait").unwrap_err();
        assert!(refused.exit_code() == 5 && refused.to_string().contains("in use by another process"), "{refused}");
        drop(held);
        assert!(Locked::take(place.path(), "wait").is_ok());
        let (held, free) = (Locked::wait(place.path()).unwrap(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _held = Locked::wait(place.path()).unwrap();
                assert!(free.load(Ordering::SeqCst), "two hold it");
            });
            std::thread::sleep(std::time::Duration::from_millis(50));
            free.store(true, Ordering::SeqCst);
            drop(held);
        });
        assert_eq!(Locked::wait(&place.path().join("gone")).unwrap_err().exit_code(), 3);
    }
}
