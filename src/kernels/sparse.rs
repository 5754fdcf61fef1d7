//! Products with a masked weight matrix, stored only at its synapses: forward, transposed, and masked outer product.
//!
//! Activity is `(N, B)`, so one weight meets a contiguous run of lanes and nothing is gathered. A tile of lanes of one
//! output row stays in registers while the row's synapses stream past; several synapses are in flight per tile, because
//! one chain of fused multiply-adds is bound by latency. The order of every sum follows from the shapes alone.

use super::lanes::{LANES, load_first, load_padded, load_whole, mask, store_first, store_whole};
use super::threads::for_pieces;
use wide::f32x16;

/// Output rows per piece of work: at least and at most.
const ROWS: [usize; 2] = [16, 256];
/// Most floats of `x` that a tile of lanes runs over before a narrower tile pays: half of a cache of 1 MiB.
const TILE_FLOATS: usize = 128 * 1024;
/// Weights of the transpose gathered at a time, on the stack.
const GATHERED: usize = 4096;
/// Synapses per piece of work of the outer product.
const SYNAPSES: usize = 2048;

/// The mask of a projection as CSR by postsynaptic neuron, with its transpose: a plain view that checks lengths only.
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
    /// Start of each presynaptic row of the transpose `(N_pre + 1)`.
    pub column_starts: &'a [u32],
    /// Postsynaptic neuron of each synapse of the transpose `(S)`.
    pub post: &'a [u32],
    /// For each synapse of the transpose, its index in CSR order `(S)`.
    pub order: &'a [u32],
}

impl Pattern<'_> {
    /// Number of synapses S.
    pub fn synapses(&self) -> usize {
        self.pre.len()
    }

    fn check(&self) {
        let s = self.pre.len();
        assert_eq!(self.row_starts.len(), self.n_post + 1, "row_starts must be (N_post + 1)");
        assert_eq!(self.column_starts.len(), self.n_pre + 1, "column_starts must be (N_pre + 1)");
        assert_eq!(self.row_starts[self.n_post] as usize, s, "row_starts must end at S");
        assert_eq!(self.column_starts[self.n_pre] as usize, s, "column_starts must end at S");
        assert_eq!(self.post.len(), s, "post must be (S)");
        assert_eq!(self.order.len(), s, "order must be (S)");
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
    product(p.row_starts, p.pre, w, None, batch, x, y, accumulate);
}

/// `dx = (M ∘ W)ᵀ dy`, or `dx += (M ∘ W)ᵀ dy` with `accumulate`.
///
/// `w (S)` in CSR order, `dy (N_post, B)`, `dx (N_pre, B)`. The transpose turns this into the forward product, its
/// weights gathered through `order`: neighbouring columns of a row share cache lines of `w`, so the gather stays cheap.
///
/// # Panics
/// If a shape is wrong.
pub fn backward_input(p: Pattern, batch: usize, w: &[f32], dy: &[f32], dx: &mut [f32], accumulate: bool) {
    p.check();
    assert_eq!(w.len(), p.synapses(), "w must be (S)");
    assert_eq!(dy.len(), p.n_post * batch, "dy must be (N_post, B)");
    assert_eq!(dx.len(), p.n_pre * batch, "dx must be (N_pre, B)");
    product(p.column_starts, p.post, w, Some(p.order), batch, dy, dx, accumulate);
}

/// `dw[s] = Σ_b dy[post, b] x[pre, b]` at every stored synapse `s = (post, pre)`: the outer product under the mask.
///
/// `dy (N_post, B)`, `x (N_pre, B)`, `dw (S)` in CSR order.
///
/// # Panics
/// If a shape is wrong.
pub fn backward_weights(p: Pattern, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    outer(p, batch, dy, x, dw, |_, _, sum| sum);
}

