//! One `K x K` filter over two maps, and its gradients: the gate of spatial attention.
//!
//! Rows lie between columns of zeros, so a row of the output is a sum of shifted runs of `W * B` contiguous floats
//! with no case for the left and right edges and no loss at any batch. Two or four vectors of the output stay in
//! registers while all taps pass: 48x48, 7x7, batch 32 is 7 million multiply-adds.

use super::lanes::{LANES, ONE_REGISTER, load_first, load_whole, store};
use super::lateral::MapShape;
use super::reduce::{dot, sum};
use super::threads;
use wide::f32x16;

/// Vectors of the output side by side, each with two sums.
const VECS: usize = if ONE_REGISTER { 4 } else { 2 };

/// Largest K.
pub const MAX_SIDE: usize = 63;

/// `y(row, col) = bias + sum over m, i, j of filter(m, i, j) * maps(m, row + i - K/2, col + j - K/2)`.
///
/// `filter (2, K, K)`, K odd; `maps (H, 2, W + K - 1, B)` with K/2 columns of zeros on either side; `y (H, W, B)`.
pub fn filter_maps(shape: MapShape, k: usize, filter: &[f32], bias: f32, maps: &[f32], y: &mut [f32]) {
    let wide = check(shape, k, filter, y.len());
    assert_eq!(maps.len(), shape.h * 2 * wide, "maps must be (H, 2, W + K - 1, B)");
    threads::for_pieces(y, shape.w * shape.batch, 2 * k * k * shape.len(), |h, y| {
        let run = |i: usize| {
            let (m, i) = (i / k, i % k);
            let row = (h + i).checked_sub(k / 2).filter(|&row| row < shape.h)?;
            Some((&maps[(row * 2 + m) * wide..], &filter[(m * k + i) * k..][..k]))
        };
        sum_runs::<false>(2 * k, run, shape.batch, bias, y);
    });
}

/// Gradient of `maps` of [`filter_maps`]; `d (H, W + K - 1, B)`, the gradient of its `y` between K/2 columns of
/// zeros; `dmaps (H, 2, W, B)`, without such columns.
pub fn filter_maps_dmaps(shape: MapShape, k: usize, filter: &[f32], d: &[f32], dmaps: &mut [f32]) {
    let wide = check(shape, k, filter, shape.len());
    assert_eq!(d.len(), shape.h * wide, "d must be (H, W + K - 1, B)");
    assert_eq!(dmaps.len(), 2 * shape.len(), "dmaps must be (H, 2, W, B)");
    threads::for_pieces(dmaps, shape.w * shape.batch, 2 * k * k * shape.len(), |i, dmaps| {
        let (h, m) = (i / 2, i % 2);
        let run = |i: usize| {
            let row = (h + k / 2).checked_sub(i).filter(|&row| row < shape.h)?;
            Some((&d[row * wide..], &filter[(m * k + i) * k..][..k]))
        };
        sum_runs::<true>(k, run, shape.batch, 0.0, dmaps);
    });
}

/// Gradients of `filter` and `bias` of [`filter_maps`]: `dfilter (2, K, K)`; returns that of the bias.
///
/// `maps` and `d` as there and in [`filter_maps_dmaps`]. Sums in f32 within a row, f64 over rows.
pub fn filter_maps_dfilter(shape: MapShape, k: usize, maps: &[f32], d: &[f32], dfilter: &mut [f32]) -> f32 {
    let wide = check(shape, k, dfilter, shape.len());
    assert_eq!(maps.len(), shape.h * 2 * wide, "maps must be (H, 2, W + K - 1, B)");
    assert_eq!(d.len(), shape.h * wide, "d must be (H, W + K - 1, B)");
    let (run, batch) = (shape.w * shape.batch, shape.batch);
    let inner = |h: usize| &d[h * wide + k / 2 * batch..][..run];
    // A piece is one row of taps: all of them meet a row of `d` and a row of `maps` while these are in the cache.
    threads::for_pieces(dfilter, k, 2 * k * k * shape.len(), |r, dfilter| {
        let (m, i) = (r / k, r % k);
        let mut totals = [0.0f64; MAX_SIDE];
        for h in 0..shape.h {
            let Some(row) = (h + i).checked_sub(k / 2).filter(|&row| row < shape.h) else { continue };
            let map = &maps[(row * 2 + m) * wide..][..wide];
            for (j, total) in totals[..k].iter_mut().enumerate() {
                *total += f64::from(dot(inner(h), &map[j * batch..][..run]));
            }
        }
        for (dfilter, total) in dfilter.iter_mut().zip(totals) {
            *dfilter = total as f32;
        }
    });
    (0..shape.h).map(|h| f64::from(sum(inner(h)))).sum::<f64>() as f32
}

