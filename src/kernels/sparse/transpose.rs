//! The transpose of a mask, in blocks of postsynaptic neurons, and the product with it.
//!
//! Weights lie in the order of the mask, so the transpose fetches each from its place. A block is so small that the activity
//! of its neurons and the lines of weights that its rows have come to stay in the near caches, and so large that a
//! presynaptic neuron finds some synapses in it for every time that its sums are taken up again.

use super::Pattern;
use super::panel::{Panels, with_weights};
use super::product::Rows;
use crate::kernels::lanes::{LANES, ONE_REGISTER};
use crate::kernels::threads::{for_pieces, sharing, workers};
use std::hint::black_box;

/// Synapses up to which a mask is one block: its weights stay in the second cache.
const NEAR: usize = 1 << 16;
/// Synapses of a presynaptic neuron in one block, about.
const VISIT: f64 = 20.0;
/// Synapses of a presynaptic neuron in one block up to which blocks do not pay.
const SELDOM: f64 = 2.0;
/// Postsynaptic neurons of a block, at least and at most.
const LEAST: usize = 256;
const MOST: usize = 8192;
/// Synapses from which on the weights of a block are read once in their order, before they are fetched out of it: only
/// then do they come from far away ahead of time. Processors without AVX-512 mostly have a smaller second cache.
const FAR: usize = if ONE_REGISTER { 1 << 20 } else { 1 << 18 };
/// Synapses in one block of a piece of work, about, if they are fetched for several tiles: they stay in the near caches.
const FETCHED: usize = 65_536;
/// Presynaptic neurons per piece of work, at least.
const NEURONS: usize = 64;
/// Samples up to which weights are fetched where they are met.
const FEW: usize = 2 * LANES;

/// The transpose of a mask: which synapses each presynaptic neuron makes, block by block of the postsynaptic neurons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transpose {
    n_post: usize,
    n_pre: usize,
    /// Postsynaptic neurons of each block but the last.
    rows: usize,
    /// Start of each presynaptic neuron's synapses in each block `(blocks N_pre + 1)`, block by block.
    starts: Vec<u32>,
    /// Postsynaptic neuron of each synapse `(S)`, ascending for one presynaptic neuron in one block.
    post: Vec<u32>,
    /// Index of each synapse in CSR order `(S)`.
    order: Vec<u32>,
}

impl Transpose {
    /// Of the mask with `row_starts (N_post + 1)` and `pre (S)`, each less than `n_pre`.
    pub fn of(n_pre: usize, row_starts: &[u32], pre: &[u32]) -> Self {
        let n_post = row_starts.len() - 1;
        Self::in_blocks(n_pre, row_starts, pre, block_rows(n_post, n_pre, pre.len()))
    }

    fn in_blocks(n_pre: usize, row_starts: &[u32], pre: &[u32], rows: usize) -> Self {
        let n_post = row_starts.len() - 1;
        let mut starts = vec![0u32; n_post.div_ceil(rows).max(1) * n_pre + 1];
        let (mut post, mut order) = (vec![0u32; pre.len()], vec![0u32; pre.len()]);
        for (block, first) in (0..n_post).step_by(rows).enumerate() {
            let last = n_post.min(first + rows);
            let synapses = row_starts[first] as usize..row_starts[last] as usize;
            // How many each has, then where they begin.
            let starts = &mut starts[block * n_pre..][..=n_pre];
            pre[synapses].iter().for_each(|&pre| starts[pre as usize + 1] += 1);
            (0..n_pre).for_each(|j| starts[j + 1] += starts[j]);
            let mut next = starts.to_vec();
            for row in first..last {
                for s in row_starts[row]..row_starts[row + 1] {
                    let slot = &mut next[pre[s as usize] as usize];
                    (post[*slot as usize], order[*slot as usize]) = (row as u32, s);
                    *slot += 1;
                }
            }
        }
        Self { n_post, n_pre, rows, starts, post, order }
    }

    /// For each block, where the synapses of each presynaptic neuron begin, and where the last ones end `(N_pre + 1)`.
    fn blocks(&self) -> impl Iterator<Item = &[u32]> {
        let blocks = (self.starts.len() - 1).checked_div(self.n_pre).unwrap_or(0);
        (0..blocks).map(|block| &self.starts[block * self.n_pre..][..=self.n_pre])
    }

    /// Number of synapses that presynaptic neuron `pre` makes.
    pub fn fan_out(&self, pre: usize) -> usize {
        self.blocks().map(|starts| (starts[pre + 1] - starts[pre]) as usize).sum()
    }

    fn check(&self, p: Pattern) {
        let own = (self.n_post, self.n_pre, self.post.len());
        assert_eq!(own, (p.n_post, p.n_pre, p.synapses()), "the transpose must be that of the mask");
    }
}

/// Postsynaptic neurons of a block.
fn block_rows(n_post: usize, n_pre: usize, synapses: usize) -> usize {
    if synapses <= NEAR {
        return n_post.max(1);
    }
    let pairs = n_post as f64 * n_pre as f64 / synapses as f64;
    let rows = ((VISIT * pairs) as usize).next_power_of_two().clamp(LEAST, MOST);
    // Two blocks do not pay, nor those in which a presynaptic neuron has hardly a synapse.
    if n_post <= 2 * rows || rows as f64 <= SELDOM * pairs { n_post } else { rows }
}

