//! The header of a saved file: layout, writing, and reading with every field checked.
//!
//! ```text
//! at      bytes  little endian
//! 0       8      magic: 89 'B' 'C' 'W' 0d 0a 1a 0a
//! 8       4      version, 1
//! 12      4      header length H, a multiple of 4,096
//! 16      8      data offset: H + table length, a multiple of 4,096
//! 24      8      file length
//! 32      24     fingerprints of the data set, the connectome and the configuration
//! 56      8      XXH3-64 of the table
//! 64      4      sections
//! 68      4      progress length
//! 72             per section: name length u16, dtype u8 (1 = f32), rank u8, shape u64 each, offset u64, length u64
//!                (both in bytes), name
//!                progress (UTF-8), zeros
//! H - 8   8      XXH3-64 of everything before it
//! H              table: XXH3-64 of each 64 KiB block of the data (the last may be shorter), zeros up to 4,096
//! data offset    the sections in the order of the table, zeros between them
//! ```
//!
//! Offsets are from the start of the file and follow from the sizes: a section of a page or more starts on a page
//! (4,096), a smaller one on a cache line (64), each at the first such place after the one before. The reader computes
//! them and accepts no others, so sections cannot overlap, leave the file or leave bytes over.

use super::{Fingerprints, Section};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// First bytes of a saved file; a copy in text mode damages them, as with PNG.
pub(super) const MAGIC: [u8; 8] = *b"\x89BCW\r\n\x1a\n";
/// Version of the layout.
pub(super) const VERSION: u32 = 1;
/// Alignment of header, table, data and large sections.
pub(super) const PAGE: u64 = 4096;
/// Bytes under one checksum of the table.
pub(super) const BLOCK: u64 = 64 * 1024;
/// Bytes before the section descriptions.
const FIXED: usize = 72;
/// Alignment of sections smaller than a page.
const LINE: u64 = 64;
/// The one type of value so far.
const DTYPE_F32: u8 = 1;
/// Largest number of dimensions.
const MAX_RANK: usize = 8;
/// Longest name of a section, bytes.
const MAX_NAME: usize = 256;
/// Longest progress text, bytes.
pub(super) const MAX_PROGRESS: usize = 1 << 20;
/// Longest header, bytes: progress and as much again for the sections.
pub(super) const MAX_HEADER: usize = 2 << 20;

/// What to do about a damaged file.
pub(super) const DAMAGED: &str = "the file is damaged: restore it from a copy, or train again";

/// Where everything in a file is; a function of the sections and the length of the progress text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// Length of the header H, bytes.
    pub header: u64,
    /// Start of the data, bytes from the start of the file.
    pub data: u64,
    /// Length of the file, bytes.
    pub file: u64,
    /// Start and length of each section, bytes from the start of the file.
    pub sections: Vec<(u64, u64)>,
}

impl Layout {
    /// The layout of a file whose sections have `lengths` bytes, whose header needs `header_bytes`; `None` if a size
    /// overflows.
    pub fn new(header_bytes: usize, lengths: &[u64]) -> Option<Self> {
        let header = u64::try_from(header_bytes).ok()?.checked_next_multiple_of(PAGE)?;
        // Offsets from the start of the data first: the table's length, and so that start, depends on their end.
        let mut sections = Vec::with_capacity(lengths.len());
        let mut end = 0u64;
        for &length in lengths {
            let start = end.checked_next_multiple_of(if length >= PAGE { PAGE } else { LINE })?;
            sections.push((start, length));
            end = start.checked_add(length)?;
        }
        let table = end.div_ceil(BLOCK).checked_mul(8)?.checked_next_multiple_of(PAGE)?;
        let data = header.checked_add(table)?;
        for (start, _) in &mut sections {
            *start = start.checked_add(data)?;
        }
        Some(Self { header, data, file: data.checked_add(end)?, sections })
    }

