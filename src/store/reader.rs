//! Reading a state: the newest slot whose record, table and blocks all check.

use super::disk::Disk;
use super::layout::{BLOCK, LINE, Layout, MAGIC, MAX_SUPERBLOCK, PAGE, superblock_bytes};
use super::record::Record;
use super::{DAMAGED, Fingerprints, Section};
use crate::error::{Error, Kind, Result};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// Most bytes for which memory is taken because a file says how long it is; more comes as it is read.
const MOST_AT_ONCE: u64 = 16 << 20;

/// What a state holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// Tensors, in the order of the file.
    pub sections: Vec<Section>,
    /// What the state belongs to.
    pub fingerprints: Fingerprints,
    /// The text that was saved along, as it was.
    pub text: String,
    /// Values of the sections that were asked for, one section after the other, each from a multiple of 16 floats on
    /// (zeros between them), all finite.
    pub floats: Vec<f32>,
    /// Where the values of each section are in `floats`; empty for one that was not asked for.
    pub places: Vec<Range<usize>>,
    /// Damage that was found and did no harm, in words.
    pub warnings: Vec<String>,
}

impl Opened {
    /// The values of the section called `name`, if there is one.
    pub fn floats_of(&self, name: &str) -> Option<&[f32]> {
        self.sections.iter().position(|s| s.name == name).map(|i| &self.floats[self.places[i].clone()])
    }

    /// The values of every section, in the order of the file.
    pub fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        self.places.iter().map(|place| &self.floats[place.clone()])
    }
}

/// Reads the state at `path`: the sections that are `wanted`, checked with everything that belongs to them. Another
/// process may be writing the state meanwhile. Nothing is written.
///
/// # Errors
/// `State` if neither slot holds a whole and undamaged state, naming the field, what was expected and what was found;
/// `Io` (or `Input`, if there is no such file) if it cannot be read.
pub fn read(path: &Path, wanted: impl Fn(&Section) -> bool) -> Result<Opened> {
    let file = open_file(path, false)?;
    // A writer that commits while we read takes the slot from under us: then its records have changed. Damage is true if
    // nobody has written since the attempt before.
    const ATTEMPTS: usize = 100;
    let mut before = None;
    let mut attempt = 1;
    loop {
        let found = find(&file, path, &wanted);
        let certain = match &found {
            Ok(found) => found.opened.warnings.is_empty(),
            Err(e) => e.kind() == Kind::Io,
        };
        let now = (!certain).then(|| generations(&file, path));
        if certain || attempt == ATTEMPTS || before == now {
            return found.map(|found| found.opened);
        }
        (before, attempt) = (now, attempt + 1);
    }
}

/// Generations of the two commit records, as far as they can be read.
fn generations(disk: &impl Disk, path: &Path) -> [Option<u64>; 2] {
    let superblock = disk.len().ok().and_then(|bytes| superblock(disk, bytes, path, &mut Vec::new()).ok());
    [0, 1].map(|slot| {
        let (layout, hash, _) = superblock.as_ref()?;
        Some(read_record(disk, layout, slot, *hash).ok()?.ok()??.generation)
    })
}

/// Opens the regular file at `path`, to be written as well if `writing`.
pub(super) fn open_file(path: &Path, writing: bool) -> Result<File> {
    let io = |e: io::Error| Error::io(path, "reading the saved state", &e);
    // Before opening: to open a pipe would wait for its writer.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(Error::state(path.display(), "is not a regular file", "check the path"));
    }
    File::options().read(true).write(writing).open(path).map_err(io)
}

/// A state that was read, and what a writer has to know to go on with it.
pub(super) struct Found {
    pub layout: Layout,
    /// Where a damaged superblock or its copy is, bytes from the start of the file.
    pub damaged_superblock: Option<u64>,
    /// The record that serves.
    pub record: Record,
    /// Highest generation of a readable record.
    pub newest: u64,
    /// Checksums of the blocks of its slot that were read.
    pub hashes: Vec<u64>,
    pub opened: Opened,
}

