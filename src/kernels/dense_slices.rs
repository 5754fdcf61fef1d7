//! All-to-all projections of whole slices of a batch, 16 samples each: a row of activity is one vector.
//!
//! With AVX-512 two slices go together, so that each weight is fetched once for both: the weights of a step come from
//! the third-level cache. Each element is one chain of multiply-adds in the order of `k`, whatever it goes together with.
//!
//! The input gradient leaves out neurons whose gradient is 0 in all samples, as behind a ReLU in half of them after some
//! epochs: their weights are not even read. What they would add is 0, if those are finite.

use super::dense::{Left, backward_input, forward};
use super::lanes::{LANES, ONE_REGISTER};
use super::threads::for_pieces_of;
use std::ops::Range;
use wide::f32x16;

/// Rows of a piece where a transposed factor is read by columns: long runs in memory, and sums that stay in the second-level
/// cache. Several workers rather take parts of the neurons, each all its rows.
const COLUMN_PIECE: usize = 1024;

/// Columns that such a piece goes through at a time: as many streams as the processor reads ahead. With weights that are not
/// in the second-level cache, 1024 rows by 16 columns take four fifths of the time of 256 by 12, two thirds of that of all rows.
const COLUMNS: usize = 16;

/// Slices that go together. Where two vectors are four registers, too few rows would share what each of them reads.
pub const AT_ONCE: usize = if ONE_REGISTER { 2 } else { 1 };

/// A slice of a batch at a projection.
pub struct Slice<'a> {
    /// Number of its samples B.
    pub batch: usize,
    /// What the product is taken of `(N, B)`.
    pub from: &'a [f32],
    /// Where it goes `(N, B)`.
    pub to: &'a mut [f32],
}

/// [`forward`] of several slices: from `x (N_pre, B)` to `y (N_post, B)`. [`AT_ONCE`] whole ones next to each other go
/// together.
///
/// # Panics
/// If a length does not fit the shape.
pub fn forward_slices(n_post: usize, n_pre: usize, w: &[f32], bias: Option<&[f32]>, slices: &mut [Slice]) {
    for pair in slices.chunks_mut(AT_ONCE) {
        if let [Slice { batch: LANES, from: x0, to: y0 }, Slice { batch: LANES, from: x1, to: y1 }] = pair {
            Together { m: n_post, k: n_pre, bias, xs: [x0, x1] }.run(Left::Rows(w), [y0, y1]);
        } else {
            pair.iter_mut().for_each(|s| forward(n_post, n_pre, s.batch, w, bias, s.from, s.to));
        }
    }
}

/// [`backward_input`] of several slices: from `dy (N_post, B)` to `dx (N_pre, B)`. [`AT_ONCE`] whole ones next to each
/// other go together.
///
/// # Panics
/// If a length does not fit the shape.
pub fn backward_input_slices(n_post: usize, n_pre: usize, w: &[f32], slices: &mut [Slice]) {
    for pair in slices.chunks_mut(AT_ONCE) {
        if let [Slice { batch: LANES, from: dy0, to: dx0 }, Slice { batch: LANES, from: dy1, to: dx1 }] = pair {
            Together { m: n_pre, k: n_post, bias: None, xs: [dy0, dy1] }.run(Left::Columns(w), [dx0, dx1]);
        } else {
            pair.iter_mut().for_each(|s| backward_input(n_post, n_pre, s.batch, w, s.from, s.to));
        }
    }
}

/// What the terms of a product are made of.
enum Terms<'a, const S: usize> {
    /// The left factor row by row; a term for each `k`.
    Rows(&'a [f32]),
    /// Columns `(M)` of the left factor, each with its row of every `x`: those of which one is not 0, in their order.
    Columns(Vec<(&'a [f32], [&'a [f32; LANES]; S])>),
}

