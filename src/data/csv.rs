//! Kaggle's CSV files, plain or packed with gzip: streamed as bytes, digits straight to pixels.
//!
//! The columns are found by name, so every order works: `emotion` (0 to 6), `pixels` (2304 numbers between spaces) and
//! `Usage` (`Training`, `PublicTest`, `PrivateTest`). Without `Usage` labelled rows are Training; without `emotion` the
//! data set has no labels and its rows are Private. Memory beyond the images is one buffer, whatever the file holds.

use super::{Dataset, PIXELS, Split};
use crate::error::{Error, Result};
use crate::input;
use flate2::bufread::MultiGzDecoder;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// Longest line accepted: 2304 pixels take at most 9,215 bytes; the rest is room for further columns.
const MAX_LINE_BYTES: usize = 16 << 10;
/// Largest file, bytes; the images take less than half of its text.
const MAX_FILE_BYTES: u64 = 4 << 30;
/// Bytes asked of the input at a time.
const BUFFER_BYTES: usize = 256 << 10;
/// A packed file may unpack to this many times its size (faces: 3 to 4 times) ...
const MAX_UNPACK_RATIO: u64 = 24;
/// ... or to this many bytes, if that is more.
const MIN_UNPACK_BYTES: u64 = 16 << 20;

/// Reads the CSV at `path`; gzip is recognised by its first bytes.
///
/// # Errors
/// `Input` with the line and the field for anything that is not a Kaggle CSV; `Io` if reading fails.
pub fn load(path: &Path) -> Result<Dataset> {
    let (mut file, total_bytes) = input::open(path, MAX_FILE_BYTES)?;
    let mut magic = Vec::new();
    let sniffed = file.by_ref().take(4).read_to_end(&mut magic).and_then(|_| file.rewind());
    sniffed.map_err(|e| Error::io(path, "reading", &e))?;
    if magic == b"PK\x03\x04" {
        return Err(Error::input(path.display(), "this is a ZIP archive", "unpack it and give the CSV file inside"));
    }
    let (input, limit): (Box<dyn Read>, u64) = if magic.starts_with(&[0x1f, 0x8b]) {
        let limit = total_bytes.saturating_mul(MAX_UNPACK_RATIO).clamp(MIN_UNPACK_BYTES, MAX_FILE_BYTES);
        (Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, file))), limit)
    } else {
        (Box::new(file), MAX_FILE_BYTES)
    };
    read_rows(Lines { path, input, limit, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, read_bytes: 0, number: 0 })
}

/// Reads header and rows.
fn read_rows(mut lines: Lines) -> Result<Dataset> {
    let path = lines.path;
    let columns = match lines.next()? {
        Some((line, _)) => Columns::from_header(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line), path)?,
        None => return Err(Error::input(path.display(), "the file is empty", "download it again")),
    };
    let (mut pixels, mut labels, mut splits) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let number = lines.number + 1;
        let Some((line, complete)) = lines.next()? else { break };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let row = pixels.len();
        pixels.resize(row + PIXELS, 0);
        let (label, split) = columns.parse(line, &mut pixels[row..]).map_err(|fault| {
            let cut = if complete { "" } else { " (the file ends in this row)" };
            let remedy = if complete { "mend or remove the row" } else { "the file is cut off: download it again" };
            Error::input(format!("{} line {number}", path.display()), fault + cut, remedy)
        })?;
        labels.extend(label);
        splits.push(split);
    }
    if splits.is_empty() {
        return Err(Error::input(path.display(), "a header and no images", "download it again"));
    }
    pixels.shrink_to_fit();
    Ok(Dataset { source: path.display().to_string(), pixels: pixels.into(), labels, splits })
}

/// Position of each column of interest.
#[derive(Debug, PartialEq)]
struct Columns {
    pixels: usize,
    emotion: Option<usize>,
    usage: Option<usize>,
    count: usize,
}

