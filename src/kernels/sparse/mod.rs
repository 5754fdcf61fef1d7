//! Products with a masked weight matrix, stored only at its synapses: forward, transposed, and masked outer product.
//!
//! Activity is `(N, B)`, so one weight meets a contiguous run of lanes and nothing is gathered, but for a single sample
//! whose weights are laid out ([`Sliced`]). The batch is cut into tiles of one, two or four vectors, packed neuron
//! after neuron, or of up to eight where it is read in place because it is aligned already or seldom read; a tile of
//! one output row stays in registers while the row's synapses stream past. Large masks meet a stretch of their inputs
//! at a time. The order of every sum follows from the shapes alone.

mod outer;
mod panel;
mod product;
mod sliced;
mod stretch;
mod transpose;

pub(super) use outer::{each_row, outer, update_row};
use product::product;
pub use sliced::Sliced;
pub use transpose::{Transpose, backward_input};

/// The mask of a projection as CSR by postsynaptic neuron, a plain view that checks lengths only.
#[derive(Clone, Copy, Debug)]
pub struct Pattern<'a> {
    /// Number of postsynaptic neurons.
    pub n_post: usize,
    /// Number of presynaptic neurons.
    pub n_pre: usize,
    /// Start of each postsynaptic row `(N_post + 1)`.
    pub row_starts: &'a [u32],
    /// Presynaptic neuron of each synapse `(S)`.
    pub pre: &'a [u32],
}

impl Pattern<'_> {
    /// Number of synapses S.
    pub fn synapses(&self) -> usize {
        self.pre.len()
    }

    /// Postsynaptic neuron of synapse `s`.
    fn post(&self, s: usize) -> usize {
        self.row_starts.partition_point(|&start| start as usize <= s) - 1
    }

    pub(super) fn check(&self) {
        let s = self.pre.len();
        assert_eq!(self.row_starts.len(), self.n_post + 1, "row_starts must be (N_post + 1)");
        assert_eq!(self.row_starts[self.n_post] as usize, s, "row_starts must end at S");
    }
}

/// `y = (M ∘ W) x`, or `y += (M ∘ W) x` with `accumulate`.
///
/// `w (S)` in CSR order, `x (N_pre, B)`, `y (N_post, B)`. A row without synapses gives 0.
///
/// # Panics
/// If a shape is wrong.
pub fn forward(p: Pattern, batch: usize, w: &[f32], x: &[f32], y: &mut [f32], accumulate: bool) {
    p.check();
    assert_eq!(w.len(), p.synapses(), "w must be (S)");
    assert_eq!(x.len(), p.n_pre * batch, "x must be (N_pre, B)");
    assert_eq!(y.len(), p.n_post * batch, "y must be (N_post, B)");
    product(p, batch, w, x, y, accumulate);
}

/// `dw[s] = Σ_b dy[post, b] x[pre, b]` at every stored synapse `s = (post, pre)`: the outer product under the mask.
///
/// `dy (N_post, B)`, `x (N_pre, B)`, `dw (S)` in CSR order.
///
/// # Panics
/// If a shape is wrong.
pub fn backward_weights(p: Pattern, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    outer(p, batch, dy, x, dw, |_, _| ());
}

/// [`forward`] as loops.
pub fn forward_reference(p: Pattern, batch: usize, w: &[f32], x: &[f32], y: &mut [f32], accumulate: bool) {
    for post in 0..p.n_post {
        for b in 0..batch {
            let mut sum = if accumulate { y[post * batch + b] } else { 0.0 };
            for s in p.row_starts[post] as usize..p.row_starts[post + 1] as usize {
                sum += w[s] * x[p.pre[s] as usize * batch + b];
            }
            y[post * batch + b] = sum;
        }
    }
}

/// [`backward_input`] as loops over the forward pattern, so that the transpose is checked as well.
pub fn backward_input_reference(p: Pattern, batch: usize, w: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    if !accumulate {
        dx.fill(0.0);
    }
    for post in 0..p.n_post {
        for s in p.row_starts[post] as usize..p.row_starts[post + 1] as usize {
            for b in 0..batch {
                dx[p.pre[s] as usize * batch + b] += w[s] * dy[post * batch + b];
            }
        }
    }
}

