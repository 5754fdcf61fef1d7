//! The working weights: a memory-mapped file, allocated in full, locked, and changed in place by training.

#![allow(unsafe_code)]

use super::replace::is_at;
use crate::error::{Error, Result};
use memmap2::{MmapMut, MmapOptions};
use signal_hook::consts::SIGBUS;
use signal_hook_registry::SigId;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Zeros are written in pieces of this size where the file system cannot allocate.
const ZERO_BYTES: usize = 1 << 20;

/// The working file, locked: no second process works in the same run.
#[derive(Debug)]
pub struct WorkFile {
    file: File,
    path: PathBuf,
}

impl WorkFile {
    /// Creates (or takes over) the file at `path` and locks it. Its contents are left alone: to shorten a file that is
    /// mapped kills its user.
    ///
    /// # Errors
    /// `State` if another process has the file or it is not a regular file; `Io` if a call fails.
    pub fn lock(path: &Path) -> Result<Self> {
        let io = |doing: &'static str| move |e: io::Error| Error::io(path, doing, &e);
        if path.exists() && !path.is_file() {
            return Err(Error::state(path.display(), "is not a regular file", "remove it or use another run folder"));
        }
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(io("opening the working weights"))?;
        let in_use = || {
            let remedy = "wait until it ends, or train into another folder";
            Err(Error::state(path.display(), "in use by another process", remedy))
        };
        match file.try_lock() {
            // A process that took its start back may have removed the file that we opened.
            Ok(()) if !is_at(&file, path) => in_use(),
            Ok(()) => Ok(Self { file, path: path.to_path_buf() }),
            Err(TryLockError::WouldBlock) => in_use(),
            Err(TryLockError::Error(e)) => Err(Error::io(path, "locking", &e)),
        }
    }

    /// Clears the file, allocates room for `len_floats` and maps it, all zeros.
    ///
    /// Every block is allocated before mapping, so a full disk is an error here and not a `SIGBUS` during training.
    ///
    /// # Errors
    /// `Io` if the disk is full or a call fails; `Other` if the machine cannot address so many.
    pub fn map(self, len_floats: usize) -> Result<WorkMap> {
        let Self { file, path } = self;
        let io = |doing: &'static str| {
            let path = &path;
            move |e: io::Error| Error::io(path, doing, &e)
        };
        // One value at least: nothing cannot be mapped.
        let bytes = len_floats.max(1).checked_mul(4).ok_or_else(|| {
            Error::other(
                format!("{len_floats} weights are more than this machine can address"),
                "use a smaller network",
            )
        })?;
        file.set_len(0).map_err(io("clearing"))?;
        allocate(&file, bytes as u64).map_err(io("allocating disk space for the weights"))?;
        // SAFETY: a mapping is unsound if someone else changes or shortens the file below it. Our own programs cannot:
        // `try_lock` in `lock` refuses a second user, and `_locked` keeps the lock for as long as the map lives. A
        // foreign program that ignores the lock can at worst change values (every bit pattern is a float) or shorten
        // the file, upon which `Guard` ends us with a message.
        let map = unsafe { MmapOptions::new().len(bytes).map_mut(&file) }.map_err(io("mapping"))?;
        assert_eq!(map.as_ptr().align_offset(align_of::<f32>()), 0, "a mapping starts on a page");
        let guard = Guard::new(&map, &path).map_err(io("guarding the map of"))?;
        Ok(WorkMap { map, len: len_floats, _guard: guard, _locked: file })
    }
}

/// The mapped working file: floats that live in the page cache and that the system writes back when it likes.
///
/// The file is nothing but the floats, in the byte order of the machine, and only a place to work in: what survives a
/// crash is what [`State::commit`](super::State::commit) wrote. Should the system fail to provide a page (the file was
/// shortened by someone, the disk is broken), the program ends with a message and exit code 4.
#[derive(Debug)]
pub struct WorkMap {
    // Dropped in this order: unmapped first, then unguarded, unlocked (by closing the file) last.
    map: MmapMut,
    len: usize,
    _guard: Guard,
    _locked: File,
}

impl WorkMap {
    /// The weights `(len_floats)`.
    pub fn floats(&self) -> &[f32] {
        let bytes = &self.map[..self.len * 4];
        // SAFETY: could be misaligned or too long. `map` asserts that the map starts on a multiple of four; the line above
        // has the length. Every bit pattern is a valid f32, and the lifetime is that of `&self`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<f32>(), self.len) }
    }

    /// The weights `(len_floats)`, to be changed in place.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        let bytes = &mut self.map[..self.len * 4];
        // SAFETY: as in `floats`; and the only other way to these bytes is `self`, which is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<f32>(), self.len) }
    }
}

/// Turns a `SIGBUS` in a map into one message and exit code 4, until dropped.
#[derive(Debug)]
struct Guard(SigId);

