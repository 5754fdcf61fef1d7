//! The all-to-all projection of one sample: nothing but reading its weights once.

use super::lanes::{LANES, ONE_REGISTER, load, store_first};
use super::threads::for_pieces;
use crate::aligned::Aligned;
use wide::f32x16;

/// Widest panel of [`ByInput`], vectors: it leaves registers for the input.
const WIDEST: usize = if ONE_REGISTER { 24 } else { 6 };

/// [`one_panel`] of `$width` vectors, up to the widest.
macro_rules! one_panel {
    ($width:expr, $arguments:tt) => {
        one_panel!($width, $arguments, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24)
    };
    ($width:expr, $arguments:tt, $($known:literal)+) => {
        match $width {
            $($known => one_panel::<$known> $arguments,)+
            width => unreachable!("a panel of {width} vectors"),
        }
    };
}

/// The weights of a dense projection turned to lie input by input, so that those of a silent input are never read.
///
/// After a ReLU and pooling, a third of the inputs or more are silent. The output is cut into panels of some vectors
/// that stay in registers; each panel holds its weights `(N_pre, width)`. Every output is one chain of multiply-adds in
/// the order of the inputs, as in a batch: the same bits, unless a weight of a silent input is not finite.
#[derive(Clone)]
pub struct ByInput {
    n_post: usize,
    n_pre: usize,
    panels: Aligned,
}

impl ByInput {
    /// Turns `w (N_post, N_pre)`.
    ///
    /// # Panics
    /// If its length does not fit the shape.
    pub fn new(n_post: usize, n_pre: usize, w: &[f32]) -> Self {
        assert_eq!(w.len(), n_post * n_pre, "w must be (N_post, N_pre)");
        let mut panels = Aligned::zeros(n_post.next_multiple_of(LANES) * n_pre);
        let mut rest = &mut panels[..];
        for (first, width) in cut(n_post) {
            let (panel, after) = rest.split_at_mut(n_pre * width * LANES);
            for (post, row) in w.chunks_exact(n_pre.max(1)).enumerate().skip(first).take(width * LANES) {
                for (lanes, &w) in panel.chunks_exact_mut(width * LANES).zip(row) {
                    lanes[post - first] = w;
                }
            }
            rest = after;
        }
        Self { n_post, n_pre, panels }
    }

    /// `y = W x + b`: `bias (N_post)`, `x (N_pre)`, `y (N_post)`.
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn forward(&self, bias: Option<&[f32]>, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), self.n_pre, "x must be (N_pre)");
        assert_eq!(y.len(), self.n_post, "y must be (N_post)");
        assert!(bias.is_none_or(|b| b.len() == self.n_post), "bias must be (N_post)");
        let mut active = vec![(0, 0.0); x.len() + 1];
        let mut n = 0;
        for (pre, &x) in (0..).zip(x) {
            active[n] = (pre, x);
            n += usize::from(x != 0.0);
        }
        let (active, mut rest) = (&active[..n], &self.panels[..]);
        for (first, width) in cut(self.n_post) {
            let (panel, after) = rest.split_at(self.n_pre * width * LANES);
            let y = &mut y[first..];
            let bias = bias.map(|b| &b[first..]);
            one_panel!(width, (active, panel, bias, y));
            rest = after;
        }
    }
}

/// First output and width in vectors of each panel: as few as can be, as wide as each other but for one vector, so that
/// none has few sums, which would not hide the latency of a multiply-add, beside many.
fn cut(n_post: usize) -> impl Iterator<Item = (usize, usize)> {
    let vectors = n_post.div_ceil(LANES);
    let panels = vectors.div_ceil(WIDEST);
    let start = move |panel: usize| vectors * panel / panels;
    (0..panels).map(move |panel| (start(panel) * LANES, start(panel + 1) - start(panel)))
}

