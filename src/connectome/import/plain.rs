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
/// Text that one worker reads at a time, bytes.
const PIECE: usize = 1 << 17;
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
    let texts = cut(rows);
    let lines: Vec<usize> = texts.iter().map(|text| text.iter().filter(|&&b| b == b'\n').count()).collect();
    let all: usize = lines.iter().sum();
    if all > rows.len() / SHORTEST {
        return None;
    }
    let (mut pre, mut counts) = (vec![0; all], vec![0; all]);
    let (mut pre_left, mut counts_left) = (pre.as_mut_slice(), counts.as_mut_slice());
    let mut take = |n| [&mut pre_left, &mut counts_left].map(|left| left.split_off_mut(..n).unwrap_or_default());
    let mut pieces: Vec<_> = texts.into_iter().zip(lines).map(|(text, n)| (text, take(n))).collect();
    let neurons = Neurons::of(cells);
    let read = threads::map_slices(&mut pieces, |_, (text, [pre, counts])| read_lines(text, &neurons, pre, counts));
    let runs = read.into_iter().collect::<Option<Vec<_>>>()?.concat();
    let mut fan_in = vec![0; cells.len()];
    runs.iter().for_each(|&(post, n)| fan_in[post as usize] += n);
    if !runs.is_sorted_by_key(|&(post, _)| post) {
        return None;
    }
    Synapses::from_rows(cells.len(), &fan_in, pre, counts).filter(|synapses| !synapses.is_empty())
}

/// `text` in pieces of whole lines, each of at most [`PIECE`] bytes or one line.
fn cut(mut text: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let is_end = |&b: &u8| b == b'\n';
        let fits = text.get(..PIECE).map_or(Some(text.len() - 1), |start| start.iter().rposition(is_end));
        let end = fits.or_else(|| text.iter().position(is_end)).map_or(text.len(), |at| at + 1);
        pieces.extend(text.split_off(..end));
    }
    pieces
}

/// Fills in the presynaptic neuron and the synapses of the connection in each line of `text`, `pre` and `counts` `(lines)`;
/// returns each postsynaptic neuron and how many lines in a row it has, unless a line is left to the general reader.
fn read_lines(text: &[u8], neurons: &Neurons, pre: &mut [u32], counts: &mut [u32]) -> Option<Vec<(u32, u32)>> {
    let mut rows = Rows { left: text, neurons, last: None };
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (pre, count) in pre.iter_mut().zip(counts) {
        let post;
        (post, *pre, *count) = rows.next()?;
        match runs.last_mut() {
            Some((last, n)) if *last == post => *n += 1,
            _ => runs.push((post, 1)),
        }
    }
    rows.left.is_empty().then_some(runs)
}

/// The connections `(post, pre, count)` of a table, up to its end or to the first row that is left to the general reader.
struct Rows<'a> {
    left: &'a [u8],
    neurons: &'a Neurons<'a>,
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
    fn new(text: &'a [u8]) -> Self {
        let key =
            text.last_chunk().map_or_else(|| shifted(first_bytes(text), text.len()), |last| u64::from_le_bytes(*last));
        Self { text, key }
    }

    /// True if a table may have this identifier as it is, without quotes.
    fn is_plain(self) -> bool {
        self.text.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
    }

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
        let id = if at < 8 { Self { text: id, key: shifted(word, in_word) } } else { Self::new(id) };
        Some((id, rest))
    }
}

/// The first `n` bytes of `word`, fewer than eight, as its highest.
fn shifted(word: u64, n: usize) -> u64 {
    word << (56 - 8 * n) << 8
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

/// Usable neurons by their identifiers, for a table that names each of them many times. Whoever chooses identifiers that
/// meet in one bucket gets no more than [`Cells::find`], which hashes them safely and takes longer.
struct Neurons<'a> {
    cells: &'a Cells,
    /// Those of the bucket that [`Neurons::bucket`] gives, as many as there is room for.
    buckets: Vec<Bucket>,
    /// Identifier of each neuron that is in a bucket `(N)`.
    ids: Vec<&'a [u8]>,
}