/// Finds the newest whole state on `disk` and reads its `wanted` sections; `path` is for messages.
pub(super) fn find(disk: &impl Disk, path: &Path, wanted: &dyn Fn(&Section) -> bool) -> Result<Found> {
    let io = |e: io::Error| Error::io(path, "reading the saved state", &e);
    let file_bytes = disk.len().map_err(io)?;
    let mut warnings = Vec::new();
    let (layout, superblock_hash, damaged_superblock) = superblock(disk, file_bytes, path, &mut warnings)?;
    if file_bytes < layout.file() {
        warnings.push(format!("file has {file_bytes} bytes, expected {}", layout.file()));
    }
    let mut records = Vec::new();
    for slot in 0..2 {
        match whole(read_record(disk, &layout, slot, superblock_hash)).map_err(io)? {
            Ok(record) => records.extend(record),
            Err(what) => warnings.push(format!("commit record of slot {slot}: {what}")),
        }
    }
    records.sort_by_key(|r| std::cmp::Reverse(r.generation));
    let newest = records.first().map_or(0, |r| r.generation);
    for record in records {
        match whole(read_slot(disk, &layout, &record, wanted)).map_err(io)? {
            Ok(Contents { text, floats, places, hashes }) => {
                if !warnings.is_empty() {
                    warnings.push(format!("slot {}, commit {}, is whole and serves", record.slot, record.generation));
                }
                let fingerprints = record.fingerprints;
                let sections = layout.sections.clone();
                let opened = Opened { sections, fingerprints, text, floats, places, warnings };
                return Ok(Found { layout, damaged_superblock, record, newest, hashes, opened });
            }
            Err(what) => warnings.push(format!("slot {}, commit {}: {what}", record.slot, record.generation)),
        }
    }
    if warnings.is_empty() {
        warnings.push("nothing was committed yet".to_string());
    }
    Err(Error::state(path.display(), format!("no slot holds a whole state: {}", warnings.join("; ")), DAMAGED))
}

/// The layout from the superblock or its copy, the hash of its bytes, and where a damaged one is.
fn superblock(
    disk: &impl Disk,
    file_bytes: u64,
    path: &Path,
    warnings: &mut Vec<String>,
) -> Result<(Layout, u64, Option<u64>)> {
    let failed = |e: io::Error| Error::io(path, "reading the saved state", &e);
    let at = |at: u64| -> Result<(Layout, Vec<u8>)> {
        let mut start = [0u8; 16];
        if file_bytes < at.saturating_add(PAGE) {
            let what = format!("file has {file_bytes} bytes, expected a superblock of at least {PAGE} at {at}");
            return Err(Error::state(path.display(), what, DAMAGED));
        }
        disk.read_at(&mut start, at).map_err(failed)?;
        // At most 1 MiB, and no longer than the file.
        let mut bytes = vec![0u8; superblock_bytes(&start, file_bytes - at, path)?];
        disk.read_at(&mut bytes, at).map_err(failed)?;
        Layout::decode(&bytes, file_bytes, path).map(|layout| (layout, bytes))
    };
    match at(0) {
        Ok((layout, bytes)) => {
            let mut copy = vec![0u8; bytes.len()];
            let read = whole(disk.read_at(&mut copy, layout.superblock).map(Ok)).map_err(failed)?;
            let damaged = (read.is_err() || copy != bytes).then_some(layout.superblock);
            if damaged.is_some() {
                warnings.push("the copy of the superblock is damaged".to_string());
            }
            Ok((layout, xxh3_64(&bytes), damaged))
        }
        Err(error) => {
            // The copy begins where the superblock ends: at the page that begins like one and is as long as it is far.
            let mut magic = [0u8; 8];
            for position in (PAGE..=MAX_SUPERBLOCK.min(file_bytes.saturating_sub(PAGE))).step_by(PAGE as usize) {
                disk.read_at(&mut magic, position).map_err(failed)?;
                if magic != MAGIC {
                    continue;
                }
                if let Ok((layout, bytes)) = at(position)
                    && layout.superblock == position
                {
                    warnings.push(format!("superblock: {}", error.what()));
                    return Ok((layout, xxh3_64(&bytes), Some(0)));
                }
            }
            Err(error)
        }
    }
}

