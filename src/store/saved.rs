//! Saved states: named tensors written beside and renamed, and read back with every byte checked.

use super::header::{self, BLOCK, DAMAGED, Header, Layout};
use super::{Fingerprints, Section};
use crate::error::{Error, Result};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// What a saved file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// Tensors, in the order of the file.
    pub sections: Vec<Section>,
    /// What the state belongs to.
    pub fingerprints: Fingerprints,
    /// The text that was saved along, as it was.
    pub progress: String,
    /// Values of each section, all finite.
    pub floats: Vec<Vec<f32>>,
}

impl Saved {
    /// The values of the section called `name`, if there is one.
    pub fn floats_of(&self, name: &str) -> Option<&[f32]> {
        self.sections.iter().position(|s| s.name == name).map(|i| self.floats[i].as_slice())
    }
}

/// Writes `floats[i]` as `sections[i]`, with `fingerprints` and the text `progress`, to `path`.
///
/// The file is written beside (`<name>.tmp`), flushed to the disk, renamed over `path`, and the folder is flushed: a
/// crash at any moment leaves the old file or the new one, and after `Ok` it is the new one. After an error before the
/// renaming the old file is as it was; if only the flush of the folder failed, the new file is there and a power cut may
/// still bring back the old one.
///
/// # Errors
/// `Io` if a call fails (disk full); `Other` if a value is not finite, since such a state would be of no use.
///
/// # Panics
/// If the slices do not match the shapes, a name is empty, longer than 256 bytes or there twice, a shape has more than 8
/// sides or `progress` more than 1 MiB.
pub fn save(
    path: &Path,
    sections: &[Section],
    fingerprints: &Fingerprints,
    progress: &str,
    floats: &[&[f32]],
) -> Result<()> {
    assert_eq!(floats.len(), sections.len(), "floats must have one slice per section");
    for (section, values) in sections.iter().zip(floats) {
        let n: usize = section.shape.iter().product();
        assert_eq!(values.len(), n, "section `{}` must have as many values as its shape", section.name);
        if let Some((i, v)) = first_not_finite(values) {
            return Err(Error::other(
                format!("{}: value {i} of `{}` is {v}: training has diverged", path.display(), section.name),
                "lower learning.learning_rate or set learning.clip_norm; the last saved state is as it was",
            ));
        }
    }
    let header = Header {
        sections: sections.to_vec(),
        fingerprints: *fingerprints,
        progress: progress.to_string(),
        table_hash: 0,
    };
    let beside = beside(path);
    let written = write_beside(&beside, header, floats)
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| sync_folder(path))
        .map_err(|e| Error::io(path, "saving the state", &e));
    if written.is_err() {
        // Best effort: a left-over is overwritten by the next save.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Reads the saved file at `path` and checks every byte of it.
///
/// # Errors
/// `State` if the file is anything but a whole and undamaged saved file, naming the field, what was expected and what
/// was found; `Io` (or `Input`, if there is no such file) if it cannot be read.
pub fn load(path: &Path) -> Result<Saved> {
    let io = |e: io::Error| Error::io(path, "reading the saved state", &e);
    // Before opening: to open a pipe would wait for its writer.
    if !fs::metadata(path).map_err(io)?.is_file() {
        return Err(Error::state(path.display(), "is not a regular file", "check the path"));
    }
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    read(file, bytes, path)
}

/// Index and value of the first NaN or infinity.
fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    values.iter().copied().enumerate().find(|(_, v)| !v.is_finite())
}

/// Name of the file that becomes `path` by renaming.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    path.with_file_name(name)
}

