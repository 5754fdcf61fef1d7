//! CSV tables (plain or gzip) read row by row within bounds, with the line number of everything that is wrong.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use csv::StringRecord;
use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// Longest table read, bytes after decompression.
const MAX_TABLE_BYTES: u64 = 4 << 30;

/// Longest row read, bytes.
const MAX_ROW_BYTES: usize = 1 << 20;

/// A table with a header, read once from top to bottom.
pub(super) struct Table {
    path: PathBuf,
    reader: csv::Reader<Bounded>,
    /// Column names: lower case, blanks as `_`.
    names: Vec<String>,
    row: StringRecord,
    any: bool,
}

impl Table {
    /// Opens a table and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, "opening", &e))?;
        let found = file.metadata().map_err(|e| Error::io(path, "reading", &e))?;
        if !found.is_file() {
            return Err(Error::input(path.display(), "not a regular file", "name a .csv or .csv.gz file"));
        }
        if found.len() > MAX_TABLE_BYTES {
            let what = format!("{} bytes, more than the {MAX_TABLE_BYTES} that are read", found.len());
            return Err(Error::input(path.display(), what, "keep only the columns and rows of the column's neurons"));
        }
        let gzip = path.extension().is_some_and(|e| e == "gz");
        let inner: Box<dyn Read> = if gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let bounded = Bounded { inner, bytes: 0, row_bytes: 0, row: 1, quoted: false };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bounded);
        let names = match reader.headers() {
            Ok(header) => header.iter().map(|name| name.to_lowercase().replace(' ', "_")).collect(),
            Err(e) => return Err(unreadable(path, &e)),
        };
        Ok(Self { path: path.to_path_buf(), reader, names, row: StringRecord::new(), any: false })
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
            let found = self.names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
            let fault = format!("no column for {what}; found {found}");
            Error::input(format!("{} line 1", self.path.display()), fault, format!("name it {}", names.join(" or ")))
        })
    }

    /// Moves to the next row; false at the end.
    ///
    /// # Errors
    /// A row of another length than the header, text that is not UTF-8, a row or a table beyond the bounds, and a
    /// table without any row.
    pub(super) fn next_row(&mut self) -> Result<bool> {
        let more = self.reader.read_record(&mut self.row).map_err(|e| unreadable(&self.path, &e))?;
        if !more && !self.any {
            return Err(Error::input(self.path.display(), "a header and no row", "export the table again"));
        }
        self.any = true;
        Ok(more)
    }

    /// A field of this row.
    pub(super) fn field(&self, column: usize) -> &str {
        self.row.get(column).unwrap_or("")
    }

    /// Line on which this row starts, from 1.
    pub(super) fn line(&self) -> u64 {
        self.row.position().map_or(0, csv::Position::line)
    }

    /// An error about this row.
    pub(super) fn fault(&self, what: impl Into<String>, remedy: impl Into<String>) -> Error {
        Error::input(format!("{} line {}", self.path.display(), self.line()), what, remedy)
    }

    /// A coordinate of this row; an empty field is `None`.
    pub(super) fn number(&self, column: usize) -> Result<Option<f32>> {
        let text = self.field(column);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<f32>() {
            Ok(v) if v.is_finite() => Ok(Some(v)),
            _ => {
                let what = format!("`{}` is `{text}`, expected a finite number", self.name(column));
                Err(self.fault(what, "correct the field or leave it empty"))
            }
        }
    }

    /// True if the table has a column `valid` (CAVE) and this row says no in it.
    pub(super) fn invalid(&self, valid: Option<usize>) -> bool {
        valid.is_some_and(|c| matches!(self.field(c).to_lowercase().as_str(), "f" | "false" | "0"))
    }
}

/// The error of an unreadable table, with its line where the reader knows it.
fn unreadable(path: &Path, error: &csv::Error) -> Error {
    let place = match error.position() {
        Some(at) => format!("{} line {}", path.display(), at.line()),
        None => path.display().to_string(),
    };
    match error.kind() {
        csv::ErrorKind::Io(e) if e.kind() != io::ErrorKind::InvalidData && e.kind() != io::ErrorKind::InvalidInput => {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                return Error::input(place, "the compressed file is cut short", "copy it again");
            }
            Error::io(path, "reading", e)
        }
        csv::ErrorKind::Io(e) => Error::input(place, e.to_string(), "is this the right file?"),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Error::input(place, format!("{len} fields, the header has {expected_len}"), "correct the row")
        }
        csv::ErrorKind::Utf8 { .. } => Error::input(place, "not UTF-8 text", "save the table as UTF-8"),
        _ => Error::input(place, error.to_string(), "correct the table"),
    }
}

/// A reader that fails on an endless table or an endless row (a quote that is never closed).
struct Bounded {
    inner: Box<dyn Read>,
    bytes: u64,
    row_bytes: usize,
    row: u64,
    quoted: bool,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.bytes += n as u64;
        if self.bytes > MAX_TABLE_BYTES {
            let what = format!("more than the {MAX_TABLE_BYTES} bytes that are read");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        for &byte in &buffer[..n] {
            self.row_bytes += 1;
            self.quoted ^= byte == b'"';
            if byte == b'\n' && !self.quoted {
                self.row_bytes = 0;
                self.row += 1;
            } else if self.row_bytes > MAX_ROW_BYTES {
                let what = format!("row {} is longer than {MAX_ROW_BYTES} bytes (a quote left open?)", self.row);
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
        }
        Ok(n)
    }
}