/// [`backward_weights`] as loops.
pub fn backward_weights_reference(p: Pattern, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    for post in 0..p.n_post {
        for s in p.row_starts[post] as usize..p.row_starts[post + 1] as usize {
            dw[s] = (0..batch).map(|b| dy[post * batch + b] * x[p.pre[s] as usize * batch + b]).sum();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernels::parity::{BATCHES, check, random};
    use crate::rng::Rng;

    /// A random mask with an empty, a single-synapse and a full row where there is room for them.
    pub struct Mask {
        n_post: usize,
        n_pre: usize,
        row_starts: Vec<u32>,
        pre: Vec<u32>,
        transpose: Transpose,
    }

    impl Mask {
        pub fn random(n_post: usize, n_pre: usize, density: f32, rng: &mut Rng) -> Self {
            let (mut row_starts, mut pre) = (vec![0], Vec::new());
            for i in 0..n_post {
                match i {
                    0 if n_post > 2 => {}
                    1 if n_pre > 0 => pre.push(rng.below(n_pre) as u32),
                    2 => pre.extend(0..n_pre as u32),
                    _ => pre.extend((0..n_pre as u32).filter(|_| rng.chance(density))),
                }
                row_starts.push(pre.len() as u32);
            }
            let transpose = Transpose::of(n_pre, &row_starts, &pre);
            Self { n_post, n_pre, row_starts, pre, transpose }
        }

        pub fn view(&self) -> Pattern<'_> {
            Pattern { n_post: self.n_post, n_pre: self.n_pre, row_starts: &self.row_starts, pre: &self.pre }
        }
    }

    #[test]
    fn products_are_their_references() {
        let mut rng = Rng::stream(3, "sparse", &[]);
        for (n_post, n_pre) in [(0, 3), (3, 0), (1, 1), (2, 5), (5, 2), (17, 40), (50, 33)] {
            for density in [0.0, 0.1, 0.6] {
                let mask = Mask::random(n_post, n_pre, density, &mut rng);
                let p = mask.view();
                let w = random("w", p.synapses());
                // 80, 127 and 130 put every width of tile after every other, 240 those of activity in place.
                for batch in BATCHES.into_iter().chain([0, 80, 127, 130, 240]) {
                    let [x, dy] = [("x", n_pre), ("dy", n_post)].map(|(name, n)| random(name, n * batch));
                    products_agree(p, &mask.transpose, batch, &w, &x, &dy);
                }
            }
        }
    }

    fn products_agree(p: Pattern, t: &Transpose, batch: usize, w: &[f32], x: &[f32], dy: &[f32]) {
        let label = |what| format!("{what} ({}, {}) B{batch}", p.n_post, p.n_pre);
        for accumulate in [false, true] {
            let start = |out: &mut [f32]| {
                if accumulate {
                    out.fill(0.5);
                }
            };
            let fast = |y: &mut [f32]| {
                start(y);
                forward(p, batch, w, x, y, accumulate);
            };
            check(&label("y"), dy.len(), 1e-5, fast, |y| {
                start(y);
                forward_reference(p, batch, w, x, y, accumulate);
            });
            let fast = |dx: &mut [f32]| {
                start(dx);
                backward_input(p, t, batch, w, dy, dx, accumulate);
            };
            check(&label("dx"), x.len(), 1e-5, fast, |dx| {
                start(dx);
                backward_input_reference(p, batch, w, dy, dx, accumulate);
            });
        }
        let fast = |dw: &mut [f32]| backward_weights(p, batch, dy, x, dw);
        // A sum over the batch may cancel in the only synapse there is.
        check(&label("dw"), w.len(), 1e-4, fast, |dw| backward_weights_reference(p, batch, dy, x, dw));
    }

    #[test]
    fn many_pieces_agree() {
        let mut rng = Rng::stream(5, "sparse", &[]);
        // More rows and columns than a piece; columns of thousands of synapses; a transpose in blocks; blocks read
        // ahead. Stretches of presynaptic neurons in several pieces.
        for (n_post, n_pre, density) in
            [(150, 300, 0.4), (4500, 3, 0.97), (900, 1000, 0.1), (1100, 1000, 0.97), (260, 16_500, 0.2)]
        {
            let mask = Mask::random(n_post, n_pre, density, &mut rng);
            let p = mask.view();
            for batch in [1, 16, 18, 32, 66] {
                let [x, dy] = [("x", n_pre), ("dy", n_post)].map(|(name, n)| random(name, n * batch));
                products_agree(p, &mask.transpose, batch, &random("w", p.synapses()), &x, &dy);
            }
        }
    }

    #[test]
    fn a_nan_stays_in_its_sample_and_neuron() {
        let mask = Mask::random(6, 9, 1.0, &mut Rng::stream(4, "sparse", &[]));
        let p = mask.view();
        // In one tile, and in the first and the last of several.
        for (batch, nan) in [(7, 0), (39, 0), (39, 38), (66, 3), (66, 65)] {
            let mut x = random("x", 9 * batch);
            x[4 * batch + nan] = f32::NAN;
            let mut y = vec![0.0; 6 * batch];
            forward(p, batch, &random("w", p.synapses()), &x, &mut y, false);
            assert!((0..6 * batch).all(|i| !y[i].is_nan() || i % batch == nan));
            let mut dw = vec![0.0; p.synapses()];
            backward_weights(p, batch, &random("dy", 6 * batch), &x, &mut dw);
            assert!(dw.iter().zip(p.pre).all(|(v, &pre)| v.is_nan() == (pre == 4)), "batch {batch}");
        }
    }
}
