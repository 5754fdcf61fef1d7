//! Locks on folders: advisory, and gone with the process that held them.

use crate::error::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// A folder that nobody else works in, until this is dropped.
#[derive(Debug)]
pub struct LockedFolder {
    _folder: File,
}

impl LockedFolder {
    /// Waits until nobody else holds `path`.
    ///
    /// # Errors
    /// `Io` if it cannot be opened.
    pub fn wait(path: &Path) -> Result<Self> {
        let folder = open(path)?;
        // Where folders cannot be locked there is one writer, one hopes.
        let _ = folder.lock();
        Ok(Self { _folder: folder })
    }

    /// Takes `path`, or refuses it, where somebody else holds it, with this remedy.
    ///
    /// # Errors
    /// `State` if somebody does; `Io` if it cannot be opened.
    pub fn take(path: &Path, remedy: &str) -> Result<Self> {
        let folder = open(path)?;
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::state(path.display(), "in use by another process", remedy)),
            _ => Ok(Self { _folder: folder }),
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io(path, "opening the folder", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_until_it_is_let_go() {
        let folder = tempfile::tempdir().unwrap();
        let held = LockedFolder::take(folder.path(), "wait").unwrap();
        let refused = LockedFolder::take(folder.path(), "wait").unwrap_err();
        assert!(refused.exit_code() == 5 && refused.to_string().contains("in use by another process"), "{refused}");
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| LockedFolder::wait(folder.path()));
            drop(held);
            waiting.join()
        });
        assert!(waiting.unwrap().is_ok());
        assert!(LockedFolder::take(folder.path(), "wait").is_ok());
        assert_eq!(LockedFolder::wait(&folder.path().join("gone")).unwrap_err().exit_code(), 3);
    }
}
