//! The memory passes of channel and spatial attention: pooling, gating, and their gradients.
//!
//! Channel attention pools each map over its pixels, spatial attention each pixel over its maps; both then scale the
//! activity by a gate between 0 and 1. What computes the gate from the pools is in `gate_mlp` and `map_filter`.
//! Woo et al. 2018, "CBAM: Convolutional Block Attention Module", equations 2 and 3.

use super::lanes::{LANES, load, load_or, store, tiles};
use super::lateral::MapShape;
use super::reduce::sum;
use super::threads;
use wide::f32x16;

/// Values per piece of [`sigmoid`].
const PIECE: usize = 4096;

/// `1 / (1 + exp(-x))` in place; `x (N)`.
pub fn sigmoid(x: &mut [f32]) {
    let n = x.len();
    threads::for_pieces(x, PIECE, 16 * n, |_, x| {
        for x in x.chunks_mut(LANES) {
            let e = (-load(x)).exp();
            store(x, f32x16::ONE / (f32x16::ONE + e));
        }
    });
}

/// Gradient before the sigmoid from that behind it: `d *= s (1 - s)`; `s (N)`, `d (N)`.
pub fn sigmoid_backward(s: &[f32], d: &mut [f32]) {
    assert_eq!(s.len(), d.len(), "s and d must be (N)");
    for (d, &s) in d.iter_mut().zip(s) {
        *d *= s * (1.0 - s);
    }
}

/// Mean and maximum of each map over its pixels, and the pixel of the (first) maximum.
///
/// `x (C, H, W, B)`, `pools (C, 2, B)`: means, then maxima; `peak (C, B)`: `row * W + column`.
pub fn pool_pixels(shape: MapShape, x: &[f32], pools: &mut [f32], peak: &mut [f32]) {
    let (n, batch, w) = (shape.len(), shape.batch, shape.w);
    assert_eq!(pools.len(), 2 * peak.len(), "pools must be (C, 2, B), peak (C, B)");
    assert_eq!(x.len() * batch, peak.len() * n, "x must be (C, H, W, B)");
    assert!(shape.h * w < 1 << 24, "a pixel's index must be exact in f32");
    let share = f32x16::splat(1.0 / (shape.h * w) as f32);
    threads::for_piece_pairs(pools, 2 * batch, peak, batch, 3 * x.len(), |c, pools, peak| {
        let (mean, max) = pools.split_at_mut(batch);
        mean.fill(0.0);
        max.fill(f32::NEG_INFINITY);
        peak.fill(0.0);
        if batch == 1 {
            (mean[0], max[0], peak[0]) = pool_image(&x[c * n..][..n]);
            return;
        }
        for (row, x) in x[c * n..][..n].chunks_exact(w * batch).enumerate() {
            for lane in (0..batch).step_by(LANES) {
                let end = batch.min(lane + LANES);
                let (mean, max, peak) = (&mut mean[lane..end], &mut max[lane..end], &mut peak[lane..end]);
                let (mut sum, mut best, mut at) = (f32x16::ZERO, load(max), load(peak));
                for col in 0..w {
                    let v = load(&x[col * batch + lane..col * batch + end]);
                    let better = v.simd_gt(best);
                    sum += v;
                    best = better.bitselect(v, best);
                    at = better.bitselect(f32x16::splat((row * w + col) as f32), at);
                }
                store(mean, sum.mul_add(share, load(mean)));
                store(max, best);
                store(peak, at);
            }
        }
    });
}

/// Mean, maximum, and place of the first maximum of one image's map `x (H, W)`.
fn pool_image(x: &[f32]) -> (f32, f32, f32) {
    let best = tiles(x.len()).fold(f32x16::splat(f32::NEG_INFINITY), |best, (at, n)| {
        let v = load_or(f32::NEG_INFINITY, &x[at..at + n]);
        v.simd_gt(best).bitselect(v, best)
    });
    let max = best.to_array().into_iter().fold(f32::NEG_INFINITY, |max, v| if v > max { v } else { max });
    (sum(x) / x.len() as f32, max, x.iter().position(|&v| v == max).unwrap_or(0) as f32)
}

/// `y = x * gate`, one gate per map and image; `gate (C, B)`, `x (C, H, W, B)`, `y (C, H, W, B)`.
pub fn scale_maps(shape: MapShape, gate: &[f32], x: &[f32], y: &mut [f32]) {
    let (n, batch) = (shape.len(), shape.batch);
    assert_eq!(x.len(), y.len(), "x and y must be (C, H, W, B)");
    assert_eq!(x.len() * batch, gate.len() * n, "gate must be (C, B)");
    threads::for_pieces(y, n, x.len(), |c, y| {
        let gate = &gate[c * batch..][..batch];
        if let [gate] = gate {
            y.iter_mut().zip(&x[c * n..]).for_each(|(y, x)| *y = x * gate);
            return;
        }
        for (y, x) in y.chunks_exact_mut(batch).zip(x[c * n..].chunks_exact(batch)) {
            for ((y, &x), &gate) in y.iter_mut().zip(x).zip(gate) {
                *y = x * gate;
            }
        }
    });
}