/// Writes a whole file to `path` and flushes it to the disk.
fn write_beside(path: &Path, mut header: Header, floats: &[&[f32]]) -> io::Result<()> {
    let layout = header.layout();
    let mut file = File::create(path)?;
    file.seek(SeekFrom::Start(layout.data))?;
    let mut blocks = BlockWriter { file: &mut file, block: Vec::with_capacity(BLOCK as usize), table: Vec::new() };
    let mut at = layout.data;
    for (&(start, length), values) in layout.sections.iter().zip(floats) {
        blocks.zeros((start - at) as usize)?;
        for &v in *values {
            blocks.push(&v.to_le_bytes())?;
        }
        at = start + length;
    }
    let mut table = blocks.finish()?;
    table.resize((layout.data - layout.header) as usize, 0);
    header.table_hash = xxh3_64(&table);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header.encode(&layout))?;
    file.write_all(&table)?;
    file.sync_all()
}

/// Replaces `path` by `bytes`: written beside, synced, renamed; a reader sees the old file or the new one.
///
/// # Errors
/// `Io` naming the file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let beside = beside(path);
    let mut file = File::create(&beside).map_err(|e| Error::io(&beside, "creating", &e))?;
    file.write_all(bytes).map_err(|e| Error::io(&beside, "writing", &e))?;
    file.sync_all().map_err(|e| Error::io(&beside, "syncing", &e))?;
    fs::rename(&beside, path).map_err(|e| Error::io(path, "renaming", &e))?;
    sync_folder(path).map_err(|e| Error::io(path, "syncing the folder of", &e))
}

/// Flushes the folder of `path`, so that a renaming in it survives a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    // Only Unix lets a folder be opened and flushed.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Collects bytes into blocks, writes each and notes its checksum.
struct BlockWriter<'a> {
    file: &'a mut File,
    block: Vec<u8>,
    table: Vec<u8>,
}

impl BlockWriter<'_> {
    /// Appends `bytes`, of which a block holds a whole number.
    fn push(&mut self, bytes: &[u8; 4]) -> io::Result<()> {
        self.block.extend_from_slice(bytes);
        if self.block.len() == BLOCK as usize { self.flush() } else { Ok(()) }
    }

    /// Appends `n` zero bytes, a multiple of four.
    fn zeros(&mut self, n: usize) -> io::Result<()> {
        (0..n / 4).try_for_each(|_| self.push(&[0; 4]))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.block)?;
        self.table.extend(xxh3_64(&self.block).to_le_bytes());
        self.block.clear();
        Ok(())
    }

    /// Writes what is left and gives the table.
    fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.block.is_empty() {
            self.flush()?;
        }
        Ok(self.table)
    }
}

/// Reads a saved file of `file_bytes` from its beginning; `path` is for messages.
fn read(mut file: impl Read, file_bytes: u64, path: &Path) -> Result<Saved> {
    let mut fill = |buffer: &mut [u8], what: &str| match file.read_exact(buffer) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Error::state(path.display(), format!("file ends within the {what}"), DAMAGED))
        }
        Err(e) => Err(Error::io(path, "reading the saved state", &e)),
    };
    let mut start = [0u8; 16];
    if file_bytes < start.len() as u64 {
        let what = format!("file has {file_bytes} bytes, expected a header of at least {}", header::PAGE);
        return Err(Error::state(path.display(), what, DAMAGED));
    }
    fill(&mut start, "header")?;
    // At most 2 MiB, and no longer than the file.
    let mut bytes = vec![0u8; header::length(&start, file_bytes, path)?];
    bytes[..start.len()].copy_from_slice(&start);
    fill(&mut bytes[start.len()..], "header")?;
    let (header, layout) = Header::decode(&bytes, file_bytes, path)?;
    // The header's sizes add up to the size of the file, so nothing below is larger than that.
    let mut table = vec![0u8; (layout.data - layout.header) as usize];
    fill(&mut table, "table of checksums")?;
    let found = xxh3_64(&table);
    if found != header.table_hash {
        let what = format!("checksum of the table is {found:016x}, expected {:016x}", header.table_hash);
        return Err(Error::state(path.display(), what, DAMAGED));
    }
    let floats = read_sections(&mut fill, &header, &layout, &table, path)?;
    let Header { sections, fingerprints, progress, .. } = header;
    Ok(Saved { sections, fingerprints, progress, floats })
}

