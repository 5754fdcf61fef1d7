//! The format of a state file: superblock, two commit records, two slots; writing and reading the superblock.
//!
//! ```text
//! at           bytes  little endian
//! 0            H      superblock
//! H            H      its copy
//! 2H           4,096  commit record of slot 0
//! 2H + 4,096   4,096  commit record of slot 1
//! 2H + 8,192   S      slot 0
//!   + S        S      slot 1
//!
//! superblock
//! 0            8      magic: 89 'B' 'C' 'W' 0d 0a 1a 0a
//! 8            4      version, 2
//! 12           4      its length H, a multiple of 4,096, at most 1 MiB
//! 16           8      length of a slot S
//! 24           8      length of the file
//! 32           4      sections
//! 36           4      zero
//! 40                  per section: name length u16, dtype u8 (1 = f32), rank u8, shape u64 each, offset u64 (from the
//!                     start of the slot), length u64 (bytes), name; then zeros
//! H - 8        8      XXH3-64 of everything before it
//!
//! commit record
//! 0            8      magic: 'B' 'C' 'W' 'c' 'o' 'm' 'i' 't'
//! 8            8      generation, from 1; the slot with the higher one is the newer
//! 16           4      slot, 0 or 1
//! 20           4      length of the text
//! 24           32     fingerprints of data set, connectome, configuration and kernels
//! 56           8      XXH3-64 of the slot's table
//! 64           8      XXH3-64 of the superblock
//! 72           8      XXH3-64 of the 72 bytes before; then zeros
//!
//! slot
//! 0            T      table: XXH3-64 of each 64 KiB block of what follows (the last may be shorter), zeros up to 4,096
//! T            65,536 text (UTF-8), then zeros
//! T + 65,536          the sections in the order of the superblock, zeros between them and up to 4,096
//! ```
//!
//! Offsets follow from the sizes: a section of a page or more starts on a page (4,096), a smaller one on a cache line (64),
//! each at the first such place after the one before. The reader computes them and accepts no others, so sections cannot
//! overlap, leave the slot or leave bytes over. A record fits into one sector of 512 bytes.

use super::{DAMAGED, Section};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// First bytes of a state file; a copy in text mode damages them, as with PNG.
pub(super) const MAGIC: [u8; 8] = *b"\x89BCW\r\n\x1a\n";
/// Version of the format.
const VERSION: u32 = 2;
/// Alignment of superblock, records, tables and large sections.
pub(super) const PAGE: u64 = 4096;
/// Bytes under one checksum of the table; also the room for the text.
pub(super) const BLOCK: u64 = 64 * 1024;
/// Longest superblock, bytes.
pub(super) const MAX_SUPERBLOCK: u64 = 1 << 20;
/// Bytes before the section descriptions.
const FIXED: usize = 40;
/// Alignment of sections smaller than a page.
pub(super) const LINE: u64 = 64;
/// The one type of value so far.
const DTYPE_F32: u8 = 1;
/// Largest number of dimensions.
const MAX_RANK: usize = 8;
/// Longest name of a section, bytes.
const MAX_NAME: usize = 256;

/// Where everything in a file is; a function of its sections.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Tensors, in the order of the file.
    pub sections: Vec<Section>,
    /// Start and length of each, bytes from the start of the slot's data.
    pub places: Vec<(u64, u64)>,
    /// Length of the superblock H, bytes.
    pub superblock: u64,
    /// Length of a slot's table T, bytes.
    pub table: u64,
    /// Length of a slot's data: text and sections, bytes.
    pub data: u64,
}

impl Layout {
    /// The layout for `sections`; `None` if a size overflows or there are too many.
    pub fn new(sections: Vec<Section>) -> Option<Self> {
        let mut described = FIXED + 8;
        let mut places = Vec::with_capacity(sections.len());
        let mut end = BLOCK;
        for Section { name, shape } in &sections {
            described += 4 + 8 * shape.len() + 16 + name.len();
            let length = section_bytes(shape)?;
            let start = end.checked_next_multiple_of(if length >= PAGE { PAGE } else { LINE })?;
            places.push((start, length));
            end = start.checked_add(length)?;
        }
        let superblock = (described as u64).next_multiple_of(PAGE);
        let data = end.checked_next_multiple_of(PAGE)?;
        let table = data.div_ceil(BLOCK).checked_mul(8)?.checked_next_multiple_of(PAGE)?;
        let layout = Self { sections, places, superblock, table, data };
        let slot = table.checked_add(data)?;
        slot.checked_mul(2)?.checked_add(2 * superblock + 2 * PAGE)?;
        (superblock <= MAX_SUPERBLOCK).then_some(layout)
    }