/// Gradient of the gate of [`scale_maps`]: `dgate = sum over pixels of x * dy`.
///
/// `x (C, H, W, B)`, `dy (C, H, W, B)`, `dgate (C, B)`.
pub fn scale_maps_dgate(shape: MapShape, x: &[f32], dy: &[f32], dgate: &mut [f32]) {
    let (n, batch) = (shape.len(), shape.batch);
    assert_eq!(x.len(), dy.len(), "x and dy must be (C, H, W, B)");
    assert_eq!(x.len() * batch, dgate.len() * n, "dgate must be (C, B)");
    threads::for_pieces(dgate, batch, x.len(), |c, dgate| {
        dgate.fill(0.0);
        let row = shape.w * batch;
        for (x, dy) in x[c * n..][..n].chunks_exact(row).zip(dy[c * n..][..n].chunks_exact(row)) {
            for lane in (0..batch).step_by(LANES) {
                let end = batch.min(lane + LANES);
                let mut sum = f32x16::ZERO;
                for col in (0..row).step_by(batch) {
                    sum = load(&x[col + lane..col + end]).mul_add(load(&dy[col + lane..col + end]), sum);
                }
                let dgate = &mut dgate[lane..end];
                store(dgate, load(dgate) + sum);
            }
        }
    });
}

/// Gradient of `x` of [`scale_maps`] and [`pool_pixels`] together: `dx = dy * gate + dmean / (H W)`, and `dmax` more
/// at each peak.
///
/// `gate (C, B)`, `dpools (C, 2, B)`, `peak (C, B)`, `dy (C, H, W, B)`, `dx (C, H, W, B)`.
pub fn scale_maps_dx(shape: MapShape, gate: &[f32], dpools: &[f32], peak: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (n, batch) = (shape.len(), shape.batch);
    assert_eq!(dx.len(), dy.len(), "dx and dy must be (C, H, W, B)");
    assert_eq!(dx.len() * batch, gate.len() * n, "gate must be (C, B)");
    assert_eq!(gate.len(), peak.len(), "peak must be (C, B)");
    assert_eq!(dpools.len(), 2 * gate.len(), "dpools must be (C, 2, B)");
    let share = 1.0 / (shape.h * shape.w) as f32;
    threads::for_pieces(dx, n, 2 * dy.len(), |c, dx| {
        let gate = &gate[c * batch..][..batch];
        let (dmean, dmax) = dpools[c * 2 * batch..][..2 * batch].split_at(batch);
        for (dx, dy) in dx.chunks_exact_mut(batch).zip(dy[c * n..].chunks_exact(batch)) {
            for (((dx, &dy), &gate), &dmean) in dx.iter_mut().zip(dy).zip(gate).zip(dmean) {
                *dx = dy.mul_add(gate, dmean * share);
            }
        }
        for (b, (&dmax, &peak)) in dmax.iter().zip(&peak[c * batch..]).enumerate() {
            dx[peak as usize * batch + b] += dmax;
        }
    });
}

/// Mean and maximum of each pixel over the maps, and the map of the (first) maximum.
///
/// `x (C, H, W, B)`, `pools (H, 2, W + 2 pad, B)`: in each row the means, then the maxima, both between `pad` columns
/// of zeros; `peak (H, W, B)`: the channel.
pub fn pool_maps(shape: MapShape, pad: usize, x: &[f32], pools: &mut [f32], peak: &mut [u32]) {
    let (n, row) = (shape.len(), shape.w * shape.batch);
    let (edge, wide) = (pad * shape.batch, row + 2 * pad * shape.batch);
    assert!(n > 0 && x.len().is_multiple_of(n), "x must be (C, H, W, B)");
    assert_eq!(pools.len(), shape.h * 2 * wide, "pools must be (H, 2, W + 2 pad, B)");
    assert_eq!(peak.len(), n, "peak must be (H, W, B)");
    let share = 1.0 / (x.len() / n) as f32;
    threads::for_piece_pairs(pools, 2 * wide, peak, row, 3 * x.len(), |h, pools, peak| {
        pools.fill(0.0);
        let (mean, max) = pools.split_at_mut(wide);
        let (mean, max) = (&mut mean[edge..edge + row], &mut max[edge..edge + row]);
        for (c, x) in x.chunks_exact(n).enumerate() {
            let x = &x[h * row..][..row];
            if c == 0 {
                mean.copy_from_slice(x);
                max.copy_from_slice(x);
                peak.fill(0);
                continue;
            }
            for (((mean, max), peak), &x) in mean.iter_mut().zip(max.iter_mut()).zip(peak.iter_mut()).zip(x) {
                *mean += x;
                (*max, *peak) = if x > *max { (x, c as u32) } else { (*max, *peak) };
            }
        }
        mean.iter_mut().for_each(|m| *m *= share);
    });
}

