//! The mask of a projection: which presynaptic neuron reaches which postsynaptic one, as CSR and its transpose.
//!
//! [`Synapses::from_connections`] checks everything once, as does `from_rows`; whatever holds a `Synapses` relies on
//! it. Blocks and thinned copies are made of a checked mask.

use crate::kernels::sparse::{Pattern, Transpose};
use std::fmt;
use std::sync::OnceLock;
use xxhash_rust::xxh3::Xxh3;

/// Synapses between two populations: CSR by postsynaptic neuron, with counts, checked when made, and the transpose.
#[derive(Clone, Debug)]
pub struct Synapses {
    n_post: usize,
    n_pre: usize,
    /// Start of each postsynaptic row `(N_post + 1)`.
    row_starts: Vec<u32>,
    /// Presynaptic neuron of each connection `(S)`, ascending within a row.
    pre: Vec<u32>,
    /// Synapses of each connection `(S)`, at least 1.
    counts: Vec<u32>,
    /// Of the mask, once somebody has asked.
    transpose: OnceLock<Transpose>,
}

impl PartialEq for Synapses {
    fn eq(&self, other: &Self) -> bool {
        let shape = |s: &Self| (s.n_post, s.n_pre);
        shape(self) == shape(other) && self.iter().eq(other.iter())
    }
}

/// Why a list of connections is no mask. `at` is the position in the list, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A population or the list is too long for 32-bit indices.
    TooMany(usize),
    /// The postsynaptic index is not below `n_post`.
    PostRange {
        /// Position in the list.
        at: usize,
        /// The index found.
        post: usize,
    },
    /// The presynaptic index is not below `n_pre`.
    PreRange {
        /// Position in the list.
        at: usize,
        /// The index found.
        pre: usize,
    },
    /// A connection of no synapses.
    ZeroCount {
        /// Position in the list.
        at: usize,
    },
    /// The same pair twice.
    Duplicate {
        /// Postsynaptic index.
        post: usize,
        /// Presynaptic index.
        pre: usize,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany(n) => write!(f, "{n} neurons or connections, more than 32-bit indices can name"),
            Self::PostRange { at, post } => {
                write!(f, "connection {at} reaches postsynaptic neuron {post}: no such one")
            }
            Self::PreRange { at, pre } => write!(f, "connection {at} leaves presynaptic neuron {pre}: no such one"),
            Self::ZeroCount { at } => write!(f, "connection {at} has 0 synapses"),
            Self::Duplicate { post, pre } => write!(f, "the pair pre {pre}, post {post} occurs twice"),
        }
    }
}

impl std::error::Error for Problem {}

impl Synapses {
    /// The mask of the connections `(post, pre, count)`, in any order.
    ///
    /// # Errors
    /// An index out of range, a count of 0, a pair that occurs twice, or 2^32 or more neurons or connections.
    pub fn from_connections(
        n_post: usize,
        n_pre: usize,
        connections: impl IntoIterator<Item = (usize, usize, u32)>,
    ) -> Result<Self, Problem> {
        for n in [n_post, n_pre] {
            if u32::try_from(n).is_err() {
                return Err(Problem::TooMany(n));
            }
        }
        let connections = connections.into_iter();
        let mut list: Vec<(u32, u32, u32)> = Vec::with_capacity(connections.size_hint().0);
        for (at, (post, pre, count)) in connections.enumerate() {
            if post >= n_post {
                return Err(Problem::PostRange { at, post });
            }
            if pre >= n_pre {
                return Err(Problem::PreRange { at, pre });
            }
            if count == 0 {
                return Err(Problem::ZeroCount { at });
            }
            list.push((post as u32, pre as u32, count));
        }
        if u32::try_from(list.len()).is_err() {
            return Err(Problem::TooMany(list.len()));
        }
        let list = sorted(n_post, sorted(n_pre, list, |c| c.1), |c| c.0);
        if let Some(pair) = list.windows(2).find(|w| (w[0].0, w[0].1) == (w[1].0, w[1].1)) {
            return Err(Problem::Duplicate { post: pair[0].0 as usize, pre: pair[0].1 as usize });
        }
        Ok(Self::from_sorted(n_post, n_pre, &list))
    }

