//! The working weights: a memory-mapped file, allocated in full, locked, and changed in place by training.

#![allow(unsafe_code)]

use crate::error::{Error, Result};
use memmap2::{MmapMut, MmapOptions};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// First bytes of a working file; a copy in text mode damages them, as with PNG.
const MAGIC: [u8; 8] = *b"\x89BWK\r\n\x1a\n";
/// Version of the layout below.
const VERSION: u32 = 1;
/// Floats start here: one page, so that they are aligned for every SIMD width.
const HEADER_BYTES: usize = 4096;
/// Zeros are written in pieces of this size.
const ZERO_BYTES: usize = 1 << 20;

/// The mapped working file: `len` floats that live in the page cache and that the system writes back when it likes.
///
/// Layout, little endian: magic (8 bytes), version `u32`, header length `u32`, number of floats `u64`, XXH3-64 of
/// those 24 bytes, zeros up to 4,096; then the floats in the byte order of the machine. The file is only a place to
/// work in: what survives a crash is what [`super::save`] wrote.
#[derive(Debug)]
pub struct WorkMap {
    // Dropped in this order: unmapped first, unlocked (by closing the file) last.
    map: MmapMut,
    len: usize,
    _locked: File,
}

impl WorkMap {
    /// Creates (or takes over) the file at `path`, locks it, fills it with `len_floats` zeros and maps it.
    ///
    /// Every byte is written before mapping, so a full disk is an error here and not a `SIGBUS` during training. An
    /// existing file is touched only once the lock is held, since to shorten a file that is mapped kills its user.
    ///
    /// # Errors
    /// `State` if another process has the file or it is not a regular file; `Io` if the disk is full or a call fails.
    pub fn create(path: &Path, len_floats: usize) -> Result<Self> {
        let io = |doing: &'static str| move |e: std::io::Error| Error::io(path, doing, &e);
        let bytes = len_floats.checked_mul(4).and_then(|b| b.checked_add(HEADER_BYTES)).ok_or_else(|| {
            Error::other(
                format!("{len_floats} weights are more than this machine can address"),
                "use a smaller network",
            )
        })?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("opening the working weights"))?;
        if !file.metadata().map_err(io("reading the size"))?.is_file() {
            return Err(Error::state(path.display(), "is not a regular file", "remove it or use another run folder"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::state(
                    path.display(),
                    "in use by another process",
                    "wait until it ends, or train into another folder",
                ));
            }
            Err(TryLockError::Error(e)) => return Err(Error::io(path, "locking", &e)),
        }
        file.set_len(bytes as u64).map_err(io("setting the size"))?;
        file.seek(SeekFrom::Start(0)).map_err(io("writing"))?;
        file.write_all(&header(len_floats)).map_err(io("writing"))?;
        let zeros = vec![0u8; ZERO_BYTES.min(bytes - HEADER_BYTES)];
        let mut left = bytes - HEADER_BYTES;
        while left > 0 {
            let n = left.min(zeros.len());
            file.write_all(&zeros[..n]).map_err(io("allocating disk space for the weights"))?;
            left -= n;
        }
        // File systems that allocate late (XFS, ext4, btrfs, NFS) report a full disk here at the latest.
        file.sync_all().map_err(io("allocating disk space for the weights"))?;
        // SAFETY: a mapping is unsound if someone else changes or shortens the file below it. Our own programs cannot:
        // `try_lock` above refuses a second user, and `_locked` keeps the lock for as long as the map lives. A
        // foreign program that ignores the lock can at worst change values (every bit pattern is a float) or shorten
        // the file, upon which the system ends us with SIGBUS.
        let map = unsafe { MmapOptions::new().len(bytes).map_mut(&file) }.map_err(io("mapping"))?;
        assert_eq!(map.as_ptr().align_offset(align_of::<f32>()), 0, "a mapping starts on a page");
        Ok(Self { map, len: len_floats, _locked: file })
    }

    /// The weights `(len_floats)`.
    pub fn floats(&self) -> &[f32] {
        let bytes = &self.map[HEADER_BYTES..];
        assert_eq!(bytes.len(), self.len * 4, "the map is as long as when it was made");
        // SAFETY: could be misaligned or too long. `create` asserts that the map starts on a multiple of four and
        // HEADER_BYTES is one too; the assert above has the length. Every bit pattern is a valid f32, and the lifetime
        // is that of `&self`.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<f32>(), self.len) }
    }

    /// The weights `(len_floats)`, to be changed in place.
    pub fn floats_mut(&mut self) -> &mut [f32] {
        let bytes = &mut self.map[HEADER_BYTES..];
        assert_eq!(bytes.len(), self.len * 4, "the map is as long as when it was made");
        // SAFETY: as in `floats`; and the only other way to these bytes is `self`, which is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast::<f32>(), self.len) }
    }
}

/// The first page of a working file.
fn header(len_floats: usize) -> [u8; HEADER_BYTES] {
    let mut page = [0u8; HEADER_BYTES];
    page[..8].copy_from_slice(&MAGIC);
    page[8..12].copy_from_slice(&VERSION.to_le_bytes());
    page[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
    page[16..24].copy_from_slice(&(len_floats as u64).to_le_bytes());
    let hash = xxh3_64(&page[..24]);
    page[24..32].copy_from_slice(&hash.to_le_bytes());
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_zero_and_keeps_what_is_written() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.bcw");
        let mut map = WorkMap::create(&path, 600_000)?;
        assert!(map.floats().iter().all(|&w| w == 0.0));
        map.floats_mut()[599_999] = 1.5;
        map.floats_mut()[0] = f32::NAN;
        assert!(map.floats()[0].is_nan());
        drop(map);
        let bytes = std::fs::read(&path).expect("readable");
        assert_eq!(bytes.len(), 4096 + 600_000 * 4);
        assert_eq!(bytes[bytes.len() - 4..], 1.5f32.to_ne_bytes());
        Ok(())
    }

    #[test]
    fn a_second_opener_is_refused_and_harms_nothing() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.bcw");
        let mut first = WorkMap::create(&path, 100)?;
        first.floats_mut().fill(2.0);
        for len in [0, 100, 10_000] {
            let e = WorkMap::create(&path, len).expect_err("locked");
            assert_eq!(e.exit_code(), 5);
            assert!(e.to_string().contains("in use by another process"), "{e}");
        }
        assert!(first.floats().iter().all(|&w| w == 2.0));
        assert_eq!(std::fs::metadata(&path).expect("is there").len(), 4096 + 400);
        drop(first);
        let again = WorkMap::create(&path, 50)?;
        assert!(again.floats().iter().all(|&w| w == 0.0), "an old file is cleared");
        assert_eq!(again.floats().len(), 50);
        Ok(())
    }

    #[test]
    fn empty_is_allowed_and_too_much_is_an_error() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(WorkMap::create(&folder.path().join("empty"), 0)?.floats().is_empty());
        let e = WorkMap::create(&folder.path().join("huge"), usize::MAX / 4).expect_err("too large");
        assert_eq!(e.exit_code(), 1);
        let e = WorkMap::create(&folder.path().join("gone/work.bcw"), 1).expect_err("no folder");
        assert_eq!(e.exit_code(), 3);
        Ok(())
    }

    #[test]
    fn a_working_file_is_not_a_saved_one() -> Result<()> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("work.bcw");
        drop(WorkMap::create(&path, 10)?);
        let e = super::super::load(&path).expect_err("another kind of file");
        assert!(e.to_string().contains("magic"), "{e}");
        Ok(())
    }
}
