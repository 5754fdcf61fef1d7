//! Batch normalisation: each channel over its pixels and the batch.
//!
//! A channel is one piece: its statistics and its output are made while it is in the cache. Statistics are taken per
//! chunk of fixed length around the chunk's own mean and merged in f64 (Chan, Golub and LeVeque 1983, equation 2.1), so
//! a large mean costs no digits. Ioffe and Szegedy 2015; the conventions are those of PyTorch.

use super::reduce::{dot_about, square_about, sum};
use super::threads;

/// Floats whose statistics are taken in f32 at a time: 16 KiB, read twice while in the first-level cache.
const CHUNK: usize = 4096;

/// Mean and spread of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// Mean.
    pub mean: f32,
    /// Mean squared distance from the mean (divided by n).
    pub var: f32,
}

/// Count, mean and summed squared distance from the mean of each channel: what a part of a batch adds to its moments.
///
/// `x (C, M)`, `told (C, 3)`.
pub fn tell_moments(c: usize, x: &[f32], told: &mut [f64]) {
    assert_eq!(told.len(), 3 * c, "told must be (C, 3)");
    assert!(c > 0 && x.len().is_multiple_of(c), "x must be (C, M)");
    let m = x.len() / c;
    threads::for_pieces(told, 3, 2 * x.len(), |c, told| told.copy_from_slice(&spread(&x[c * m..][..m])));
}

/// The moments of a batch from what its parts told, merged in their order; `told (C, 3)` each, `moments (C)`.
pub fn merge_moments(told: &[Vec<f64>], moments: &mut [Moments]) {
    for (c, moments) in moments.iter_mut().enumerate() {
        let [n, mean, square] =
            told.iter().fold([0.0; 3], |all, told| merge(all, [told[3 * c], told[3 * c + 1], told[3 * c + 2]]));
        *moments = Moments { mean: mean as f32, var: (square.max(0.0) / n.max(1.0)) as f32 };
    }
}

/// `y = gain_c * (x - mean_c) / sqrt(var_c + eps) + bias_c`, with the moments of the batch in training, the running
/// ones in evaluation.
///
/// `gain (C)`, `bias (C)`, `moments (C)`, `x (C, M)` with M = H W B values per channel, `y (C, M)`.
pub fn normalise(gain: &[f32], bias: &[f32], eps: f32, moments: &[Moments], x: &[f32], y: &mut [f32]) {
    let m = check(gain, bias, x, y, moments);
    threads::for_pieces(y, m, x.len(), |c, y| affine(gain[c], bias[c], eps, moments[c], &x[c * m..][..m], y));
}

/// `[sum dy n, sum dy]` of each channel: what a part of a batch adds to the gradient of its gain and bias, where
/// `n = (x - mean) / sqrt(var + eps)`.
///
/// `moments (C)`, `x`, `dy` `(C, M)`, `told (C, 2)`.
pub fn tell_gradients(eps: f32, moments: &[Moments], x: &[f32], dy: &[f32], told: &mut [f64]) {
    let m = check_parts(moments, x, dy);
    assert_eq!(told.len(), 2 * moments.len(), "told must be (C, 2)");
    threads::for_pieces(told, 2, 2 * x.len(), |c, told| {
        told.copy_from_slice(&gradient_sums(eps, moments[c], (&x[c * m..][..m], &dy[c * m..][..m])));
    });
}

/// `dx = gain / sqrt(var + eps) * (dy - dbias / M - n dgain / M)`, the last two terms only where the moments are the
/// batch's: `batch` then has `[dgain, dbias] (C)` over the whole batch and its values per channel, M.
///
/// `gain (C)`, `moments (C)`, `x`, `dy` and `dx` `(C, M)` of a part of the batch.
pub fn input_gradient(
    gain: &[f32],
    eps: f32,
    moments: &[Moments],
    batch: Option<(&[[f32; 2]], usize)>,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let m = check_parts(moments, x, dy);
    assert_eq!(dx.len(), x.len(), "dx must be (C, M)");
    threads::for_pieces(dx, m, 3 * x.len(), |c, dx| {
        let (x, dy) = (&x[c * m..][..m], &dy[c * m..][..m]);
        let rate = 1.0 / (moments[c].var + eps).sqrt();
        let [dgain, dbias] = batch.map_or([0.0; 2], |(sums, m)| sums[c].map(|s| s / m as f32));
        // dx = a dy + b (x - mean) + d
        let (a, b, d) = (gain[c] * rate, -gain[c] * rate * rate * dgain, -gain[c] * rate * dbias);
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = a.mul_add(dy, b.mul_add(x - moments[c].mean, d));
        }
    });
}

