//! All-to-all projections: `y = W x + b` and its gradients, on one register-blocked micro-kernel.
//!
//! The three products `W x`, `W^T dy` and `dy x^T` are all `out (M, N) = a (M, K) * x (K, N)`, with `a` read by
//! rows or by columns (a transposed `W` is never written out) and the innermost dimension `N` in vector lanes:
//! a tile of `TALL`, `ROWS` or fewer rows by `VECS` vectors of `out` stays in registers while `k` runs, so that
//! each vector of `x` meets as many elements of `a`. Each element is one chain of fused multiply-adds in the order
//! of `k`; its value does not depend on the tile that it lies in.

use super::dense_single::forward_one;
use super::dense_slices::{Together, add};
use super::lanes::{LANES, ONE_REGISTER, load_at, store, store_whole};
use super::threads::for_pieces;
use wide::f32x16;

pub use super::dense_single::ByInput;
pub use super::dense_slices::{AT_ONCE, Slice, backward_input_slices, forward_slices};
pub use super::dense_weights::{backward_weights, backward_weights_parts};

/// Rows of other tiles: 8 x 2 vectors fill half of the 32 registers of AVX-512, 4 x 1 half of the 16 of AVX2.
pub(super) const ROWS: usize = if ONE_REGISTER { 8 } else { 4 };

/// Rows of a tile of whole vectors: 12 x 2 fill 24 of 32 registers, 6 x 1 fill 12 of 16; what they are made of is read
/// least often.
const TALL: usize = if ONE_REGISTER { 12 } else { 6 };

/// Vectors side by side in a tile.
pub(super) const VECS: usize = if ONE_REGISTER { 2 } else { 1 };

/// `y = W x + b`: `w (N_post, N_pre)`, `bias (N_post)`, `x (N_pre, B)`, `y (N_post, B)`.
///
/// # Panics
/// If a length does not fit the shape.
pub fn forward(n_post: usize, n_pre: usize, batch: usize, w: &[f32], bias: Option<&[f32]>, x: &[f32], y: &mut [f32]) {
    assert_eq!(w.len(), n_post * n_pre, "w must be (N_post, N_pre)");
    assert_eq!(x.len(), n_pre * batch, "x must be (N_pre, B)");
    assert_eq!(y.len(), n_post * batch, "y must be (N_post, B)");
    assert!(bias.is_none_or(|b| b.len() == n_post), "bias must be (N_post)");
    if batch == 1 {
        forward_one(n_pre, w, bias, x, y);
    } else {
        Product { m: n_post, k: n_pre, n: batch, bias, x }.run(Left::Rows(w), y);
    }
}

/// `dx = W^T dy`: `w (N_post, N_pre)`, `dy (N_post, B)`, `dx (N_pre, B)`.
///
/// # Panics
/// If a length does not fit the shape.
pub fn backward_input(n_post: usize, n_pre: usize, batch: usize, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(w.len(), n_post * n_pre, "w must be (N_post, N_pre)");
    assert_eq!(dy.len(), n_post * batch, "dy must be (N_post, B)");
    assert_eq!(dx.len(), n_pre * batch, "dx must be (N_pre, B)");
    Product { m: n_pre, k: n_post, n: batch, bias: None, x: dy }.run(Left::Columns(w), dx);
}

/// `db[n] = sum over the batch of dy[n]`: `dy (N, B)`, `db (N)`.
///
/// # Panics
/// If a length does not fit the shape.
pub fn backward_bias(n: usize, batch: usize, dy: &[f32], db: &mut [f32]) {
    assert_eq!(dy.len(), n * batch, "dy must be (N, B)");
    assert_eq!(db.len(), n, "db must be (N)");
    let rows = 64;
    for_pieces(db, rows, n * batch, |i, piece| {
        let mut r = 0;
        while r < piece.len() {
            let (left, dy, db) = (piece.len() - r, &dy[(i * rows + r) * batch..], &mut piece[r..]);
            r += match left {
                _ if left >= 4 => row_sums::<4>(batch, dy, db),
                _ if left >= 2 => row_sums::<2>(batch, dy, db),
                _ => row_sums::<1>(batch, dy, db),
            };
        }
    });
}

