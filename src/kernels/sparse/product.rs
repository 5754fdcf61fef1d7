//! The product of the rows of a pattern with activity: forward, and with the transpose's rows backward.

use super::Pattern;
use super::panel::{Panels, Tile, TileWork};
use super::stretch::Stretches;
use crate::kernels::lanes::{LANES, load_padded, load_whole, store_first, store_whole};
use crate::kernels::threads::for_pieces;
use wide::{f32x8, f32x16};

/// Multiply-adds per piece of work, at least.
pub(super) const PIECE: usize = 100_000;

/// As [`forward`](super::forward), shapes checked.
pub(super) fn product(p: Pattern, batch: usize, w: &[f32], x: &[f32], y: &mut [f32], accumulate: bool) {
    let (starts, others) = (p.row_starts, p.pre);
    let rows = p.n_post;
    if batch == 1 {
        let work = others.len();
        let rows = rows.div_ceil((work / PIECE).clamp(1, 16));
        return for_pieces(y, rows, work, |i, y| {
            let starts = &starts[i * rows..][..=y.len()];
            single_rows(starts, others, w, x, y, accumulate);
        });
    }
    let stretches = Stretches::of(p.n_pre, rows, others.len());
    Panels::one_by_one(batch, x, others.len(), |panels| {
        let work = others.len() * panels.lanes();
        // Each piece fetches every tile in place and stretch anew: of several, it must have many more synapses than
        // neurons.
        let once = panels.single() && !stretches.several();
        let reads = if once { PIECE } else { (16 * x.len()).max(PIECE) };
        let rows = rows.div_ceil(2 * (work / (2 * reads)).clamp(1, 16)).max(1);
        for_pieces(y, rows * batch, work, |i, y| {
            let starts = &starts[i * rows..][..y.len() / batch + 1];
            let (weight, mut accumulate) = (|&w: &f32| w, accumulate);
            stretches.each(starts, others, |starts, ends| {
                panels.each(&mut Rows { first: 0, starts, ends, others, items: w, weight, batch, y, accumulate });
                accumulate = true;
            });
        });
    });
}

/// Lanes `b ..` of a row of the output, `n` of them, become `sums`, or grow by them with `accumulate`.
#[inline(always)]
fn put<const T: usize>(y: &mut [f32], b: usize, n: usize, sums: &[f32x16; T], accumulate: bool) {
    for (t, &sum) in sums.iter().enumerate() {
        let at = b + t * LANES;
        if n == T * LANES {
            let old = if accumulate { load_whole(y, at) } else { f32x16::ZERO };
            store_whole(y, at, sum + old);
        } else {
            let n = (n - t * LANES).min(LANES);
            let old = if accumulate { load_padded(y, at, n) } else { f32x16::ZERO };
            store_first(y, at, n, sum + old);
        }
    }
}

/// The rows of one piece.
pub(super) struct Rows<'a, V, F> {
    /// Where `others` and `items` begin.
    pub first: usize,
    /// Start of each row `(R)`.
    pub starts: &'a [u32],
    /// End of each row `(R)`.
    pub ends: &'a [u32],
    /// Input of each synapse.
    pub others: &'a [u32],
    /// What tells the weight of each synapse.
    pub items: &'a [V],
    /// The weight that an item tells.
    pub weight: F,
    pub batch: usize,
    /// Output `(R, B)`.
    pub y: &'a mut [f32],
    pub accumulate: bool,
}

impl<V, F: Fn(&V) -> f32 + Copy> TileWork for Rows<'_, V, F> {
    #[inline(never)]
    fn tile<const T: usize>(&mut self, b: usize, n: usize, x: impl Tile<T>) {
        let rows = self.starts.iter().zip(self.ends).zip(self.y.chunks_exact_mut(self.batch));
        for ((&start, &end), y) in rows {
            let row = start as usize - self.first..end as usize - self.first;
            let sums = row_sums(&self.others[row.clone()], &self.items[row], x, self.weight);
            put(y, b, n, &sums, self.accumulate);
        }
    }
}

/// `Σ_s weight(items[s]) x[others[s]]` of one tile, in two chains.
#[inline(always)]
fn row_sums<const T: usize, V>(
    others: &[u32],
    items: &[V],
    x: impl Tile<T>,
    weight: impl Fn(&V) -> f32,
) -> [f32x16; T] {
    let mut sums = [[f32x16::ZERO; T]; 2];
    let add = |item: &V, other: u32, sums: &mut [f32x16; T]| {
        let (w, x) = (f32x16::splat(weight(item)), x.of(other));
        for t in 0..T {
            sums[t] = w.mul_add(x[t], sums[t]);
        }
    };
    let (pairs, last) = others.as_chunks::<2>();
    let (item_pairs, last_item) = items.as_chunks::<2>();
    for (others, items) in pairs.iter().zip(item_pairs) {
        add(&items[0], others[0], &mut sums[0]);
        add(&items[1], others[1], &mut sums[1]);
    }
    if let (&[other], [item]) = (last, last_item) {
        add(item, other, &mut sums[0]);
    }
    let [mut sum, more] = sums;
    for t in 0..T {
        sum[t] += more[t];
    }
    sum
}

/// Batch 1: the inputs of a row's synapses are fetched one by one.
#[inline(never)]
fn single_rows(starts: &[u32], others: &[u32], w: &[f32], x: &[f32], y: &mut [f32], accumulate: bool) {
    for (ends, y) in starts.windows(2).zip(y) {
        let row = ends[0] as usize..ends[1] as usize;
        let sum = single_row(&others[row.clone()], &w[row], x);
        *y = if accumulate { *y + sum } else { sum };
    }
}

/// `Σ_s w[s] x[others[s]]`, eight synapses at a time.
#[inline(always)]
fn single_row(others: &[u32], w: &[f32], x: &[f32]) -> f32 {
    let (groups, rest) = others.as_chunks();
    let (w_groups, w_rest) = w.as_chunks();
    let mut sums = f32x8::ZERO;
    for (others, &w) in groups.iter().zip(w_groups) {
        sums = f32x8::new(w).mul_add(f32x8::new(fetch(x, others)), sums);
    }
    let mut sum = 0.0f32;
    for (&other, &w) in rest.iter().zip(w_rest) {
        sum = w.mul_add(x[other as usize], sum);
    }
    sums.reduce_add() + sum
}

/// `x[at]` of eight places. Fetched before any is used, or the compiler would work on one number at a time.
#[inline(always)]
pub(super) fn fetch(x: &[f32], at: &[u32; 8]) -> [f32; 8] {
    let [a, b, c, d, e, f, g, h] = at.map(|at| at as usize);
    [x[a], x[b], x[c], x[d], x[e], x[f], x[g], x[h]]
}