/// Reads the data block by block, checks each, and deals its values out to the sections.
fn read_sections(
    fill: &mut impl FnMut(&mut [u8], &str) -> Result<()>,
    header: &Header,
    layout: &Layout,
    table: &[u8],
    path: &Path,
) -> Result<Vec<Vec<f32>>> {
    let mut floats: Vec<Vec<f32>> = vec![Vec::new(); header.sections.len()];
    let mut block = vec![0u8; BLOCK as usize];
    let mut first = 0;
    for i in 0..layout.blocks() {
        let start = layout.data + i * BLOCK;
        let end = (start + BLOCK).min(layout.file);
        let bytes = &mut block[..(end - start) as usize];
        fill(bytes, "data")?;
        let entry = i as usize * 8;
        let found = xxh3_64(bytes);
        if table[entry..entry + 8] != found.to_le_bytes() {
            let what = format!("bytes {start} to {end} (block {i}): checksum {found:016x} is not the one in the table");
            return Err(Error::state(path.display(), what, DAMAGED));
        }
        // Sections are in the order of the file: those before `first` have ended.
        for (k, &(section_start, length)) in layout.sections.iter().enumerate().skip(first) {
            if section_start >= end {
                break;
            }
            let section_end = section_start + length;
            let (from, to) = (section_start.max(start), section_end.min(end));
            if from < to {
                let piece = &bytes[(from - start) as usize..(to - start) as usize];
                let words = piece.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                floats[k].extend(words);
            }
            if section_end <= end {
                first = k + 1;
            }
        }
    }
    for (section, values) in header.sections.iter().zip(&floats) {
        if let Some((i, v)) = first_not_finite(values) {
            let what = format!("section `{}`: value {i} is {v}, expected a finite number", section.name);
            return Err(Error::state(path.display(), what, "the state is of no use: go back to an earlier one"));
        }
    }
    Ok(floats)
}

#[cfg(test)]
mod tests {
    use super::super::header::PAGE;
    use super::*;
    use crate::rng::Rng;

    fn sections(list: &[(&str, &[usize])]) -> Vec<Section> {
        list.iter().map(|&(name, shape)| Section { name: name.to_string(), shape: shape.to_vec() }).collect()
    }

    fn values(n: usize, seed: u64) -> Vec<f32> {
        let mut rng = Rng::stream(seed, "store test", &[]);
        (0..n).map(|_| rng.normal()).collect()
    }

    const PRINTS: Fingerprints = Fingerprints { data: 11, connectome: 22, configuration: 33 };

    /// A file with the given tensors, as bytes.
    fn file(list: &[(&str, &[usize])], progress: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("last.bcw");
        let sections = sections(list);
        let data: Vec<Vec<f32>> = sections.iter().map(|s| values(s.shape.iter().product(), 1)).collect();
        let slices: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
        save(&path, &sections, &PRINTS, progress, &slices).expect("saved");
        let saved = load(&path).expect("loads");
        assert_eq!(saved, Saved { sections, fingerprints: PRINTS, progress: progress.to_string(), floats: data });
        fs::read(&path).expect("readable")
    }

    /// Three tensors, among them an empty one and a single value; one page each of header, table and data.
    fn small() -> Vec<u8> {
        file(&[("conv.weight", &[2, 3, 5]), ("empty", &[0, 7]), ("gamma", &[])], "{\"epoch\":3}")
    }

    fn parse(bytes: &[u8]) -> Result<Saved> {
        read(bytes, bytes.len() as u64, Path::new("last.bcw"))
    }

    /// The message of the refusal, which names the file and has exit code 5.
    fn refusal(bytes: &[u8]) -> String {
        let e = parse(bytes).expect_err("must be refused");
        assert_eq!(e.exit_code(), 5, "{e}");
        let message = e.to_string();
        assert!(message.starts_with("last.bcw: ") && message.contains("remedy"), "{message}");
        message
    }

