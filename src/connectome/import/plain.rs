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
    let [in_first, in_second] = [first, second].map(|text| text.iter().filter(|&&b| b == b'\n').count());
    let lines = in_first + in_second;
    if lines > rows.len() / SHORTEST {
        return None;
    }
    let (mut pre, mut counts) = (vec![0; lines], vec![0; lines]);
    let ((pre_a, pre_b), (counts_a, counts_b)) = (pre.split_at_mut(in_first), counts.split_at_mut(in_first));
    let (a, b) =
        threads::join(|| read_lines(first, cells, pre_a, counts_a), || read_lines(second, cells, pre_b, counts_b));
    let (mut fan_in, more) = (a?, b?);
    let last = fan_in.iter().rposition(|&n| n > 0);
    if last.zip(more.iter().position(|&n| n > 0)).is_some_and(|(last, next)| next < last) {
        return None;
    }
    fan_in.iter_mut().zip(more).for_each(|(n, more)| *n += more);
    Synapses::from_rows(cells.len(), &fan_in, pre, counts).filter(|synapses| !synapses.is_empty())
}

/// Fills in the presynaptic neuron and the synapses of the connection in each line of `text`, `pre` and `counts` `(lines)`;
/// returns how many each postsynaptic neuron has `(N)`, unless a line is left to the general reader.
fn read_lines(text: &[u8], cells: &Cells, pre: &mut [u32], counts: &mut [u32]) -> Option<Vec<u32>> {
    let mut rows = Rows { left: text, neurons: Neurons::of(cells), last: None };
    let (mut fan_in, mut last) = (vec![0; cells.len()], 0);
    for (pre, count) in pre.iter_mut().zip(counts) {
        let post;
        (post, *pre, *count) = rows.next()?;
        if post < last {
            return None;
        }
        last = post;
        fan_in[post as usize] += 1;
    }
    rows.left.is_empty().then_some(fan_in)
}

/// The connections `(post, pre, count)` of a table, up to its end or to the first row that is left to the general reader.
struct Rows<'a> {
    left: &'a [u8],
    neurons: Neurons<'a>,
    /// Identifier and index of the last postsynaptic neuron, which most rows have in common with the one before.
    last: Option<(Id<'a>, u32)>,
}

impl Iterator for Rows<'_> {
    type Item = (u32, u32, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let (pre, rest) = Id::before_comma(self.left)?;
        let (post, rest) = Id::before_comma(rest)?;
        let (count, rest) = number_before_end(rest)?;
        let at = match self.last {
            Some((last, at)) if last == post => at,
            _ => self.neurons.find(post)?,
        };
        let pre = self.neurons.find(pre)?;
        (self.left, self.last) = (rest, Some((post, at)));
        Some((at, pre, count))
    }
}

/// An identifier as written.
#[derive(Clone, Copy)]
struct Id<'a> {
    text: &'a [u8],
    /// Its last eight bytes, which are all that most have; the last one is highest.
    key: u64,
}

impl<'a> Id<'a> {
    /// What comes before and after the first comma of `text`.
    fn before_comma(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        // Eight bytes at a time.
        let mut at = 0;
        let (word, in_word) = loop {
            let word = first_bytes(text.get(at..).filter(|rest| !rest.is_empty())?);
            match first_comma(word) {
                8 => at += 8,
                n => break (word, n),
            }
        };
        at += in_word;
        let (id, rest) = (&text[..at], &text[at + 1..]);
        let short = word << (56 - 8 * in_word) << 8;
        let key = if at < 8 { short } else { id.last_chunk().map_or(0, |last| u64::from_le_bytes(*last)) };
        Some((Self { text: id, key }, rest))
    }
}

/// The first eight bytes of `text`, the first one lowest; zeros where it ends before.
fn first_bytes(text: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    match text.first_chunk() {
        Some(first) => bytes = *first,
        None => bytes[..text.len()].copy_from_slice(text),
    }
    u64::from_le_bytes(bytes)
}