/// [`forward`] as loops.
pub fn forward_reference(
    n_post: usize,
    n_pre: usize,
    batch: usize,
    w: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
) {
    for post in 0..n_post {
        for b in 0..batch {
            let mut sum = bias.map_or(0.0, |bias| bias[post]);
            for pre in 0..n_pre {
                sum += w[post * n_pre + pre] * x[pre * batch + b];
            }
            y[post * batch + b] = sum;
        }
    }
}

/// [`backward_input`] as loops.
pub fn backward_input_reference(n_post: usize, n_pre: usize, batch: usize, w: &[f32], dy: &[f32], dx: &mut [f32]) {
    for pre in 0..n_pre {
        for b in 0..batch {
            dx[pre * batch + b] = (0..n_post).map(|post| w[post * n_pre + pre] * dy[post * batch + b]).sum();
        }
    }
}

/// [`backward_weights`] as loops.
pub fn backward_weights_reference(n_post: usize, n_pre: usize, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    for post in 0..n_post {
        for pre in 0..n_pre {
            dw[post * n_pre + pre] = (0..batch).map(|b| dy[post * batch + b] * x[pre * batch + b]).sum();
        }
    }
}

/// [`backward_bias`] as loops.
pub fn backward_bias_reference(n: usize, batch: usize, dy: &[f32], db: &mut [f32]) {
    for i in 0..n {
        db[i] = (0..batch).map(|b| dy[i * batch + b]).sum();
    }
}

/// The left factor `(M, K)` of a product.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// Row by row: element `(m, k)` is `a[m * K + k]`.
    Rows(&'a [f32]),
    /// Column by column: element `(m, k)` is `a[k * M + m]`.
    Columns(&'a [f32]),
}

/// The sums of the first `R` rows of `dy (N, B)`, to `db`; returns `R`. Each is one chain of additions, whose latency
/// those of the other rows hide.
fn row_sums<const R: usize>(batch: usize, dy: &[f32], db: &mut [f32]) -> usize {
    let vectors = batch / LANES;
    let (mut rows, mut rests): ([&[[f32; LANES]]; R], [&[f32]; R]) = ([&[]; R], [&[]; R]);
    for r in 0..R {
        let (row, rest) = dy[r * batch..][..batch].as_chunks();
        (rows[r], rests[r]) = (&row[..vectors], rest);
    }
    let mut sums = [f32x16::ZERO; R];
    for v in 0..vectors {
        for r in 0..R {
            sums[r] += f32x16::new(rows[r][v]);
        }
    }
    for r in 0..R {
        db[r] = sums[r].reduce_add() + rests[r].iter().sum::<f32>();
    }
    R
}

/// The rest of a product `out (M, N) = a (M, K) * x (K, N)`, plus `bias (M)`.
struct Product<'a> {
    m: usize,
    k: usize,
    n: usize,
    bias: Option<&'a [f32]>,
    x: &'a [f32],
}