impl Columns {
    fn from_header(line: &[u8], path: &Path) -> Result<Self> {
        let place = || format!("{} line 1", path.display());
        let names: Vec<String> = line.split(|&b| b == b',').map(|name| show(trim_quotes(name))).collect();
        let mut found = [None; 3];
        for (i, name) in names.iter().enumerate() {
            let Some(k) = ["pixels", "emotion", "usage"].iter().position(|k| name.eq_ignore_ascii_case(k)) else {
                continue;
            };
            if found[k].replace(i).is_some() {
                return Err(Error::input(place(), format!("column `{name}` occurs twice"), "keep one of them"));
            }
        }
        let [Some(pixels), emotion, usage] = found else {
            let what = format!("no column `pixels`; the columns are {}", show(line));
            return Err(Error::input(place(), what, "give a CSV with the header emotion,pixels,Usage"));
        };
        Ok(Self { pixels, emotion, usage, count: names.len() })
    }

    /// Reads one row into `pixels` `(48, 48)`; gives label and split, or what is wrong with which field.
    fn parse(&self, line: &[u8], pixels: &mut [u8]) -> std::result::Result<(Option<u8>, Split), String> {
        let mut rest = Some(line);
        let mut label = None;
        let mut split = if self.emotion.is_some() { Split::Training } else { Split::Private };
        for column in 0..self.count {
            let Some(text) = rest else {
                return Err(format!("{column} fields, the header has {}", self.count));
            };
            let (field, after) = take_field(text)?;
            rest = after;
            if column == self.pixels {
                parse_pixels(field, pixels)?;
            } else if Some(column) == self.emotion {
                label = match field {
                    [digit @ b'0'..=b'6'] => Some(digit - b'0'),
                    _ => return Err(format!("emotion is `{}`, expected 0 to 6", show(field))),
                };
            } else if Some(column) == self.usage {
                let known = Split::ALL.iter().find(|s| s.usage().as_bytes().eq_ignore_ascii_case(field));
                split = *known.ok_or_else(|| {
                    format!("Usage is `{}`, expected Training, PublicTest or PrivateTest", show(field))
                })?;
            }
        }
        match rest {
            Some(_) => Err(format!("more fields than the {} of the header", self.count)),
            None => Ok((label, split)),
        }
    }
}

/// The next field of a row, without quotes and spaces around it, and the text after its comma.
fn take_field(text: &[u8]) -> std::result::Result<(&[u8], Option<&[u8]>), String> {
    let text = text.trim_ascii_start();
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let end = find_byte(quoted, b'"').ok_or("a quoted field without its closing quote")?;
        return match quoted[end + 1..].trim_ascii_start() {
            [] => Ok((quoted[..end].trim_ascii(), None)),
            [b',', after @ ..] => Ok((quoted[..end].trim_ascii(), Some(after))),
            _ => Err("text between a closing quote and the next comma".into()),
        };
    }
    Ok(match find_byte(text, b',') {
        Some(end) => (text[..end].trim_ascii_end(), Some(&text[end + 1..])),
        None => (text.trim_ascii_end(), None),
    })
}

/// Reads 2304 numbers from 0 to 255 with one space between them; anything else goes to [`parse_pixels_checked`].
///
/// Four bytes at a time as one word, without a branch that depends on them: 4.3 ns per pixel, against 7.1
/// number by number.
fn parse_pixels(field: &[u8], pixels: &mut [u8]) -> std::result::Result<(), String> {
    assert_eq!(pixels.len(), PIXELS, "pixels must be (48, 48)");
    let mut at = 0;
    let mut faults = 0;
    for pixel in pixels.iter_mut() {
        let bytes = match field.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            Some(&bytes) => bytes,
            None => {
                let mut bytes = [b' '; 4];
                let rest = field.get(at..).unwrap_or(&[]);
                bytes[..rest.len()].copy_from_slice(rest);
                bytes
            }
        };
        // Digits become 0 to 9, a space 0x10; the first byte with that bit (from the second on) ends the number.
        let word = u32::from_le_bytes(bytes) ^ 0x3030_3030;
        let ends = word & 0x1010_1000;
        let length = (ends.trailing_zeros() / 8).min(3);
        let end = word >> (8 * length) & 0xff;
        let digits = word << (8 * (4 - length));
        let value = (digits >> 24) + 10 * (digits >> 16 & 0xff) + 100 * (digits >> 8 & 0xff);
        // A byte over 9 sets its top bit when 0x76 is added, or has it already.
        faults |= ((digits.wrapping_add(0x7676_7676) | digits) & 0x8080_8080) | (end ^ 0x10) | (value & !0xff);
        *pixel = value as u8;
        at += 1 + length as usize;
    }
    if faults != 0 || at != field.len() + 1 { parse_pixels_checked(field, pixels) } else { Ok(()) }
}

