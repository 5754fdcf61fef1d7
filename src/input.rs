//! Opening files that somebody else wrote: regular files of bounded size, and nothing that never ends.
//!
//! A pipe or a device in the place of a file would hang the program or fill its memory. Every reader of a file from
//! outside begins here.

use crate::error::{Error, Result};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::path::Path;

/// `O_NONBLOCK` of Linux: opening a pipe that nobody writes to returns at once.
#[cfg(target_os = "linux")]
const O_NONBLOCK: i32 = 0o4000;

/// Most bytes for which memory is taken because the size of a file says so; more comes as it is read.
const FIRST_BYTES: u64 = 1 << 20;

/// Size of the regular file `path`, bytes; nothing is opened.
///
/// # Errors
/// `Input` if there is nothing or something else (a folder, a pipe, a device); `Io` if the system refuses to look.
pub fn look(path: &Path) -> Result<u64> {
    let found = fs::metadata(path).map_err(|e| Error::io(path, "reading", &e))?;
    size_of_regular(path, &found)
}

/// Opens the regular file `path` of at most `max_bytes`; gives it and its size, bytes.
///
/// # Errors
/// Those of [`look`]; `Input` if the file is larger.
pub fn open(path: &Path, max_bytes: u64) -> Result<(File, u64)> {
    look(path)?;
    let failed = |e| Error::io(path, "opening", &e);
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(target_os = "linux")]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, O_NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    // Asked again of what was opened: the name may have come to stand for something else.
    let bytes = size_of_regular(path, &file.metadata().map_err(failed)?)?;
    if bytes > max_bytes { Err(too_large(path, &format!("{bytes} bytes"), max_bytes)) } else { Ok((file, bytes)) }
}

/// Reads the regular file `path` of at most `max_bytes`, also while somebody lengthens it.
///
/// # Errors
/// Those of [`open`]; `Io` if reading fails.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>> {
    let (file, len) = open(path, max_bytes)?;
    let mut bytes = Vec::with_capacity(len.min(FIRST_BYTES) as usize);
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| Error::io(path, "reading", &e))?;
    if bytes.len() as u64 > max_bytes {
        return Err(too_large(path, "the file grows while it is read", max_bytes));
    }
    Ok(bytes)
}

fn size_of_regular(path: &Path, found: &Metadata) -> Result<u64> {
    if found.is_file() {
        return Ok(found.len());
    }
    let what = if found.is_dir() { "it is a folder" } else { "not a regular file (a pipe or a device?)" };
    Err(Error::input(path.display(), what, "name a regular file; write what a pipe gives to a file first"))
}

fn too_large(path: &Path, what: &str, max_bytes: u64) -> Error {
    Error::input(path.display(), format!("{what}, at most {max_bytes} are read"), "is this the right file?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;

    #[track_caller]
    fn refused<T: Debug>(result: Result<T>, part: &str) {
        let error = result.unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains(part), "{error}");
    }

    #[test]
    fn a_regular_file_within_its_bound_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for bytes in [vec![], vec![7; 1000]] {
            fs::write(&path, &bytes).unwrap();
            assert_eq!(look(&path).unwrap(), bytes.len() as u64);
            assert_eq!(open(&path, 1000).unwrap().1, bytes.len() as u64);
            assert_eq!(read(&path, 1000).unwrap(), bytes);
        }
        refused(open(&path, 999), "1000 bytes, at most 999");
        refused(read(&path, 999), "1000 bytes, at most 999");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        refused(read(&dir.path().join("gone"), 9), "no such file");
        refused(look(dir.path()), "folder");
        refused(read(dir.path(), 9), "folder");
    }

    /// Each of these hung or filled the memory.
    #[cfg(unix)]
    #[test]
    fn pipes_devices_and_sockets_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [&pipe, &socket, Path::new("/dev/zero")] {
            refused(look(path), "not a regular file");
            refused(open(path, u64::MAX), "not a regular file");
            refused(read(path, u64::MAX), "not a regular file");
        }
    }

    /// The system says that these are empty; more can be read.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_gives_more_than_its_size_is_bounded() {
        let path = Path::new("/proc/self/smaps");
        assert_eq!(look(path).unwrap(), 0);
        refused(read(path, 100), "at most 100 are read");
    }
}
