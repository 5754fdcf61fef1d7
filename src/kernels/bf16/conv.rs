//! Convolution (stride 1, zero padding that keeps the size) and its gradients with factors rounded to bf16.

use super::TERMS;
use super::amx::Amx;
use super::rounded::Rounded;
use super::tiles::Tiles;
use crate::kernels::conv::ConvShape;

/// A way to compute the three products, and its scratch, which grows and never shrinks.
pub trait Products: Send + Sync {
    /// [`crate::kernels::conv::forward`] with `weights` and `x` rounded to bf16.
    ///
    /// # Panics
    /// If a length does not fit the shape or `k` is even.
    fn forward(&mut self, shape: &ConvShape, batch: usize, weights: &[f32], bias: &[f32], x: &[f32], y: &mut [f32]);

    /// [`crate::kernels::conv::backward_input`] with `weights` and `dy` rounded to bf16.
    ///
    /// # Panics
    /// If a length does not fit the shape or `k` is even.
    fn backward_input(&mut self, shape: &ConvShape, batch: usize, weights: &[f32], dy: &[f32], dx: &mut [f32]);

    /// [`crate::kernels::conv::backward_weights`] with `dy` and `x` rounded to bf16.
    ///
    /// # Panics
    /// If a length does not fit the shape or `k` is even.
    fn backward_weights(&mut self, shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]);

    /// The same way with scratch of its own.
    fn replicate(&self) -> Box<dyn Products>;
}

impl Clone for Box<dyn Products> {
    fn clone(&self) -> Self {
        self.replicate()
    }
}

/// The fastest way of this machine.
pub fn products() -> Box<dyn Products> {
    if Amx::is_there() { Box::new(Tiles::<Amx>::new()) } else { Box::new(Rounded::default()) }
}

/// Whether factors of this shape are rounded, on every CPU: where tiles are full. With half of the channels, on either
/// side, the three products by tiles take longer than in f32.
pub fn rounds(shape: &ConvShape) -> bool {
    shape.c_in.min(shape.c_out) >= TERMS
}

#[cfg(test)]
mod tests {
    use super::super::emulated::Emulated;
    use super::super::{LANES, Row, Unit, round};
    use super::*;
    use crate::aligned::Aligned;
    use crate::kernels::conv::{backward_input_reference, backward_weights_reference, forward_reference};
    use crate::kernels::parity::{close, random};
    use crate::kernels::threads::pool;

    /// Channels and images that fill no tile and more than one, kernels larger than the image, odd rows.
    fn shapes() -> Vec<(ConvShape, usize)> {
        let mut shapes = Vec::new();
        for batch in [1, 7, 16, 17, 33] {
            for (c_in, c_out, h, w, k) in [
                (1, 1, 1, 1, 1),
                (8, 16, 4, 3, 3),
                (9, 3, 3, 2, 5),
                (33, 40, 5, 6, 3),
                (16, 65, 2, 5, 3),
                (35, 8, 3, 7, 1),
            ] {
                shapes.push((ConvShape { c_in, c_out, h, w, k }, batch));
            }
        }
        shapes
    }

    /// Makes a way with scratch in which somebody left NaN.
    type Make = fn() -> Box<dyn Products>;

    /// Both ways, tiles by the reference of the matrix unit and by the unit where there is one.
    fn ways() -> Vec<(&'static str, Make)> {
        let mut ways: Vec<(&str, Make)> = vec![("rounded", spoiled_rounded), ("tiles", spoiled_tiles::<Emulated>)];
        if Amx::is_there() {
            ways.push(("AMX", spoiled_tiles::<Amx>));
        }
        ways
    }

    fn spoiled_rounded() -> Box<dyn Products> {
        let numbers = || {
            let mut numbers = Aligned::zeros(9000);
            numbers.fill(f32::NAN);
            numbers
        };
        Box::new(Rounded { factors: [numbers(), numbers()], work: numbers() })
    }

