//! Tables in CSV (RFC 4180) with a header: written whole, and read back with the place of everything that is wrong.

use crate::error::{Error, Result};
use crate::{input, store};
use csv::StringRecord;
use std::collections::HashMap;
use std::path::Path;

/// Most columns, and longest name of one, bytes.
pub(crate) const MAX_COLUMNS: usize = 1 << 10;
const MAX_COLUMN_BYTES: usize = 256;
/// Largest count read: what a float holds to the last unit, so that every program reads the same.
const MAX_COUNT: u64 = 1 << 53;

/// The text of a table.
///
/// # Errors
/// `Other` if a row is not as wide as the header.
pub fn text<R: IntoIterator<Item: AsRef<[u8]>>>(
    header: impl IntoIterator<Item: AsRef<[u8]>>,
    rows: impl IntoIterator<Item = R>,
) -> Result<Vec<u8>> {
    let failed = |e: String| Error::other(format!("a table cannot be written: {e}"), "report this as a bug");
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(|e| failed(e.to_string()))?;
    for row in rows {
        writer.write_record(row).map_err(|e| failed(e.to_string()))?;
    }
    writer.into_inner().map_err(|e| failed(e.to_string()))
}

/// Replaces the table at `path`; see [`store::replace`] for what a crash leaves.
///
/// # Errors
/// Those of [`text`]; `Io` if the file cannot be written.
pub fn write<R: IntoIterator<Item: AsRef<[u8]>>>(
    path: &Path,
    header: impl IntoIterator<Item: AsRef<[u8]>>,
    rows: impl IntoIterator<Item = R>,
) -> Result<()> {
    store::replace(path, &text(header, rows)?)
}

/// `value` as it stands in a row, in quotes where it must.
///
/// # Errors
/// `Other` if the writer refuses it.
pub fn field(value: &str) -> Result<Vec<u8>> {
    // Beside another one: alone in its row an empty field has quotes.
    let mut line = text([value, ""], std::iter::empty::<[&str; 2]>())?;
    line.truncate(line.len() - 2);
    Ok(line)
}

/// A field that may be empty.
pub fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |v| v.to_string())
}

/// How a kind of table is read.
pub struct Form {
    /// Longest file, bytes.
    pub max_bytes: u64,
    /// What to do about a file without the columns that it must have.
    pub no_columns: &'static str,
    /// What to do about a row that cannot be used.
    pub bad_row: &'static str,
}

impl Form {
    /// Reads the file at `path` with `of`.
    ///
    /// # Errors
    /// Those of [`input::read`] and [`Rows::new`], and what `of` finds.
    pub fn read<T>(&self, path: &Path, of: impl FnOnce(&mut Rows) -> Result<T>) -> Result<T> {
        let bytes = input::read(path, self.max_bytes)?;
        of(&mut Rows::new(path, &bytes, self)?)
    }
}

/// The rows of a table, one after the other; a field is that of the row last read.
pub struct Rows<'a> {
    path: &'a Path,
    form: &'a Form,
    reader: csv::Reader<&'a [u8]>,
    names: Vec<String>,
    index: HashMap<String, usize>,
    row: StringRecord,
}

