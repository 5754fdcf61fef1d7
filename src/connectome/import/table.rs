//! CSV tables (plain or gzip) read row by row within bounds, with the line number of everything that is wrong.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv::StringRecord;
use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::input;
use crate::table::{self, MAX_COLUMNS, place, shown};

/// Longest table read, bytes after decompression.
const MAX_TABLE_BYTES: u64 = 4 << 30;
/// A packed table may unpack to this many times its size (real ones: 3 to 7 times) ...
const MAX_UNPACK_RATIO: u64 = 16;
/// ... and this many bytes more.
const FREE_UNPACK_BYTES: u64 = 1 << 20;
/// Rows that any table may have, and bytes of its file that each further one takes at least (real ones, packed: 5 to
/// 64; every pair of 1,000 neurons, packed: 2).
const FREE_ROWS: u64 = 1 << 18;
const MIN_ROW_BYTES: u64 = 2;
/// Longest row read, bytes.
const MAX_ROW_BYTES: usize = 1 << 20;
/// Columns listed in a message, at most.
const MAX_LISTED: usize = 40;
/// Longest identifier, cell type or lamina, bytes.
const MAX_NAME_BYTES: usize = 256;
/// Largest coordinate in any unit.
const MAX_COORDINATE: f32 = 1e12;

/// A table with a header, read once from top to bottom.
pub(super) struct Table {
    path: PathBuf,
    /// Size of the file as it lies on the disk.
    file_bytes: u64,
    reader: csv::Reader<Bounded>,
    /// Column names: lower case, blanks as `_`.
    names: Vec<String>,
    row: StringRecord,
    /// Rows read so far.
    rows: u64,
}

