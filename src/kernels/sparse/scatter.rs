//! The transposed product of a large mask: each row of it adds to the inputs that it reads.
//!
//! Through the transpose, every weight would be a cache miss of its own; row by row they stream. The sums of one tile
//! (two vectors of each presynaptic neuron) stay in the second cache and grow in the order of the rows.

use super::Pattern;
use super::outer::row_tile;
use super::panel::with_vectors;
use crate::kernels::lanes::{LANES, load_padded, store_first};
use crate::kernels::threads::for_pieces;
use wide::f32x16;

/// Neurons per piece of work where the sums are handed over.
const NEURONS: usize = 512;

/// `dx (+)= (M ∘ W)ᵀ dy`; `w (S)`, `dy (N_post, B)`, `dx (N_pre, B)`.
pub(super) fn scatter(p: Pattern, batch: usize, w: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    if batch == 1 {
        return add_single_rows(p, w, dy, dx, accumulate);
    }
    // Lanes know nothing of each other: the width of a tile changes no bit.
    let width = if batch.div_ceil(2 * LANES) < rayon::current_num_threads() { 1 } else { 2 };
    let (n, vectors) = (p.n_pre, batch.div_ceil(LANES));
    with_vectors(n * vectors, |sums| {
        for_pieces(sums, width * n, w.len() * batch, |i, tile| {
            tile.fill(f32x16::ZERO);
            let b = i * width * LANES;
            if tile.len() == n {
                add_rows::<1>(p, batch, b, w, dy, tile)
            } else {
                add_rows::<2>(p, batch, b, w, dy, tile)
            }
        });
        let sums = &*sums;
        for_pieces(dx, NEURONS * batch, 2 * n * batch, |i, dx| {
            for (neuron, row) in (i * NEURONS..).zip(dx.chunks_exact_mut(batch)) {
                for v in 0..vectors {
                    let (at, tile) = (v * LANES, v / width * width);
                    let width = width.min(vectors - tile);
                    let sum = sums[tile * n + neuron * width + v - tile];
                    let lanes = LANES.min(batch - at);
                    let old = if accumulate { load_padded(row, at, lanes) } else { f32x16::ZERO };
                    store_first(row, at, lanes, old + sum);
                }
            }
        });
    });
}

/// `sums[pre] += w[s] dy[post]` for every synapse, row after row; lanes from `b`, `sums (N_pre, T)`.
#[inline(never)]
fn add_rows<const T: usize>(p: Pattern, batch: usize, b: usize, w: &[f32], dy: &[f32], sums: &mut [f32x16]) {
    let (sums, n) = (sums.as_chunks_mut::<T>().0, (batch - b).min(T * LANES));
    for (ends, dy) in p.row_starts.windows(2).zip(dy.chunks_exact(batch)) {
        let row = ends[0] as usize..ends[1] as usize;
        let dy = row_tile::<T>(dy, b, n);
        for (&pre, &w) in p.pre[row.clone()].iter().zip(&w[row]) {
            let (sum, w) = (&mut sums[pre as usize], f32x16::splat(w));
            for t in 0..T {
                sum[t] = w.mul_add(dy[t], sum[t]);
            }
        }
    }
}

/// Batch 1, on one thread.
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
