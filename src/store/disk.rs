//! What a state needs of a disk: a file, or a simulated disk in the tests of power cuts.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes at positions, with a barrier.
pub(super) trait Disk {
    /// Fills `buffer` from position `at`; fewer bytes there are an error of kind `UnexpectedEof`.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
    /// Writes `bytes` to position `at`, inside the file.
    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Returns when everything written before is on the medium.
    fn sync(&mut self) -> io::Result<()>;
    /// Length, bytes.
    fn len(&self) -> io::Result<u64>;
}

impl Disk for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.metadata().map(|m| m.len())
    }
}
