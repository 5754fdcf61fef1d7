//! The connections that [`write_folder`](super::super::write_folder) writes, read ten times faster than any other table.
//!
//! A run is opened with its own copy of the wiring, by `predict` for a single image too: there the general reader took
//! 25 of 30 ms. What does not look exactly like our own table is left to that reader, which also says what is wrong.

use std::path::Path;

use super::cells::Cells;
use crate::connectome::Synapses;
use crate::input;

/// Longest table read here, bytes; longer ones are streamed.
const MAX_BYTES: u64 = 16 << 20;
/// The header of our own table.
const HEADER: &[u8] = b"pre,post,n_synapses\n";

/// The mask over the neurons of `cells`, if `path` is a table of three plain columns in the order of the mask: by
/// postsynaptic, then by presynaptic neuron, each pair once.
pub(super) fn read(path: &Path, cells: &Cells) -> Option<Synapses> {
    if path.extension().is_none_or(|e| e != "csv") {
        return None;
    }
    let bytes = input::read(path, MAX_BYTES).ok()?;
    let rows = bytes.strip_prefix(HEADER)?;
    let mut connections: Vec<(usize, usize, u32)> = Vec::new();
    let mut last_post: (&[u8], usize) = (&[], 0);
    for line in rows.split_inclusive(|&b| b == b'\n') {
        let mut fields = line.strip_suffix(b"\n")?.split(|&b| b == b',');
        let (pre, post, count) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        // The rows of one postsynaptic neuron follow each other.
        if post != last_post.0 {
            last_post = (post, neuron(post, cells)?);
        }
        let connection = (last_post.1, neuron(pre, cells)?, number(count)?);
        if connections.last().is_some_and(|last| (last.0, last.1) >= (connection.0, connection.1)) {
            return None;
        }
        connections.push(connection);
    }
    if connections.is_empty() {
        return None;
    }
    Synapses::from_connections(cells.len(), cells.len(), connections).ok()
}

/// Index of the usable neuron with this plain identifier.
fn neuron(id: &[u8], cells: &Cells) -> Option<usize> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    if !id.iter().all(plain) {
        return None;
    }
    cells.find(std::str::from_utf8(id).ok()?)?.map(|at| at as usize)
}

/// A count of at least 1 and at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || digits.len() > 9 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |n, digit| 10 * n + u32::from(digit - b'0'));
    (number > 0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectome::import::{cells, read_folder};
    use crate::connectome::{generate, write_folder};
    use std::fs;

    #[test]
    fn our_own_table_is_read_as_the_general_reader_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let column = generate(1);
        write_folder(&column, folder.path()).unwrap();
        let table = folder.path().join("connections.csv");
        let own = || read(&table, &cells::read(&folder.path().join("neurons.csv"), false).unwrap());
        assert_eq!(own().as_ref(), Some(&column.synapses));
        // A blank after a comma: for the general reader alone, with the same result.
        let text = fs::read_to_string(&table).unwrap().replacen(",", ", ", 40);
        fs::write(&table, text).unwrap();
        assert!(own().is_none());
        assert_eq!(read_folder(folder.path()).unwrap(), column);
    }

    #[test]
    fn anything_else_is_left_to_the_general_reader() {
        let folder = tempfile::tempdir().unwrap();
        let neurons = folder.path().join("neurons.csv");
        fs::write(&neurons, "id,layer,class\n1,L4,E\n2,L4,E\n3,L5,I\n").unwrap();
        let cells = cells::read(&neurons, false).unwrap();
        let table = folder.path().join("connections.csv");
        let of = |rows: &str| {
            fs::write(&table, format!("pre,post,n_synapses\n{rows}")).unwrap();
            read(&table, &cells)
        };
        assert_eq!(of("2,1,3\n3,1,1\n1,3,12\n").map(|s| s.len()), Some(3));
        for rows in [
            "",
            "2,1,3",
            "2,1\n",
            "2,1,3,4\n",
            "2,1,0\n",
            "2,1,\n",
            "2,1,+3\n",
            "2,1,3.0\n",
            "2,1,1234567890\n",
            "4,1,3\n",
            "\"2\",1,3\n",
            "2,1,3\r\n",
            "2,1,3\n2,1,3\n",
            "3,1,3\n2,1,3\n",
            "2,1,3\n\n",
        ] {
            assert!(of(rows).is_none(), "{rows:?}");
        }
    }
}