impl Product<'_> {
    /// Computes all of `out`.
    fn run(&self, a: Left, out: &mut [f32]) {
        let n = self.n;
        if out.is_empty() {
            return;
        }
        if n == LANES {
            return Together { m: self.m, k: self.k, bias: self.bias, xs: [self.x] }.run(a, [out]);
        }
        if self.k == 0 && self.bias.is_none() {
            return out.fill(0.0);
        }
        // Pieces of several tiles share the panel of `x` in cache; some tens of them where the output is tall.
        let tile = if n >= VECS * LANES { TALL } else { ROWS };
        let rows = (self.m / 32).next_multiple_of(tile).clamp(tile, 5 * tile);
        for_pieces(out, rows * n, self.m * self.k * n, |i, piece| {
            let mut n0 = 0;
            while n0 < n {
                n0 += match n - n0 {
                    left if left >= VECS * LANES => self.panel::<VECS, true>(a, i * rows, n0, piece),
                    left if left > (VECS - 1) * LANES => self.panel::<VECS, false>(a, i * rows, n0, piece),
                    LANES => self.panel::<1, true>(a, i * rows, n0, piece),
                    _ => self.panel::<1, false>(a, i * rows, n0, piece),
                };
            }
        });
    }

    /// `V` vectors of columns from `n0`, all inside the row if `FULL`, of a piece of rows that starts at row `m0`;
    /// returns the columns.
    fn panel<const V: usize, const FULL: bool>(&self, a: Left, m0: usize, n0: usize, piece: &mut [f32]) -> usize {
        let m = piece.len() / self.n;
        let mut r = 0;
        while r < m {
            let out = &mut piece[r * self.n..];
            r += match m - r {
                left if FULL && left >= TALL => self.tile::<TALL, V, FULL>(a, m0 + r, n0, out),
                left if left >= ROWS => self.tile::<ROWS, V, FULL>(a, m0 + r, n0, out),
                left if left >= 4 => self.tile::<4, V, FULL>(a, m0 + r, n0, out),
                left if left >= 2 => self.tile::<2, V, FULL>(a, m0 + r, n0, out),
                _ => self.tile::<1, V, FULL>(a, m0 + r, n0, out),
            };
        }
        V * LANES
    }

    /// One tile of `R` rows from `m0` by `V` vectors, its sums in registers over all of `k`; returns `R`.
    fn tile<const R: usize, const V: usize, const FULL: bool>(
        &self,
        a: Left,
        m0: usize,
        n0: usize,
        out: &mut [f32],
    ) -> usize {
        let (k, n) = (self.k, self.n);
        debug_assert!(self.x.len() == k * n && m0 + R <= self.m, "no term may be left out");
        let mut acc = [[f32x16::ZERO; V]; R];
        if let Some(bias) = self.bias {
            for r in 0..R {
                acc[r] = [f32x16::splat(bias[m0 + r]); V];
            }
        }
        match a {
            Left::Rows(a) => {
                let mut rows: [&[f32]; R] = [&[]; R];
                for r in 0..R {
                    rows[r] = &a[(m0 + r) * k..][..k];
                }
                for kk in 0..k {
                    self.add_terms::<R, V, FULL>(&mut acc, kk, n0, |r| rows[r][kk]);
                }
            }
            Left::Columns(a) => {
                for (kk, column) in a.chunks_exact(self.m).enumerate() {
                    if let Some(column) = column.get(m0..).and_then(|column| column.first_chunk::<R>()) {
                        self.add_terms::<R, V, FULL>(&mut acc, kk, n0, |r| column[r]);
                    }
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let start = n0 + v * LANES;
                if FULL {
                    store_whole(out, r * n + start, acc[r][v]);
                } else {
                    store(&mut out[r * n + start.min(n)..(r + 1) * n], acc[r][v]);
                }
            }
        }
        R
    }

    /// The terms `kk` of a tile: `acc[r] += a(r) * x`. Where the vectors are whole nothing here can fail, so that the
    /// sums stay in registers.
    #[inline(always)]
    fn add_terms<const R: usize, const V: usize, const FULL: bool>(
        &self,
        acc: &mut [[f32x16; V]; R],
        kk: usize,
        n0: usize,
        a: impl Fn(usize) -> f32,
    ) {
        let at = kk * self.n + n0;
        if !FULL {
            add(acc, a, |v| load_at(self.x, at + v * LANES));
        } else if let Some(xs) = self.x.get(at..).and_then(|x| x.as_chunks::<LANES>().0.first_chunk::<V>()) {
            add(acc, a, |v| f32x16::new(xs[v]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{BATCHES, SIZES, check, close, random};
    use crate::kernels::threads::pool;

    /// Every awkward `(N_post, N_pre, B)`, and two that fill several pieces.
    fn shapes() -> Vec<[usize; 3]> {
        let mut shapes = vec![[70, 65, 50], [300, 33, 16], [0, 5, 3], [0, 5, 16]];
        // Several tiles of every height in a piece, two vectors and one.
        shapes.extend([[430, 33, 48], [33, 430, 48]]);
        for post in SIZES {
            for pre in SIZES {
                shapes.extend(BATCHES.map(|batch| [post, pre, batch]));
            }
        }
        shapes
    }

    #[test]
    fn forward_is_the_reference() {
        for [post, pre, b] in shapes() {
            let (w, x, bias) = (random("w", post * pre), random("x", pre * b), random("bias", post));
            for bias in [None, Some(&bias[..])] {
                check(
                    &format!("forward {post}x{pre} B{b} bias {}", bias.is_some()),
                    post * b,
                    1e-5,
                    |y| forward(post, pre, b, &w, bias, &x, y),
                    |y| forward_reference(post, pre, b, &w, bias, &x, y),
                );
            }
        }
    }

    #[test]
    fn backward_input_is_the_reference() {
        for [post, pre, b] in shapes() {
            let (w, dy) = (random("w", post * pre), random("dy", post * b));
            check(
                &format!("backward_input {post}x{pre} B{b}"),
                pre * b,
                1e-5,
                |dx| backward_input(post, pre, b, &w, &dy, dx),
                |dx| backward_input_reference(post, pre, b, &w, &dy, dx),
            );
        }
    }

    #[test]
    fn backward_weights_is_the_reference() {
        for [post, pre, b] in shapes() {
            let (x, dy) = (random("x", pre * b), random("dy", post * b));
            check(
                &format!("backward_weights {post}x{pre} B{b}"),
                post * pre,
                1e-5,
                |dw| backward_weights(post, pre, b, &dy, &x, &mut vec![f32::NAN; pre * b], dw),
                |dw| backward_weights_reference(post, pre, b, &dy, &x, dw),
            );
        }
    }

    #[test]
    fn backward_bias_is_the_reference() {
        for [post, _, b] in shapes() {
            let dy = random("dy", post * b);
            check(
                &format!("backward_bias {post} B{b}"),
                post,
                1e-5,
                |db| backward_bias(post, b, &dy, db),
                |db| backward_bias_reference(post, b, &dy, db),
            );
        }
    }

    #[test]
    fn the_sum_of_a_row_does_not_depend_on_those_beside_it() {
        let b = 3 * LANES + 5;
        for post in SIZES {
            let (dy, mut db) = (random("dy", post * b), vec![f32::NAN; post]);
            backward_bias(post, b, &dy, &mut db);
            for (row, db) in dy.chunks_exact(b).zip(&db) {
                let mut alone = [f32::NAN];
                backward_bias(1, b, row, &mut alone);
                assert_eq!(alone[0].to_bits(), db.to_bits(), "{post} rows");
            }
        }
    }

    #[test]
    fn empty_shapes_do_nothing_and_no_inputs_give_the_bias() {
        forward(0, 3, 2, &[], None, &[0.0; 6], &mut []);
        let mut y = [f32::NAN; 4];
        forward(2, 0, 2, &[], Some(&[1.0, 2.0]), &[], &mut y);
        assert_eq!(y, [1.0, 1.0, 2.0, 2.0]);
        backward_weights(3, 0, 2, &[0.0; 6], &[], &mut [], &mut []);
    }

    #[test]
    fn a_batch_in_parts_is_the_whole_batch_and_its_squares_are_summed() {
        for ([post, pre], sizes) in [([13, 70], [16, 3]), ([24, 31], [40, 33]), ([1, 1], [1, 2])] {
            let batch: usize = sizes.iter().sum();
            let parts = sizes.map(|b| (random("x", pre * b), random("dy", post * b)));
            let whole = |n: usize, side: &dyn Fn(usize) -> Vec<f32>| -> Vec<f32> {
                (0..n).flat_map(|i| (0..2).flat_map(move |k| side(k)[i * sizes[k]..][..sizes[k]].to_vec())).collect()
            };
            let (x, dy) = (whole(pre, &|k| parts[k].0.clone()), whole(post, &|k| parts[k].1.clone()));
            let views: Vec<(&[f32], &[f32])> = parts.iter().map(|(x, dy)| (&x[..], &dy[..])).collect();
            let (mut dw, mut expected) = (vec![f32::NAN; post * pre], vec![f32::NAN; post * pre]);
            let square = backward_weights_parts(post, pre, &views, &mut vec![f32::NAN; pre * batch], &mut dw);
            backward_weights_reference(post, pre, batch, &dy, &x, &mut expected);
            close("dw", &dw, &expected, 1e-5);
            let sum: f64 = dw.iter().map(|&v| f64::from(v).powi(2)).sum();
            assert!((square - sum).abs() <= 1e-6 * sum, "{square} {sum}");
        }
    }

    /// Chains of multiply-adds in the order of the samples, 64 at a time, whichever of them are left out.
    #[test]
    fn silent_gradients_leave_the_bits_of_the_others() {
        for ([post, pre], sizes) in [([29, 300], &[16, 16][..]), ([13, 130], &[16, 16, 16, 16, 9]), ([3, 140], &[5])] {
            let mut parts: Vec<_> = sizes.iter().map(|b| (random("x", pre * b), random("dy", post * b))).collect();
            for (p, (_, dy)) in parts.iter_mut().enumerate() {
                let b = sizes[p];
                // The last of more than 64 samples have gradients everywhere.
                let silent = |i: usize| p < 4 && ((i / b).is_multiple_of(3) || (i * 7 + p) % 5 > 1);
                dy.iter_mut().enumerate().filter(|(i, _)| silent(*i)).for_each(|(_, dy)| *dy = 0.0);
            }
            let samples: Vec<(usize, usize)> =
                sizes.iter().enumerate().flat_map(|(p, b)| (0..*b).map(move |k| (p, k))).collect();
            let mut expected = Vec::new();
            for (o, i) in (0..post).flat_map(|o| (0..pre).map(move |i| (o, i))) {
                let sums = samples.chunks(64).map(|some| {
                    some.iter().fold(0.0f32, |sum, &(p, k)| {
                        let ((x, dy), b) = (&parts[p], sizes[p]);
                        dy[o * b + k].mul_add(x[i * b + k], sum)
                    })
                });
                expected.push(sums.reduce(|all, sum| sum + all).unwrap());
            }
            let views: Vec<(&[f32], &[f32])> = parts.iter().map(|(x, dy)| (&x[..], &dy[..])).collect();
            for threads in [1, 2] {
                let (mut xt, mut dw) = (vec![f32::NAN; pre * samples.len()], vec![f32::NAN; post * pre]);
                let run = || backward_weights_parts(post, pre, &views, &mut xt, &mut dw);
                let square = pool(threads).unwrap().run(run);
                let different = dw.iter().zip(&expected).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                assert_eq!(different, 0, "of {post} x {pre}, {sizes:?}");
                let sum: f64 = dw.iter().map(|&v| f64::from(v).powi(2)).sum();
                assert!((square - sum).abs() <= 1e-6 * sum, "{square} {sum}");
            }
        }
    }

    #[test]
    fn a_broken_gradient_among_silent_ones_is_seen() {
        let (post, pre, b) = (5, 140, 16);
        let (x, mut dy, mut dw) = (random("x", pre * b), vec![0.0; post * b], vec![f32::INFINITY; post * pre]);
        dy[3 * b + 7] = f32::NAN;
        let square = backward_weights_parts(post, pre, &[(&x, &dy)], &mut vec![f32::NAN; pre * b], &mut dw);
        assert!(dw.chunks_exact(pre).enumerate().all(|(o, row)| row.iter().all(|v| v.is_nan() == (o == 3))));
        assert!(dw.iter().all(|v| v.is_nan() || *v == 0.0) && square.is_nan());
    }

    #[test]
    fn faer_agrees() {
        use faer::Mat;
        let [post, pre, b] = [37, 129, 40];
        let (w, x, dy) = (random("w", post * pre), random("x", pre * b), random("dy", post * b));
        let mat = |rows, cols, v: &[f32]| Mat::from_fn(rows, cols, |i, j| v[i * cols + j]);
        let flat = |m: &Mat<f32>| (0..m.nrows() * m.ncols()).map(|i| m[(i / m.ncols(), i % m.ncols())]).collect();
        let (wm, xm, dym) = (mat(post, pre, &w), mat(pre, b, &x), mat(post, b, &dy));
        let expected: [Vec<f32>; 3] =
            [flat(&(&wm * &xm)), flat(&(wm.transpose() * &dym)), flat(&(&dym * xm.transpose()))];
        let (mut y, mut dx, mut dw) = (vec![f32::NAN; post * b], vec![f32::NAN; pre * b], vec![f32::NAN; post * pre]);
        forward(post, pre, b, &w, None, &x, &mut y);
        backward_input(post, pre, b, &w, &dy, &mut dx);
        backward_weights(post, pre, b, &dy, &x, &mut vec![f32::NAN; pre * b], &mut dw);
        close("y", &y, &expected[0], 1e-5);
        close("dx", &dx, &expected[1], 1e-5);
        close("dw", &dw, &expected[2], 1e-5);
    }
}