/// As [`parse_pixels`] with any white space between the numbers; says what is wrong.
#[cold]
fn parse_pixels_checked(field: &[u8], pixels: &mut [u8]) -> std::result::Result<(), String> {
    let mut count = 0;
    for number in field.split(u8::is_ascii_whitespace).filter(|number| !number.is_empty()) {
        let value =
            number.iter().try_fold(0u32, |v, d| d.is_ascii_digit().then(|| 10 * v.min(999) + u32::from(d - b'0')));
        match value {
            Some(value @ 0..=255) => {
                if let Some(pixel) = pixels.get_mut(count) {
                    *pixel = value as u8;
                }
            }
            _ => return Err(format!("pixel {} is `{}`, expected 0 to 255", count + 1, show(number))),
        }
        count += 1;
    }
    if count == PIXELS { Ok(()) } else { Err(format!("{count} pixels, expected 2304 (48 x 48)")) }
}

fn trim_quotes(field: &[u8]) -> &[u8] {
    let field = field.trim_ascii();
    field.strip_prefix(b"\"").and_then(|f| f.strip_suffix(b"\"")).unwrap_or(field).trim_ascii()
}

/// Text of unknown origin for a message: at most 40 characters, nothing that moves a terminal's cursor.
fn show(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(160)]);
    let mut shown: String = text.chars().take(40).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() > 40 || bytes.len() > 160 {
        shown.push_str("...");
    }
    shown
}

/// Position of the first `byte`, 64 bytes at a time.
fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    let none_in = |chunk: &&[u8]| chunk.iter().fold(0, |found, &b| found | u8::from(b == byte)) == 0;
    let at = 64 * bytes.chunks_exact(64).take_while(none_in).count();
    bytes[at..].iter().position(|&b| b == byte).map(|i| at + i)
}

/// Lines of the input in a buffer of fixed size.
struct Lines<'a> {
    path: &'a Path,
    input: Box<dyn Read>,
    /// Largest number of bytes that the input may give.
    limit: u64,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    read_bytes: u64,
    /// Lines given so far.
    number: usize,
}