/// Checks the shapes that all three share; gives the length of a row with its zeros.
fn check(shape: MapShape, k: usize, filter: &[f32], n: usize) -> usize {
    assert!(k % 2 == 1 && k <= MAX_SIDE, "K must be odd and at most {MAX_SIDE}");
    assert_eq!(filter.len(), 2 * k * k, "the filter must be (2, K, K)");
    assert_eq!(n, shape.len(), "y must be (H, W, B)");
    (shape.w + k - 1) * shape.batch
}

/// `y = start + sum over r, j of taps_r(j) * x_r(shifted by j columns)`, taps in reverse order if `REVERSED`.
///
/// `run(r)` gives `x_r (W + K - 1, B)` with whatever follows it, and `taps_r (K)`, or nothing outside the image; `y (W, B)`.
#[inline(always)]
fn sum_runs<'a, const REVERSED: bool>(
    runs: usize,
    run: impl Fn(usize) -> Option<(&'a [f32], &'a [f32])>,
    batch: usize,
    start: f32,
    y: &mut [f32],
) {
    let mut blocks = y.chunks_exact_mut(VECS * LANES);
    let mut at = 0;
    for y in blocks.by_ref() {
        block::<REVERSED, VECS>(runs, &run, batch, start, at, y);
        at += y.len();
    }
    for y in blocks.into_remainder().chunks_mut(LANES) {
        block::<REVERSED, 1>(runs, &run, batch, start, at, y);
        at += y.len();
    }
}

/// [`sum_runs`] for the V vectors of `y` from `at`.
#[inline(always)]
fn block<'a, const REVERSED: bool, const V: usize>(
    runs: usize,
    run: &impl Fn(usize) -> Option<(&'a [f32], &'a [f32])>,
    batch: usize,
    start: f32,
    at: usize,
    y: &mut [f32],
) {
    // Sums of every second tap beside each other: one vector alone would wait for each multiply-add.
    let (mut sums, mut others) = ([f32x16::splat(start); V], [f32x16::ZERO; V]);
    for (x, taps) in (0..runs).filter_map(run) {
        for j in 0..taps.len() {
            let tap = f32x16::splat(if REVERSED { taps[taps.len() - 1 - j] } else { taps[j] });
            let x = &x[at + j * batch..];
            let sums = if j % 2 == 0 { &mut sums } else { &mut others };
            for v in 0..V {
                // Of a last vector that is not full the lanes behind the end of y are thrown away.
                let v_x = if V > 1 { load_whole(x, v * LANES) } else { load_first(x, 0, y.len()) };
                sums[v] = tap.mul_add(v_x, sums[v]);
            }
        }
    }
    for v in 0..V {
        sums[v] += others[v];
        let end = y.len().min((v + 1) * LANES);
        store(&mut y[v * LANES..end], sums[v]);
    }
}

/// [`filter_maps`] as loops to read.
pub fn filter_maps_reference(shape: MapShape, k: usize, filter: &[f32], bias: f32, maps: &[f32], y: &mut [f32]) {
    let MapShape { h, w, batch } = shape;
    for row in 0..h {
        for col in 0..w {
            for b in 0..batch {
                let mut sum = bias;
                for m in 0..2 {
                    for i in 0..k {
                        for j in 0..k {
                            if (k / 2..h + k / 2).contains(&(row + i)) {
                                let map_row = (row + i - k / 2) * 2 + m;
                                sum +=
                                    filter[(m * k + i) * k + j] * maps[(map_row * (w + k - 1) + col + j) * batch + b];
                            }
                        }
                    }
                }
                y[(row * w + col) * batch + b] = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{self, BATCHES};

    #[test]
    fn the_filter_equals_its_reference() {
        for (h, w) in [(1, 1), (5, 7), (2, 3), (9, 4)] {
            for (batch, k) in BATCHES.into_iter().flat_map(|batch| [1, 3, 7].map(|k| (batch, k))) {
                let shape = MapShape { h, w, batch };
                let filter = parity::random("filter", 2 * k * k);
                let maps = parity::random("maps", h * 2 * (w + k - 1) * batch);
                parity::check(
                    &format!("filter {k} on {shape:?}"),
                    shape.len(),
                    1e-5,
                    |y| filter_maps(shape, k, &filter, 0.3, &maps, y),
                    |y| filter_maps_reference(shape, k, &filter, 0.3, &maps, y),
                );
            }
        }
    }
}