    /// Length of a slot, bytes.
    pub fn slot(&self) -> u64 {
        self.table + self.data
    }

    /// Length of the file, bytes.
    pub fn file(&self) -> u64 {
        self.slot_start(2)
    }

    /// Where the commit record of `slot` is.
    pub fn record_start(&self, slot: usize) -> u64 {
        2 * self.superblock + slot as u64 * PAGE
    }

    /// Where `slot` begins, with its table.
    pub fn slot_start(&self, slot: usize) -> u64 {
        2 * self.superblock + 2 * PAGE + slot as u64 * self.slot()
    }

    /// Blocks of data in a slot, each with its checksum in the table.
    pub fn blocks(&self) -> usize {
        self.data.div_ceil(BLOCK) as usize
    }

    /// Start and end of block `i`, bytes from the start of the slot's data.
    pub fn block(&self, i: usize) -> (u64, u64) {
        let start = i as u64 * BLOCK;
        (start, (start + BLOCK).min(self.data))
    }

    /// The superblock `(superblock)`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.superblock as usize);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((self.superblock as u32).to_le_bytes());
        out.extend(self.slot().to_le_bytes());
        out.extend(self.file().to_le_bytes());
        out.extend((self.sections.len() as u32).to_le_bytes());
        out.extend([0; 4]);
        assert_eq!(out.len(), FIXED, "the fixed part must be as documented");
        for (section, &(start, length)) in self.sections.iter().zip(&self.places) {
            out.extend((section.name.len() as u16).to_le_bytes());
            out.extend([DTYPE_F32, section.shape.len() as u8]);
            for &side in &section.shape {
                out.extend((side as u64).to_le_bytes());
            }
            out.extend((self.table + start).to_le_bytes());
            out.extend(length.to_le_bytes());
            out.extend(section.name.as_bytes());
        }
        out.resize(self.superblock as usize - 8, 0);
        let hash = xxh3_64(&out);
        out.extend(hash.to_le_bytes());
        out
    }

    /// Reads a whole superblock (as long as it says itself, see [`superblock_bytes`]) of a file of `file_bytes`.
    ///
    /// # Errors
    /// `State`, naming the field, what was expected and what was found.
    pub fn decode(bytes: &[u8], file_bytes: u64, path: &Path) -> Result<Self> {
        let bad = |what: String| Error::state(path.display(), what, DAMAGED);
        let Some((body, hash)) = bytes.split_last_chunk::<8>() else {
            return Err(bad(format!("superblock has {} bytes, expected at least 8", bytes.len())));
        };
        let (found, expected) = (xxh3_64(body), u64::from_le_bytes(*hash));
        if found != expected {
            return Err(bad(format!("superblock checksum is {found:016x}, expected {expected:016x}")));
        }
        // From here on the bytes are those that some program wrote; that program may still have been wrong.
        let mut fields = Fields { bytes: body, at: 16, path };
        let slot = fields.u64("slot length")?;
        let file = fields.u64("file length")?;
        // A shorter file may still hold one slot whole; nothing belongs behind the last one.
        if file < file_bytes {
            return Err(bad(format!("file has {file_bytes} bytes, expected {file}")));
        }
        let count = fields.u32("number of sections")?;
        if fields.u32("reserved field")? != 0 {
            return Err(bad("reserved field is not zero".into()));
        }
        let (mut sections, mut places, mut names) = (Vec::new(), Vec::new(), HashSet::new());
        for i in 0..count {
            let (section, place) = fields.section(i)?;
            if !names.insert(section.name.clone()) {
                return Err(bad(format!("section {i}: name `{}` occurs twice", section.name)));
            }
            sections.push(section);
            places.push(place);
        }
        if body[fields.at..].iter().any(|&b| b != 0) {
            return Err(bad(format!("byte {} and on: expected zeros up to the superblock's end", fields.at)));
        }
        let layout = Self::new(sections).ok_or_else(|| bad("sizes of the sections overflow".into()))?;
        for (what, found, expected) in [
            ("superblock length", bytes.len() as u64, layout.superblock),
            ("slot length", slot, layout.slot()),
            ("file length", file, layout.file()),
        ] {
            if found != expected {
                return Err(bad(format!("{what} is {found}, expected {expected} for these sections")));
            }
        }
        for ((section, found), &(start, length)) in layout.sections.iter().zip(&places).zip(&layout.places) {
            let expected = (layout.table + start, length);
            if *found != expected {
                let what = format!("section `{}`: is at {}, expected {}", section.name, found.0, expected.0);
                return Err(bad(what));
            }
        }
        Ok(layout)
    }
}

