//! safetensors: a JSON header and the bytes of all tensors, as huggingface/safetensors reads them.
//!
//! ```text
//! u64 length of the header | header, padded with blanks to 8 bytes | tensors without gaps, little endian
//! ```

use super::{Contents, Files, Layout};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// The row of `EXPORTERS`.
pub const DOC: &str = "one file; a sparse array NAME as NAME.values (F32), NAME.column_indices and NAME.row_offsets \
                       (I64, from 0), its shape in the metadata as NAME.shape";

/// A tensor of the file.
struct Entry {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The file. Its metadata are strings: [`Contents::metadata_texts`] and the shape of each sparse array.
///
/// # Errors
/// `Other` if the header does not serialise.
pub fn write(contents: &Contents) -> Result<Files> {
    let mut metadata: Map<String, Value> =
        contents.metadata_texts()?.into_iter().map(|(key, text)| (key, json!(text))).collect();
    let mut entries = Vec::new();
    for array in &contents.arrays {
        let values: Vec<u8> = array.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut add = |suffix: &str, dtype, shape: &[usize], bytes| {
            entries.push(Entry { name: format!("{}{suffix}", array.name), dtype, shape: shape.to_vec(), bytes });
        };
        match array.layout {
            Layout::Dense(shape) => add("", "F32", shape, values),
            Layout::Sparse(s) => {
                add(".values", "F32", &[s.len()], values);
                add(".column_indices", "I64", &[s.len()], indices(s.pre()));
                add(".row_offsets", "I64", &[s.n_post() + 1], indices(s.row_starts()));
                metadata.insert(format!("{}.shape", array.name), json!(format!("{:?}", array.shape())));
            }
        }
    }
    // Wide types first keeps every tensor aligned to its own size; readers that map the file want that.
    entries.sort_by(|a, b| (b.dtype, &a.name).cmp(&(a.dtype, &b.name)));
    Ok(Files::One(assemble(metadata, &entries)?))
}

fn assemble(metadata: Map<String, Value>, entries: &[Entry]) -> Result<Vec<u8>> {
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), Value::Object(metadata));
    let mut end = 0;
    for Entry { name, dtype, shape, bytes } in entries {
        let start = end;
        end += bytes.len();
        header.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
    }
    let mut text = serde_json::to_string(&header)
        .map_err(|e| Error::other(format!("the header does not serialise: {e}"), "report this as a bug"))?;
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(text.as_bytes());
    entries.iter().for_each(|e| file.extend_from_slice(&e.bytes));
    Ok(file)
}

/// Indices as I64, the type of indices in NumPy and PyTorch.
fn indices(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|&v| i64::from(v).to_le_bytes()).collect()
}
