//! Replacing whole folders of files: written beside, synced, exchanged.

use super::replace::{beside, parent, sync_folder};
use crate::error::{Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

/// Replaces the folder `path` by one that holds `files`, name and content: written beside (`<name>.tmp`), flushed to the
/// disk, and put in place by one call, which exchanges it with the old folder where there is one. A reader sees all old
/// files or all new ones, also after a crash at any moment. Then the old folder is removed.
///
/// `ours` says whether a file of that name may be removed: a folder that holds anything else is not touched.
///
/// # Errors
/// `Io` naming the folder; unless only removing the old files or flushing the parent failed, everything is as it was.
pub fn replace_folder(path: &Path, files: &[(String, Vec<u8>)], ours: fn(&str) -> bool) -> Result<()> {
    let beside = beside(path);
    refuse_foreign(path, ours)?;
    refuse_foreign(&beside, ours)?;
    let placed = remove(&beside).and_then(|()| write_all(&beside, files)).and_then(|()| put_in_place(&beside, path));
    if placed.is_err() {
        // Best effort: a left-over is removed by the next attempt.
        let _ = remove(&beside);
    }
    placed.map_err(|e| Error::io(path, "writing the folder", &e).into_io())?;
    sync_folder(parent(path))?;
    remove(&beside).map_err(|e| Error::io(&beside, "removing the old files", &e).into_io())
}

/// Refuses to replace `path` if it is a file, or a folder with an entry that is not a file of ours.
fn refuse_foreign(path: &Path, ours: fn(&str) -> bool) -> Result<()> {
    let refused = |what: String| Error::io(path, "replacing the folder", &io::Error::other(what));
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| refused(e.to_string()))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| refused(e.to_string()))?;
        let file = entry.file_type().is_ok_and(|t| t.is_file());
        if !file || !entry.file_name().to_str().is_some_and(ours) {
            return Err(refused(format!("it holds {:?}, which is not of an export", entry.file_name())));
        }
    }
    Ok(())
}

/// Writes `files` into the new folder `path` and flushes them.
fn write_all(path: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir(path)?;
    for (name, bytes) in files {
        let mut file = File::create_new(path.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    File::open(path)?.sync_all()
}

/// Renames `beside` to `path`; if there is a folder of that name, the two exchange their names.
fn put_in_place(beside: &Path, path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(renameat_with(CWD, beside, CWD, path, RenameFlags::EXCHANGE)?);
    }
    fs::rename(beside, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(name: &str) -> bool {
        name.ends_with(".mtx")
    }

    fn files(list: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        list.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_the_whole_folder_and_leaves_nothing_beside() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("out");
        replace_folder(&path, &files(&[("a.mtx", "1"), ("b.mtx", "2")]), ours).unwrap();
        replace_folder(&path, &files(&[("b.mtx", "3"), ("c.mtx", "4")]), ours).unwrap();
        assert_eq!(names(&path), ["b.mtx", "c.mtx"]);
        assert_eq!(fs::read_to_string(path.join("b.mtx")).unwrap(), "3");
        assert_eq!(names(base.path()), ["out"]);
    }

    #[test]
    fn a_folder_with_other_files_is_not_touched() {
        let base = tempfile::tempdir().unwrap();
        for name in ["out", "out.tmp"] {
            let foreign = base.path().join(name);
            fs::create_dir(&foreign).unwrap();
            fs::write(foreign.join("thesis.txt"), "x").unwrap();
            let error = replace_folder(&base.path().join("out"), &files(&[("a.mtx", "1")]), ours).unwrap_err();
            assert_eq!(error.exit_code(), 4);
            assert!(error.to_string().contains("thesis.txt"), "{error}");
            assert_eq!(names(&foreign), ["thesis.txt"]);
            fs::remove_dir_all(&foreign).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_folder() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("out");
        replace_folder(&path, &files(&[("a.mtx", "1")]), ours).unwrap();
        assert!(replace_folder(&path, &files(&[("b.mtx", "2"), ("no/folder.mtx", "3")]), ours).is_err());
        assert_eq!((names(&path), names(base.path())), (vec!["a.mtx".to_string()], vec!["out".to_string()]));
    }
}