/// Checks what a writer asks for.
///
/// # Panics
/// If a name is empty, longer than 256 bytes or there twice, or a shape has more than 8 sides.
pub(super) fn check_sections(sections: &[Section]) {
    let mut names = HashSet::new();
    for Section { name, shape } in sections {
        assert!((1..=MAX_NAME).contains(&name.len()), "the name of section `{name}` must have 1 to 256 bytes");
        assert!(names.insert(name), "section `{name}` occurs twice");
        assert!(shape.len() <= MAX_RANK, "section `{name}` has more than 8 dimensions");
    }
}

/// Bytes of a section's values, if that fits.
fn section_bytes(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(4u64, |bytes, &side| bytes.checked_mul(u64::try_from(side).ok()?))
}

/// Length of the superblock, from its first 16 bytes in a file of `file_bytes`; checks magic and version.
///
/// # Errors
/// `State`, naming the field, what was expected and what was found.
pub(super) fn superblock_bytes(start: &[u8; 16], file_bytes: u64, path: &Path) -> Result<usize> {
    let place = path.display();
    let (magic, rest) = start.split_at(8);
    if magic != MAGIC {
        let what = format!("magic is {magic:02x?}, expected {MAGIC:02x?}: not a file of saved weights");
        return Err(Error::state(
            place,
            what,
            "check the path; if the file was copied in text mode, copy it in binary",
        ));
    }
    let word = |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    let version = word(0);
    if version != VERSION {
        let what = format!("version is {version}, expected {VERSION}");
        return Err(Error::state(place, what, "read it with the version of the program that wrote it"));
    }
    let length = u64::from(word(4));
    if length == 0 || length % PAGE != 0 || length > MAX_SUPERBLOCK {
        let what = format!("superblock length is {length}, expected a multiple of {PAGE} up to {MAX_SUPERBLOCK}");
        return Err(Error::state(place, what, DAMAGED));
    }
    if length > file_bytes {
        let what = format!("file has {file_bytes} bytes, expected at least the {length} of its superblock");
        return Err(Error::state(place, what, DAMAGED));
    }
    Ok(length as usize)
}

/// Reads field after field and never beyond the end.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    path: &'a Path,
}

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize, field: &str) -> Result<&'a [u8]> {
        let found = self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end)).ok_or_else(|| {
            self.bad(format!("{field} needs {n} bytes, the superblock has {} left", self.bytes.len() - self.at))
        })?;
        self.at += n;
        Ok(found)
    }

    fn number<const N: usize>(&mut self, field: &str) -> Result<[u8; N]> {
        let mut out = [0u8; N];
        out.copy_from_slice(self.take(N, field)?);
        Ok(out)
    }

    fn u32(&mut self, field: &str) -> Result<u32> {
        self.number(field).map(u32::from_le_bytes)
    }

    fn u64(&mut self, field: &str) -> Result<u64> {
        self.number(field).map(u64::from_le_bytes)
    }

    /// Description of section `i`, its offset in the slot and its length in bytes.
    fn section(&mut self, i: u32) -> Result<(Section, (u64, u64))> {
        let name_bytes = usize::from(u16::from_le_bytes(self.number(&format!("section {i}: name length"))?));
        let [dtype, rank] = self.number(&format!("section {i}: dtype and rank"))?;
        if !(1..=MAX_NAME).contains(&name_bytes) {
            return Err(self.bad(format!("section {i}: name length is {name_bytes}, expected 1 to {MAX_NAME}")));
        }
        if dtype != DTYPE_F32 {
            return Err(self.bad(format!("section {i}: dtype is {dtype}, expected {DTYPE_F32} (f32)")));
        }
        if usize::from(rank) > MAX_RANK {
            return Err(self.bad(format!("section {i}: rank is {rank}, expected at most {MAX_RANK}")));
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            let side = self.u64(&format!("section {i}: shape"))?;
            shape.push(usize::try_from(side).map_err(|_| self.bad(format!("section {i}: side {side} is too large")))?);
        }
        let start = self.u64(&format!("section {i}: offset"))?;
        let length = self.u64(&format!("section {i}: length"))?;
        let name = match std::str::from_utf8(self.take(name_bytes, &format!("section {i}: name"))?) {
            Ok(name) => name.to_string(),
            Err(e) => {
                return Err(self.bad(format!("section {i}: name is not UTF-8 from its byte {}", e.valid_up_to())));
            }
        };
        if section_bytes(&shape) != Some(length) {
            return Err(self.bad(format!("section `{name}`: length is {length} bytes, which is not that of {shape:?}")));
        }
        Ok((Section { name, shape }, (start, length)))
    }

    fn bad(&self, what: String) -> Error {
        Error::state(self.path.display(), what, DAMAGED)
    }
}