/// As [`backward_weights`], but stores `finish(post, s, sum)`: lets a learning rule end its sum without a second pass.
pub(super) fn outer(
    p: Pattern,
    batch: usize,
    dy: &[f32],
    x: &[f32],
    dw: &mut [f32],
    finish: impl Fn(usize, usize, f32) -> f32 + Sync + Send,
) {
    p.check();
    assert_eq!(dy.len(), p.n_post * batch, "dy must be (N_post, B)");
    assert_eq!(x.len(), p.n_pre * batch, "x must be (N_pre, B)");
    assert_eq!(dw.len(), p.synapses(), "dw must be (S)");
    let work = p.synapses() * batch;
    for_pieces(dw, SYNAPSES, work, |i, piece| {
        // A piece may begin and end within a row: every synapse stands for itself.
        let (start, end) = (i * SYNAPSES, i * SYNAPSES + piece.len());
        let mut post = p.row_starts.partition_point(|&r| r as usize <= start) - 1;
        let mut s = start;
        while s < end {
            let row_end = (p.row_starts[post + 1] as usize).min(end);
            let (dy, pre) = (&dy[post * batch..][..batch], &p.pre[s..row_end]);
            outer_row(dy, pre, x, &mut piece[s - start..row_end - start]);
            for (k, out) in (s..row_end).zip(&mut piece[s - start..row_end - start]) {
                *out = finish(post, k, *out);
            }
            s = row_end;
            post += 1;
        }
    });
}

/// One output row per index of `starts`: `y[r] (+)= Σ_s w[s] x[others[s]]` over `s` in the row's range, or with
/// `w[order[s]]` where there is an `order`.
fn product(
    starts: &[u32],
    others: &[u32],
    w: &[f32],
    order: Option<&[u32]>,
    batch: usize,
    x: &[f32],
    y: &mut [f32],
    accumulate: bool,
) {
    let rows_per_piece = ((starts.len() - 1) / 16).clamp(ROWS[0], ROWS[1]);
    let wide = x.len() / batch.max(1) * 4 * LANES <= TILE_FLOATS;
    for_pieces(y, rows_per_piece * batch, others.len() * batch, |i, piece| {
        let rows = &starts[i * rows_per_piece..][..piece.len() / batch + 1];
        let Some(order) = order else {
            return product_rows(rows, others, &|s| w[s], batch, wide, x, piece, accumulate);
        };
        // Gathered by itself, a weight's cache miss overlaps with many others; between the products it would not.
        let mut gathered = [0.0; GATHERED];
        let mut row = 0;
        while row + 1 < rows.len() {
            let start = rows[row] as usize;
            let fit = rows[row + 1..].partition_point(|&end| end as usize - start <= GATHERED).max(1);
            let (ends, y) = (&rows[row..=row + fit], &mut piece[row * batch..(row + fit) * batch]);
            let order = &order[start..ends[fit] as usize];
            if order.len() <= GATHERED {
                for (g, &s) in gathered.iter_mut().zip(order) {
                    *g = w[s as usize];
                }
                product_rows(ends, others, &|s| gathered[s - start], batch, wide, x, y, accumulate);
            } else {
                product_rows(ends, others, &|s| w[order[s - start] as usize], batch, wide, x, y, accumulate);
            }
            row += fit;
        }
    });
}

/// [`product`] for some rows, tile by tile: all rows per tile, so that the tile of `x` stays in the cache.
#[inline(always)]
fn product_rows(
    rows: &[u32],
    others: &[u32],
    weight: &impl Fn(usize) -> f32,
    batch: usize,
    wide: bool,
    x: &[f32],
    y: &mut [f32],
    accumulate: bool,
) {
    if batch == 1 {
        return product_single(rows, others, weight, x, y, accumulate);
    }
    let mut b = 0;
    while wide && batch - b >= 4 * LANES {
        product_tile::<4, 1>(rows, others, weight, batch, b, x, y, accumulate);
        b += 4 * LANES;
    }
    while batch - b >= 2 * LANES {
        product_tile::<2, 2>(rows, others, weight, batch, b, x, y, accumulate);
        b += 2 * LANES;
    }
    if batch - b >= LANES {
        product_tile::<1, 4>(rows, others, weight, batch, b, x, y, accumulate);
        b += LANES;
    }
    if batch > b {
        product_rest(rows, others, weight, batch, b, x, y, accumulate);
    }
}

