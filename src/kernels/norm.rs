//! Layer normalization over the neurons of a layer, one sample per lane.
//!
//! A sample is a column of `(N, B)`: its statistics are vertical sums, 16 samples per vector, in the order of the
//! neurons, so nothing is transposed.

use super::lanes::{LANES, chain_sum, load_first, load_padded, mask, store_first, tiles};
use super::reduce;
use super::threads::{for_piece_pairs, for_pieces};
use wide::f32x16;

/// Neurons per piece of work.
const ROWS: usize = 32;
/// Samples whose statistics the backward pass holds on the stack at a time.
const BLOCK: usize = 256;

/// `y = gain (x - mean) inv_sd + bias`, `mean` and `inv_sd = 1 / sqrt(variance + eps)` per sample over its neurons.
///
/// `x (N, B)`, `gain (N)`, `bias (N)`, `y (N, B)`, `mean (B)`, `inv_sd (B)`; the variance is the biased one, as in
/// PyTorch. Ba, Kiros & Hinton 2016, eq. 3. The last two outputs are what [`layer_norm_backward`] needs.
///
/// # Panics
/// If a shape is wrong.
pub fn layer_norm(
    n: usize,
    batch: usize,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    inv_sd: &mut [f32],
) {
    assert_eq!(x.len(), n * batch, "x must be (N, B)");
    assert_eq!(gain.len(), n, "gain must be (N)");
    assert_eq!(bias.len(), n, "bias must be (N)");
    assert_eq!(y.len(), n * batch, "y must be (N, B)");
    assert_eq!(mean.len(), batch, "mean must be (B)");
    assert_eq!(inv_sd.len(), batch, "inv_sd must be (B)");
    if batch == 1 {
        mean[0] = reduce::sum(x) / n.max(1) as f32;
        inv_sd[0] = 1.0 / (reduce::square_about(mean[0], x) / n.max(1) as f32 + eps).sqrt();
        for ((y, x), (gain, bias)) in y.iter_mut().zip(x).zip(gain.iter().zip(bias)) {
            *y = ((x - mean[0]) * inv_sd[0]).mul_add(*gain, *bias);
        }
        return;
    }
    let share = f32x16::splat(1.0 / n.max(1) as f32);
    for_piece_pairs(mean, LANES, inv_sd, LANES, 2 * x.len(), |i, mean, inv_sd| {
        let (b, lanes) = (i * LANES, mean.len());
        let row = |k: usize| load_first(x, k * batch + b, lanes);
        let centre = vertical_sum(n, row) * share;
        // Squares of centred values: the difference of two large sums would lose the variance of a large mean.
        let variance = vertical_sum(n, |k| (row(k) - centre) * (row(k) - centre)) * share;
        store_first(mean, 0, lanes, centre);
        store_first(inv_sd, 0, lanes, f32x16::ONE / (variance + f32x16::splat(eps)).sqrt());
    });
    let (mean, inv_sd) = (&*mean, &*inv_sd);
    for_pieces(y, ROWS * batch, 2 * x.len(), |i, piece| {
        for (k, y) in (i * ROWS..).zip(piece.chunks_exact_mut(batch)) {
            let (gain, bias) = (f32x16::splat(gain[k]), f32x16::splat(bias[k]));
            for (b, lanes) in tiles(batch) {
                let x_hat =
                    (load_first(x, k * batch + b, lanes) - load_first(mean, b, lanes)) * load_first(inv_sd, b, lanes);
                store_first(y, b, lanes, x_hat.mul_add(gain, bias));
            }
        }
    });
}