    /// Changes the header and gives it a checksum that fits.
    fn forged(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        change(&mut bytes);
        let end = PAGE as usize - 8;
        let hash = xxh3_64(&bytes[..end]);
        bytes[end..end + 8].copy_from_slice(&hash.to_le_bytes());
        bytes
    }

    #[test]
    fn comes_back_as_it_was_for_awkward_sizes() {
        file(&[], "");
        file(&[("x", &[0])], "");
        file(&[("x", &[1024]), ("y", &[1]), ("z", &[1025])], "µm");
        // Around the ends of blocks (16,384 floats) and of pages (1,024 floats).
        for n in [1, 15, 16, 17, 1023, 1024, 16_383, 16_384, 16_385, 40_000] {
            file(&[("a", &[n]), ("b", &[3]), ("c", &[2, n]), ("d", &[0])], "p");
        }
    }

    #[test]
    fn large_sections_start_on_pages_and_small_ones_on_cache_lines() {
        let bytes = file(&[("a", &[3]), ("b", &[5]), ("c", &[2000])], "");
        let b = values(5, 1)[0].to_le_bytes();
        let c = values(2000, 1)[1999].to_le_bytes();
        assert_eq!(bytes[2 * 4096 + 64..2 * 4096 + 68], b);
        assert_eq!(bytes.len(), 3 * 4096 + 8000);
        assert_eq!(bytes[bytes.len() - 4..], c);
    }

