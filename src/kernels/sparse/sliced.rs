//! Masked weights of single samples: rows side by side, not one after the other.

use super::Pattern;
use super::panel::with_weights;
use super::product::PIECE;
use crate::kernels::threads::for_pieces;

/// Rows of a chunk.
const ROWS: usize = 8;

/// A synapse of each row of a chunk.
#[derive(Clone)]
struct Step {
    w: [f32; ROWS],
    /// Presynaptic neurons.
    pre: [u16; ROWS],
}

/// The weights of a masked projection laid out for single samples: sliced ELLPACK of rows sorted by length (SELL-C-σ,
/// Kreutzer et al. 2014, SIAM J. Sci. Comput. 36, C401).
///
/// Row by row, the processor guesses the end of each, often wrong, and the lanes of each are summed. Here the rows of a
/// chunk, which have about as many synapses, are a lane each, and every output is one chain of multiply-adds in the
/// order of its synapses. A row that ends before its chunk goes on with weight 0 of its last synapse's neuron: an
/// output is not a number where that neuron's activity is infinite.
#[derive(Clone)]
pub struct Sliced {
    n_post: usize,
    n_pre: usize,
    /// Postsynaptic neurons that have synapses, those with most of them first; eight are a chunk.
    order: Vec<u32>,
    /// First step of each chunk, and the end.
    starts: Vec<u32>,
    steps: Vec<Step>,
}

impl Sliced {
    /// Presynaptic neurons at most: as many as 16 bits can name.
    pub const MOST_PRE: usize = 1 << 16;

    /// Lays out `w (S)` of the pattern.
    ///
    /// # Panics
    /// If a shape is wrong, or beyond [`Sliced::MOST_PRE`].
    pub fn new(p: Pattern, w: &[f32]) -> Self {
        p.check();
        assert!(p.n_pre <= Self::MOST_PRE, "N_pre must be at most {}", Self::MOST_PRE);
        assert!(p.pre.iter().all(|&pre| (pre as usize) < p.n_pre), "pre must be below N_pre");
        assert_eq!(w.len(), p.synapses(), "w must be (S)");
        let row = |post: u32| p.row_starts[post as usize] as usize..p.row_starts[post as usize + 1] as usize;
        let mut order: Vec<u32> = (0..).take(p.n_post).filter(|&post| !row(post).is_empty()).collect();
        order.sort_by_key(|&post| std::cmp::Reverse(row(post).len()));
        let (mut starts, mut steps) = (vec![0], Vec::new());
        for chunk in order.chunks(ROWS) {
            let first = steps.len();
            steps.resize(first + row(chunk[0]).len(), Step { w: [0.0; ROWS], pre: [0; ROWS] });
            for (lane, &post) in chunk.iter().enumerate() {
                let last = row(post).end - 1;
                for (step, s) in steps[first..].iter_mut().zip(row(post).start..) {
                    step.pre[lane] = p.pre[s.min(last)] as u16;
                    step.w[lane] = if s <= last { w[s] } else { 0.0 };
                }
            }
            starts.push(steps.len() as u32);
        }
        Self { n_post: p.n_post, n_pre: p.n_pre, order, starts, steps }
    }

    /// `y = (M ∘ W) x`, or `y += (M ∘ W) x` with `accumulate`: `x (N_pre)`, `y (N_post)`.
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn forward(&self, x: &[f32], y: &mut [f32], accumulate: bool) {
        assert_eq!(x.len(), self.n_pre, "x must be (N_pre)");
        assert_eq!(y.len(), self.n_post, "y must be (N_post)");
        if !accumulate {
            y.fill(0.0);
        }
        match self.n_pre {
            ..=0x400 => self.add::<0x400>(x, y),
            0x401..=0x2000 => self.add::<0x2000>(x, y),
            _ => self.add::<{ Self::MOST_PRE }>(x, y),
        }
    }