/// Lanes `b .. b + 16 T` of some rows, with `U` synapses in flight.
#[inline(always)]
fn product_tile<const T: usize, const U: usize>(
    rows: &[u32],
    others: &[u32],
    weight: &impl Fn(usize) -> f32,
    batch: usize,
    b: usize,
    x: &[f32],
    y: &mut [f32],
    accumulate: bool,
) {
    for (ends, y) in rows.windows(2).zip(y.chunks_exact_mut(batch)) {
        let mut sums = [[f32x16::ZERO; T]; U];
        let add = |s: usize, other: u32, sums: &mut [f32x16; T]| {
            let at = other as usize * batch + b;
            let (w, x) = (f32x16::splat(weight(s)), &x[at..at + T * LANES]);
            for t in 0..T {
                sums[t] = w.mul_add(load_whole(x, t * LANES), sums[t]);
            }
        };
        let mut s = ends[0] as usize;
        let groups = others[s..ends[1] as usize].chunks_exact(U);
        let rest = groups.remainder();
        for group in groups {
            for u in 0..U {
                add(s + u, group[u], &mut sums[u]);
            }
            s += U;
        }
        for (u, &other) in rest.iter().enumerate() {
            add(s + u, other, &mut sums[0]);
        }
        for t in 0..T {
            let sum = sums[1..].iter().fold(sums[0][t], |sum, more| sum + more[t]);
            let at = b + t * LANES;
            let old = if accumulate { load_whole(y, at) } else { f32x16::ZERO };
            store_whole(y, at, sum + old);
        }
    }
}

/// The fewer than 16 lanes from `b` to the end of the batch.
fn product_rest(
    rows: &[u32],
    others: &[u32],
    weight: &impl Fn(usize) -> f32,
    batch: usize,
    b: usize,
    x: &[f32],
    y: &mut [f32],
    accumulate: bool,
) {
    let n = batch - b;
    for (ends, y) in rows.windows(2).zip(y.chunks_exact_mut(batch)) {
        let mut sums = [f32x16::ZERO; 4];
        let range = ends[0] as usize..ends[1] as usize;
        for (k, (s, &other)) in range.clone().zip(&others[range]).enumerate() {
            let lanes = load_first(x, other as usize * batch + b, n);
            sums[k % 4] = f32x16::splat(weight(s)).mul_add(lanes, sums[k % 4]);
        }
        let sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        let old = if accumulate { load_padded(y, b, n) } else { f32x16::ZERO };
        store_first(y, b, n, sum + old);
    }
}

/// Batch 1: the lanes are synapses of one row, their inputs gathered.
fn product_single(
    rows: &[u32],
    others: &[u32],
    weight: &impl Fn(usize) -> f32,
    x: &[f32],
    y: &mut [f32],
    accumulate: bool,
) {
    for (ends, y) in rows.windows(2).zip(y) {
        let mut sums = [0.0f32; 8];
        let mut s = ends[0] as usize;
        let groups = others[s..ends[1] as usize].chunks_exact(8);
        let rest = groups.remainder();
        for group in groups {
            for u in 0..8 {
                sums[u] = weight(s + u).mul_add(x[group[u] as usize], sums[u]);
            }
            s += 8;
        }
        for (u, &other) in rest.iter().enumerate() {
            sums[u] = weight(s + u).mul_add(x[other as usize], sums[u]);
        }
        let sum = ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
        *y = if accumulate { *y + sum } else { sum };
    }
}

/// `dw[s] = dy · x[pre[s]]` for some synapses of one row; `dy (B)`, `x (N_pre, B)`.
fn outer_row(dy: &[f32], pre: &[u32], x: &[f32], dw: &mut [f32]) {
    let batch = dy.len();
    if batch == 1 {
        for (dw, &pre) in dw.iter_mut().zip(pre) {
            *dw = dy[0] * x[pre as usize];
        }
        return;
    }
    let mut b = 0;
    dw.fill(0.0);
    while batch - b >= 8 * LANES {
        outer_tile::<8>(dy, b, pre, x, dw);
        b += 8 * LANES;
    }
    if batch - b >= 4 * LANES {
        outer_tile::<4>(dy, b, pre, x, dw);
        b += 4 * LANES;
    }
    if batch - b >= 2 * LANES {
        outer_tile::<2>(dy, b, pre, x, dw);
        b += 2 * LANES;
    }
    if batch - b >= LANES {
        outer_tile::<1>(dy, b, pre, x, dw);
        b += LANES;
    }
    if batch > b {
        let (n, keep) = (batch - b, mask(batch - b));
        let dy = load_padded(dy, b, n);
        for (dw, &pre) in dw.iter_mut().zip(pre) {
            let lanes = load_first(x, pre as usize * batch + b, n) & keep;
            *dw += (dy * lanes).reduce_add();
        }
    }
}

