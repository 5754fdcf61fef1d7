//! npz: a zip archive of NumPy arrays, as `numpy.load` reads them.
//!
//! Format of an array: NEP 1, version 1.0. The archive is not compressed and has no dates, so the same run gives the
//! same bytes.

use super::{Contents, Files, Layout};
use crate::error::{Error, Result};
use std::io::{Cursor, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// The row of `EXPORTERS`.
pub const DOC: &str = "one file for numpy.load; a sparse array NAME as NAME.data, NAME.indices, NAME.indptr and \
                       NAME.shape for scipy.sparse.csr_matrix((data, indices, indptr), shape); metadata: a JSON text";

/// The archive: the arrays, and `metadata`, a text of [`Contents::metadata`] as one JSON object.
///
/// # Errors
/// `Other` if the archive cannot be made (an array of 4 GiB).
pub fn write(contents: &Contents) -> Result<Files> {
    let mut archive = Archive(ZipWriter::new(Cursor::new(Vec::new())));
    for array in &contents.arrays {
        let values = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let name = |suffix: &str| format!("{}{suffix}", array.name);
        match array.layout {
            Layout::Dense(shape) => archive.add(&name(""), "<f4", shape, values)?,
            Layout::Sparse(s) => {
                archive.add(&name(".data"), "<f4", &[s.len()], values)?;
                archive.add(&name(".indices"), "<i8", &[s.len()], integers(s.pre()))?;
                archive.add(&name(".indptr"), "<i8", &[s.n_post() + 1], integers(s.row_starts()))?;
                let shape = array.shape().into_iter().flat_map(|n| (n as i64).to_le_bytes()).collect();
                archive.add(&name(".shape"), "<i8", &[2], shape)?;
            }
        }
    }
    let text: Vec<char> = serde_json::Value::Object(contents.metadata()?).to_string().chars().collect();
    let utf32 = text.iter().flat_map(|&c| u32::from(c).to_le_bytes()).collect();
    archive.add("metadata", &format!("<U{}", text.len()), &[], utf32)?;
    Ok(Files::One(archive.0.finish().map_err(failed)?.into_inner()))
}

struct Archive(ZipWriter<Cursor<Vec<u8>>>);

impl Archive {
    /// Adds the array `name` of NumPy's type `descr`; `data` is row-major, little endian.
    fn add(&mut self, name: &str, descr: &str, shape: &[usize], data: Vec<u8>) -> Result<()> {
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        self.0.start_file(format!("{name}.npy"), stored).map_err(failed)?;
        let written = self.0.write_all(&header(descr, shape)).and_then(|()| self.0.write_all(&data));
        written.map_err(|e| failed(e.into()))
    }
}

/// Magic, version and description of an array, padded so that the data start at a multiple of 64 bytes.
fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|n| format!("{n}, ")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", sides.trim_end());
    let fixed = 10;
    let padded = (fixed + text.len() + 1).next_multiple_of(64) - fixed;
    text.extend(std::iter::repeat_n(' ', padded - text.len() - 1));
    text.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

fn integers(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|&v| i64::from(v).to_le_bytes()).collect()
}

fn failed(e: zip::result::ZipError) -> Error {
    Error::other(format!("the archive cannot be made: {e}"), "use another format")
}