/// Gradients of [`layer_norm`]: with `x̂ = (x - mean) inv_sd` and `d = gain dy`,
/// `dx = inv_sd (d - ⟨d⟩ - x̂ ⟨d x̂⟩)`, `⟨⟩` the mean over neurons; `dgain = Σ_b dy x̂`, `dbias = Σ_b dy`.
///
/// `x`, `dy`, `dx (N, B)`; `gain`, `dgain`, `dbias (N)`; `mean`, `inv_sd (B)` as the forward pass left them.
///
/// # Panics
/// If a shape is wrong.
pub fn layer_norm_backward(
    n: usize,
    batch: usize,
    x: &[f32],
    gain: &[f32],
    mean: &[f32],
    inv_sd: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    dbias: &mut [f32],
) {
    assert_eq!(x.len(), n * batch, "x must be (N, B)");
    assert_eq!(gain.len(), n, "gain must be (N)");
    assert_eq!(mean.len(), batch, "mean must be (B)");
    assert_eq!(inv_sd.len(), batch, "inv_sd must be (B)");
    assert_eq!(dy.len(), n * batch, "dy must be (N, B)");
    assert_eq!(dx.len(), n * batch, "dx must be (N, B)");
    assert_eq!(dgain.len(), n, "dgain must be (N)");
    assert_eq!(dbias.len(), n, "dbias must be (N)");
    let x_hat = |k: usize, b: usize, lanes: usize| {
        (load_first(x, k * batch + b, lanes) - load_first(mean, b, lanes)) * load_first(inv_sd, b, lanes)
    };
    for_piece_pairs(dgain, ROWS, dbias, ROWS, 2 * x.len(), |i, dgain, dbias| {
        for (k, (dgain, dbias)) in (i * ROWS..).zip(dgain.iter_mut().zip(dbias)) {
            let product = |sum: f32x16, (b, lanes): (usize, usize)| {
                let x_hat = x_hat(k, b, lanes);
                let x_hat = if lanes == LANES { x_hat } else { x_hat & mask(lanes) };
                load_padded(dy, k * batch + b, lanes).mul_add(x_hat, sum)
            };
            *dgain = tiles(batch).fold(f32x16::ZERO, product).reduce_add();
            *dbias = chain_sum(&dy[k * batch..][..batch]);
        }
    });
    let share = f32x16::splat(1.0 / n.max(1) as f32);
    for start in (0..batch).step_by(BLOCK) {
        let len = BLOCK.min(batch - start);
        let (mut d_mean, mut d_slope) = ([0.0; BLOCK], [0.0; BLOCK]);
        for_piece_pairs(&mut d_mean[..len], LANES, &mut d_slope[..len], LANES, 2 * n * len, |i, d_mean, d_slope| {
            let (b, lanes) = (start + i * LANES, d_mean.len());
            let d = |k: usize| load_first(dy, k * batch + b, lanes) * f32x16::splat(gain[k]);
            store_first(d_mean, 0, lanes, vertical_sum(n, d) * share);
            store_first(d_slope, 0, lanes, vertical_sum(n, |k| d(k) * x_hat(k, b, lanes)) * share);
        });
        for_pieces(dx, ROWS * batch, 2 * n * len, |i, piece| {
            for (k, dx) in (i * ROWS..).zip(piece.chunks_exact_mut(batch)) {
                let gain = f32x16::splat(gain[k]);
                for (at, lanes) in tiles(len) {
                    let b = start + at;
                    let d = load_first(dy, k * batch + b, lanes) * gain;
                    let along = x_hat(k, b, lanes) * load_first(&d_slope, at, lanes);
                    let v = (d - load_first(&d_mean, at, lanes) - along) * load_first(inv_sd, b, lanes);
                    store_first(dx, b, lanes, v);
                }
            }
        });
    }
}