/// Products `out (M, 16) = a (M, K) x (K, 16)`, plus `bias (M)`, of `S` slices with the same left factor; `S` is 1 or 2.
pub(super) struct Together<'a, const S: usize> {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) xs: [&'a [f32]; S],
}

impl<const S: usize> Together<'_, S> {
    /// Rows of a tile: enough independent sums to hide the latency of a multiply-add.
    const TALL: usize = match (ONE_REGISTER, S) {
        (true, 1) => 16,
        (true, _) => 12,
        (false, _) => 6,
    };

    /// Computes all of each `out`.
    pub(super) fn run(&self, a: Left, outs: [&mut [f32]; S]) {
        let (weights, out) = (self.m * self.k, self.m * LANES);
        let (Left::Rows(w) | Left::Columns(w)) = a;
        assert_eq!(w.len(), weights, "w must be (N_post, N_pre)");
        assert!(self.bias.is_none_or(|b| b.len() == self.m), "bias must be (N_post)");
        assert!(self.xs.iter().all(|x| x.len() == self.k * LANES), "the input must be (K, 16)");
        assert!(outs.iter().all(|o| o.len() == out), "the output must be (M, 16)");
        if self.k == 0 && self.bias.is_none() {
            return outs.into_iter().for_each(|out| out.fill(0.0));
        }
        let (terms, rows) = match a {
            // Whole tiles, more of them where the output is tall.
            Left::Rows(a) => (Terms::Rows(a), (self.m / 32).clamp(1, 48).next_multiple_of(Self::TALL)),
            Left::Columns(a) => (Terms::Columns(self.columns(a)), COLUMN_PIECE),
        };
        for_pieces_of(outs, rows * LANES, S * weights * LANES, |i, outs| self.piece(&terms, i * rows, outs));
    }

    /// The columns of [`Terms`].
    fn columns<'a>(&'a self, a: &'a [f32]) -> Vec<(&'a [f32], [&'a [f32; LANES]; S])> {
        let active = |x: &[f32; LANES]| x.iter().fold(false, |any, x| any | (*x != 0.0));
        let xs = self.xs.map(|x| x.as_chunks::<LANES>().0);
        let terms = a.chunks_exact(self.m.max(1)).enumerate().map(|(k, column)| (column, xs.map(|x| &x[k])));
        terms.filter(|(_, xs)| xs.iter().any(|x| active(x))).collect()
    }

    /// A piece of rows from `m0`.
    fn piece(&self, terms: &Terms<S>, m0: usize, outs: &mut [&mut [f32]]) {
        let mut outs = outs.iter_mut();
        let mut vectors: [&mut [[f32; LANES]]; S] =
            std::array::from_fn(|_| outs.next().map_or(Default::default(), |out| out.as_chunks_mut().0));
        let m = vectors[0].len();
        // Columns are far apart: some of them at a time for the whole piece, whose neighbours in memory are then read soon.
        let (count, some) = match terms {
            Terms::Rows(_) => (self.k, self.k.max(1)),
            Terms::Columns(columns) => (columns.len(), COLUMNS),
        };
        for first in (0..count.max(1)).step_by(some) {
            let ks = first..(first + some).min(count);
            let mut r = 0;
            while r < m {
                let (ks, outs) = (ks.clone(), &mut vectors);
                r += match m - r {
                    16.. if Self::TALL == 16 => self.tile::<16>(terms, m0, r, ks, outs),
                    12.. if Self::TALL == 12 => self.tile::<12>(terms, m0, r, ks, outs),
                    8.. if Self::TALL > 8 => self.tile::<8>(terms, m0, r, ks, outs),
                    6.. if Self::TALL == 6 => self.tile::<6>(terms, m0, r, ks, outs),
                    4.. => self.tile::<4>(terms, m0, r, ks, outs),
                    2.. => self.tile::<2>(terms, m0, r, ks, outs),
                    _ => self.tile::<1>(terms, m0, r, ks, outs),
                };
            }
        }
    }

    /// `R` rows from row `r` of the piece at `m0`, their terms `ks` added to those before; returns `R`. Nothing in the loops
    /// can fail, so that each element of `a` is broadcast from memory by the multiply-add itself.
    #[inline(always)]
    fn tile<const R: usize>(
        &self,
        terms: &Terms<S>,
        m0: usize,
        r0: usize,
        ks: Range<usize>,
        outs: &mut [&mut [[f32; LANES]]; S],
    ) -> usize {
        let mut acc = [[f32x16::ZERO; S]; R];
        if ks.start > 0 {
            for s in 0..S {
                let out = &outs[s][r0..r0 + R];
                for r in 0..R {
                    acc[r][s] = f32x16::new(out[r]);
                }
            }
        } else if let Some(bias) = self.bias {
            let bias = &bias[m0 + r0..][..R];
            for r in 0..R {
                acc[r] = [f32x16::splat(bias[r]); S];
            }
        }
        match terms {
            Terms::Rows(a) => {
                let n = ks.len();
                let (mut rows, mut xs): ([&[f32]; R], [&[[f32; LANES]]; S]) = ([&[]; R], [&[]; S]);
                for r in 0..R {
                    rows[r] = &a[(m0 + r0 + r) * self.k + ks.start..][..n];
                }
                for s in 0..S {
                    xs[s] = &self.xs[s].as_chunks::<LANES>().0[ks.start..][..n];
                }
                for kk in 0..n {
                    add(&mut acc, |r| rows[r][kk], |s| f32x16::new(xs[s][kk]));
                }
            }
            Terms::Columns(columns) => {
                for (column, x) in &columns[ks] {
                    if let Some(column) = column.get(m0 + r0..).and_then(|column| column.first_chunk::<R>()) {
                        add(&mut acc, |r| column[r], |s| f32x16::new(*x[s]));
                    }
                }
            }
        }
        for s in 0..S {
            let out = &mut outs[s][r0..r0 + R];
            for r in 0..R {
                out[r] = acc[r][s].to_array();
            }
        }
        R
    }
}