    #[test]
    fn every_truncation_is_found() {
        let bytes = small();
        for n in 0..bytes.len() {
            refusal(&bytes[..n]);
            // Also if the size was taken before the file was cut.
            let e = read(&bytes[..n], bytes.len() as u64, Path::new("last.bcw")).expect_err("cut");
            assert_eq!(e.exit_code(), 5);
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(refusal(&longer).contains("file has"));
    }

    #[test]
    fn every_flipped_bit_of_header_and_table_is_found() {
        let mut bytes = small();
        for bit in 0..2 * 8 * PAGE as usize {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let message = refusal(&bytes);
            let expected = match bit / 8 {
                0..8 => "magic",
                8..12 => "version",
                12..16 => "header",
                16..4096 => "header checksum",
                _ => "checksum of the table",
            };
            assert!(message.contains(expected), "bit {bit}: {message}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn two_thousand_flipped_bits_of_data_are_found_by_block() {
        let mut bytes = file(&[("a", &[50_000]), ("b", &[7]), ("c", &[9_000])], "");
        let data = 2 * PAGE as usize;
        let mut rng = Rng::stream(2, "store test", &[]);
        for _ in 0..2000 {
            let bit = rng.below((bytes.len() - data) * 8);
            bytes[data + bit / 8] ^= 1 << (bit % 8);
            let message = refusal(&bytes);
            assert!(message.contains(&format!("(block {})", bit / 8 / BLOCK as usize)), "{message}");
            bytes[data + bit / 8] ^= 1 << (bit % 8);
        }
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn noise_is_refused_and_never_panics() {
        let good = small();
        let mut rng = Rng::stream(3, "store test", &[]);
        for round in 0..3000 {
            // Bytes of noise in a header whose checksum fits: a program that wrote nonsense.
            let bytes = forged(&good, |b| {
                for _ in 0..1 + round % 4 {
                    b[16 + rng.below(200)] = rng.next_u64() as u8;
                }
            });
            if let Err(e) = parse(&bytes) {
                assert_eq!(e.exit_code(), 5, "{e}");
            }
        }
    }

    #[test]
    fn a_header_that_lies_is_refused_by_field() {
        let good = small();
        let set = |at: usize, value: u64| move |b: &mut [u8]| b[at..at + 8].copy_from_slice(&value.to_le_bytes());
        // The first section starts at 72: name length, dtype, rank 3, three sides, offset, length, name.
        let cases: [(Vec<u8>, &str); 13] = [
            (forged(&good, set(16, u64::MAX)), "data offset"),
            (forged(&good, set(24, u64::MAX)), "file has"),
            (forged(&good, |b| b[64] = 0xff), "section 3"),
            (forged(&good, |b| b[68..72].fill(0xff)), "progress length"),
            (forged(&good, |b| b[68] -= 1), "expected zeros"),
            (forged(&good, |b| b[72..74].fill(0)), "name length"),
            (forged(&good, |b| b[74] = 2), "dtype"),
            (forged(&good, |b| b[75] = 9), "rank"),
            (forged(&good, set(76, u64::MAX)), "length is 120 bytes"),
            (forged(&good, set(100, 64)), "offset is 64"),
            (forged(&good, set(108, 1 << 62)), "length is 4611686018427387904"),
            (forged(&good, |b| b[116] = 0xff), "UTF-8"),
            (forged(&good, |b| b[8] = 2), "version is 2"),
        ];
        for (bytes, expected) in cases {
            let message = refusal(&bytes);
            assert!(message.contains(expected), "expected `{expected}` in: {message}");
        }
    }

    #[test]
    fn a_name_may_occur_once() {
        let bytes = file(&[("ab", &[1]), ("ac", &[1])], "");
        let second = bytes.windows(2).position(|w| w == b"ac").expect("is there");
        assert!(refusal(&forged(&bytes, |b| b[second + 1] = b'b')).contains("`ab` occurs twice"));
    }

    #[test]
    fn a_copy_in_text_mode_is_recognised() {
        let bytes = small();
        let unix: Vec<u8> = bytes.iter().copied().filter(|&b| b != b'\r').collect();
        assert!(refusal(&unix).contains("text mode"));
    }

    #[test]
    fn values_that_are_not_finite_are_refused_at_both_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("best.bcw");
        let sections = sections(&[("a", &[3])]);
        save(&path, &sections, &PRINTS, "", &[&[1.0, 2.0, 3.0]]).expect("saved");
        for v in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let e = save(&path, &sections, &PRINTS, "", &[&[1.0, v, 3.0]]).expect_err("diverged");
            assert!(e.to_string().contains("value 1 of `a`"), "{e}");
        }
        assert_eq!(load(&path).expect("the old one is there").floats_of("a"), Some(&[1.0, 2.0, 3.0][..]));
        // A file from elsewhere, with checksums that fit.
        let mut bytes = fs::read(&path).expect("readable");
        let data = bytes.len() - 12;
        bytes[data + 4..data + 8].copy_from_slice(&f32::NAN.to_le_bytes());
        let block = xxh3_64(&bytes[data..]).to_le_bytes();
        bytes[PAGE as usize..PAGE as usize + 8].copy_from_slice(&block);
        let table = xxh3_64(&bytes[PAGE as usize..2 * PAGE as usize]).to_le_bytes();
        let bytes = forged(&bytes, |b| b[56..64].copy_from_slice(&table));
        assert!(refusal(&bytes).contains("section `a`: value 1 is NaN"));
    }

    #[test]
    fn saving_replaces_whole_files_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("last.bcw");
        for n in [5000usize, 10] {
            save(&path, &sections(&[("a", &[n])]), &PRINTS, "", &[&values(n, 4)]).expect("saved");
            assert_eq!(load(&path).expect("loads").floats_of("a"), Some(values(n, 4).as_slice()));
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        let e = save(&folder.path().join("gone/last.bcw"), &[], &PRINTS, "", &[]).expect_err("no folder");
        assert_eq!(e.exit_code(), 3);
    }

    #[test]
    fn what_is_not_a_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(load(folder.path()).expect_err("a folder").exit_code(), 5);
        assert_eq!(load(&folder.path().join("gone")).expect_err("nothing").exit_code(), 3);
    }
}
