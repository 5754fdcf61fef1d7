//! The products of [`super::conv`] in f32: the factors rounded, then the kernels of [`crate::kernels::conv`].

use super::conv::Products;
use super::round;
use crate::aligned::Aligned;
use crate::kernels::conv::{self, ConvShape};
use crate::kernels::threads::for_pieces;

/// Rounded factors, and what the kernel works in.
#[derive(Clone, Default)]
pub(super) struct Rounded {
    pub(super) factors: [Aligned; 2],
    pub(super) work: Aligned,
}

impl Products for Rounded {
    fn forward(&mut self, shape: &ConvShape, batch: usize, weights: &[f32], bias: &[f32], x: &[f32], y: &mut [f32]) {
        let [weights, x] = rounded([weights, x], &mut self.factors);
        conv::forward(shape, batch, weights, Some(bias), self.work.prefix(shape.scratch_len(batch)), x, y);
    }

    fn backward_input(&mut self, shape: &ConvShape, batch: usize, weights: &[f32], dy: &[f32], dx: &mut [f32]) {
        let [weights, dy] = rounded([weights, dy], &mut self.factors);
        conv::backward_input(shape, batch, weights, self.work.prefix(shape.backward_scratch_len(batch)), dy, dx);
    }

    fn backward_weights(&mut self, shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
        let [dy, x] = rounded([dy, x], &mut self.factors);
        conv::backward_weights(shape, batch, dy, x, self.work.prefix(shape.partial_len(batch)), dw);
    }

    fn replicate(&self) -> Box<dyn Products> {
        Box::new(self.clone())
    }
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