/// `Σ_k row(k)` over `n` rows, lane by lane: four partial sums, because one chain of additions is bound by latency.
#[inline(always)]
fn vertical_sum(n: usize, row: impl Fn(usize) -> f32x16) -> f32x16 {
    let mut sums = [f32x16::ZERO; 4];
    for k in (0..n - n % 4).step_by(4) {
        for u in 0..4 {
            sums[u] += row(k + u);
        }
    }
    for k in n - n % 4..n {
        sums[k % 4] += row(k);
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}

/// [`layer_norm`] as loops, in f64.
pub fn layer_norm_reference(
    n: usize,
    batch: usize,
    x: &[f32],
    gain: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut [f32],
    mean: &mut [f32],
    inv_sd: &mut [f32],
) {
    for b in 0..batch {
        let x = |k: usize| f64::from(x[k * batch + b]);
        let m = (0..n).map(x).sum::<f64>() / n as f64;
        let variance = (0..n).map(|k| (x(k) - m) * (x(k) - m)).sum::<f64>() / n as f64;
        let r = 1.0 / (variance + f64::from(eps)).sqrt();
        for k in 0..n {
            y[k * batch + b] = ((x(k) - m) * r * f64::from(gain[k]) + f64::from(bias[k])) as f32;
        }
        (mean[b], inv_sd[b]) = (m as f32, r as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{BATCHES, close, random};
    use crate::kernels::threads::pool;

    const EPS: f32 = 1e-5;

    #[test]
    fn forward_agrees_with_its_reference() {
        for batch in BATCHES.into_iter().chain([300]) {
            for n in [1, 3, 4, 33, 70] {
                let x: Vec<f32> = random("x", n * batch).iter().map(|v| v + 10.0).collect();
                let (gain, bias) = (random("gain", n), random("bias", n));
                let fresh = || (vec![f32::NAN; n * batch], vec![f32::NAN; batch], vec![f32::NAN; batch]);
                let ((mut y, mut mean, mut inv_sd), (mut y0, mut mean0, mut inv_sd0)) = (fresh(), fresh());
                layer_norm(n, batch, &x, &gain, &bias, EPS, &mut y, &mut mean, &mut inv_sd);
                layer_norm_reference(n, batch, &x, &gain, &bias, EPS, &mut y0, &mut mean0, &mut inv_sd0);
                close("mean", &mean, &mean0, 1e-4);
                close("inv_sd", &inv_sd, &inv_sd0, 1e-4);
                close("y", &y, &y0, 1e-4);
            }
        }
    }

    #[test]
    fn backward_agrees_with_finite_differences() {
        for (n, batch) in [(5, 1), (6, 3), (4, 17), (2, 270)] {
            let (x, dy) = (random("x", n * batch), random("dy", n * batch));
            let (gain, bias) = (random("gain", n), random("bias", n));
            let (mut y, mut mean, mut inv_sd) = (vec![0.0; n * batch], vec![0.0; batch], vec![0.0; batch]);
            layer_norm(n, batch, &x, &gain, &bias, EPS, &mut y, &mut mean, &mut inv_sd);
            let (mut dx, mut dgain, mut dbias) = (vec![f32::NAN; n * batch], vec![f32::NAN; n], vec![f32::NAN; n]);
            layer_norm_backward(n, batch, &x, &gain, &mean, &inv_sd, &dy, &mut dx, &mut dgain, &mut dbias);

            // The loss is Σ dy y, whose gradient with respect to y is dy. In f64, so that a small step can be trusted.
            let loss = |x: &[f64], gain: &[f64], bias: &[f64]| -> f64 {
                let sample = |b: usize| -> f64 {
                    let x = |k: usize| x[k * batch + b];
                    let m = (0..n).map(x).sum::<f64>() / n as f64;
                    let v = (0..n).map(|k| (x(k) - m).powi(2)).sum::<f64>() / n as f64;
                    let y = |k: usize| (x(k) - m) / (v + f64::from(EPS)).sqrt() * gain[k] + bias[k];
                    (0..n).map(|k| f64::from(dy[k * batch + b]) * y(k)).sum()
                };
                (0..batch).map(sample).sum()
            };
            let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let inputs = [wide(&x), wide(&gain), wide(&bias)];
            for (which, got) in [&dx, &dgain, &dbias].into_iter().enumerate() {
                for i in 0..got.len() {
                    let at = |h: f64| {
                        let mut moved = inputs.clone();
                        moved[which][i] += h;
                        loss(&moved[0], &moved[1], &moved[2])
                    };
                    let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                    let close = (slope - f64::from(got[i])).abs() < 1e-3 * (1.0 + slope.abs());
                    assert!(close, "({n}, {batch}) input {which} [{i}]: {}, slope {slope}", got[i]);
                }
            }
        }
    }

    #[test]
    fn a_nan_stays_in_its_sample() {
        let (n, batch) = (3, 5);
        let mut x: Vec<f32> = (0..15).map(|i| (i * i) as f32).collect();
        x[5] = f32::NAN; // neuron 1, sample 0
        let (mut y, mut mean, mut inv_sd) = ([0.0; 15], [0.0; 5], [0.0; 5]);
        layer_norm(n, batch, &x, &[1.0; 3], &[0.0; 3], EPS, &mut y, &mut mean, &mut inv_sd);
        assert!(y.iter().enumerate().all(|(i, v)| v.is_nan() == (i % batch == 0)), "{y:?}");
    }

    #[test]
    fn one_and_two_threads_give_the_same_bits() {
        let (n, batch) = (500, 260);
        let (x, dy, gain) = (random("x", n * batch), random("dy", n * batch), random("gain", n));
        let all = |threads| {
            pool(threads).unwrap().run(|| {
                let (mut y, mut mean, mut inv_sd) = (vec![0.0; n * batch], vec![0.0; batch], vec![0.0; batch]);
                layer_norm(n, batch, &x, &gain, &gain, EPS, &mut y, &mut mean, &mut inv_sd);
                let (mut dx, mut dgain, mut dbias) = (vec![0.0; n * batch], vec![0.0; n], vec![0.0; n]);
                layer_norm_backward(n, batch, &x, &gain, &mean, &inv_sd, &dy, &mut dx, &mut dgain, &mut dbias);
                [y, dx, dgain, dbias].concat().into_iter().map(f32::to_bits).collect::<Vec<_>>()
            })
        };
        assert!(all(1) == all(2));
    }
}