/// What a check found, or what is wrong.
type Checked<T> = std::result::Result<T, String>;

/// The end of the file is something wrong with what is read there.
fn whole<T>(read: io::Result<Checked<T>>) -> io::Result<Checked<T>> {
    match read {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Err("the file ends before it does".to_string())),
        other => other,
    }
}

/// The commit record of `slot`, or what is wrong with it.
fn read_record(
    disk: &impl Disk,
    layout: &Layout,
    slot: usize,
    superblock_hash: u64,
) -> io::Result<Checked<Option<Record>>> {
    let mut page = [0u8; PAGE as usize];
    disk.read_at(&mut page, layout.record_start(slot))?;
    Ok(Record::decode(&page, slot, superblock_hash))
}

/// Text, values of the wanted sections and where each is among them, and checksums of the blocks that hold them.
struct Contents {
    text: String,
    floats: Vec<f32>,
    places: Vec<Range<usize>>,
    hashes: Vec<u64>,
}

/// Reads and checks what a record promises, or says what is wrong.
fn read_slot(
    disk: &impl Disk,
    layout: &Layout,
    record: &Record,
    wanted: &dyn Fn(&Section) -> bool,
) -> io::Result<Checked<Contents>> {
    let start = layout.slot_start(record.slot);
    // The table twice, piece by piece: nothing beyond MOST_AT_ONCE is allocated because a file says how long it is. And
    // checked twice: a writer may have come in between, whose table fits its blocks and not our record.
    let mut block = vec![0u8; BLOCK as usize];
    let mut hasher = Xxh3Default::new();
    for at in (0..layout.table).step_by(BLOCK as usize) {
        let piece = &mut block[..(layout.table - at).min(BLOCK) as usize];
        disk.read_at(piece, start + at)?;
        hasher.update(piece);
    }
    let found = hasher.digest();
    if found != record.table_hash {
        return Ok(Err(format!("checksum of the table is {found:016x}, expected {:016x}", record.table_hash)));
    }
    let wanted: Vec<bool> = layout.sections.iter().map(wanted).collect();
    let everything = wanted.iter().all(|&w| w);
    let sizes = layout.places.iter().zip(&wanted).filter(|(_, wanted)| **wanted).map(|(place, _)| place.1);
    let bytes: u64 = sizes.map(|bytes| bytes.next_multiple_of(LINE)).sum();
    let mut floats = Vec::with_capacity(bytes.min(MOST_AT_ONCE) as usize / 4);
    let (mut text, mut hashes) = (String::new(), Vec::new());
    let mut places = vec![0..0; wanted.len()];
    let mut entries = [0u8; PAGE as usize];
    let mut used = Xxh3Default::new();
    for i in 0..layout.blocks() {
        let entry = i * 8 % entries.len();
        if entry == 0 {
            disk.read_at(&mut entries, start + i as u64 * 8)?;
            used.update(&entries);
        }
        let (from, to) = layout.block(i);
        let pieces = || overlapping(layout, from, to).filter(|&(k, ..)| wanted[k]);
        if !everything && i > 0 && pieces().next().is_none() {
            continue;
        }
        let bytes = &mut block[..(to - from) as usize];
        let place = start + layout.table + from;
        disk.read_at(bytes, place)?;
        let found = xxh3_64(bytes);
        if entries[entry..entry + 8] != found.to_le_bytes() {
            let end = place + to - from;
            return Ok(Err(format!(
                "bytes {place} to {end} (block {i}): checksum {found:016x} is not that of the table"
            )));
        }
        hashes.push(found);
        if i == 0 {
            match std::str::from_utf8(&bytes[..record.text]) {
                Ok(t) => text.push_str(t),
                Err(e) => return Ok(Err(format!("text is not UTF-8 from its byte {}", e.valid_up_to()))),
            }
        }
        for (k, a, b) in pieces() {
            let piece = &bytes[(a - from) as usize..(b - from) as usize];
            if places[k].is_empty() {
                floats.resize(floats.len().next_multiple_of(LINE as usize / 4), 0.0);
                places[k].start = floats.len();
            }
            let seen = floats.len();
            floats.extend(piece.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
            places[k].end = floats.len();
            if let Some((j, v)) = first_not_finite(&floats[seen..]) {
                let (name, at) = (&layout.sections[k].name, seen - places[k].start + j);
                return Ok(Err(format!("section `{name}`: value {at} is {v}, expected a finite number")));
            }
        }
    }
    if used.digest() != record.table_hash {
        return Ok(Err("the table changed while it was read".to_string()));
    }
    Ok(Ok(Contents { text, floats, places, hashes }))
}

/// The sections with values between `from` and `to`, bytes from the start of the data: index, and the common part.
pub(super) fn overlapping(layout: &Layout, from: u64, to: u64) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
    let first = layout.places.partition_point(|&(start, length)| start + length <= from);
    layout.places[first..]
        .iter()
        .enumerate()
        .take_while(move |(_, (start, _))| *start < to)
        .map(move |(k, &(start, length))| (first + k, start.max(from), (start + length).min(to)))
        .filter(|(_, a, b)| a < b)
}