impl Table {
    /// Opens a table and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, file_bytes) = input::open(path, MAX_TABLE_BYTES)?;
        let bounded = if path.extension().is_some_and(|e| e == "gz") {
            let most = (file_bytes * MAX_UNPACK_RATIO + FREE_UNPACK_BYTES).min(MAX_TABLE_BYTES);
            Bounded { inner: Box::new(MultiGzDecoder::new(file)), left: most, most, row_bytes: 0 }
        } else {
            let most = MAX_TABLE_BYTES;
            Bounded { inner: Box::new(file), left: most, most, row_bytes: 0 }
        };
        let mut reader = csv::Reader::from_reader(bounded);
        let names: Vec<String> = match reader.headers() {
            Ok(header) if header.len() <= MAX_COLUMNS => {
                header.iter().map(|name| name.trim().to_lowercase().replace(' ', "_")).collect()
            }
            Ok(header) => {
                let what = format!("{} columns, at most {MAX_COLUMNS} are read", header.len());
                return Err(Error::input(place(path, 1), what, "is this a table of rows?"));
            }
            Err(e) => return Err(unreadable(path, 1, &e)),
        };
        Ok(Self { path: path.to_path_buf(), file_bytes, reader, names, row: StringRecord::new(), rows: 0 })
    }

    /// Size of the file on the disk, bytes: less than its text if it is packed.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Position of the first of `names` that the header has.
    pub(super) fn column(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.names.iter().position(|n| n == name))
    }

    /// Positions of all of `names` that the header has, in the order of `names`.
    pub(super) fn columns(&self, names: &[&str]) -> Vec<usize> {
        names.iter().filter_map(|name| self.column(&[name])).collect()
    }

    /// Name of a column.
    pub(super) fn name(&self, column: usize) -> &str {
        &self.names[column]
    }

    /// Like [`Self::column`]; a header without any of them is an error that lists what was found.
    pub(super) fn require(&self, what: &str, names: &[&str]) -> Result<usize> {
        self.column(names).ok_or_else(|| {
            let some = self.names.iter().take(MAX_LISTED).map(|n| format!("`{}`", shown(n))).collect::<Vec<_>>();
            let more = if self.names.len() > MAX_LISTED { ", ..." } else { "" };
            let fault = format!("no column for {what}; found {}{more}", some.join(", "));
            Error::input(place(&self.path, 1), fault, format!("name it {}", names.join(" or ")))
        })
    }

    /// A header that names a column twice is an error: which of them counts would be a guess.
    pub(super) fn refuse_repeats(&self) -> Result<()> {
        let mut seen = HashSet::new();
        match self.names.iter().find(|name| !name.is_empty() && !seen.insert(name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let what = format!("column `{}` occurs twice", shown(name));
                Err(Error::input(place(&self.path, 1), what, "keep one of them"))
            }
        }
    }

    /// Moves to the next row; false at the end.
    ///
    /// # Errors
    /// A row of another length than the header, text that is not UTF-8, a row or a table beyond the bounds, and a
    /// table without any row.
    pub(super) fn next_row(&mut self) -> Result<bool> {
        self.reader.get_mut().row_bytes = 0;
        let more = match self.reader.read_record(&mut self.row) {
            Ok(more) => more,
            Err(e) => return Err(unreadable(&self.path, self.reader.position().line(), &e)),
        };
        if !more && self.rows == 0 {
            return Err(Error::input(self.path.display(), "a header and no row", "export the table again"));
        }
        self.rows += u64::from(more);
        let most = FREE_ROWS + self.file_bytes / MIN_ROW_BYTES;
        if self.rows > most {
            let what = format!("more than {most} rows in a file of {} bytes", self.file_bytes);
            return Err(self.fault(what, "unpack it and look inside; a plain table may have more"));
        }
        Ok(more)
    }

    /// A field of this row without the blanks around it.
    pub(super) fn field(&self, column: usize) -> &str {
        self.row.get(column).unwrap_or("").trim()
    }

    /// A field of this row that names something.
    ///
    /// # Errors
    /// More than 256 bytes, or a control character.
    pub(super) fn name_in(&self, column: usize) -> Result<&str> {
        let text = self.field(column);
        if text.len() > MAX_NAME_BYTES || text.contains(char::is_control) {
            let what = format!(
                "`{}` is `{}`, expected a name of at most {MAX_NAME_BYTES} bytes without control characters",
                self.name(column),
                shown(text)
            );
            return Err(self.fault(what, "shorten or clean the name"));
        }
        Ok(text)
    }

    /// Line on which this row starts, from 1.
    pub(super) fn line(&self) -> u64 {
        self.row.position().map_or(0, csv::Position::line)
    }

    /// An error about this row.
    pub(super) fn fault(&self, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::input(place(&self.path, self.line()), what, remedy)
    }

    /// A coordinate of this row; an empty field is `None`.
    pub(super) fn number(&self, column: usize) -> Result<Option<f32>> {
        let text = self.field(column);
        if text.is_empty() {
            return Ok(None);
        }
        match coordinate(text) {
            Some(v) => Ok(Some(v)),
            None => {
                let what = format!("`{}` is `{}`, expected a finite number", self.name(column), shown(text));
                Err(self.fault(what, "correct the field or leave it empty"))
            }
        }
    }

    /// True if the table has a column `valid` (CAVE) and this row says no in it.
    pub(super) fn invalid(&self, valid: Option<usize>) -> bool {
        valid.is_some_and(|c| matches!(self.field(c).to_lowercase().as_str(), "f" | "false" | "0"))
    }
}

/// A number that can be a coordinate: finite and no larger than 10^12.
pub(super) fn coordinate(text: &str) -> Option<f32> {
    text.parse().ok().filter(|v: &f32| v.abs() <= MAX_COORDINATE)
}

/// The error of a table that is unreadable from `line` on.
fn unreadable(path: &Path, line: u64, error: &csv::Error) -> Error {
    let csv::ErrorKind::Io(e) = error.kind() else { return table::unreadable(path, line, error, "correct the row") };
    let place = place(path, error.position().map_or(line, csv::Position::line));
    match e.kind() {
        io::ErrorKind::UnexpectedEof => Error::input(place, "the compressed file is cut short", "copy it again"),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            Error::input(place, e.to_string(), "is this the right file?")
        }
        _ => Error::io(path, "reading", e),
    }
}

/// A reader that fails on an endless table or an endless row (a quote that is never closed).
struct Bounded {
    inner: Box<dyn Read>,
    /// Bytes that may still come, and all that may.
    left: u64,
    most: u64,
    /// Bytes read since the last row began: it is as long, less what was in the buffer of the CSV reader already.
    row_bytes: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let beyond = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let Some(left) = self.left.checked_sub(n as u64) else {
            return beyond(format!("the table goes on after {} bytes, more than such a file holds", self.most));
        };
        self.left = left;
        // A full buffer may be read before the first byte of a row is looked at.
        if self.row_bytes > MAX_ROW_BYTES {
            return beyond(format!("a row is longer than {MAX_ROW_BYTES} bytes (a quote left open?)"));
        }
        self.row_bytes += n;
        Ok(n)
    }
}