    /// `y += (M ∘ W) x`, `x` in a table of `N`, a power of two: a place in it cannot be outside, so that nothing can
    /// fail and the compiler takes the instruction that gathers, where it is fast. What is behind `x` is never read.
    fn add<const N: usize>(&self, x: &[f32], y: &mut [f32]) {
        let chunks = self.starts.len() - 1;
        with_weights(N + chunks * ROWS, |room| {
            let (table, sums) = room.split_at_mut(N);
            table[..x.len()].copy_from_slice(x);
            let Some(table) = table.first_chunk::<N>() else { return };
            let sums = sums.as_chunks_mut::<ROWS>().0;
            let work = self.steps.len() * ROWS;
            // Small pieces: the first ones have the longest rows.
            let share = chunks.div_ceil((4 * work / PIECE).clamp(1, 64));
            for_pieces(sums, share, work, |i, sums| {
                sum_chunks(&self.starts[i * share..][..=sums.len()], &self.steps, table, sums);
            });
            for (&post, &sum) in self.order.iter().zip(sums.as_flattened()) {
                y[post as usize] += sum;
            }
        });
    }
}

/// The sums of the rows of chunks that begin and end at `starts`.
#[inline(never)]
fn sum_chunks<const N: usize>(starts: &[u32], steps: &[Step], table: &[f32; N], sums: &mut [[f32; ROWS]]) {
    for (ends, sums) in starts.windows(2).zip(sums) {
        // Vectors written out would be gathered number by number.
        let mut sum = [0.0f32; ROWS];
        for Step { w, pre } in &steps[ends[0] as usize..ends[1] as usize] {
            for row in 0..ROWS {
                sum[row] = w[row].mul_add(table[usize::from(pre[row]) % N], sum[row]);
            }
        }
        *sums = sum;
    }
}

#[cfg(test)]
mod tests {
    use super::super::forward_reference;
    use super::super::tests::Mask;
    use super::*;
    use crate::kernels::parity::{SIZES, close, random};
    use crate::kernels::threads::pool;
    use crate::rng::Rng;

    /// Chunks that are not full, rows of every length in one of them, empty rows, every table and its neighbours.
    #[test]
    fn it_is_the_reference_whatever_the_threads() {
        let mut rng = Rng::stream(9, "sliced", &[]);
        let shapes = SIZES.into_iter().chain([0, 64, 130]).flat_map(|n_post| {
            [(1, 0.5), (7, 0.3), (33, 0.1), (200, 0.05), (90, 0.9)].map(|(n_pre, density)| (n_post, n_pre, density))
        });
        let tables = [0, 1023, 1024, 1025, 8192, 8193, Sliced::MOST_PRE].map(|n_pre| (40, n_pre, 0.05));
        for (n_post, n_pre, density) in shapes.chain(tables) {
            let mask = Mask::random(n_post, n_pre, density, &mut rng);
            let p = mask.view();
            let (w, x) = (random("w", p.synapses()), random("x", n_pre));
            let sliced = Sliced::new(p, &w);
            for accumulate in [false, true] {
                let start = || vec![if accumulate { 0.5 } else { f32::NAN }; n_post];
                let mut expected = start();
                forward_reference(p, 1, &w, &x, &mut expected, accumulate);
                let found = [1, 2, 4].map(|threads| {
                    let mut y = start();
                    pool(threads).unwrap().run(|| sliced.forward(&x, &mut y, accumulate));
                    y
                });
                close(&format!("{n_post} x {n_pre}"), &found[0], &expected, 1e-5);
                assert!(found.iter().all(|y| *y == found[0]), "{n_post} x {n_pre}");
            }
        }
    }

    /// What lies behind the end of a row is no synapse: a diverged neuron reaches those that it is joined to alone.
    #[test]
    fn a_diverged_input_stays_with_its_synapses() {
        let p = Pattern { n_post: 3, n_pre: 3, row_starts: &[0, 2, 3, 3], pre: &[0, 2, 1] };
        let mut y = [0.0; 3];
        Sliced::new(p, &[1.0, 2.0, 3.0]).forward(&[f32::NAN, 5.0, f32::INFINITY], &mut y, false);
        assert!(y[0].is_nan());
        assert_eq!(y[1..], [15.0, 0.0]);
    }
}
