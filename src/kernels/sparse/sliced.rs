//! Masked weights of single samples: rows side by side, not one after the other.

use super::Pattern;
use super::product::PIECE;
use crate::kernels::threads::for_pieces;

/// Rows of a slice.
const ROWS: usize = 8;

/// A synapse of each row of a slice.
#[derive(Clone)]
struct Column {
    w: [f32; ROWS],
    /// Presynaptic neurons.
    pre: [u16; ROWS],
}

/// The weights of a masked projection laid out for single samples: sliced ELLPACK of rows sorted by length (SELL-C-σ,
/// Kreutzer et al. 2014, SIAM J. Sci. Comput. 36, C401).
///
/// Row by row, the processor guesses the end of each, often wrong, and the lanes of each are summed. Here eight rows of
/// about as many synapses are a lane each, and every output is one chain of multiply-adds in the order of its synapses.
#[derive(Clone)]
pub struct Sliced {
    n_post: usize,
    n_pre: usize,
    /// Postsynaptic neurons that have synapses, those with most of them first; eight are a slice.
    order: Vec<u32>,
    /// First column of each slice, and the end.
    starts: Vec<u32>,
    /// Behind the end of a row, weight 0 of its last synapse's neuron.
    columns: Vec<Column>,
}

impl Sliced {
    /// Presynaptic neurons at most: as many as 16 bits can name.
    pub const MOST: usize = 1 << 16;

    /// Lays out `w (S)` of the pattern.
    ///
    /// # Panics
    /// If a shape is wrong, or beyond [`Sliced::MOST`].
    pub fn new(p: Pattern, w: &[f32]) -> Self {
        p.check();
        assert!(p.n_pre <= Self::MOST, "N_pre must be at most {}", Self::MOST);
        assert_eq!(w.len(), p.synapses(), "w must be (S)");
        let row = |post: u32| p.row_starts[post as usize] as usize..p.row_starts[post as usize + 1] as usize;
        let mut order: Vec<u32> = (0..).take(p.n_post).filter(|&post| !row(post).is_empty()).collect();
        order.sort_by_key(|&post| std::cmp::Reverse(row(post).len()));
        let (mut starts, mut columns) = (vec![0], Vec::new());
        for slice in order.chunks(ROWS) {
            let first = columns.len();
            columns.resize(first + row(slice[0]).len(), Column { w: [0.0; ROWS], pre: [0; ROWS] });
            for (lane, &post) in slice.iter().enumerate() {
                let last = row(post).end - 1;
                for (column, s) in columns[first..].iter_mut().zip(row(post).start..) {
                    column.pre[lane] = p.pre[s.min(last)] as u16;
                    column.w[lane] = if s <= last { w[s] } else { 0.0 };
                }
            }
            starts.push(columns.len() as u32);
        }
        Self { n_post: p.n_post, n_pre: p.n_pre, order, starts, columns }
    }

    /// `y = (M ∘ W) x`, or `y += (M ∘ W) x` with `accumulate`: `x (N_pre)`, `y (N_post)`.
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn forward(&self, x: &[f32], y: &mut [f32], accumulate: bool) {
        assert_eq!(x.len(), self.n_pre, "x must be (N_pre)");
        assert_eq!(y.len(), self.n_post, "y must be (N_post)");
        let mut sums = vec![[0.0; ROWS]; self.starts.len() - 1];
        match self.n_pre {
            ..0x400 => self.sums::<0x400>(x, &mut sums),
            0x400..0x2000 => self.sums::<0x2000>(x, &mut sums),
            _ => self.sums::<{ Self::MOST }>(x, &mut sums),
        }
        if !accumulate {
            y.fill(0.0);
        }
        for (&post, &sum) in self.order.iter().zip(sums.as_flattened()) {
            y[post as usize] += sum;
        }
    }

    /// The sums of the rows of each slice, `x` in a table of `N`, a power of two: a place in it cannot be outside, so that
    /// nothing can fail and the compiler takes the instruction that gathers, where it is fast.
    fn sums<const N: usize>(&self, x: &[f32], sums: &mut [[f32; ROWS]]) {
        let mut table = [0.0; N];
        table[..x.len()].copy_from_slice(x);
        let work = self.columns.len() * ROWS;
        let slices = sums.len().div_ceil((work / PIECE).clamp(1, 16));
        for_pieces(sums, slices, work, |i, sums| {
            add_slices(&self.starts[i * slices..][..=sums.len()], &self.columns, &table, sums);
        });
    }
}

/// Adds the sums of the rows of slices that begin and end at `starts`.
#[inline(never)]
fn add_slices<const N: usize>(starts: &[u32], columns: &[Column], table: &[f32; N], sums: &mut [[f32; ROWS]]) {
    for (ends, sums) in starts.windows(2).zip(sums) {
        let mut sum = [0.0f32; ROWS];
        for Column { w, pre } in &columns[ends[0] as usize..ends[1] as usize] {
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

    /// Slices that are not full, rows of every length in one of them, empty rows, every table.
    #[test]
    fn it_is_the_reference_whatever_the_threads() {
        let mut rng = Rng::stream(9, "sliced", &[]);
        let shapes = SIZES.into_iter().chain([0, 64, 130]).flat_map(|n_post| {
            [(1, 0.5), (7, 0.3), (33, 0.1), (200, 0.05), (90, 0.9)].map(|(n_pre, density)| (n_post, n_pre, density))
        });
        for (n_post, n_pre, density) in shapes.chain([(40, 5_000, 0.01), (500, Sliced::MOST, 0.01)]) {
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