    fn spoiled_tiles<U: Unit + 'static>() -> Box<dyn Products> {
        let rows = || vec![Row([0x7fc0_7fc0; LANES]); 9000];
        let mut tiles = Tiles::<U>::new();
        (tiles.left, tiles.right) = (rows(), rows());
        Box::new(tiles)
    }

    /// `y`, `dx` and `dw` of weights, `x` and `dy`; the bias is `random("bias", C_out)`.
    fn all(make: Make, s: &ConvShape, b: usize, [w, x, dy]: &[Vec<f32>; 3]) -> [Vec<f32>; 3] {
        let mut way = make();
        let [mut y, mut dx, mut dw] = [dy.len(), x.len(), w.len()].map(|n| vec![f32::NAN; n]);
        way.forward(s, b, w, &random("bias", s.c_out), x, &mut y);
        way.backward_input(s, b, w, dy, &mut dx);
        way.backward_weights(s, b, dy, x, &mut dw);
        [y, dx, dw]
    }

    /// Weights, `x` and `dy`.
    fn operands(s: &ConvShape, b: usize) -> [Vec<f32>; 3] {
        let pixels = s.h * s.w * b;
        [("w", s.weights_len()), ("x", s.c_in * pixels), ("dy", s.c_out * pixels)].map(|(name, n)| random(name, n))
    }

    #[test]
    fn products_are_the_references_of_rounded_factors() {
        for (s, b) in shapes() {
            let exact = operands(&s, b);
            let [w, x, dy] = exact
                .each_ref()
                .map(|numbers| numbers.iter().map(|&exact| f32::from_bits(round(exact))).collect::<Vec<f32>>());
            let mut expected = [dy.len(), x.len(), w.len()].map(|n| vec![0.0; n]);
            forward_reference(&s, b, &w, Some(&random("bias", s.c_out)), &x, &mut expected[0]);
            backward_input_reference(&s, b, &w, &dy, &mut expected[1]);
            backward_weights_reference(&s, b, &dy, &x, &mut expected[2]);
            for (way, make) in ways() {
                let found = all(make, &s, b, &exact);
                for (name, (found, expected)) in ["y", "dx", "dw"].into_iter().zip(found.iter().zip(&expected)) {
                    close(&format!("{name} {way} {s:?} B{b}"), found, expected, 1e-5);
                }
            }
        }
    }

    /// With more workers than pieces of outputs, too.
    #[test]
    fn neither_scratch_nor_threads_change_a_bit() {
        for (s, b) in shapes().into_iter().chain([(ConvShape { c_in: 40, c_out: 150, h: 3, w: 3, k: 3 }, 16)]) {
            let operands = operands(&s, b);
            for (way, make) in ways() {
                let bits = |threads| {
                    let products = pool(threads).unwrap().run(|| all(make, &s, b, &operands));
                    products.map(|p| p.into_iter().map(f32::to_bits).collect::<Vec<_>>())
                };
                let one = bits(1);
                assert!(one.iter().flatten().all(|bits| !f32::from_bits(*bits).is_nan()), "{way} {s:?} B{b}");
                assert!([2, 3, 4, 5].into_iter().all(|threads| bits(threads) == one), "{way} {s:?} B{b}");
            }
        }
    }

    /// A diverged network is noticed by its NaN.
    #[test]
    fn nan_stays() {
        let s = ConvShape { c_in: 8, c_out: 8, h: 2, w: 2, k: 3 };
        // In the weights, the input and the gradient; which of the three products each is in.
        for (which, reached) in [[true, true, false], [true, false, true], [false, true, true]].into_iter().enumerate()
        {
            let mut numbers = operands(&s, 1);
            numbers[which][3] = f32::from_bits(0xffff_ffff);
            for (way, make) in ways() {
                let found = all(make, &s, 1, &numbers).map(|p| p.iter().any(|v| v.is_nan()));
                assert_eq!(found, reached, "{way}");
            }
        }
    }
}