    /// Blocks of data, each with its checksum in the table.
    pub fn blocks(&self) -> u64 {
        (self.file - self.data).div_ceil(BLOCK)
    }
}

/// What a header says besides the layout.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Header {
    pub sections: Vec<Section>,
    pub fingerprints: Fingerprints,
    pub progress: String,
    pub table_hash: u64,
}

/// Bytes of a section's values, if that fits.
fn section_bytes(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(4u64, |bytes, &side| bytes.checked_mul(u64::try_from(side).ok()?))
}

impl Header {
    /// The layout of the file that this header describes.
    ///
    /// # Panics
    /// If a name, rank, size or the progress text is beyond its limit, or a name occurs twice.
    pub fn layout(&self) -> Layout {
        let mut names = HashSet::new();
        let mut lengths = Vec::with_capacity(self.sections.len());
        let mut bytes = FIXED + self.progress.len() + 8;
        for Section { name, shape } in &self.sections {
            assert!((1..=MAX_NAME).contains(&name.len()), "the name of section `{name}` must have 1 to 256 bytes");
            assert!(names.insert(name), "section `{name}` occurs twice");
            assert!(shape.len() <= MAX_RANK, "section `{name}` has more than 8 dimensions");
            bytes += 4 + 8 * shape.len() + 16 + name.len();
            lengths.push(section_bytes(shape).unwrap_or(u64::MAX));
        }
        assert!(self.progress.len() <= MAX_PROGRESS, "the progress text must have at most 1 MiB");
        assert!(bytes <= MAX_HEADER, "the header must have at most 2 MiB");
        let Some(layout) = Layout::new(bytes, &lengths) else { panic!("the sizes of the sections overflow") };
        layout
    }

    /// The bytes of the header `(layout.header)`; `layout` is that of [`Header::layout`].
    pub fn encode(&self, layout: &Layout) -> Vec<u8> {
        let mut out = Vec::with_capacity(layout.header as usize);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((layout.header as u32).to_le_bytes());
        let f = &self.fingerprints;
        for v in [layout.data, layout.file, f.data, f.connectome, f.configuration, self.table_hash] {
            out.extend(v.to_le_bytes());
        }
        out.extend((self.sections.len() as u32).to_le_bytes());
        out.extend((self.progress.len() as u32).to_le_bytes());
        assert_eq!(out.len(), FIXED, "the fixed part must be as documented");
        for (section, &(start, length)) in self.sections.iter().zip(&layout.sections) {
            out.extend((section.name.len() as u16).to_le_bytes());
            out.extend([DTYPE_F32, section.shape.len() as u8]);
            for &side in &section.shape {
                out.extend((side as u64).to_le_bytes());
            }
            out.extend(start.to_le_bytes());
            out.extend(length.to_le_bytes());
            out.extend(section.name.as_bytes());
        }
        out.extend(self.progress.as_bytes());
        out.resize(layout.header as usize - 8, 0);
        let hash = xxh3_64(&out);
        out.extend(hash.to_le_bytes());
        out
    }

