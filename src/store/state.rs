//! Writing a state: commits into the older slot.

use super::disk::Disk;
use super::layout::{BLOCK, Layout, check_sections};
use super::reader::{Found, Opened, find, first_not_finite, open_file, overlapping};
use super::record::Record;
use super::replace::{beside, put_in_place};
use super::{Fingerprints, Section, map};
use crate::error::{Error, Result};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// What one commit saves.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// What the state belongs to.
    pub fingerprints: Fingerprints,
    /// Any text of at most 64 KiB.
    pub text: &'a str,
    /// Values of each section, in the order of the file.
    pub floats: &'a [&'a [f32]],
}

/// A state file that is open for commits.
///
/// At most one process may have it open: lock the run with [`WorkFile`](super::WorkFile) first.
#[derive(Debug)]
pub struct State(Writer<File>);

impl State {
    /// Makes the file at `path` with tensors `sections` and a first commit of `snapshot`. It is made beside
    /// (`<name>.tmp`), allocated in full, and renamed: it is there with a whole state, or not at all.
    ///
    /// # Errors
    /// Those of [`State::commit`]; `Io` if there is no room for it.
    ///
    /// # Panics
    /// As [`State::commit`]; if a name is empty, longer than 256 bytes or there twice, or a shape has more than 8 sides.
    pub fn create(path: &Path, sections: &[Section], snapshot: &Snapshot) -> Result<Self> {
        check_sections(sections);
        let layout = Layout::new(sections.to_vec()).ok_or_else(|| {
            Error::other(
                format!("{}: {} tensors are more than a state file can hold", path.display(), sections.len()),
                "use a smaller network",
            )
        })?;
        let beside = beside(path);
        // An earlier attempt may have left this file; nobody has it mapped. Cut, so that all of it reads as zeros.
        let made = File::options().read(true).write(true).create(true).truncate(true).open(&beside);
        let file = made.and_then(|file| map::allocate(&file, layout.file()).map(|()| file));
        let written = file.map_err(|e| Error::io(path, "allocating disk space for the state", &e)).and_then(|file| {
            let mut writer = Writer::new(file, path, layout);
            writer.format()?;
            writer.commit(snapshot)?;
            Ok(writer)
        });
        match written {
            Ok(writer) => put_in_place(&beside, path, writer.disk.sync_all()).map(|()| Self(writer)),
            Err(e) => {
                let _ = std::fs::remove_file(&beside);
                Err(e)
            }
        }
    }

    /// Opens the state at `path` to go on with it, and reads everything in it. Nothing is written.
    ///
    /// # Errors
    /// Those of [`read`](super::read).
    pub fn open(path: &Path) -> Result<(Self, Opened)> {
        let file = open_file(path, true)?;
        let found = find(&file, path, &|_| true)?;
        let (writer, opened) = Writer::continuing(file, path, found);
        Ok((Self(writer), opened))
    }

    /// Saves `snapshot`; after `Ok` it survives everything but damage to the disk, and until then the state before it
    /// does: blocks and table go to the older slot, the disk confirms, the commit record follows, the disk confirms.
    /// Blocks that the slot holds already are not written.
    ///
    /// # Errors
    /// `Other` if a value is not finite, since such a state would be of no use, or the text is too long; `Io` if a write
    /// or a sync fails. After an `Io` error every further commit fails too: what the disk holds is no longer known, and
    /// the newest whole state is found by opening the file again.
    ///
    /// # Panics
    /// If the slices do not match the shapes.
    pub fn commit(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.0.commit(snapshot)
    }

    /// Lets every further write fail.
    #[cfg(test)]
    pub(super) fn break_disk(&mut self) {
        self.0.disk = File::open(&self.0.path).expect("readable");
    }
}

/// [`State`] on any disk.
#[derive(Debug)]
pub(super) struct Writer<D> {
    pub disk: D,
    path: PathBuf,
    layout: Layout,
    superblock_hash: u64,
    damaged_superblock: Option<u64>,
    /// Generation of the last commit, 0 before the first.
    generation: u64,
    /// The slot for the next one.
    next: usize,
    /// Checksums of the blocks that each slot holds, where that is known.
    held: [Option<Vec<u64>>; 2],
    /// A write or a sync has failed.
    poisoned: bool,
}

impl<D: Disk> Writer<D> {
    /// On a disk of `layout.file()` zeros; [`Writer::format`] comes first.
    pub fn new(disk: D, path: &Path, layout: Layout) -> Self {
        let superblock_hash = xxh3_64(&layout.encode());
        Self {
            disk,
            path: path.to_path_buf(),
            layout,
            superblock_hash,
            damaged_superblock: None,
            generation: 0,
            next: 0,
            held: [None, None],
            poisoned: false,
        }
    }

