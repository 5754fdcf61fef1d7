//! Matrix Market: a folder with one text file per array, as `scipy.io.mmread` reads them.
//!
//! Sparse arrays are `coordinate real general` (from 1, row by row); dense ones `array real general`, column by column
//! as the format wants it: a vector `(N)` as `(N, 1)`, and what has more than two sides as `(first, all others)`, so
//! that `.reshape(shape)` gives the array. Values are printed exactly, as the 64-bit floats that equal them.

use super::{Array, Contents, Files, Layout};
use crate::error::Result;
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The row of `EXPORTERS`.
pub const DOC: &str = "a folder with one Matrix Market file per array, coordinate where it is sparse, and \
                       metadata.json with the name, shape and file of each";

/// The file of the metadata.
const METADATA: &str = "metadata.json";

/// The folder: the arrays, and `metadata.json` with [`Contents::metadata`] and `arrays`: `name`, `shape`, `sparse` and
/// `file` of each.
///
/// # Errors
/// `Other` if the configuration does not serialise.
pub fn write(contents: &Contents) -> Result<Files> {
    let (mut files, mut list, mut used) = (Vec::new(), Vec::new(), BTreeSet::new());
    for array in &contents.arrays {
        let file = file_name(array.name, &mut used);
        let sparse = matches!(array.layout, Layout::Sparse(_));
        list.push(json!({"name": array.name, "shape": array.shape(), "sparse": sparse, "file": file}));
        files.push((file, text(array).into_bytes()));
    }
    let mut metadata = contents.metadata()?;
    metadata.insert("arrays".to_owned(), list.into());
    files.push((METADATA.to_owned(), format!("{:#}\n", serde_json::Value::Object(metadata)).into_bytes()));
    Ok(Files::Folder { files, ours: |name| name == METADATA || name.ends_with(".mtx") })
}

/// `9.column.L4-to-L2_3.mtx` for `9.column.L4->L2/3`: what shells and file systems take without quotes; unique.
fn file_name(name: &str, used: &mut BTreeSet<String>) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let mut stem: String = name.replace("->", "-to-").chars().map(safe).collect();
    while !used.insert(stem.clone()) {
        stem.push('_');
    }
    format!("{stem}.mtx")
}

fn text(array: &Array) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = match array.layout {
        Layout::Dense(shape) => dense(&mut out, shape, array.values),
        Layout::Sparse(synapses) => {
            let entries = synapses.iter().map(|(post, pre, _)| (post, pre)).zip(array.values);
            let sizes = (synapses.n_post(), synapses.n_pre(), synapses.len());
            sparse(&mut out, sizes, entries)
        }
    };
    out
}

fn dense(out: &mut String, shape: &[usize], values: &[f32]) -> std::fmt::Result {
    let rows = shape.first().copied().unwrap_or(1);
    let columns: usize = shape.iter().skip(1).product();
    writeln!(out, "%%MatrixMarket matrix array real general\n{rows} {columns}")?;
    for column in 0..columns {
        for row in 0..rows {
            writeln!(out, "{:?}", f64::from(values[row * columns + column]))?;
        }
    }
    Ok(())
}

/// `sizes`: rows, columns, entries.
fn sparse<'a>(
    out: &mut String,
    sizes: (usize, usize, usize),
    entries: impl Iterator<Item = ((usize, usize), &'a f32)>,
) -> std::fmt::Result {
    let (rows, columns, n) = sizes;
    writeln!(out, "%%MatrixMarket matrix coordinate real general\n{rows} {columns} {n}")?;
    for ((post, pre), &value) in entries {
        writeln!(out, "{} {} {:?}", post + 1, pre + 1, f64::from(value))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_plain_and_unique() {
        let mut used = BTreeSet::new();
        let names = ["9.column.L4->L2/3", "9.column.L4->L2_3", "0.conv.weight", "9.column.L4 I->L4"];
        let files = names.map(|name| file_name(name, &mut used));
        let expected = ["9.column.L4-to-L2_3", "9.column.L4-to-L2_3_", "0.conv.weight", "9.column.L4_I-to-L4"];
        assert_eq!(files, expected.map(|stem| format!("{stem}.mtx")));
    }

    #[test]
    fn dense_arrays_are_column_by_column() {
        let shape = [2, 3];
        let array = Array { name: "x", values: &[0.0, 1.0, 2.0, 3.0, 4.0, 0.1], layout: Layout::Dense(&shape) };
        let expected = "%%MatrixMarket matrix array real general\n2 3\n0.0\n3.0\n1.0\n4.0\n2.0\n0.10000000149011612\n";
        assert_eq!(text(&array), expected);
    }
}