/// Which byte of `word`, from the lowest, is the first comma; 8 if none is (Warren, Hacker's Delight, 6-1).
fn first_comma(word: u64) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    let others = word ^ (ONES * b',' as u64);
    let commas = others.wrapping_sub(ONES) & !others & (ONES << 7);
    commas.trailing_zeros() as usize / 8
}

impl PartialEq for Id<'_> {
    fn eq(&self, other: &Self) -> bool {
        let same = self.key == other.key && self.text.len() == other.text.len();
        same && (self.text.len() <= 8 || self.text == other.text)
    }
}

/// Neurons by their identifiers. A table names each of them many times, so what was found is kept at hand.
struct Neurons<'a> {
    cells: &'a Cells,
    /// In the slot that [`Neurons::slot`] gives.
    found: Vec<Found>,
    /// Identifier of each neuron that was found `(N)`.
    ids: Vec<&'a [u8]>,
}

/// Key and length of an identifier, and its index; an empty slot has length 0.
#[derive(Clone, Copy, Default)]
struct Found {
    key: u64,
    len: u32,
    at: u32,
}

impl<'a> Neurons<'a> {
    /// Identifiers kept, a power of two.
    const KEPT: usize = 1 << 12;

    fn of(cells: &'a Cells) -> Self {
        Self { cells, found: vec![Found::default(); Self::KEPT], ids: vec![&[]; cells.len()] }
    }

    /// Index of the usable neuron with this plain identifier.
    fn find(&mut self, id: Id<'a>) -> Option<u32> {
        if id.text.is_empty() {
            return None;
        }
        let slot = Self::slot(id);
        let Found { key, len, at } = self.found[slot];
        if key == id.key && len as usize == id.text.len() && (len <= 8 || self.ids[at as usize] == id.text) {
            return Some(at);
        }
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
        if !id.text.iter().all(plain) {
            return None;
        }
        let at = self.cells.find(std::str::from_utf8(id.text).ok()?)??;
        self.found[slot] = Found { key: id.key, len: u32::try_from(id.text.len()).ok()?, at };
        self.ids[at as usize] = id.text;
        Some(at)
    }

    /// Where `id` is kept: its key by Fibonacci hashing (Knuth, volume 3, 6.4).
    fn slot(id: Id) -> usize {
        (id.key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::KEPT.ilog2())) as usize
    }
}

/// A count of at least 1 and at most nine digits, and what comes after the end of its line.
fn number_before_end(text: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0;
    for (at, &b) in text.iter().take(10).enumerate() {
        match b {
            b'0'..=b'9' if at < 9 => number = 10 * number + u32::from(b - b'0'),
            b'\n' if number > 0 => return Some((number, &text[at + 1..])),
            _ => return None,
        }
    }
    None
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

    /// Bytes of which one bit or the highest differs from a comma's, and zeros like those behind a short end.
    #[test]
    fn the_first_comma_is_found_wherever_it_is() {
        let bytes = [b'1', 0x2d, 0xac, 0x00, 0xff, 0x2b];
        for (before, behind) in (0..=20).flat_map(|before| (0..=9).map(move |behind| (before, behind))) {
            let text = |n: usize| (0..n).map(|i| bytes[(i + before + behind) % bytes.len()]);
            let line: Vec<u8> = text(before).chain([b',']).chain(text(behind)).collect();
            let (id, rest) = Id::before_comma(&line).unwrap();
            assert_eq!((id.text, rest), (&line[..before], &line[before + 1..]));
            let last: Vec<u8> = [0; 8].into_iter().chain(text(before)).collect();
            assert_eq!(id.key.to_le_bytes()[..], last[last.len() - 8..]);
            assert!(Id::before_comma(&line[..before]).is_none());
            assert_eq!(Id::before_comma(&line[before + 1..]).map(|(id, _)| id.text.len()), None);
        }
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
            "1,2,3\n2,1,3\n",
            "1,2,3\n3,2,3\n2,1,3\n",
            "2,1,3\n\n",
            "2,1\n3,1,1\n",
            "1,\n2,3\n",
            ",1,3\n",
            "2,,3\n",
            "2\n,1,3\n",
        ] {
            assert!(of(rows).is_none(), "{rows:?}");
        }
    }
}