/// Key, length and index of four identifiers, a cache line; those of an empty place are 0.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Bucket {
    keys: [u64; 4],
    lens: [u32; 4],
    at: [u32; 4],
}

impl<'a> Neurons<'a> {
    fn of(cells: &'a Cells) -> Self {
        let buckets = vec![Bucket::default(); (cells.len() / 2).next_power_of_two().max(2)];
        let mut neurons = Self { cells, buckets, ids: vec![&[]; cells.len()] };
        for (id, at) in cells.usable().map(|(id, at)| (Id::new(id.as_bytes()), at)).filter(|(id, _)| id.is_plain()) {
            let bucket = neurons.bucket(id);
            let bucket = &mut neurons.buckets[bucket];
            let free = bucket.lens.iter().position(|&len| len == 0);
            if let (Some(free), Ok(len)) = (free, u32::try_from(id.text.len())) {
                (bucket.keys[free], bucket.lens[free], bucket.at[free]) = (id.key, len, at);
                neurons.ids[at as usize] = id.text;
            }
        }
        neurons
    }

    /// Index of the usable neuron with this plain identifier.
    fn find(&self, id: Id) -> Option<u32> {
        if id.text.is_empty() {
            return None;
        }
        // All four keys are compared, for where an identifier is in its bucket is not to be foreseen.
        let bucket = &self.buckets[self.bucket(id)];
        let same = bucket.keys.iter().enumerate().fold(0, |same, (i, &key)| same | u32::from(key == id.key) << i);
        let place = same.trailing_zeros() as usize;
        if place < 4 && bucket.lens[place] as usize == id.text.len() {
            let at = bucket.at[place];
            if id.text.len() <= 8 || self.ids[at as usize] == id.text {
                return Some(at);
            }
        }
        self.cells.find(std::str::from_utf8(id.text).ok().filter(|_| id.is_plain())?)?
    }

    /// Where `id` is kept: its key by Fibonacci hashing (Knuth, volume 3, 6.4).
    fn bucket(&self, id: Id) -> usize {
        (id.key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - self.buckets.len().ilog2())) as usize
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
        let two = threads::pool(2).unwrap();
        let own = || two.run(|| read(&table, &cells::read(&folder.path().join("neurons.csv"), false).unwrap()));
        assert_eq!(own().as_ref(), Some(&column.synapses));
        // A blank after a comma, and pieces that are in order each, but not one after the other: for the general reader
        // alone, with the same result.
        let text = fs::read_to_string(&table).unwrap();
        let (header, rows) = text.split_at(HEADER.len());
        let middle = rows.len() / 2 + rows[rows.len() / 2..].find('\n').unwrap() + 1;
        for other in [text.replacen(",", ", ", 40), [header, &rows[middle..], &rows[..middle]].concat()] {
            fs::write(&table, other).unwrap();
            assert!(own().is_none());
            assert_eq!(read_folder(folder.path()).unwrap(), column);
        }
    }

    /// Identifiers with the same last eight bytes share a bucket, which has room for four.
    #[test]
    fn identifiers_that_meet_in_a_bucket_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let (neurons, table) = (folder.path().join("neurons.csv"), folder.path().join("connections.csv"));
        let ids = ["a12345678", "b12345678", "12345678", "c12345678", "d12345678", "e12345678"];
        let cells: String = ids.iter().map(|id| format!("{id},L4,E\n")).collect();
        fs::write(&neurons, format!("id,layer,class\n{cells}")).unwrap();
        let pairs = (0..ids.len()).flat_map(|post| (0..ids.len()).map(move |pre| (post, pre)));
        let all: Vec<_> = pairs.map(|(post, pre)| (post, pre, (ids.len() * post + pre + 1) as u32)).collect();
        let rows: String = all.iter().map(|&(post, pre, n)| format!("{},{},{n}\n", ids[pre], ids[post])).collect();
        fs::write(&table, format!("pre,post,n_synapses\n{rows}")).unwrap();
        let synapses = read(&table, &cells::read(&neurons, false).unwrap()).unwrap();
        assert_eq!(synapses.iter().collect::<Vec<_>>(), all);
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