/// `y = b + Σ w[pre] x` over the active inputs `(pre, x)`, for the `V` vectors of one panel `(N_pre, V)`.
#[inline(never)]
fn one_panel<const V: usize>(active: &[(u32, f32)], panel: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let rows = panel.as_chunks::<LANES>().0.as_chunks::<V>().0;
    let mut sums = [f32x16::ZERO; V];
    if let Some(bias) = bias {
        for (sum, bias) in sums.iter_mut().zip(bias.chunks(LANES)) {
            *sum = load(bias);
        }
    }
    for &(pre, x) in active {
        let (row, x) = (&rows[pre as usize], f32x16::splat(x));
        for v in 0..V {
            sums[v] = f32x16::new(row[v]).mul_add(x, sums[v]);
        }
    }
    for (sum, y) in sums.into_iter().zip(y.chunks_mut(LANES)) {
        let n = y.len();
        store_first(y, 0, n, sum);
    }
}

/// `y = W x + b` with `w (N_post, N_pre)` as it is: each row is a dot product along `N_pre`, in four chains of vectors.
pub(super) fn forward_one(n_pre: usize, w: &[f32], bias: Option<&[f32]>, x: &[f32], y: &mut [f32]) {
    const CHAINS: usize = 4;
    let rows = 64;
    let work = w.len();
    for_pieces(y, rows, work, |i, piece| {
        for (r, y) in piece.iter_mut().enumerate() {
            let post = i * rows + r;
            let row = &w[post * n_pre..][..n_pre];
            let (blocks, row_rest) = row.as_chunks::<{ CHAINS * LANES }>();
            let (x_blocks, x_rest) = x.as_chunks::<{ CHAINS * LANES }>();
            let mut acc = [f32x16::ZERO; CHAINS];
            for (w, x) in blocks.iter().zip(x_blocks) {
                for c in 0..CHAINS {
                    let at = c * LANES..(c + 1) * LANES;
                    acc[c] = load(&w[at.clone()]).mul_add(load(&x[at]), acc[c]);
                }
            }
            for (w, x) in row_rest.chunks(LANES).zip(x_rest.chunks(LANES)) {
                acc[0] = load(w).mul_add(load(x), acc[0]);
            }
            let sum = ((acc[0] + acc[1]) + (acc[2] + acc[3])).reduce_add();
            *y = sum + bias.map_or(0.0, |b| b[post]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::dense::{forward, forward_reference};
    use crate::kernels::parity::{SIZES, close, random};

    /// Every width of a panel and its end, with inputs silent here and there.
    #[test]
    fn by_input_it_is_the_reference_and_to_the_bit_that_of_a_batch() {
        for n_post in SIZES.into_iter().chain((0..=WIDEST + 1).map(|vectors| (vectors * LANES).saturating_sub(1))) {
            for n_pre in SIZES.into_iter().chain([0, 70]) {
                let (w, bias, mut x) = (random("w", n_post * n_pre), random("bias", n_post), random("x", n_pre));
                x.iter_mut().step_by(3).for_each(|x| *x = 0.0);
                let turned = ByInput::new(n_post, n_pre, &w);
                for bias in [None, Some(&bias[..])] {
                    let [mut y, mut expected] = [(); 2].map(|()| vec![f32::NAN; n_post]);
                    turned.forward(bias, &x, &mut y);
                    forward_reference(n_post, n_pre, 1, &w, bias, &x, &mut expected);
                    close(&format!("{n_post} x {n_pre}"), &y, &expected, 1e-5);

                    let twice: Vec<f32> = x.iter().flat_map(|&x| [x, 1.0]).collect();
                    let mut both = vec![f32::NAN; 2 * n_post];
                    forward(n_post, n_pre, 2, &w, bias, &twice, &mut both);
                    let same = y.iter().zip(both.iter().step_by(2)).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{n_post} x {n_pre}: other bits than in a batch");
                }
            }
        }
    }

    #[test]
    fn weights_of_silent_inputs_are_not_read() {
        let turned = ByInput::new(20, 3, &[f32::NAN; 60]);
        let mut y = vec![1.0; 20];
        turned.forward(None, &[0.0; 3], &mut y);
        assert_eq!(y, [0.0; 20]);
    }
}