impl<'a> Rows<'a> {
    /// The table with this text, before its first row; `path` is for messages.
    ///
    /// # Errors
    /// `Input` for a header that is too long or no text.
    pub fn new(path: &'a Path, text: &'a [u8], form: &'a Form) -> Result<Self> {
        let mut reader = csv::Reader::from_reader(text);
        let header = reader.headers().map_err(|e| unreadable(path, 1, &e, form.no_columns))?;
        let fault = |what: String, remedy: &str| Err(Error::input(place(path, 1), what, remedy));
        if header.len() > MAX_COLUMNS {
            return fault(format!("{} columns, at most {MAX_COLUMNS} are read", header.len()), form.no_columns);
        }
        if let Some(long) = header.iter().find(|name| name.len() > MAX_COLUMN_BYTES) {
            let what = format!("column `{}`: names of at most {MAX_COLUMN_BYTES} bytes are read", shown(long));
            return fault(what, form.no_columns);
        }
        let names: Vec<String> = header.iter().map(str::to_owned).collect();
        let index = names.iter().cloned().zip(0..).collect();
        Ok(Self { path, form, reader, names, index, row: StringRecord::new() })
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Refuses a table in which one of these columns is not there, or twice.
    ///
    /// # Errors
    /// `Input` naming the first.
    pub fn require(&self, columns: impl IntoIterator<Item = impl AsRef<str>>) -> Result<()> {
        for column in columns {
            let name = shown(column.as_ref());
            let (what, remedy) = match self.names.iter().filter(|name| *name == column.as_ref()).count() {
                1 => continue,
                0 => (format!("no column `{name}`"), self.form.no_columns),
                _ => (format!("column `{name}` occurs twice"), "keep one of them"),
            };
            return Err(Error::input(place(self.path, 1), what, remedy));
        }
        Ok(())
    }

    /// Moves to the next row; false at the end.
    ///
    /// # Errors
    /// `Input` for a row of another length than the header and for text that is not UTF-8.
    pub fn advance(&mut self) -> Result<bool> {
        let read = self.reader.read_record(&mut self.row);
        read.map_err(|e| unreadable(self.path, self.reader.position().line(), &e, self.form.bad_row))
    }

    /// What `of` reads of each row that is left.
    ///
    /// # Errors
    /// Those of [`Rows::advance`] and of `of`.
    pub fn collect<T>(&mut self, mut of: impl FnMut(&Self) -> Result<T>) -> Result<Vec<T>> {
        let mut rows = Vec::new();
        while self.advance()? {
            rows.push(of(self)?);
        }
        Ok(rows)
    }

    /// The field in this column; empty if there is no such column.
    pub fn text(&self, column: &str) -> &str {
        self.index.get(column).map_or("", |&i| self.field(i))
    }

    /// The field in column `i`, from 0.
    pub fn field(&self, i: usize) -> &str {
        self.row.get(i).unwrap_or_default()
    }

    /// An integer from 0 to `most`.
    ///
    /// # Errors
    /// `Input` for anything else.
    pub fn integer(&self, column: &str, most: u64) -> Result<u64> {
        let found = self.text(column).parse().ok().filter(|n| *n <= most);
        found.ok_or_else(|| self.wrong(column, &format!("an integer from 0 to {most}")))
    }

    /// An integer that counts something: at most 2^53.
    ///
    /// # Errors
    /// `Input` for anything else.
    pub fn count(&self, column: &str) -> Result<usize> {
        self.integer(column, MAX_COUNT.min(usize::MAX as u64)).map(|n| n as usize)
    }

    /// A finite number.
    ///
    /// # Errors
    /// `Input` for anything else.
    pub fn number(&self, column: &str) -> Result<f64> {
        let found = self.text(column).parse().ok().filter(|v: &f64| v.is_finite());
        found.ok_or_else(|| self.wrong(column, "a finite number"))
    }

    /// A number from -1 to 1: a part, or the difference of two.
    ///
    /// # Errors
    /// `Input` for anything else.
    pub fn part(&self, column: &str) -> Result<f64> {
        let found = self.text(column).parse().ok().filter(|v: &f64| v.abs() <= 1.0);
        found.ok_or_else(|| self.wrong(column, "a number from -1 to 1"))
    }

    /// What `of` reads in this column, if the field is not empty.
    ///
    /// # Errors
    /// Those of `of`.
    pub fn optional<T>(&self, column: &str, of: impl Fn(&Self, &str) -> Result<T>) -> Result<Option<T>> {
        if self.text(column).is_empty() { Ok(None) } else { of(self, column).map(Some) }
    }

    /// The one of `all` that the field names.
    ///
    /// # Errors
    /// `Input` for anything else.
    pub fn one_of<T: Copy>(&self, column: &str, all: &[T], name: impl Fn(&T) -> String) -> Result<T> {
        let found = all.iter().find(|one| name(one) == self.text(column));
        found.copied().ok_or_else(|| {
            let names: Vec<String> = all.iter().map(|one| format!("`{}`", name(one))).collect();
            self.wrong(column, &names.join(" or "))
        })
    }

    /// The complaint about the field in this column.
    pub fn wrong(&self, column: &str, expected: &str) -> Error {
        let what = format!("column `{}` is `{}`, expected {expected}", shown(column), shown(self.text(column)));
        self.fault(&what, self.form.bad_row)
    }

    /// A complaint about this row.
    pub fn fault(&self, what: &str, remedy: &str) -> Error {
        Error::input(place(self.path, self.row.position().map_or(0, csv::Position::line)), what, remedy)
    }
}

/// A line of a file, as messages name it.
pub(crate) fn place(path: &Path, line: u64) -> String {
    format!("{} line {line}", path.display())
}

/// Text of unknown origin for a message: at most 60 characters, none that moves a terminal's cursor.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

/// The error of a table whose text cannot be taken apart from about `line` on.
pub(crate) fn unreadable(path: &Path, line: u64, error: &csv::Error, remedy: &str) -> Error {
    let place = place(path, error.position().map_or(line, csv::Position::line));
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            Error::input(place, format!("{len} fields, the header has {expected_len}"), remedy)
        }
        csv::ErrorKind::Utf8 { .. } => Error::input(place, "not UTF-8 text", "save the table as UTF-8"),
        _ => Error::input(place, error.to_string(), remedy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: Form = Form { max_bytes: 1 << 16, no_columns: "restore the header", bad_row: "correct the row" };

    fn refusal<T: std::fmt::Debug>(text: &[u8], of: impl Fn(&Rows) -> Result<T>) -> String {
        let path = Path::new("a.csv");
        let error = Rows::new(path, text, &FORM).and_then(|mut rows| rows.collect(of)).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        error.to_string()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let rows = [["a, \"b\"", "0.1", ""], [" c\nd", "-3", "4"]];
        write(&path, ["name", "value", "n"], rows).unwrap();
        let back = FORM.read(&path, |rows| {
            rows.require(["n", "name"])?;
            rows.collect(|row| Ok((row.text("name").to_owned(), row.number("value")?, row.optional("n", Rows::count)?)))
        });
        assert_eq!(back.unwrap(), [("a, \"b\"".to_owned(), 0.1, None), (" c\nd".to_owned(), -3.0, Some(4))]);
        assert_eq!(write(&path, ["a", "b"], [["1"]]).unwrap_err().exit_code(), 1, "a row that is too short");
        assert_eq!(write(&folder.path().join("gone/a.csv"), ["n"], [["1"]]).unwrap_err().exit_code(), 4);
    }

    #[test]
    fn a_field_is_written_as_in_a_row() {
        for value in ["1", "", " ", "a,b", "\"q\"", "x\ny", "-1.5"] {
            let row = text(["id", "n"], [[value, "7"]]).unwrap();
            let expected = [b"id,n\n", &field(value).unwrap()[..], b",7\n"].concat();
            assert_eq!(row, expected, "{value:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place_and_a_remedy() {
        let long = "x".repeat(300);
        let wide = "a,".repeat(2000);
        for (text, part) in [
            (&b"a,b\n1,2\n3\n"[..], "a.csv line 3: 1 fields, the header has 2; remedy: correct the row"),
            (b"a,b\n1,2\nx,\xff\n", "line 3: not UTF-8 text"),
            (long.as_bytes(), "line 1: column `xxx"),
            (wide.as_bytes(), "line 1: 2001 columns, at most 1024"),
            (b"a,b\n3,4\n1,x\x1b\n", "a.csv line 3: column `b` is `x?`, expected a finite number"),
            (b"a,b\n1,inf\n", "column `b` is `inf`"),
            (b"a,c\n1,2\n", "column `b` is ``"),
        ] {
            let told = refusal(text, |row| row.number("b")).replace('\n', "; ").replace("  ", "");
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(
            refusal(b"a\n9007199254740993\n", |row| row.count("a")).contains("an integer from 0 to 9007199254740992")
        );
        assert!(refusal(b"a\n-1\n", |row| row.integer("a", 9)).contains("an integer from 0 to 9"));
        let one = |row: &Rows| row.one_of("a", &[1, 2], i32::to_string);
        assert!(refusal(b"a\n2\n3\n", one).contains("line 3: column `a` is `3`, expected `1` or `2`"));
        let rows = Rows::new(Path::new("a.csv"), b"a,,,c,c\n", &FORM).unwrap();
        for (column, part) in
            [("b\x07", "a.csv line 1: no column `b?`\n  remedy: restore the header"), ("c", "`c` occurs twice")]
        {
            let error = rows.require(["a", column]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
