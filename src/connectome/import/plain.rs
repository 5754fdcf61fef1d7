//! The connections that [`write_folder`](super::super::write_folder) writes, read ten times faster than any other table.
//!
//! A run is opened with its own copy of the wiring, by `predict` for a single image too: there the general reader took
//! 25 of 30 ms. What does not look exactly like our own table is left to that reader, which also says what is wrong.

use std::path::Path;

use super::cells::Cells;
use crate::connectome::Synapses;
use crate::input;
use crate::kernels::threads;

/// Longest table read here, bytes; longer ones are streamed.
const MAX_BYTES: u64 = 16 << 20;
/// Bytes of the shortest row, `1,2,3` and its end.
const SHORTEST: usize = 6;
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
    let middle = rows[..rows.len() / 2].iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    let (first, second) = rows.split_at(middle);
    let (first, second) = threads::join(|| connections(first, cells), || connections(second, cells));
    let (first, second) = (first?, second?);
    if first.last().zip(second.first()).is_some_and(|(a, b)| (a.0, a.1) >= (b.0, b.1)) {
        return None;
    }
    let all = first.into_iter().chain(second).map(|(post, pre, count)| (post as usize, pre as usize, count));
    let synapses = Synapses::from_connections(cells.len(), cells.len(), all).ok()?;
    (!synapses.is_empty()).then_some(synapses)
}

/// The connections of the lines `text`, unless one of them is left to the general reader.
fn connections(text: &[u8], cells: &Cells) -> Option<Vec<(u32, u32, u32)>> {
    let mut rows = Rows { left: text, neurons: Neurons::of(cells), last: None };
    let mut list = Vec::with_capacity(text.len() / SHORTEST);
    list.extend(&mut rows);
    rows.left.is_empty().then_some(list)
}

/// The connections `(post, pre, count)` of a table, up to its end or to the first row that is left to the general reader.
struct Rows<'a> {
    left: &'a [u8],
    neurons: Neurons<'a>,
    /// Identifier of the last postsynaptic neuron, which most rows have in common with the one before, and the last pair,
    /// postsynaptic neuron first.
    last: Option<(&'a [u8], (u32, u32))>,
}

impl Iterator for Rows<'_> {
    type Item = (u32, u32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let (pre, rest) = split(self.left, b',')?;
        let (post, rest) = split(rest, b',')?;
        let (count, rest) = split(rest, b'\n')?;
        let at = match self.last {
            Some((last, (at, _))) if last == post => at,
            _ => self.neurons.find(post)?,
        };
        let pair = (at, self.neurons.find(pre)?);
        let count = number(count)?;
        if self.last.is_some_and(|(_, last)| last >= pair) {
            return None;
        }
        (self.left, self.last) = (rest, Some((post, pair)));
        Some((pair.0, pair.1, count))
    }
}

/// What comes before and after the first `end`.
fn split(text: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == end)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Neurons by their identifiers. A table names each of them many times, so what was found is kept at hand.
struct Neurons<'a> {
    cells: &'a Cells,
    /// Identifier and index, in the slot that [`Neurons::slot`] gives.
    found: Vec<Option<(&'a [u8], u32)>>,
}

impl<'a> Neurons<'a> {
    /// Identifiers kept, a power of two.
    const KEPT: usize = 1 << 12;

    fn of(cells: &'a Cells) -> Self {
        Self { cells, found: vec![None; Self::KEPT] }
    }

    /// Index of the usable neuron with this plain identifier.
    fn find(&mut self, id: &'a [u8]) -> Option<u32> {
        let slot = Self::slot(id);
        if let Some((_, at)) = self.found[slot].filter(|(known, _)| *known == id) {
            return Some(at);
        }
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        if !id.iter().all(plain) {
            return None;
        }
        let at = self.cells.find(std::str::from_utf8(id).ok()?)??;
        self.found[slot] = Some((id, at));
        Some(at)
    }

    /// Where `id` is kept: its last eight bytes by Fibonacci hashing (Knuth, volume 3, 6.4).
    fn slot(id: &[u8]) -> usize {
        let last = id.iter().rev().take(8).fold(0u64, |sum, &b| sum << 8 | u64::from(b));
        (last.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::KEPT.ilog2())) as usize
    }
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

    /// Identifiers with the same last eight bytes share a slot.
    #[test]
    fn identifiers_that_meet_in_a_slot_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (neurons, table) = (folder.path().join("neurons.csv"), folder.path().join("connections.csv"));
        fs::write(&neurons, "id,layer,class\na12345678,L4,E\nb12345678,L4,E\n12345678,L5,I\n").unwrap();
        let rows = "b12345678,a12345678,3\n12345678,a12345678,1\na12345678,b12345678,2\n12345678,b12345678,5\n";
        fs::write(&table, format!("pre,post,n_synapses\n{rows}")).unwrap();
        let synapses = read(&table, &cells::read(&neurons, false).unwrap()).unwrap();
        assert_eq!(synapses.iter().collect::<Vec<_>>(), [(0, 1, 3), (0, 2, 1), (1, 0, 2), (1, 2, 5)]);
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
            "2,1\n3,1,1\n",
            "1,\n2,3\n",
            "2\n,1,3\n",
        ] {
            assert!(of(rows).is_none(), "{rows:?}");
        }
    }
}