/// `acc[r][s] += a(r) * x(s)`.
#[inline(always)]
pub(super) fn add<const R: usize, const S: usize>(
    acc: &mut [[f32x16; S]; R],
    a: impl Fn(usize) -> f32,
    x: impl Fn(usize) -> f32x16,
) {
    let mut xs = [f32x16::ZERO; S];
    for s in 0..S {
        xs[s] = x(s);
    }
    for r in 0..R {
        let a = f32x16::splat(a(r));
        for s in 0..S {
            acc[r][s] = a.mul_add(xs[s], acc[r][s]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{SIZES, random};
    use std::iter::repeat;

    /// Every height of a tile and its end, more than one piece, and slices that are not whole among them.
    #[test]
    fn together_they_give_the_bits_of_each_alone() {
        let shapes = SIZES.into_iter().flat_map(|post| SIZES.map(|pre| (post, pre))).chain([
            (70, 1100),
            (300, 33),
            (0, 5),
            (5, 0),
        ]);
        for (n_post, n_pre) in shapes {
            let (w, bias) = (random("w", n_post * n_pre), random("bias", n_post));
            for sizes in [&[16, 16][..], &[16, 16, 16], &[16, 3], &[16, 16, 16, 16, 1]] {
                let side = |name: &str, n: usize| -> Vec<Vec<f32>> {
                    sizes.iter().enumerate().map(|(i, b)| random(&format!("{name} {i}"), n * b)).collect()
                };
                let (xs, mut dys) = (side("x", n_pre), side("dy", n_post));
                for (i, (dy, b)) in dys.iter_mut().zip(sizes).enumerate() {
                    // Neurons that are silent in all slices, and in the first.
                    let rows = dy.chunks_exact_mut(*b).enumerate();
                    rows.filter(|(post, _)| post % 3 == 1 || i == 0 && post % 5 == 2)
                        .for_each(|(_, row)| row.fill(0.0));
                }
                let [mut ys, mut dxs] = [&dys, &xs].map(|like| like.iter().map(|v| vec![f32::NAN; v.len()]).collect());
                let join = |from: &'_ [Vec<f32>], to: &'_ mut Vec<Vec<f32>>, f: &dyn Fn(&mut [Slice])| {
                    let slices = sizes.iter().zip(from).zip(to).map(|((&batch, from), to)| Slice { batch, from, to });
                    f(&mut slices.collect::<Vec<_>>());
                };
                join(&xs, &mut ys, &|slices| forward_slices(n_post, n_pre, &w, Some(&bias), slices));
                join(&dys, &mut dxs, &|slices| backward_input_slices(n_post, n_pre, &w, slices));
                for (i, &b) in sizes.iter().enumerate() {
                    // Whole slices with some samples more, so that no tile of slices takes them: tiles of part of a
                    // vector, and of two whole ones.
                    for wide in if b == LANES { [b + 1, 2 * b + 1] } else { [b, b] } {
                        let widened = |v: &[f32]| -> Vec<f32> {
                            v.chunks_exact(b)
                                .flat_map(|row| row.iter().chain(repeat(&0.5)).take(wide))
                                .copied()
                                .collect()
                        };
                        let (mut y, mut dx) = (vec![0.0; n_post * wide], vec![0.0; n_pre * wide]);
                        forward(n_post, n_pre, wide, &w, Some(&bias), &widened(&xs[i]), &mut y);
                        backward_input(n_post, n_pre, wide, &w, &widened(&dys[i]), &mut dx);
                        for (what, found, expected) in [("y", &ys[i], &y), ("dx", &dxs[i], &dx)] {
                            let expected = expected.chunks_exact(wide).flat_map(|row| &row[..b]);
                            let same = found.iter().zip(expected).all(|(a, b)| a.to_bits() == b.to_bits());
                            assert!(same, "{what} of slice {i} of {sizes:?}, {n_post} x {n_pre}, beside {wide}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn weights_of_silent_neurons_are_not_read_by_the_input_gradient() {
        let (n_post, n_pre) = (40, 50);
        let (mut w, mut dys) = (random("w", n_post * n_pre), ["dy 0", "dy 1"].map(|name| random(name, n_post * LANES)));
        let silent = |post: usize| !post.is_multiple_of(4);
        dys.iter_mut().flat_map(|dy| dy.chunks_exact_mut(LANES).enumerate()).for_each(|(post, row)| {
            if silent(post) {
                row.fill(0.0);
            }
        });
        let dxs = |w: &[f32], dys: &[Vec<f32>; 2]| {
            let mut dxs = [(); 2].map(|()| vec![f32::NAN; n_pre * LANES]);
            let slices = dys.iter().zip(&mut dxs).map(|(from, to)| Slice { batch: LANES, from, to });
            backward_input_slices(n_post, n_pre, w, &mut slices.collect::<Vec<_>>());
            dxs
        };
        let finite = dxs(&w, &dys);
        assert!(finite.iter().flatten().all(|v| v.is_finite()));
        let broken = w.clone();
        w.chunks_exact_mut(n_pre).enumerate().filter(|(post, _)| silent(*post)).for_each(|(_, row)| row.fill(f32::NAN));
        assert_eq!(dxs(&w, &dys), finite);
        // A broken gradient is not silence.
        dys[1][2 * LANES + 3] = f32::NAN;
        let seen = dxs(&broken, &dys);
        assert!(seen[1].chunks_exact(LANES).all(|row| row[3].is_nan() && row[4].is_finite()));
        // All of them silent: the gradient is 0 and written.
        dys.iter_mut().for_each(|dy| dy.fill(0.0));
        assert!(dxs(&w, &dys).iter().flatten().all(|v| *v == 0.0));
    }
}