impl Guard {
    fn new(map: &MmapMut, path: &Path) -> io::Result<Self> {
        let pages = map.as_ptr_range();
        let pages = pages.start as usize..pages.end as usize;
        let message = format!(
            "error: {}: a page of the mapped weights is gone: the file was shortened, or the disk failed\n  remedy: check the \
             disk; the last saved state is whole: go on with --resume\n",
            path.display()
        );
        let ours = move |info: &_| {
            if pages.contains(&fault_address(info)) {
                // `write` and `_exit` are safe in a signal handler; there is nowhere to complain if stderr is gone.
                let _ = rustix::io::write(rustix::stdio::stderr(), message.as_bytes());
                signal_hook::low_level::exit(4);
            }
            // Not our page: the handler that was there before us (the runtime's) has restored the default effect, and the
            // access repeats as soon as we return.
        };
        // SAFETY: an action must be async-signal-safe: not allocate, lock or panic. `ours` compares numbers and makes two
        // system calls on memory that was allocated above.
        unsafe { signal_hook_registry::register_sigaction(SIGBUS, ours) }.map(Self)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        signal_hook_registry::unregister(self.0);
    }
}

/// The address whose access failed.
fn fault_address(info: &libc::siginfo_t) -> usize {
    // SAFETY: `si_addr` reads a union field that is only set for faults. `Guard` registers for `SIGBUS` alone; where another
    // process sent that signal the field holds other numbers, which are only compared.
    unsafe { info.si_addr() as usize }
}

/// Makes `file` `bytes` long with disk space for all of them.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        // Some file systems cannot (ZFS, older NFS).
        Err(rustix::io::Errno::OPNOTSUPP) => write_zeros(file, bytes),
        other => other.map_err(io::Error::from),
    }
}

/// Writes `bytes` zeros from the beginning of `file` and waits until they are on the disk: file systems that allocate late
/// report a full disk then at the latest.
fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0u8; ZERO_BYTES];
    file.seek(SeekFrom::Start(0))?;
    let mut left = bytes;
    while left > 0 {
        let n = left.min(ZERO_BYTES as u64);
        file.write_all(&zeros[..n as usize])?;
        left -= n;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(path: &Path, len: usize) -> Result<WorkMap> {
        WorkFile::lock(path)?.map(len)
    }

    #[test]
    fn starts_at_zero_and_keeps_what_is_written() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.bcw");
        let mut map = mapped(&path, 600_000)?;
        assert!(map.floats().iter().all(|&w| w == 0.0));
        map.floats_mut()[599_999] = 1.5;
        map.floats_mut()[0] = f32::NAN;
        assert!(map.floats()[0].is_nan());
        drop(map);
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(bytes.len(), 600_000 * 4);
        assert_eq!(bytes[bytes.len() - 4..], 1.5f32.to_ne_bytes());
        Ok(())
    }

    #[test]
    fn a_second_opener_is_refused_and_harms_nothing() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.bcw");
        let mut first = mapped(&path, 100)?;
        first.floats_mut().fill(2.0);
        for _ in 0..2 {
            let e = WorkFile::lock(&path).expect_err("locked");
            assert_eq!(e.exit_code(), 5);
            assert!(e.to_string().contains("in use by another process"), "{e}");
        }
        assert!(first.floats().iter().all(|&w| w == 2.0));
        assert_eq!(std::fs::metadata(&path).expect("is there").len(), 400);
        drop(first);
        let again = mapped(&path, 50)?;
        assert!(again.floats().iter().all(|&w| w == 0.0), "an old file is cleared");
        assert_eq!(again.floats().len(), 50);
        Ok(())
    }

    #[test]
    fn empty_is_allowed_and_too_much_is_an_error() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(mapped(&folder.path().join("empty"), 0)?.floats().is_empty());
        assert_eq!(mapped(&folder.path().join("huge"), usize::MAX / 2).expect_err("too large").exit_code(), 1);
        assert_eq!(mapped(&folder.path().join("large"), 1 << 59).expect_err("too large").exit_code(), 4);
        assert_eq!(mapped(&folder.path().join("gone/work.bcw"), 1).expect_err("no folder").exit_code(), 3);
        assert_eq!(mapped(folder.path(), 1).expect_err("a folder").exit_code(), 5);
        Ok(())
    }

    #[test]
    fn a_working_file_is_not_a_state() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.bcw");
        drop(mapped(&path, 10_000)?);
        let e = super::super::read(&path, |_| true).expect_err("another kind of file");
        assert!(e.to_string().contains("magic"), "{e}");
        Ok(())
    }

    #[test]
    fn zeros_are_written_where_nothing_can_be_allocated() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"old").expect("written");
        write_zeros(&file, 3_000_000).expect("written");
        assert_eq!(file.metadata().expect("is there").len(), 3_000_000);
    }
}
