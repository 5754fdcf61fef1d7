//! The products of [`super::conv`] in f32: the factors rounded, then the kernels of [`crate::kernels::conv`].

use super::round;
use crate::aligned::Aligned;
use crate::kernels::conv::{self, ConvShape};
use crate::kernels::threads::for_pieces;

/// Rounded factors, and what the kernel works in. It grows and never shrinks.
#[derive(Clone, Default)]
pub(super) struct Scratch {
    pub(super) factors: [Aligned; 2],
    pub(super) work: Aligned,
}

/// See [`super::conv::forward`].
pub(super) fn forward(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
    scratch: &mut Scratch,
    x: &[f32],
    y: &mut [f32],
) {
    let [weights, x] = rounded([weights, x], &mut scratch.factors);
    conv::forward(shape, batch, weights, Some(bias), scratch.work.prefix(shape.scratch_len(batch)), x, y);
}

/// See [`super::conv::backward_input`].
pub(super) fn backward_input(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    scratch: &mut Scratch,
    dy: &[f32],
    dx: &mut [f32],
) {
    let [weights, dy] = rounded([weights, dy], &mut scratch.factors);
    conv::backward_input(shape, batch, weights, scratch.work.prefix(shape.backward_scratch_len(batch)), dy, dx);
}

/// See [`super::conv::backward_weights`].
pub(super) fn backward_weights(
    shape: &ConvShape,
    batch: usize,
    dy: &[f32],
    x: &[f32],
    scratch: &mut Scratch,
    dw: &mut [f32],
) {
    let [dy, x] = rounded([dy, x], &mut scratch.factors);
    conv::backward_weights(shape, batch, dy, x, scratch.work.prefix(shape.partial_len(batch)), dw);
}

/// Copies of `exact`, each number the nearest bf16.
fn rounded<'a>(exact: [&[f32]; 2], scratch: &'a mut [Aligned; 2]) -> [&'a [f32]; 2] {
    const PIECE: usize = 1 << 14;
    let [first, second] = scratch;
    [(exact[0], first), (exact[1], second)].map(|(exact, scratch)| {
        let rounded = scratch.prefix(exact.len());
        for_pieces(rounded, PIECE, exact.len(), |piece, rounded| {
            for (rounded, &exact) in rounded.iter_mut().zip(&exact[piece * PIECE..]) {
                *rounded = f32::from_bits(round(exact));
            }
        });
        &*rounded
    })
}