/// Index and value of the first NaN or infinity.
pub(super) fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    // Piece by piece without a branch per value, which the compiler makes into vector code.
    const PIECE: usize = 1024;
    let bad = values.chunks(PIECE).position(|c| c.iter().fold(false, |bad, v| bad | !v.is_finite()))?;
    let from = bad * PIECE;
    values[from..].iter().copied().enumerate().find(|(_, v)| !v.is_finite()).map(|(i, v)| (from + i, v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Snapshot, State};
    use std::cell::Cell;

    /// A disk on which a writer commits between two reads.
    struct Overtaken {
        before: Vec<u8>,
        after: Vec<u8>,
        /// Reads before the commits.
        early: usize,
        reads: Cell<usize>,
    }

    impl Disk for Overtaken {
        fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
            let bytes = if self.reads.get() < self.early { &self.before } else { &self.after };
            self.reads.set(self.reads.get() + 1);
            buffer.copy_from_slice(&bytes[at as usize..at as usize + buffer.len()]);
            Ok(())
        }

        fn write_at(&mut self, _bytes: &[u8], _at: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.before.len() as u64)
        }
    }

    #[test]
    fn commits_between_any_two_reads_mix_no_states() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.bcw");
        let sections = [Section { name: "a".into(), shape: vec![50_000] }];
        let mut state = None;
        let mut commit = |g: usize| {
            let (text, a) = ("t".repeat(g), vec![g as f32; 50_000]);
            let snapshot = Snapshot { fingerprints: Fingerprints::default(), text: &text, floats: &[&a] };
            match &mut state {
                None => state = Some(State::create(&path, &sections, &snapshot).unwrap()),
                Some(state) => state.commit(&snapshot).unwrap(),
            }
            fs::read(&path).unwrap()
        };
        (1..=8).for_each(|g| drop(commit(g)));
        let before = commit(9);
        commit(10);
        let after = commit(11);
        let mut seen = Vec::new();
        for early in 0.. {
            let disk = Overtaken { before: before.clone(), after: after.clone(), early, reads: Cell::new(0) };
            if let Ok(found) = find(&disk, &path, &|_| true) {
                let (text, floats) = (found.opened.text.len(), &found.opened.floats);
                assert!(floats.iter().all(|&v| v == text as f32), "text of commit {text}, values of {}", floats[0]);
                seen.push(text);
            }
            if disk.reads.get() < early {
                break;
            }
        }
        assert!(seen.first() == Some(&11) && seen.last() == Some(&9), "{seen:?}");
    }
}
