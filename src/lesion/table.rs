//! Tables of results: CSV with a header, written whole and read back with the place of everything that is wrong.

use crate::error::{Error, Result};
use crate::{input, store};
use csv::StringRecord;
use std::path::Path;
use std::str::FromStr;

/// Longest table that is read, bytes.
const MAX_TABLE_BYTES: u64 = 256 << 20;
/// What to do about a table that cannot be read.
const REMEDY: &str = "move the file away: `bionic-cpu lesion RUN` makes it anew";

/// Replaces the table at `path`.
///
/// # Errors
/// `Io` if it cannot be written.
pub(super) fn write(path: &Path, header: &[String], rows: impl Iterator<Item = Vec<String>>) -> Result<()> {
    let failed = |e: csv::Error| Error::other(format!("{}: writing the table: {e}", path.display()), REMEDY);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(failed)?;
    for row in rows {
        writer.write_record(&row).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(|e| failed(e.into_error().into()))?;
    store::replace(path, &bytes).map_err(Error::into_io)
}

/// A cell that may be empty.
pub(super) fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

/// One row that is read.
pub(super) struct Row<'a> {
    path: &'a Path,
    header: &'a StringRecord,
    record: &'a StringRecord,
}

/// Reads the rows of the table at `path`, which must have these `columns`, with `read`.
///
/// # Errors
/// `Input` naming the file and the line; `Io` if reading fails.
pub(super) fn read<T>(path: &Path, columns: &[String], read: impl Fn(&Row) -> Result<T>) -> Result<Vec<T>> {
    let bytes = input::read(path, MAX_TABLE_BYTES)?;
    let wrong = |e: csv::Error| Error::input(path.display(), e.to_string(), REMEDY);
    let mut reader = csv::Reader::from_reader(bytes.as_slice());
    let header = reader.headers().map_err(wrong)?.clone();
    if let Some(column) = columns.iter().find(|c| header.iter().all(|name| name != *c)) {
        return Err(Error::input(path.display(), format!("has no column `{column}`"), REMEDY));
    }
    let (mut rows, mut record) = (Vec::new(), StringRecord::new());
    while reader.read_record(&mut record).map_err(wrong)? {
        rows.push(read(&Row { path, header: &header, record: &record })?);
    }
    Ok(rows)
}

impl Row<'_> {
    /// The cell in this column.
    pub fn text(&self, column: &str) -> Result<&str> {
        let at = self.header.iter().position(|name| name == column);
        let cell = at.and_then(|i| self.record.get(i));
        cell.ok_or_else(|| Error::input(self.path.display(), format!("has no column `{column}`"), REMEDY))
    }

    /// The same as a value of another type.
    pub fn value<T: FromStr>(&self, column: &str) -> Result<T> {
        let cell = self.text(column)?;
        cell.parse().map_err(|_| self.wrong(column, cell))
    }

    /// The same as a finite number.
    pub fn number(&self, column: &str) -> Result<f64> {
        let value: f64 = self.value(column)?;
        if value.is_finite() { Ok(value) } else { Err(self.wrong(column, self.text(column)?)) }
    }

    /// What `of` reads in this column, if there is anything.
    pub fn optional<T>(&self, column: &str, of: impl Fn(&Self, &str) -> Result<T>) -> Result<Option<T>> {
        if self.text(column)?.is_empty() { Ok(None) } else { of(self, column).map(Some) }
    }

    /// The complaint about a cell.
    pub fn wrong(&self, column: &str, cell: &str) -> Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        // A hostile cell may be as long as the file.
        let shown: String = cell.chars().take(40).collect();
        Error::input(
            format!("{} line {line}", self.path.display()),
            format!("column `{column}` holds `{shown}`"),
            REMEDY,
        )
    }
}