/// `y = x * gate`, one gate per pixel and image; `gate (H, W, B)`, `x (C, H, W, B)`, `y (C, H, W, B)`.
pub fn scale_pixels(gate: &[f32], x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y must be (C, H, W, B)");
    assert!(x.len().is_multiple_of(gate.len()), "gate must be (H, W, B)");
    let n = gate.len();
    threads::for_pieces(y, n, x.len(), |c, y| {
        for ((y, &x), &gate) in y.iter_mut().zip(&x[c * n..]).zip(gate) {
            *y = x * gate;
        }
    });
}

/// Gradient before the sigmoid of the gate of [`scale_pixels`]: `d = gate (1 - gate) * sum over maps of x * dy`.
///
/// `gate (H, W, B)`, `x (C, H, W, B)`, `dy (C, H, W, B)`; `d (H, W + 2 pad, B)`, each row between `pad` columns of
/// zeros.
pub fn scale_pixels_dgate(shape: MapShape, pad: usize, gate: &[f32], x: &[f32], dy: &[f32], d: &mut [f32]) {
    let (n, row) = (shape.len(), shape.w * shape.batch);
    let (edge, wide) = (pad * shape.batch, row + 2 * pad * shape.batch);
    assert_eq!(gate.len(), n, "gate must be (H, W, B)");
    assert_eq!(x.len(), dy.len(), "x and dy must be (C, H, W, B)");
    assert_eq!(d.len(), shape.h * wide, "d must be (H, W + 2 pad, B)");
    threads::for_pieces(d, wide, x.len(), |h, d| {
        d.fill(0.0);
        let d = &mut d[edge..edge + row];
        for (x, dy) in x.chunks_exact(n).zip(dy.chunks_exact(n)) {
            for ((d, &x), &dy) in d.iter_mut().zip(&x[h * row..]).zip(&dy[h * row..]) {
                *d = x.mul_add(dy, *d);
            }
        }
        sigmoid_backward(&gate[h * row..][..row], d);
    });
}

/// Gradient of `x` of [`scale_pixels`] and [`pool_maps`] together: `dx = dy * gate + dmean / C`, and `dmax` more in
/// the map of the peak.
///
/// `gate (H, W, B)`, `dpools (H, 2, W, B)`, `peak (H, W, B)`, `dy (C, H, W, B)`, `dx (C, H, W, B)`.
pub fn scale_pixels_dx(shape: MapShape, gate: &[f32], dpools: &[f32], peak: &[u32], dy: &[f32], dx: &mut [f32]) {
    let (n, row) = (shape.len(), shape.w * shape.batch);
    assert_eq!(gate.len(), n, "gate must be (H, W, B)");
    assert_eq!(dx.len(), dy.len(), "dx and dy must be (C, H, W, B)");
    assert_eq!(dpools.len(), 2 * n, "dpools must be (H, 2, W, B)");
    assert_eq!(peak.len(), n, "peak must be (H, W, B)");
    let share = 1.0 / (dx.len() / n) as f32;
    threads::for_pieces(dx, n, 3 * dy.len(), |c, dx| {
        for (h, (dx, dy)) in dx.chunks_exact_mut(row).zip(dy[c * n..].chunks_exact(row)).enumerate() {
            let (dmean, dmax) = dpools[h * 2 * row..][..2 * row].split_at(row);
            let pooled = dmean.iter().zip(dmax).zip(&peak[h * row..][..row]);
            let gated = dy.iter().zip(&gate[h * row..][..row]);
            for ((dx, (&dy, &gate)), ((&dmean, &dmax), &peak)) in dx.iter_mut().zip(gated).zip(pooled) {
                let best = if peak == c as u32 { dmax } else { 0.0 };
                *dx = dy.mul_add(gate, dmean.mul_add(share, best));
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sigmoid_is_exact_to_six_digits_and_safe_at_the_ends() {
        let mut x: Vec<f32> = (-400..=400).map(|i| i as f32 / 4.0).collect();
        let want: Vec<f64> = x.iter().map(|&x| 1.0 / (1.0 + f64::from(-x).exp())).collect();
        sigmoid(&mut x);
        for (got, want) in x.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
    }
}