/// Adds lanes `b .. b + 16 T` to the products of one row; the tile of `dy` stays in registers.
#[inline(always)]
fn outer_tile<const T: usize>(dy: &[f32], b: usize, pre: &[u32], x: &[f32], dw: &mut [f32]) {
    let batch = dy.len();
    let dy: [f32x16; T] = std::array::from_fn(|t| load_whole(dy, b + t * LANES));
    for (dw, &pre) in dw.iter_mut().zip(pre) {
        let at = pre as usize * batch + b;
        let x = &x[at..at + T * LANES];
        let mut sums = [f32x16::ZERO; 2];
        for t in 0..T {
            sums[t % 2] = dy[t].mul_add(load_whole(x, t * LANES), sums[t % 2]);
        }
        *dw += (sums[0] + sums[1]).reduce_add();
    }
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
        column_starts: Vec<u32>,
        post: Vec<u32>,
        order: Vec<u32>,
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
            let (mut column_starts, mut post, mut order) = (vec![0], Vec::new(), Vec::new());
            for j in 0..n_pre as u32 {
                for i in 0..n_post {
                    for s in row_starts[i]..row_starts[i + 1] {
                        if pre[s as usize] == j {
                            post.push(i as u32);
                            order.push(s);
                        }
                    }
                }
                column_starts.push(post.len() as u32);
            }
            Self { n_post, n_pre, row_starts, pre, column_starts, post, order }
        }

        pub fn view(&self) -> Pattern<'_> {
            Pattern {
                n_post: self.n_post,
                n_pre: self.n_pre,
                row_starts: &self.row_starts,
                pre: &self.pre,
                column_starts: &self.column_starts,
                post: &self.post,
                order: &self.order,
            }
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
                // 80, 127 and 130 put every width of tile after every other.
                for batch in BATCHES.into_iter().chain([80, 127, 130]) {
                    let [x, dy] = [("x", n_pre), ("dy", n_post)].map(|(name, n)| random(name, n * batch));
                    products_agree(p, batch, &w, &x, &dy);
                }
            }
        }
    }

    fn products_agree(p: Pattern, batch: usize, w: &[f32], x: &[f32], dy: &[f32]) {
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
                backward_input(p, batch, w, dy, dx, accumulate);
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
    fn many_pieces_and_groups_of_weights_agree() {
        let mut rng = Rng::stream(5, "sparse", &[]);
        // More columns than a piece, more synapses than are gathered at a time; then a column longer than that.
        for (n_post, n_pre, density) in [(150, 300, 0.4), (GATHERED + 300, 3, 0.97)] {
            let mask = Mask::random(n_post, n_pre, density, &mut rng);
            let p = mask.view();
            for batch in [1, 18, 66] {
                let [x, dy] = [("x", n_pre), ("dy", n_post)].map(|(name, n)| random(name, n * batch));
                products_agree(p, batch, &random("w", p.synapses()), &x, &dy);
            }
        }
    }

    #[test]
    fn a_wide_population_takes_narrow_tiles() {
        let (n, batch, mut rng) = (TILE_FLOATS / (4 * LANES) + 1, 64, Rng::stream(6, "sparse", &[]));
        let mask = Mask::random(4, n, 0.01, &mut rng);
        let p = mask.view();
        let [x, dy] = [("x", n), ("dy", 4)].map(|(name, n)| random(name, n * batch));
        products_agree(p, batch, &random("w", p.synapses()), &x, &dy);
    }

    #[test]
    fn a_nan_stays_in_its_sample_and_neuron() {
        let mask = Mask::random(6, 9, 1.0, &mut Rng::stream(4, "sparse", &[]));
        let (p, batch) = (mask.view(), 7);
        let mut x = random("x", 9 * batch);
        x[4 * batch] = f32::NAN;
        let mut y = vec![0.0; 6 * batch];
        forward(p, batch, &random("w", p.synapses()), &x, &mut y, false);
        assert!((0..6).all(|i| (1..batch).all(|b| !y[i * batch + b].is_nan())));
        let mut dw = vec![0.0; p.synapses()];
        backward_weights(p, batch, &random("dy", 6 * batch), &x, &mut dw);
        assert!(dw.iter().zip(p.pre).all(|(v, &pre)| v.is_nan() == (pre == 4)));
    }
}
