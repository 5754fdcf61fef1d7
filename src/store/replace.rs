//! Replacing whole files: written beside, synced, renamed.

use crate::error::{Error, Result};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most writers of one file at a time.
const WRITERS: usize = 1000;

/// Replaces `path` by `bytes`: written beside (`.<name>.bionic-0`, or the next number where another writer has that),
/// flushed to the disk, renamed, and the folder flushed. A reader sees the old file or the new one, also after a crash at
/// any moment; of several writers the last one counts. Where `path` is a link, the file that it names is replaced.
///
/// # Errors
/// `Io` naming the file, if it is there and not a regular file or a call fails; unless only the flush of the folder failed,
/// the old file is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: io::Error| Error::io(path, "writing", &e).into_io();
    let target = target(path).map_err(failed)?;
    let (beside, mut file) = new_beside(&target).map_err(failed)?;
    let written = file.set_len(0).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    put_in_place(&beside, &target, written)
}

/// Refuses `--out path` unless it ends with `.ending` and is a file or not there: nothing of another kind is overwritten by
/// mistake, neither data nor the files of a run.
///
/// # Errors
/// `Usage` naming the path.
pub fn refuse_other_kind(path: &Path, ending: &str) -> Result<()> {
    let ends = path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    if ends && (path.is_file() || !path.exists()) {
        return Ok(());
    }
    let what = format!("--out {}: expected a file that ends with `.{ending}`", path.display());
    Err(Error::usage(what, format!("name a new file, or one to replace, that ends with `.{ending}`")))
}

/// The file that is replaced where `path` is a link, else `path`.
fn target(path: &Path) -> io::Result<PathBuf> {
    let target = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::canonicalize(path)?,
        _ => path.to_owned(),
    };
    if fs::metadata(&target).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is there and not a regular file"));
    }
    Ok(target)
}

/// Checks that [`replace`] will find a folder that takes new files.
///
/// # Errors
/// `Io` naming the file.
pub fn check_replaceable(path: &Path) -> Result<()> {
    let made = target(path).and_then(|path| new_beside(&path)).and_then(|(beside, _)| fs::remove_file(beside));
    made.map_err(|e| Error::io(path, "writing", &e).into_io())
}

/// A locked file beside `path` that no other writer has, empty or with what a crash has left.
fn new_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    for writer in 0..WRITERS {
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!("{LEFT_OVER}{writer}"));
        let beside = path.with_file_name(name);
        if fs::symlink_metadata(&beside).is_ok_and(|found| !found.is_file()) {
            continue;
        }
        let file = File::options().write(true).create(true).truncate(false).open(&beside)?;
        // Where files cannot be locked there is one writer, one hopes. Another one may have renamed it since.
        let taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
        if !taken && is_at(&file, &beside) {
            return Ok((beside, file));
        }
    }
    Err(io::Error::other("too many others write it"))
}

/// What follows the name of a file in that of the one beside it.
const LEFT_OVER: &str = ".bionic-";

/// Renames the written file `beside` to `path` and flushes the folder; removes it if writing failed.
pub(super) fn put_in_place(beside: &Path, path: &Path, written: io::Result<()>) -> Result<()> {
    let placed = written.and_then(|()| fs::rename(beside, path));
    if placed.is_err() {
        // Best effort: a left-over harms nobody.
        let _ = fs::remove_file(beside);
    }
    placed.map_err(|e| Error::io(path, "writing", &e).into_io())?;
    sync_folder(parent(path))
}

/// Name of the folder or the state that becomes `path` by renaming; nobody else writes it at the same time.
pub(super) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Whether a crash may have left a file called `name` beside one called `of`.
pub fn is_left_over(name: &str, of: &str) -> bool {
    let rest = name.strip_prefix('.').and_then(|name| name.strip_prefix(of));
    rest.is_some_and(|rest| rest.starts_with(LEFT_OVER))
}

/// True if `path` is the name of this very file.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let id = |found: io::Result<fs::Metadata>| found.map(|m| (m.dev(), m.ino())).ok();
    id(file.metadata()) == id(fs::metadata(path))
}

/// The folder that `path` lies in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether `path` is a folder without entries.
pub fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Makes the folder `path` and those above it where there are none, each flushed to the disk by the one above; true if there
/// was none at `path`.
///
/// # Errors
/// `Io` naming the folder.
pub fn make_folder(path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let above = parent(path);
    if path != above {
        make_folder(above)?;
    }
    match fs::create_dir(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(false),
        made => made.map_err(|e| Error::io(path, "making the folder", &e).into_io())?,
    }
    sync_folder(above)?;
    Ok(true)
}

/// Flushes `folder`, so that the files made and renamed in it survive a power cut.
///
/// # Errors
/// `Io` naming the folder.
pub fn sync_folder(folder: &Path) -> Result<()> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(|e| Error::io(folder, "flushing the folder", &e).into_io())
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
        assert_eq!(replace(&folder.path().join("gone/run.json"), b"").expect_err("no folder").exit_code(), 4);
    }

    #[test]
    fn what_lies_beside_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npz");
        fs::write(folder.path().join("x.npz.tmp"), "precious").expect("written");
        fs::write(folder.path().join("thesis.txt"), "precious").expect("written");
        std::os::unix::fs::symlink("thesis.txt", folder.path().join(".x.npz.bionic-0")).expect("linked");
        // Of a writer that was killed.
        fs::write(folder.path().join(".x.npz.bionic-1"), "half of a long text").expect("written");
        replace(&path, b"new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "new");
        for name in ["x.npz.tmp", "thesis.txt"] {
            assert_eq!(fs::read_to_string(folder.path().join(name)).expect("readable"), "precious");
        }
        assert!(!folder.path().join(".x.npz.bionic-1").exists(), "taken over");
        assert!(is_left_over(".x.npz.bionic-1", "x.npz"));
        assert!(!is_left_over("x.npz", "x.npz") && !is_left_over(".x.npzz.bionic-0", "x.npz"));
    }

    #[test]
    fn several_writers_leave_one_whole_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.npz");
        std::thread::scope(|scope| {
            for writer in 0..4u8 {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| replace(path, &[writer; 10_000]).expect("written")));
            }
        });
        let bytes = fs::read(&path).expect("readable");
        assert!(bytes.len() == 10_000 && bytes.iter().all(|b| *b == bytes[0]));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn a_link_stays_and_what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let [link, file] = ["link", "file"].map(|name| folder.path().join(name));
        fs::write(&file, "old").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        replace(&link, b"new").expect("written");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_to_string(&file).expect("readable"), "new");
        fs::remove_file(&link).expect("removed");
        std::os::unix::fs::symlink("/dev/null", &link).expect("linked");
        assert_eq!(replace(&link, b"x").expect_err("a device").exit_code(), 4);
    }

    #[test]
    fn folders_are_made_level_by_level() {
        let base = tempfile::tempdir().expect("a folder");
        let path = base.path().join("a/b/c");
        assert!(make_folder(&path).expect("made") && !make_folder(&path).expect("there"));
        fs::write(base.path().join("file"), "x").expect("written");
        assert_eq!(make_folder(&base.path().join("file/d")).expect_err("a file").exit_code(), 4);
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