fn check_parts(moments: &[Moments], x: &[f32], dy: &[f32]) -> usize {
    assert_eq!(x.len(), dy.len(), "x and dy must be (C, M)");
    assert!(!moments.is_empty() && x.len().is_multiple_of(moments.len()), "x must be (C, M)");
    x.len() / moments.len()
}

fn check(gain: &[f32], bias: &[f32], x: &[f32], y: &[f32], moments: &[Moments]) -> usize {
    assert!(!gain.is_empty(), "there must be a channel");
    assert_eq!(gain.len(), bias.len(), "gain and bias must be (C)");
    assert_eq!(gain.len(), moments.len(), "moments must be (C)");
    assert_eq!(x.len(), y.len(), "x and y must be (C, M)");
    assert!(x.len().is_multiple_of(gain.len()), "x must be (C, M)");
    x.len() / gain.len()
}

/// `y = gain (x - mean) / sqrt(var + eps) + bias` for one channel.
fn affine(gain: f32, bias: f32, eps: f32, moments: Moments, x: &[f32], y: &mut [f32]) {
    let factor = gain / (moments.var + eps).sqrt();
    for (y, &x) in y.iter_mut().zip(x) {
        *y = factor.mul_add(x - moments.mean, bias);
    }
}

/// Count, mean and summed squared distance from the mean of `x (M)`.
fn spread(x: &[f32]) -> [f64; 3] {
    x.chunks(CHUNK).fold([0.0; 3], |all, chunk| {
        let n = chunk.len() as f64;
        let mean = f64::from(sum(chunk)) / n;
        // The squares are about the mean rounded to f32; what the rounding adds is taken off.
        let centre = mean as f32;
        let off = mean - f64::from(centre);
        merge(all, [n, mean, f64::from(square_about(centre, chunk)) - n * off * off])
    })
}

/// Of two parts together.
fn merge([n, mean, square]: [f64; 3], [n_more, mean_more, square_more]: [f64; 3]) -> [f64; 3] {
    let (total, apart) = (n + n_more, mean_more - mean);
    if total == 0.0 {
        return [0.0; 3];
    }
    [total, mean + apart * n_more / total, square + square_more + apart * apart * n * n_more / total]
}

/// `[sum dy n, sum dy]` of one channel; sums in f32 within a chunk, f64 over chunks.
fn gradient_sums(eps: f32, moments: Moments, (x, dy): (&[f32], &[f32])) -> [f64; 2] {
    let (mut product, mut plain) = (0.0f64, 0.0f64);
    for (x, dy) in x.chunks(CHUNK).zip(dy.chunks(CHUNK)) {
        plain += f64::from(sum(dy));
        product += f64::from(dot_about(moments.mean, x, dy));
    }
    let rate = 1.0 / f64::from(moments.var + eps).sqrt();
    [product * rate, plain]
}

/// [`normalise`] with the moments of the batch itself, as loops to read, in f64.
pub fn normalise_reference(gain: &[f32], bias: &[f32], eps: f32, x: &[f32], y: &mut [f32]) {
    let m = x.len() / gain.len();
    for c in 0..gain.len() {
        let x = &x[c * m..(c + 1) * m];
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / m as f64;
        let var = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / m as f64;
        for (i, &x) in x.iter().enumerate() {
            let n = (f64::from(x) - mean) / (var + f64::from(eps)).sqrt();
            y[c * m + i] = (f64::from(gain[c]) * n + f64::from(bias[c])) as f32;
        }
    }
}