    /// The mask of `fan_in[i]` connections of each postsynaptic neuron `i` `(N_post)`, row by row: presynaptic neurons
    /// and counts of all `(S)`; nothing where the numbers do not fit, a row does not ascend or a count is 0.
    pub(super) fn from_rows(n_pre: usize, fan_in: &[u32], pre: Vec<u32>, counts: Vec<u32>) -> Option<Self> {
        let small = [fan_in.len(), n_pre, pre.len()].into_iter().all(|n| u32::try_from(n).is_ok());
        let mut row_starts = Vec::with_capacity(fan_in.len() + 1);
        row_starts.push(0u32);
        let mut end = 0u32;
        for &n in fan_in {
            let start = end;
            end = end.checked_add(n)?;
            let row = pre.get(start as usize..end as usize)?;
            if !row.is_sorted_by(|a, b| a < b) || row.last().is_some_and(|&last| last as usize >= n_pre) {
                return None;
            }
            row_starts.push(end);
        }
        let sound = small && end as usize == pre.len() && counts.len() == pre.len() && !counts.contains(&0);
        sound.then(|| Self { n_post: fan_in.len(), n_pre, row_starts, pre, counts, transpose: OnceLock::new() })
    }

    /// Every presynaptic neuron reaches every postsynaptic one, with one synapse each; `without_diagonal` leaves out
    /// the pairs of equal index (recurrence within one population).
    ///
    /// # Panics
    /// At 2^32 or more connections.
    pub fn all_to_all(n_post: usize, n_pre: usize, without_diagonal: bool) -> Self {
        let all = n_post.checked_mul(n_pre).is_some_and(|s| u32::try_from(s).is_ok());
        assert!(all, "{n_post} x {n_pre} connections, more than 32-bit indices can name");
        let pairs = (0..n_post as u32).flat_map(|post| (0..n_pre as u32).map(move |pre| (post, pre, 1)));
        let list: Vec<_> = pairs.filter(|&(post, pre, _)| !(without_diagonal && post == pre)).collect();
        Self::from_sorted(n_post, n_pre, &list)
    }

    /// The mask of `list`, already sorted by `(post, pre)`, distinct and in range.
    fn from_sorted(n_post: usize, n_pre: usize, list: &[(u32, u32, u32)]) -> Self {
        let mut row_starts = vec![0u32; n_post + 1];
        list.iter().for_each(|c| row_starts[c.0 as usize + 1] += 1);
        (0..n_post).for_each(|i| row_starts[i + 1] += row_starts[i]);
        let pre: Vec<u32> = list.iter().map(|c| c.1).collect();
        let counts = list.iter().map(|c| c.2).collect();
        Self { n_post, n_pre, row_starts, pre, counts, transpose: OnceLock::new() }
    }

    /// The mask between the postsynaptic neurons `posts` and the presynaptic ones `pres`, renumbered by their
    /// positions in those lists: `block[i, j] = self[posts[i], pres[j]]`.
    ///
    /// # Panics
    /// If an index is out of range or occurs twice in one of the lists.
    pub fn block(&self, posts: &[usize], pres: &[usize]) -> Self {
        let mut local = vec![u32::MAX; self.n_pre];
        for (j, &pre) in pres.iter().enumerate() {
            assert!(pre < self.n_pre, "presynaptic neuron {pre} of {}", self.n_pre);
            assert!(local[pre] == u32::MAX, "presynaptic neuron {pre} occurs twice");
            local[pre] = j as u32;
        }
        let mut seen = vec![false; self.n_post];
        for &post in posts {
            assert!(post < self.n_post, "postsynaptic neuron {post} of {}", self.n_post);
            assert!(!std::mem::replace(&mut seen[post], true), "postsynaptic neuron {post} occurs twice");
        }
        let most = posts.iter().map(|&post| self.fan_in(post)).sum();
        let (mut kept, mut counts) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut row_starts = Vec::with_capacity(posts.len() + 1);
        row_starts.push(0);
        for &post in posts {
            let row = kept.len();
            for (pre, count) in self.row(post).filter(|&(pre, _)| local[pre] != u32::MAX) {
                kept.push(local[pre]);
                counts.push(count);
            }
            if !kept[row..].is_sorted() {
                let mut pairs: Vec<_> = kept.drain(row..).zip(counts.drain(row..)).collect();
                pairs.sort_unstable();
                kept.extend(pairs.iter().map(|pair| pair.0));
                counts.extend(pairs.iter().map(|pair| pair.1));
            }
            // Fits: so do all connections, of which these are some.
            row_starts.push(kept.len() as u32);
        }
        kept.shrink_to_fit();
        counts.shrink_to_fit();
        Self { n_post: posts.len(), n_pre: pres.len(), row_starts, pre: kept, counts, transpose: OnceLock::new() }
    }

