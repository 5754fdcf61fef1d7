//! Replacing whole files: written beside, synced, renamed.

use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Replaces `path` by `bytes`: written beside (`<name>.tmp`), flushed to the disk, renamed, and the folder flushed. A
/// reader sees the old file or the new one, also after a crash at any moment.
///
/// # Errors
/// `Io` naming the file; unless only the flush of the folder failed, the old file is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    put_in_place(&beside, path, written)
}

/// Renames the written file `beside` to `path` and flushes the folder; removes it if writing failed.
pub(super) fn put_in_place(beside: &Path, path: &Path, written: io::Result<()>) -> Result<()> {
    let placed = written.and_then(|()| fs::rename(beside, path));
    if placed.is_err() {
        // Best effort: a left-over is overwritten by the next attempt.
        let _ = fs::remove_file(beside);
    }
    placed.and_then(|()| sync_parent(path)).map_err(|e| Error::io(path, "writing", &e))
}

/// Name of the file that becomes `path` by renaming.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Flushes `folder`, so that the files made and renamed in it survive a power cut.
///
/// # Errors
/// `Io` naming the folder.
pub fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io(folder, "flushing the folder", &e))
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_whole_files_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run.json");
        for text in ["a long first text", "short"] {
            replace(&path, text.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("readable"), text);
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        assert_eq!(replace(&folder.path().join("gone/run.json"), b"").expect_err("no folder").exit_code(), 3);
    }

    #[test]
    fn what_cannot_be_put_in_place_is_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("occupied");
        fs::create_dir_all(path.join("by a folder")).expect("made");
        assert!(replace(&path, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