/// [`tell_gradients`] of a whole batch, to `sums (C)`, and [`input_gradient`] with its moments, as loops to read, in
/// f64.
pub fn normalise_backward_reference(
    gain: &[f32],
    eps: f32,
    x: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    sums: &mut [[f32; 2]],
) {
    let m = x.len() / gain.len();
    for c in 0..gain.len() {
        let (x, dy) = (&x[c * m..(c + 1) * m], &dy[c * m..(c + 1) * m]);
        let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / m as f64;
        let var = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / m as f64;
        let rate = 1.0 / (var + f64::from(eps)).sqrt();
        let n = |i: usize| (f64::from(x[i]) - mean) * rate;
        let dgain: f64 = (0..m).map(|i| f64::from(dy[i]) * n(i)).sum();
        let dbias: f64 = (0..m).map(|i| f64::from(dy[i])).sum();
        for i in 0..m {
            let rest = f64::from(dy[i]) - dbias / m as f64 - n(i) * dgain / m as f64;
            dx[c * m + i] = (f64::from(gain[c]) * rate * rest) as f32;
        }
        sums[c] = [dgain as f32, dbias as f32];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{self, SIZES};

    const EPS: f32 = 1e-5;

    /// Two parts of a batch, the first half of each channel's values and the rest.
    fn halves(c: usize, x: &[f32]) -> [Vec<f32>; 2] {
        let m = x.len() / c;
        [0..m / 2, m / 2..m].map(|part| x.chunks_exact(m).flat_map(|x| &x[part.clone()]).copied().collect())
    }

    /// Moments of a batch of two parts `(C)`.
    fn moments_of(c: usize, x: &[f32]) -> Vec<Moments> {
        let told = halves(c, x).map(|x| {
            let mut told = vec![f64::NAN; 3 * c];
            tell_moments(c, &x, &mut told);
            told
        });
        let mut moments = vec![Moments::default(); c];
        merge_moments(&told, &mut moments);
        moments
    }

    /// `[dgain, dbias] (C)` of a batch of two parts.
    fn sums_of(moments: &[Moments], x: &[f32], dy: &[f32]) -> Vec<[f32; 2]> {
        let c = moments.len();
        let (x, dy) = (halves(c, x), halves(c, dy));
        let told = [0, 1].map(|part| {
            let mut told = vec![f64::NAN; 2 * c];
            tell_gradients(EPS, moments, &x[part], &dy[part], &mut told);
            told
        });
        (0..c).map(|c| [2 * c, 2 * c + 1].map(|i| (told[0][i] + told[1][i]) as f32)).collect()
    }

    /// A mean of a hundred spreads: the naive sum of squares would lose four digits.
    fn far_from_zero(n: usize) -> Vec<f32> {
        parity::random("x", n).iter().map(|x| x + 100.0).collect()
    }

    #[test]
    fn normalising_equals_its_reference() {
        for c in SIZES {
            for m in [1, 2, 7, 16, 33, 4095, 4097, 3 * 4096 + 5] {
                let x = far_from_zero(c * m);
                let (gain, bias) = (parity::random("gain", c), parity::random("bias", c));
                parity::check(
                    &format!("{c} channels of {m}"),
                    x.len(),
                    1e-4,
                    |y| normalise(&gain, &bias, EPS, &moments_of(c, &x), &x, y),
                    |y| normalise_reference(&gain, &bias, EPS, &x, y),
                );
            }
        }
    }

    /// Of fewer than seven values hardly anything is left once mean and slope are taken off.
    #[test]
    fn its_gradients_equal_their_reference() {
        for c in SIZES {
            for m in [7, 16, 33, 4097] {
                let (x, dy, gain) = (far_from_zero(c * m), parity::random("dy", c * m), parity::random("gain", c));
                let moments = moments_of(c, &x);
                let (mut dx, mut sums) = (vec![f32::NAN; x.len()], vec![[f32::NAN; 2]; c]);
                normalise_backward_reference(&gain, EPS, &x, &dy, &mut dx, &mut sums);
                parity::check(
                    &format!("sums of {c} channels of {m}"),
                    2 * c,
                    1e-4,
                    |out| out.copy_from_slice(sums_of(&moments, &x, &dy).as_flattened()),
                    |out| out.copy_from_slice(sums.as_flattened()),
                );
                parity::check(
                    &format!("dx of {c} channels of {m}"),
                    x.len(),
                    1e-4,
                    |out| input_gradient(&gain, EPS, &moments, Some((&sums_of(&moments, &x, &dy), m)), &x, &dy, out),
                    |out| out.copy_from_slice(&dx),
                );
            }
        }
    }

    #[test]
    fn the_gradient_in_evaluation_is_that_of_a_fixed_factor() {
        let (x, dy, moments) = ([1.0, 3.0, 5.0], [1.0, 2.0, 3.0], [Moments { mean: 1.0, var: 4.0 }]);
        let (mut dx, mut told) = ([f32::NAN; 3], [f64::NAN; 2]);
        tell_gradients(0.0, &moments, &x, &dy, &mut told);
        input_gradient(&[2.0], 0.0, &moments, None, &x, &dy, &mut dx);
        assert_eq!((dx, told), ([1.0, 2.0, 3.0], [8.0, 6.0]));
    }
}