    /// Reads a whole header `bytes` (as long as it says itself, see [`length`]) of a file of `file_bytes`.
    ///
    /// # Errors
    /// `State`, naming the field, what was expected and what was found.
    pub fn decode(bytes: &[u8], file_bytes: u64, path: &Path) -> Result<(Self, Layout)> {
        let bad = |what: String| Error::state(path.display(), what, DAMAGED);
        let Some((body, hash)) = bytes.split_last_chunk::<8>() else {
            return Err(bad(format!("header has {} bytes, expected at least 8", bytes.len())));
        };
        let (found, expected) = (xxh3_64(body), u64::from_le_bytes(*hash));
        if found != expected {
            return Err(bad(format!("header checksum is {found:016x}, expected {expected:016x}")));
        }
        // From here on the bytes are those that some program wrote; that program may still have been wrong.
        let mut fields = Fields { bytes: body, at: 16, path };
        let data = fields.u64("data offset")?;
        let file = fields.u64("file length")?;
        if file != file_bytes {
            return Err(bad(format!("file has {file_bytes} bytes, expected {file}")));
        }
        let fingerprints = Fingerprints {
            data: fields.u64("fingerprint of the data set")?,
            connectome: fields.u64("fingerprint of the connectome")?,
            configuration: fields.u64("fingerprint of the configuration")?,
        };
        let table_hash = fields.u64("table checksum")?;
        let count = fields.u32("number of sections")?;
        let progress_bytes = fields.u32("progress length")? as usize;
        let (mut sections, mut places, mut lengths, mut names) = (Vec::new(), Vec::new(), Vec::new(), HashSet::new());
        for i in 0..count {
            let (section, start, length) = fields.section(i)?;
            if !names.insert(section.name.clone()) {
                return Err(bad(format!("section {i}: name `{}` occurs twice", section.name)));
            }
            sections.push(section);
            places.push((start, length));
            lengths.push(length);
        }
        if progress_bytes > MAX_PROGRESS {
            return Err(bad(format!("progress length is {progress_bytes}, expected at most {MAX_PROGRESS}")));
        }
        let progress = fields.text(progress_bytes, "progress")?;
        let layout =
            Layout::new(fields.at + 8, &lengths).ok_or_else(|| bad("sizes of the sections overflow".into()))?;
        if body[fields.at..].iter().any(|&b| b != 0) {
            return Err(bad(format!("byte {} and on: expected zeros up to the header's end", fields.at)));
        }
        for (what, found, expected) in [
            ("header length", bytes.len() as u64, layout.header),
            ("data offset", data, layout.data),
            ("file length", file, layout.file),
        ] {
            if found != expected {
                return Err(bad(format!("{what} is {found}, expected {expected} for these sections")));
            }
        }
        for ((section, found), expected) in sections.iter().zip(&places).zip(&layout.sections) {
            if found != expected {
                return Err(bad(format!("section `{}`: offset is {}, expected {}", section.name, found.0, expected.0)));
            }
        }
        Ok((Self { sections, fingerprints, progress, table_hash }, layout))
    }
}

/// Length of the header, from the first 16 bytes of a file of `file_bytes`; checks magic and version.
///
/// # Errors
/// `State`, naming the field, what was expected and what was found.
pub(super) fn length(start: &[u8; 16], file_bytes: u64, path: &Path) -> Result<usize> {
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
    let header = u64::from(word(4));
    if header == 0 || header % PAGE != 0 || header > MAX_HEADER as u64 {
        let what = format!("header length is {header}, expected a multiple of {PAGE} up to {MAX_HEADER}");
        return Err(Error::state(place, what, DAMAGED));
    }
    if header > file_bytes {
        let what = format!("file has {file_bytes} bytes, expected at least the {header} of its header");
        return Err(Error::state(place, what, DAMAGED));
    }
    Ok(header as usize)
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
            self.bad(format!("{field} needs {n} bytes, the header has {} left", self.bytes.len() - self.at))
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

    fn text(&mut self, n: usize, field: &str) -> Result<String> {
        let bytes = self.take(n, field)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_string()),
            Err(e) => Err(self.bad(format!("{field} is not UTF-8 from its byte {}", e.valid_up_to()))),
        }
    }

    /// Description of section `i`, its offset and its length in bytes.
    fn section(&mut self, i: u32) -> Result<(Section, u64, u64)> {
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
        let name = self.text(name_bytes, &format!("section {i}: name"))?;
        if section_bytes(&shape) != Some(length) {
            return Err(self.bad(format!("section `{name}`: length is {length} bytes, which is not that of {shape:?}")));
        }
        Ok((Section { name, shape }, start, length))
    }

    fn bad(&self, what: String) -> Error {
        Error::state(self.path.display(), what, DAMAGED)
    }
}