impl Lines<'_> {
    /// The next line without its end, and whether it had one.
    fn next(&mut self) -> Result<Option<(&[u8], bool)>> {
        let mut scanned = 0;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(n) = find_byte(&unread[scanned..], b'\n').map(|n| scanned + n) {
                let line = self.start..self.start + n;
                self.start += n + 1;
                return self.give(line, true);
            }
            scanned = unread.len();
            if scanned > MAX_LINE_BYTES {
                return self.give(self.start..self.end, true);
            }
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, scanned);
            let n = self.read_some()?;
            if n == 0 {
                self.start = self.end;
                return if scanned == 0 { Ok(None) } else { self.give(0..scanned, false) };
            }
        }
    }

    fn give(&mut self, line: std::ops::Range<usize>, complete: bool) -> Result<Option<(&[u8], bool)>> {
        self.number += 1;
        if line.len() > MAX_LINE_BYTES {
            let place = format!("{} line {}", self.path.display(), self.number);
            let what = format!("the line is longer than {MAX_LINE_BYTES} bytes; 2304 pixels take at most 9215");
            return Err(Error::input(place, what, "give a CSV with the header emotion,pixels,Usage"));
        }
        let line = &self.buffer[line];
        Ok(Some((line.strip_suffix(b"\r").unwrap_or(line), complete)))
    }

    /// Fills the buffer from the input; 0 at its end.
    fn read_some(&mut self) -> Result<usize> {
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    self.read_bytes += n as u64;
                    if self.read_bytes > self.limit {
                        let what = format!("more than {} bytes of text, faces have less", self.limit);
                        return Err(Error::input(self.path.display(), what, "unpack it with gunzip and look inside"));
                    }
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::UnexpectedEof) => {
                    let place = format!("{} line {}", self.path.display(), self.number + 1);
                    return Err(Error::input(
                        place,
                        "the gzip stream ends early, or what follows it is none",
                        "download it again",
                    ));
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
                    let place = format!("{} line {}", self.path.display(), self.number + 1);
                    return Err(Error::input(place, format!("damaged gzip stream: {e}"), "download it again"));
                }
                Err(e) => return Err(Error::io(self.path, "reading", &e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::{config, shared};
    use std::io::Write;

    fn row(pixel: impl Fn(usize) -> String, n: usize) -> String {
        (0..n).map(pixel).collect::<Vec<_>>().join(" ")
    }

    fn good_row() -> String {
        row(|i| (i % 256).to_string(), PIXELS)
    }

    fn load_text(text: &[u8]) -> Result<Dataset> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("faces.csv");
        std::fs::write(&path, text).unwrap();
        load(&path)
    }

    #[track_caller]
    fn refused(text: &[u8], parts: &[&str]) {
        let error = load_text(text).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        assert!(message.contains("remedy") && message.contains("faces.csv"), "{message}");
    }

    #[test]
    fn every_column_order_quote_and_line_end_gives_the_same_images() {
        let p = good_row();
        let kaggle = load_text(format!("emotion,pixels,Usage\n3,{p},Training\n6,{p},PublicTest\n").as_bytes()).unwrap();
        assert_eq!(kaggle.labels, [3, 6]);
        assert_eq!(kaggle.splits, [Split::Training, Split::Public]);
        assert!((0..PIXELS).all(|i| kaggle.image(1)[i] == (i % 256) as u8));
        for text in [
            format!("emotion, Usage, pixels\n3,Training,{p}\n6,PublicTest,{p}"),
            format!(
                "\u{feff}pixels,id,Usage,emotion\r\n\"{p}\",a,Training,3\r\n\r\n\" {p} \",b, PublicTest ,\"6\"\r\n"
            ),
            format!("emotion,pixels,Usage\n3,{},Training\n6,{p},PublicTest\n", p.replace(' ', "  ")),
        ] {
            let other = load_text(text.as_bytes()).unwrap();
            assert_eq!(other.fingerprint(), kaggle.fingerprint(), "{}", &text[..40]);
        }
        let train = load_text(format!("emotion,pixels\r\n3,\"{p}\"\r\n").as_bytes()).unwrap();
        assert_eq!((train.labels, train.splits), (vec![3], vec![Split::Training]));
        let test = load_text(format!("pixels\r\n\"{p}\"\r\n").as_bytes()).unwrap();
        assert_eq!((test.labels, test.splits), (vec![], vec![Split::Private]));
    }

    #[test]
    fn bad_rows_name_line_field_and_value() {
        let p = good_row();
        let two = |bad: &str| format!("emotion,pixels,Usage\n3,{p},Training\n{bad}\n4,{p},Training\n").into_bytes();
        let with = |i: usize, text: &str| row(|k| if k == i { text.to_string() } else { "7".to_string() }, PIXELS);
        refused(&two(&format!("3,{},Training", row(|_| "9".into(), 2303))), &["line 3", "2303 pixels", "2304"]);
        refused(&two(&format!("3,{},Training", row(|_| "9".into(), 2305))), &["line 3", "2305 pixels"]);
        refused(&two(&format!("3,{},Training", with(9, "256"))), &["line 3", "pixel 10 is `256`", "0 to 255"]);
        refused(&two(&format!("3,{},Training", with(2303, "x"))), &["line 3", "pixel 2304 is `x`"]);
        refused(&two(&format!("3,{},Training", with(0, "-1"))), &["pixel 1 is `-1`"]);
        refused(&two(&format!("3,{},Training", with(1, "99999999999"))), &["pixel 2 is `99999999999`"]);
        refused(&two(&format!("7,{p},Training")), &["line 3", "emotion is `7`", "0 to 6"]);
        refused(&two(&format!("x,{p},Training")), &["emotion is `x`"]);
        refused(&two(&format!(",{p},Training")), &["emotion is ``"]);
        refused(&two(&format!("3,{p},Tuning")), &["line 3", "Usage is `Tuning`", "PublicTest"]);
        refused(&two(&format!("3,{p}")), &["line 3", "2 fields", "3"]);
        refused(&two(&format!("3,{p},Training,x")), &["more fields"]);
        refused(&two(&format!("3,\"{p},Training")), &["closing quote"]);
        refused(&two(&format!("3,{p},Tr\u{1b}[2J")), &["Usage is `Tr?[2J`"]);
    }

    #[test]
    fn bad_files_say_what_they_are() {
        let p = good_row();
        refused(b"", &["empty"]);
        refused(b"emotion,pixels,Usage\n", &["no images"]);
        refused(b"emotion,Usage\n3,Training\n", &["line 1", "no column `pixels`", "emotion,Usage"]);
        refused(b"pixels,pixels\n", &["twice"]);
        refused(b"PK\x03\x04rest", &["ZIP"]);
        let cut = format!("emotion,pixels,Usage\n3,{p},Training\n3,{}", &p[..1000]);
        refused(cut.as_bytes(), &["line 3", "the file ends in this row", "download"]);
        let endless = [b"emotion,pixels,Usage\n".to_vec(), vec![b'1'; 1 << 20]].concat();
        refused(&endless, &["line 2", "longer than"]);
        refused(&vec![0; 1 << 20], &["line 1", "longer than"]);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap_err().exit_code(), 3);
        assert_eq!(load(&dir.path().join("gone.csv")).unwrap_err().exit_code(), 3);
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn gzip_streams_and_damage_is_named() {
        let text = format!("emotion,pixels\n{}", format!("1,{}\n", good_row()).repeat(50));
        let packed = gzip(text.as_bytes());
        assert_eq!(load_text(&packed).unwrap().len(), 50);
        refused(&packed[..packed.len() / 2], &["ends early"]);
        refused(&[&packed[..], b"more"].concat(), &["what follows it is none"]);
        let mut damaged = packed.clone();
        let n = damaged.len();
        damaged[n - 6] ^= 1;
        refused(&damaged, &["gzip"]);
        let bomb =
            gzip(format!("emotion,pixels\n{}", format!("1,{}\n", row(|_| "0".into(), PIXELS)).repeat(8000)).as_bytes());
        assert!(bomb.len() < 1 << 20);
        refused(&bomb, &["bytes of text"]);
    }

    #[test]
    fn real_fixtures_agree_in_every_variant() {
        let Some(dir) = shared("fer2013/fixtures") else { return };
        let read = |name: &str| crate::data::load(dir.join(name).to_str().unwrap(), &config()).unwrap();
        let (mut a, b) = (read("fer2013.csv"), read("icml_face_data.csv"));
        assert_eq!((a.len(), a.fingerprint()), (28, b.fingerprint()));
        let (mut train, mut test) = (read("train.csv"), read("test.csv"));
        assert_eq!([&train.pixels.hold()[..], test.pixels.hold()].concat(), *a.pixels.hold());
        assert_eq!(train.labels, a.labels[..train.len()]);
        assert!(test.labels.is_empty() && !train.splits.contains(&Split::Public), "{:?}", train.splits);
    }

    #[test]
    fn real_small_file_streams_through_gzip() {
        let Some(path) = shared("fer2013/fer2013-small.csv.gz") else { return };
        let d = crate::data::load(path.to_str().unwrap(), &config()).unwrap();
        for (split, n) in Split::ALL.into_iter().zip([100, 50, 50]) {
            for label in 0..7 {
                assert_eq!(d.indices(split).iter().filter(|&&i| d.labels[i] == label).count(), n);
            }
        }
    }
}