    /// On a disk with the state `found`.
    pub fn continuing(disk: D, path: &Path, found: Found) -> (Self, Opened) {
        let mut writer = Self::new(disk, path, found.layout);
        writer.damaged_superblock = found.damaged_superblock;
        writer.generation = found.newest;
        writer.next = 1 - found.record.slot;
        writer.held[found.record.slot] = Some(found.hashes);
        (writer, found.opened)
    }

    /// Writes superblock and copy to a disk of zeros, which both slots then hold.
    pub fn format(&mut self) -> Result<()> {
        let zeros = vec![0; BLOCK as usize];
        let [whole, last] = [BLOCK, self.layout.data % BLOCK].map(|bytes| xxh3_64(&zeros[..bytes as usize]));
        let hash = |i| if self.layout.block(i).1.is_multiple_of(BLOCK) { whole } else { last };
        let held: Vec<u64> = (0..self.layout.blocks()).map(hash).collect();
        self.held = [Some(held.clone()), Some(held)];
        let bytes = self.layout.encode();
        let written = self.disk.write_at(&bytes, 0).and_then(|()| self.disk.write_at(&bytes, self.layout.superblock));
        written.map_err(|e| self.failed(&e))
    }

    /// As [`State::commit`].
    pub fn commit(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.check(snapshot)?;
        self.write(snapshot).map_err(|e| {
            self.poisoned = true;
            self.failed(&e)
        })
    }

    fn check(&self, snapshot: &Snapshot) -> Result<()> {
        let Snapshot { text, floats, .. } = snapshot;
        assert_eq!(floats.len(), self.layout.sections.len(), "floats must have one slice per section");
        if self.poisoned {
            return Err(self.failed(&io::Error::other("an earlier write had failed")));
        }
        if text.len() as u64 > BLOCK {
            return Err(Error::other(
                format!(
                    "{}: the text beside the weights has {} bytes, at most {BLOCK} fit",
                    self.path.display(),
                    text.len()
                ),
                "shorten the configuration (key `stem`)",
            ));
        }
        for ((section, &(_, length)), values) in self.layout.sections.iter().zip(&self.layout.places).zip(*floats) {
            assert_eq!(values.len() as u64 * 4, length, "section `{}` must have the values of its shape", section.name);
            if let Some((i, v)) = first_not_finite(values) {
                return Err(Error::other(
                    format!("{}: value {i} of `{}` is {v}: training has diverged", self.path.display(), section.name),
                    "lower learning.learning_rate or set learning.clip_norm; the last saved state is as it was",
                ));
            }
        }
        Ok(())
    }

    fn write(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let slot = self.next;
        let start = self.layout.slot_start(slot);
        let held = self.held[slot].take();
        if let Some(at) = self.damaged_superblock {
            self.disk.write_at(&self.layout.encode(), at)?;
        }
        let mut hashes = Vec::with_capacity(self.layout.blocks());
        let mut block = vec![0u8; BLOCK as usize];
        for i in 0..self.layout.blocks() {
            let (from, to) = self.layout.block(i);
            let bytes = &mut block[..(to - from) as usize];
            fill_block(&self.layout, snapshot, from, bytes);
            let hash = xxh3_64(bytes);
            if held.as_ref().is_none_or(|held| held[i] != hash) {
                self.disk.write_at(bytes, start + self.layout.table + from)?;
            }
            hashes.push(hash);
        }
        let mut table: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        table.resize(self.layout.table as usize, 0);
        self.disk.write_at(&table, start)?;
        self.disk.sync()?;
        let record = Record {
            generation: self.generation + 1,
            slot,
            text: snapshot.text.len(),
            fingerprints: snapshot.fingerprints,
            table_hash: xxh3_64(&table),
            superblock_hash: self.superblock_hash,
        };
        self.disk.write_at(&record.encode(), self.layout.record_start(slot))?;
        self.disk.sync()?;
        self.damaged_superblock = None;
        self.generation += 1;
        self.next = 1 - slot;
        self.held[slot] = Some(hashes);
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::io(&self.path, "saving the state", error)
            .with_remedy("check the disk and its free space; the last saved state is whole: go on with --resume")
    }
}

/// The bytes of the data from `from`, as many as `bytes` has.
fn fill_block(layout: &Layout, snapshot: &Snapshot, from: u64, bytes: &mut [u8]) {
    bytes.fill(0);
    if from == 0 {
        bytes[..snapshot.text.len()].copy_from_slice(snapshot.text.as_bytes());
    }
    let to = from + bytes.len() as u64;
    for (k, a, b) in overlapping(layout, from, to) {
        let start = layout.places[k].0;
        let values = &snapshot.floats[k][(a - start) as usize / 4..(b - start) as usize / 4];
        let target = &mut bytes[(a - from) as usize..(b - from) as usize];
        for (target, v) in target.as_chunks_mut().0.iter_mut().zip(values) {
            *target = v.to_le_bytes();
        }
    }
}