    /// The mask of the pairs joined by at least `k` synapses.
    pub fn min_synapses(&self, k: u32) -> Self {
        let list: Vec<_> = self.iter().filter(|c| c.2 >= k).map(|(i, j, n)| (i as u32, j as u32, n)).collect();
        Self::from_sorted(self.n_post, self.n_pre, &list)
    }

    /// All connections `(post, pre, count)` in CSR order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, usize, u32)> + '_ {
        (0..self.n_post).flat_map(|post| self.row(post).map(move |(pre, count)| (post, pre, count)))
    }

    /// Presynaptic partners of one neuron with their counts, ascending.
    pub fn row(&self, post: usize) -> impl Iterator<Item = (usize, u32)> + '_ {
        let range = self.row_starts[post] as usize..self.row_starts[post + 1] as usize;
        self.pre[range.clone()].iter().map(|&pre| pre as usize).zip(self.counts[range].iter().copied())
    }

    /// True if `pre` reaches `post`.
    pub fn contains(&self, post: usize, pre: usize) -> bool {
        let row = &self.pre[self.row_starts[post] as usize..self.row_starts[post + 1] as usize];
        u32::try_from(pre).is_ok_and(|pre| row.binary_search(&pre).is_ok())
    }

    /// Number of presynaptic partners of `post`.
    pub fn fan_in(&self, post: usize) -> usize {
        (self.row_starts[post + 1] - self.row_starts[post]) as usize
    }

    /// Number of postsynaptic partners of `pre`.
    pub fn fan_out(&self, pre: usize) -> usize {
        self.transpose().fan_out(pre)
    }

    /// Connections per possible pair, `S / (N_post N_pre)`; 0 where there is no pair.
    pub fn density(&self) -> f64 {
        match self.n_post as f64 * self.n_pre as f64 {
            0.0 => 0.0,
            pairs => self.len() as f64 / pairs,
        }
    }

    /// Part of the connections whose reverse exists too, without autapses; 0 where there are none.
    ///
    /// # Panics
    /// If the mask is not square.
    pub fn reciprocity(&self) -> f64 {
        assert_eq!(self.n_post, self.n_pre, "reciprocity is of a population with itself");
        let (mut all, mut returned) = (0usize, 0usize);
        for (post, pre, _) in self.iter().filter(|&(post, pre, _)| post != pre) {
            all += 1;
            returned += usize::from(self.contains(pre, post));
        }
        if all == 0 { 0.0 } else { returned as f64 / all as f64 }
    }

    /// Sum of all counts.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|&n| u64::from(n)).sum()
    }

    /// Hash of shape, mask and counts (xxh3 of the little-endian arrays).
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        for n in [self.n_post, self.n_pre, self.len()] {
            hash.update(&(n as u64).to_le_bytes());
        }
        // A call for every number takes six times as long.
        let mut bytes = [[0; 4]; 1024];
        for numbers in [&self.row_starts, &self.pre, &self.counts].into_iter().flat_map(|array| array.chunks(1024)) {
            bytes.iter_mut().zip(numbers).for_each(|(bytes, number)| *bytes = number.to_le_bytes());
            hash.update(bytes[..numbers.len()].as_flattened());
        }
        hash.digest()
    }

    /// The mask as the kernels see it.
    pub fn pattern(&self) -> Pattern<'_> {
        Pattern { n_post: self.n_post, n_pre: self.n_pre, row_starts: &self.row_starts, pre: &self.pre }
    }

    /// The same connections by presynaptic neuron, made when somebody first asks: who only classifies never does.
    pub fn transpose(&self) -> &Transpose {
        self.transpose.get_or_init(|| Transpose::of(self.n_pre, &self.row_starts, &self.pre))
    }

    /// Number of postsynaptic neurons.
    pub fn n_post(&self) -> usize {
        self.n_post
    }

    /// Number of presynaptic neurons.
    pub fn n_pre(&self) -> usize {
        self.n_pre
    }

    /// Number of connections S (weights that a projection stores).
    pub fn len(&self) -> usize {
        self.pre.len()
    }

    /// True if nothing is connected.
    pub fn is_empty(&self) -> bool {
        self.pre.is_empty()
    }

    /// Start of each postsynaptic row `(N_post + 1)`.
    pub fn row_starts(&self) -> &[u32] {
        &self.row_starts
    }

    /// Presynaptic neuron of each connection `(S)`.
    pub fn pre(&self) -> &[u32] {
        &self.pre
    }

    /// Synapses of each connection `(S)`.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }
}

