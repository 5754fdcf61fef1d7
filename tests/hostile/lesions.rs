//! Formats of results that are read back: lesions and tuning.

use super::{Format, put};
use bionic_cpu::error::Result;
use bionic_cpu::lesion::{ids, read_lesions, read_tuning};
use std::fs;
use std::path::Path;

/// One row per format.
pub const FORMATS: &[Format] = &[
    Format { name: "lesions", read: |path| read_lesions(path).map(drop), code: 3, bombs: lesion_bombs, mend: |_| {} },
    Format { name: "tuning", read: |path| read_tuning(path).map(drop), code: 3, bombs: tuning_bombs, mend: |_| {} },
    Format { name: "ids", read: read_ids, code: 3, bombs: id_bombs, mend: |_| {} },
];

/// Largest file.
const MIB: usize = super::MAX_FILE_BYTES as usize;

fn read_ids(path: &Path) -> Result<()> {
    // A path that is no file names identifiers itself.
    fs::metadata(path).map_or(Ok(()), |_| ids(path.to_str().unwrap_or_default()).map(drop))
}

/// Header and rows of the good file of `format`.
fn good(format: &str) -> (String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(format).join("good-rows.csv");
    let text = fs::read_to_string(path).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    (header.to_owned(), rows.to_owned())
}

/// Much of everything, for a table with this good file.
fn table_bombs(folder: &Path, format: &str) {
    let (header, rows) = good(format);
    let whole = (MIB - header.len() - 1) / rows.len();
    put(folder, "good-rows.csv", format!("{header}\n{}", rows.repeat(whole)).into_bytes());
    put(folder, "bad-cells.csv", [header.as_bytes(), b"\n", &vec![b','; MIB]].concat());
    put(folder, "bad-columns.csv", vec![b','; MIB]);
    put(folder, "any-columns.csv", format!("{header}{}\n", ",".repeat(MIB)).into_bytes());
    put(folder, "any-lines.csv", [header.as_bytes(), &vec![b'\n'; MIB]].concat());
    put(folder, "bad-quoted.csv", [header.as_bytes(), b"\n\"", &vec![b'a'; MIB]].concat());
    put(folder, "bad-short.csv", [header.as_bytes(), &b"\na"[..].repeat(MIB / 2)].concat());
    put(folder, "bad-empty.csv", Vec::new());
}

fn lesion_bombs(folder: &Path) {
    table_bombs(folder, "lesions");
    let (header, rows) = good("lesions");
    let row = rows.lines().last().unwrap();
    let ids = "1;".repeat((MIB - header.len() - row.len() - 2) / 2);
    put(folder, "good-ids.csv", format!("{header}\n{row}{ids}\n").into_bytes());
}

fn tuning_bombs(folder: &Path) {
    table_bombs(folder, "tuning");
}

fn id_bombs(folder: &Path) {
    put(folder, "good-words", b"1 ".repeat(MIB / 2));
    put(folder, "good-column", [&b"id\n"[..], &b"1\n".repeat(MIB / 2 - 2)].concat());
    put(folder, "bad-blanks", vec![b' '; MIB]);
    put(folder, "bad-columns", [&b"id"[..], &vec![b','; MIB - 3], b"\n"].concat());
    put(folder, "any-word", vec![b'a'; MIB]);
    put(folder, "any-quoted", [&b"id\n\""[..], &vec![b'a'; MIB - 4]].concat());
}
