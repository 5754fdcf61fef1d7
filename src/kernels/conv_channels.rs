//! Convolution of some output channels after others, tap by tap, on one padded copy of the input.
//!
//! The caller goes on with these channels while they are in the cache. The sums are those of [`super::conv`] to the bit
//! wherever that goes tap by tap, in whatever parts: the caller may cut by the number of threads.

use super::conv::ConvShape;
use super::conv_direct::{self, convolve_padded, pack, padded_place};
use super::conv_weights::{backward_weights_padded, chunks, partial_len};
use std::ops::Range;

/// The convolution to so many of its output channels alone.
fn part(shape: &ConvShape, maps: usize) -> ConvShape {
    ConvShape { c_out: maps, ..*shape }
}

/// Length of `padded`.
pub fn padded_len(shape: &ConvShape, batch: usize) -> usize {
    conv_direct::padded_len(shape, batch)
}

/// Length of the scratch of [`forward`] and of [`backward_weights`] for so many channels.
pub fn scratch_len(shape: &ConvShape, maps: usize) -> usize {
    let part = part(shape, maps);
    part.weights_len().max(partial_len(&part, chunks(shape)))
}

/// Copies `x (C_in, H, W, B)` with its padding to `padded`, of [`padded_len`], for the calls that follow. They find it by
/// its cache line: a copy of `padded` serves only if it begins on one as well, as [`crate::aligned::Aligned`] does.
///
/// # Panics
/// If a length does not fit.
pub fn pad(shape: &ConvShape, batch: usize, x: &[f32], padded: &mut [f32]) {
    conv_direct::pad(shape, batch, x, padded);
}

/// `y (maps, H, W, B)` of the input that [`pad`] copied; `weights (C_out, C_in, k, k)` and `bias (C_out)` are those of all
/// channels, `scratch` is of [`scratch_len`].
///
/// # Panics
/// If a length does not fit.
pub fn forward(
    shape: &ConvShape,
    maps: Range<usize>,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
    padded: &[f32],
    scratch: &mut [f32],
    y: &mut [f32],
) {
    let (part, taps) = (part(shape, maps.len()), shape.taps());
    assert_eq!(weights.len(), shape.weights_len(), "weights must be (C_out, C_in, k, k)");
    assert_eq!(bias.len(), shape.c_out, "bias must be (C_out)");
    assert_eq!(y.len(), maps.len() * part.h * part.w * batch, "y must be (maps, H, W, B)");
    let (weights, packed) = (&weights[maps.start * taps..maps.end * taps], &mut scratch[..part.weights_len()]);
    pack(taps, packed, |o, tap| weights[o * taps + tap]);
    let padded = &padded[padded_place(&part, batch, padded)];
    convolve_padded(&part, batch, packed, Some(&bias[maps]), padded, y);
}

/// `dw (maps, C_in, k, k)` of `dy (maps, H, W, B)` and the input that [`pad`] copied; `scratch` is of [`scratch_len`].
///
/// # Panics
/// If a length does not fit.
pub fn backward_weights(
    shape: &ConvShape,
    batch: usize,
    dy: &[f32],
    padded: &[f32],
    scratch: &mut [f32],
    dw: &mut [f32],
) {
    let part = part(shape, dw.len() / shape.taps());
    assert_eq!(dw.len(), part.weights_len(), "dw must be (maps, C_in, k, k)");
    assert_eq!(dy.len(), part.c_out * part.h * part.w * batch, "dy must be (maps, H, W, B)");
    let (chunks, padded) = (chunks(shape), &padded[padded_place(&part, batch, padded)]);
    let partial = &mut scratch[..partial_len(&part, chunks)];
    backward_weights_padded(&part, chunks, batch, dy, padded, partial, dw);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::conv;
    use crate::kernels::parity::random;

    /// One, two and three channels at a time, which begin in the middle of a register tile; of an image with more rows than
    /// a convolution to nine channels has chunks of.
    #[test]
    fn channels_after_each_other_are_all_at_once() {
        for (batch, w) in [(1, 9), (5, 3), (16, 9), (33, 6)] {
            let shape = ConvShape { c_in: 1, c_out: 9, h: 23, w, k: 5 };
            let pixels = shape.h * shape.w * batch;
            let (weights, bias) = (random("w", shape.weights_len()), random("bias", shape.c_out));
            let (x, dy) = (random("x", pixels), random("dy", shape.c_out * pixels));
            let (mut y, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; weights.len()]);
            conv::forward(
                &shape,
                batch,
                &weights,
                Some(&bias),
                &mut vec![f32::NAN; shape.scratch_len(batch)],
                &x,
                &mut y,
            );
            conv::backward_weights(&shape, batch, &dy, &x, &mut vec![f32::NAN; shape.partial_len(batch)], &mut dw);
            let mut padded = vec![f32::NAN; padded_len(&shape, batch)];
            pad(&shape, batch, &x, &mut padded);
            for at_once in 1..4 {
                for start in (0..shape.c_out).step_by(at_once) {
                    let maps = start..(start + at_once).min(shape.c_out);
                    let scratch = &mut vec![f32::NAN; scratch_len(&shape, maps.len())];
                    let place = maps.start * pixels..maps.end * pixels;
                    let mut part = vec![f32::NAN; place.len()];
                    forward(&shape, maps.clone(), batch, &weights, &bias, &padded, scratch, &mut part);
                    assert_eq!(part, y[place.clone()], "{maps:?}");
                    let taps = maps.start * shape.taps()..maps.end * shape.taps();
                    let mut part = vec![f32::NAN; taps.len()];
                    backward_weights(&shape, batch, &dy[place], &padded, scratch, &mut part);
                    assert_eq!(part, dw[taps], "{at_once} at a time");
                }
            }
        }
    }
}