/// `dx = (M ∘ W)ᵀ dy`, or `dx += (M ∘ W)ᵀ dy` with `accumulate`.
///
/// `t` is the transpose of `p`, `w (S)` in CSR order, `dy (N_post, B)`, `dx (N_pre, B)`.
///
/// # Panics
/// If a shape is wrong.
pub fn backward_input(
    p: Pattern,
    t: &Transpose,
    batch: usize,
    w: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    accumulate: bool,
) {
    p.check();
    t.check(p);
    assert_eq!(w.len(), p.synapses(), "w must be (S)");
    assert_eq!(dy.len(), p.n_post * batch, "dy must be (N_post, B)");
    assert_eq!(dx.len(), p.n_pre * batch, "dx must be (N_pre, B)");
    if batch == 1 {
        return add_single_rows(p, w, dy, dx, accumulate);
    }
    let work = w.len() * batch;
    let share = p.n_pre.div_ceil(if sharing() { 2 * workers() } else { 1 });
    let fetched = if batch <= FEW { share } else { FETCHED * (t.starts.len() - 1) / w.len().max(1) };
    let neurons = share.min(fetched).max(NEURONS);
    Panels::with(batch, dy, t.post.len(), |panels| {
        for_pieces(dx, neurons * batch, work, |i, y| {
            for (block, starts) in t.blocks().enumerate() {
                let starts = &starts[i * neurons..][..=y.len() / batch];
                let (first, end) = (starts[0] as usize, starts[starts.len() - 1] as usize);
                let (others, order) = (&t.post[first..end], &t.order[first..end]);
                let (starts, ends) = (&starts[..starts.len() - 1], &starts[1..]);
                let accumulate = accumulate || block > 0;
                if w.len() >= FAR {
                    let rows = p.row_starts[block * t.rows..].windows(2).take(t.rows);
                    read_ahead(w, rows, i, p.n_pre.div_ceil(neurons));
                }
                if batch <= FEW {
                    let weight = |&s: &u32| w[s as usize];
                    panels.each(&mut Rows { first, starts, ends, others, items: order, weight, batch, y, accumulate });
                } else {
                    // Fetched once for all tiles.
                    with_weights(order.len(), |weights| {
                        fetch_all(order, w, weights);
                        let (items, weight) = (&*weights, |&w: &f32| w);
                        panels.each(&mut Rows { first, starts, ends, others, items, weight, batch, y, accumulate });
                    });
                }
            }
        });
    });
}

/// Reads part `i` of `parts` of each row, a number per cache line: about the weights that a piece of work will fetch.
fn read_ahead<'a>(w: &[f32], rows: impl Iterator<Item = &'a [u32]>, i: usize, parts: usize) {
    let mut sum = 0.0;
    for ends in rows {
        let row = &w[ends[0] as usize..ends[1] as usize];
        let part = &row[row.len() * i / parts..row.len() * (i + 1) / parts];
        sum += part.iter().step_by(LANES).sum::<f32>();
    }
    black_box(sum);
}

/// Batch 1, on one thread: rows add to the inputs that they read, and weights stream.
#[inline(never)]
fn add_single_rows(p: Pattern, w: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    if !accumulate {
        dx.fill(0.0);
    }
    for (ends, &dy) in p.row_starts.windows(2).zip(dy) {
        let row = ends[0] as usize..ends[1] as usize;
        for (&pre, &w) in p.pre[row.clone()].iter().zip(&w[row]) {
            let sum = &mut dx[pre as usize];
            *sum = w.mul_add(dy, *sum);
        }
    }
}

/// `out[k] = w[order[k]]`.
fn fetch_all(order: &[u32], w: &[f32], out: &mut [f32]) {
    let (groups, rest) = order.as_chunks::<8>();
    let (out_groups, out_rest) = out.as_chunks_mut::<8>();
    for (out, order) in out_groups.iter_mut().zip(groups) {
        for k in 0..8 {
            out[k] = w[order[k] as usize];
        }
    }
    for (out, &s) in out_rest.iter_mut().zip(rest) {
        *out = w[s as usize];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::sparse::tests::Mask;
    use crate::rng::Rng;

    #[test]
    fn every_synapse_is_there_once_however_many_blocks() {
        let mask = Mask::random(50, 33, 0.3, &mut Rng::stream(6, "transpose", &[]));
        let p = mask.view();
        for rows in [1, 7, 50, 64] {
            let t = Transpose::in_blocks(33, p.row_starts, p.pre, rows);
            assert_eq!(t.blocks().count(), 50usize.div_ceil(rows));
            for pre in 0..33 {
                let all = (0..50).flat_map(|post| {
                    let row = p.row_starts[post] as usize..p.row_starts[post + 1] as usize;
                    row.filter(|&s| p.pre[s] as usize == pre).map(move |s| (post, s))
                });
                let ranges = t.blocks().map(|starts| starts[pre] as usize..starts[pre + 1] as usize);
                let found = ranges.flatten().map(|k| (t.post[k] as usize, t.order[k] as usize));
                assert!(found.eq(all.clone()), "{rows} rows");
                assert_eq!(t.fan_out(pre), all.count());
            }
        }
    }

    #[test]
    fn blocks_follow_from_size_and_density() {
        assert_eq!(block_rows(300, 200, 6_000), 300, "near anyway");
        let of_density = |d: f64| block_rows(4096, 4096, (d * 4096.0 * 4096.0) as usize);
        assert_eq!([0.01, 0.02, 0.05, 0.2].map(of_density), [4096, 1024, 512, 256]);
        assert_eq!(block_rows(512, 4608, 512 * 922), 512, "two blocks do not pay");
        assert_eq!(block_rows(100_000, 100_000, 10_000_000), MOST);
        assert_eq!(block_rows(100_000, 100_000, 1_000_000), 100_000, "a synapse per neuron and block");
        assert_eq!(block_rows(0, 5, 0), 1);
    }
}