/// The connections in the order of `key`, which is below `n`; those of one key stay in their order (counting sort).
fn sorted(n: usize, list: Vec<(u32, u32, u32)>, key: fn(&(u32, u32, u32)) -> u32) -> Vec<(u32, u32, u32)> {
    let mut next = vec![0u32; n + 1];
    list.iter().for_each(|c| next[key(c) as usize + 1] += 1);
    (0..n).for_each(|k| next[k + 1] += next[k]);
    let mut sorted = vec![(0, 0, 0); list.len()];
    for c in list {
        let at = &mut next[key(&c) as usize];
        sorted[*at as usize] = c;
        *at += 1;
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A random mask, with empty and full rows, and the dense table of its counts.
    fn random(seed: u64) -> (Synapses, Vec<Vec<u32>>) {
        let mut rng = Rng::stream(seed, "synapses", &[]);
        let (n_post, n_pre) = (rng.below(12), rng.below(12));
        let mut dense = vec![vec![0; n_pre]; n_post];
        for row in &mut dense {
            let p = [0.0, 0.3, 1.0][rng.below(3)];
            row.iter_mut().for_each(|n| *n = if rng.chance(p) { 1 + rng.below(4) as u32 } else { 0 });
        }
        let mut list = Vec::new();
        for i in 0..n_post {
            list.extend((0..n_pre).filter(|&j| dense[i][j] > 0).map(|j| (i, j, dense[i][j])));
        }
        rng.shuffle(&mut list);
        (Synapses::from_connections(n_post, n_pre, list).unwrap(), dense)
    }

    #[test]
    fn mask_and_transpose_are_the_dense_table() {
        for seed in 0..200 {
            let (s, dense) = random(seed);
            let mut found = vec![vec![0; s.n_pre()]; s.n_post()];
            for (post, pre, count) in s.iter() {
                found[post][pre] = count;
            }
            assert_eq!(found, dense, "seed {seed}");
            assert_eq!(s.row_starts().len(), s.n_post() + 1);
            for pre in 0..s.n_pre() {
                assert_eq!(s.fan_out(pre), dense.iter().filter(|row| row[pre] > 0).count());
            }
            for (post, row) in dense.iter().enumerate() {
                assert_eq!(s.fan_in(post), row.iter().filter(|&&n| n > 0).count());
                row.iter().enumerate().for_each(|(pre, &n)| assert_eq!(s.contains(post, pre), n > 0));
            }
        }
    }

    #[test]
    fn blocks_and_thinned_masks_are_those_of_the_dense_table() {
        for seed in 0..200 {
            let (s, dense) = random(seed);
            let mut rng = Rng::stream(seed, "block", &[]);
            let mut choose = |n: usize| {
                let mut all: Vec<usize> = (0..n).collect();
                rng.shuffle(&mut all);
                all.truncate(rng.below(n + 1));
                all
            };
            let (posts, pres) = (choose(s.n_post()), choose(s.n_pre()));
            let block = s.block(&posts, &pres);
            let again = Synapses::from_connections(posts.len(), pres.len(), block.iter()).unwrap();
            assert_eq!(block, again, "a block is a checked mask");
            for i in 0..posts.len() {
                let row: Vec<u32> = pres.iter().map(|&pre| dense[posts[i]][pre]).collect();
                let mut found = vec![0; pres.len()];
                block.row(i).for_each(|(j, n)| found[j] = n);
                assert_eq!(found, row);
            }
            let thin = s.min_synapses(3);
            assert!(s.iter().all(|(post, pre, n)| thin.contains(post, pre) == (n >= 3)));
            assert!(thin.counts().iter().all(|&n| n >= 3));
        }
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        let made = |list: &[(usize, usize, u32)]| {
            let made = Synapses::from_connections(2, 3, list.iter().copied());
            let fan_in = [0, 1].map(|post| list.iter().filter(|c| c.0 == post).count() as u32);
            let (pre, counts) = list.iter().map(|c| (c.1 as u32, c.2)).unzip();
            let in_order = list.is_sorted_by_key(|c| c.0);
            let of_rows = Synapses::from_rows(3, &fan_in, pre, counts).filter(|_| in_order);
            assert_eq!(of_rows, made.clone().ok().filter(|_| list.is_sorted()));
            made
        };
        assert_eq!(made(&[(0, 0, 1), (2, 0, 1)]), Err(Problem::PostRange { at: 1, post: 2 }));
        assert_eq!(made(&[(0, 3, 1)]), Err(Problem::PreRange { at: 0, pre: 3 }));
        assert_eq!(made(&[(0, 0, 0)]), Err(Problem::ZeroCount { at: 0 }));
        assert_eq!(made(&[(1, 2, 1), (0, 0, 1), (1, 2, 9)]), Err(Problem::Duplicate { post: 1, pre: 2 }));
        assert_eq!(made(&[(0, 0, 1), (0, 0, 2)]), Err(Problem::Duplicate { post: 0, pre: 0 }));
        assert!(made(&[(0, 2, 1), (1, 0, 3)]).is_ok() && made(&[(1, 0, 3), (0, 2, 1)]).is_ok());
        assert_eq!(Synapses::from_connections(1 << 32, 1, []), Err(Problem::TooMany(1 << 32)));
    }

    /// Saved states compare it: it must stay what it is, the hash number by number.
    #[test]
    fn the_fingerprint_is_the_hash_of_all_numbers() {
        let s = Synapses::all_to_all(50, 60, false);
        let shape = [50u64, 60, 3000].map(u64::to_le_bytes).concat();
        let numbers = [&s.row_starts[..], &s.pre, &s.counts].concat();
        let bytes: Vec<u8> = shape.into_iter().chain(numbers.into_iter().flat_map(u32::to_le_bytes)).collect();
        assert_eq!(s.fingerprint(), xxhash_rust::xxh3::xxh3_64(&bytes));
    }

    #[test]
    fn all_to_all_with_and_without_diagonal() {
        let s = Synapses::all_to_all(3, 4, false);
        assert_eq!((s.len(), s.density()), (12, 1.0));
        let r = Synapses::all_to_all(3, 3, true);
        assert_eq!((r.len(), r.contains(1, 1), r.reciprocity()), (6, false, 1.0));
        assert_eq!(Synapses::all_to_all(0, 0, false).density(), 0.0);
    }

    #[test]
    fn reciprocity_counts_returned_connections_without_autapses() {
        let s = Synapses::from_connections(3, 3, [(0, 0, 1), (0, 1, 1), (1, 0, 1), (2, 0, 1), (1, 2, 5)]).unwrap();
        assert_eq!(s.reciprocity(), 0.5);
        assert_eq!(s.total(), 9);
    }

    #[test]
    fn the_fingerprint_sees_shape_mask_and_counts() {
        let made = |n, list: &[(usize, usize, u32)]| Synapses::from_connections(n, 2, list.iter().copied()).unwrap();
        let base = made(2, &[(0, 1, 1)]).fingerprint();
        assert_eq!(base, made(2, &[(0, 1, 1)]).fingerprint());
        for other in [made(3, &[(0, 1, 1)]), made(2, &[(1, 1, 1)]), made(2, &[(0, 0, 1)]), made(2, &[(0, 1, 2)])] {
            assert_ne!(base, other.fingerprint());
        }
    }
}
