//! The weight gradient of all-to-all projections, `dW = dy x^T`, of a batch or of its slices.
//!
//! The activity is turned round first, so that presynaptic neurons lie in the lanes; then a tile of postsynaptic rows by
//! one panel of presynaptic neurons stays in registers while the samples run, of which there are few. Where most of the
//! rows' gradients are 0, as behind a ReLU, each row takes its own samples instead. Of finite activity both give the same
//! bits.

use super::dense::VECS;
use super::dense_slices;
use super::lanes::{LANES, ONE_REGISTER, load, load_at, store};
use super::threads::{for_pieces, sum_rows};
use wide::{f32x8, f32x16};

/// Rows of a tile of the weight gradient, whose samples are few: 12 x 2 sums of 32 registers, 6 x 1 vectors of 16.
const OUTER_ROWS: usize = if ONE_REGISTER { 12 } else { 6 };

/// Presynaptic neurons in a panel of the weight gradient.
const PANEL: usize = VECS * LANES;

/// Panels that a row of few samples takes at a time, so that there are sums enough to hide the latency of a multiply-add.
const PANELS: usize = 4;

/// Samples of the weight gradient at a time.
const OUTER_SAMPLES: usize = 64;

/// `dW = dy x^T`: `dy (N_post, B)`, `x (N_pre, B)`, scratch `xt (B, N_pre)`, `dw (N_post, N_pre)`.
///
/// # Panics
/// If a length does not fit the shape.
pub fn backward_weights(
    n_post: usize,
    n_pre: usize,
    batch: usize,
    dy: &[f32],
    x: &[f32],
    xt: &mut [f32],
    dw: &mut [f32],
) {
    assert_eq!(dy.len(), n_post * batch, "dy must be (N_post, B)");
    assert_eq!(x.len(), n_pre * batch, "x must be (N_pre, B)");
    assert_eq!(xt.len(), n_pre * batch, "xt must be (B, N_pre)");
    assert_eq!(dw.len(), n_post * n_pre, "dw must be (N_post, N_pre)");
    backward_weights_parts(n_post, n_pre, &[(x, dy)], xt, dw);
}

/// [`backward_weights`] of a batch in parts: `dW = Σ dy xᵀ` over the parts in their order, `x (N_pre, B_i)` and
/// `dy (N_post, B_i)` each; scratch `xt (N_pre ΣB_i)`, `dw (N_post, N_pre)`.
///
/// `xt` holds the activity turned round in panels of up to 32 presynaptic neurons (16 without AVX-512), `(ΣB_i, 32)` each,
/// so that a tile of `dw` reads one contiguous run. Returns `Σ dw²`: while a tile is in registers that costs next to nothing.
///
/// # Panics
/// If a length does not fit the shape.
pub fn backward_weights_parts(
    n_post: usize,
    n_pre: usize,
    parts: &[(&[f32], &[f32])],
    xt: &mut [f32],
    dw: &mut [f32],
) -> f64 {
    if dw.is_empty() {
        return 0.0;
    }
    let samples: usize = parts.iter().map(|(x, _)| x.len() / n_pre).sum();
    for (x, dy) in parts {
        assert_eq!(dy.len() / n_post * n_pre, x.len(), "x and dy must have the same batch");
    }
    assert_eq!(xt.len(), n_pre * samples, "xt must be (N_pre, B)");
    assert_eq!(dw.len(), n_post * n_pre, "dw must be (N_post, N_pre)");
    if samples == 0 {
        dw.fill(0.0);
        return 0.0;
    }
    for_pieces(xt, PANEL * samples, 4 * n_pre * samples, |i, panel| {
        let width = PANEL.min(n_pre - i * PANEL);
        let mut k = 0;
        for (x, _) in parts {
            let batch = x.len() / n_pre;
            turn(&x[i * PANEL * batch..][..width * batch], width, batch, &mut panel[k * width..][..batch * width]);
            k += batch;
        }
    });
    let xt = &*xt;
    sum_rows(dw, OUTER_ROWS * n_pre, n_post * n_pre * samples, &|i, piece| {
        let (first, rows) = (i * OUTER_ROWS, piece.len() / n_pre);
        let (mut r, mut square) = (0, 0.0);
        while r < rows {
            let out = &mut piece[r * n_pre..];
            let (done, sum) = match rows - r {
                OUTER_ROWS.. => outer_rows::<OUTER_ROWS>(n_post, n_pre, samples, parts, first + r, xt, out),
                left if left >= 4 => outer_rows::<4>(n_post, n_pre, samples, parts, first + r, xt, out),
                left if left >= 2 => outer_rows::<2>(n_post, n_pre, samples, parts, first + r, xt, out),
                _ => outer_rows::<1>(n_post, n_pre, samples, parts, first + r, xt, out),
            };
            r += done;
            square += sum;
        }
        square
    })
}

/// `R` rows of `dw` from row `post`, panel by panel of `xt`; returns `R` and the sum of their squares.
fn outer_rows<const R: usize>(
    n_post: usize,
    n_pre: usize,
    samples: usize,
    parts: &[(&[f32], &[f32])],
    post: usize,
    xt: &[f32],
    out: &mut [f32],
) -> (usize, f64) {
    // The rows' gradients side by side, so that one sample's are contiguous; some samples at a time.
    let mut columns = [[0.0; R]; OUTER_SAMPLES];
    let (mut done, mut square) = (0, 0.0);
    while done < samples {
        let count = OUTER_SAMPLES.min(samples - done);
        let mut k = 0;
        for (_, dy) in parts {
            let batch = dy.len() / n_post;
            for b in 0..batch {
                if (done..done + count).contains(&(k + b)) {
                    for r in 0..R {
                        columns[k + b - done][r] = dy[(post + r) * batch + b];
                    }
                }
            }
            k += batch;
        }
        let columns = &columns[..count];
        square = 0.0;
        let mut first = 0;
        if n_pre >= PANELS * PANEL
            && let Some(active) = Active::few(columns)
        {
            while (first + PANELS) * PANEL <= n_pre {
                let panels: [&[[[f32; LANES]; VECS]]; PANELS] = std::array::from_fn(|i| {
                    let panel = &xt[(first + i) * PANEL * samples..][done * PANEL..(done + count) * PANEL];
                    panel.as_chunks().0.as_chunks().0
                });
                square = active.tiles(panels, done > 0, n_pre, first * PANEL, square, out);
                first += PANELS;
            }
        }
        for (i, panel) in xt.chunks(PANEL * samples).enumerate().skip(first) {
            let (at, width) = (i * PANEL, panel.len() / samples);
            let panel = &panel[done * width..(done + count) * width];
            // The last samples leave the whole sum.
            square += match (width, done) {
                (PANEL, 0) => outer_tile::<R, false>(columns, panel, n_pre, at, out),
                (PANEL, _) => outer_tile::<R, true>(columns, panel, n_pre, at, out),
                _ => outer_rest(columns, panel, width, done > 0, n_pre, at, out),
            };
        }
        done += count;
    }
    (R, square)
}

/// `out[r] (+)= Σ_k columns[k][r] panel[k]` in a tile of `R` rows by one whole panel from column `at`; returns the sum of
/// its squares.
#[inline(always)]
fn outer_tile<const R: usize, const ADD: bool>(
    columns: &[[f32; R]],
    panel: &[f32],
    n_pre: usize,
    at: usize,
    out: &mut [f32],
) -> f64 {
    let mut acc = [[f32x16::ZERO; VECS]; R];
    for (column, x) in columns.iter().zip(panel.as_chunks::<LANES>().0.as_chunks::<VECS>().0) {
        let x = x.map(f32x16::new);
        for r in 0..R {
            let dy = f32x16::splat(column[r]);
            for v in 0..VECS {
                acc[r][v] = dy.mul_add(x[v], acc[r][v]);
            }
        }
    }
    let mut squares = [f32x16::ZERO; VECS];
    for r in 0..R {
        put(&acc[r], ADD, &mut out[r * n_pre + at..][..PANEL], &mut squares);
    }
    total(&squares)
}

/// Writes sums to a row of a panel, or adds them to what is there; their squares are added to `squares`.
#[inline(always)]
fn put(sums: &[f32x16; VECS], add: bool, row: &mut [f32], squares: &mut [f32x16; VECS]) {
    let row = row.as_chunks_mut::<LANES>().0;
    for v in 0..VECS {
        let sum = if add { sums[v] + f32x16::new(row[v]) } else { sums[v] };
        squares[v] = sum.mul_add(sum, squares[v]);
        row[v] = sum.to_array();
    }
}

#[inline(always)]
fn total(squares: &[f32x16; VECS]) -> f64 {
    f64::from(squares.iter().fold(f32x16::ZERO, |all, s| all + *s).reduce_add())
}

/// The terms of some rows of `dw` that are not 0.
struct Active<const R: usize> {
    /// Sample and gradient of each term, row by row.
    terms: [[(u32, f32); OUTER_SAMPLES]; R],
    /// How many a row has.
    counts: [usize; R],
}

impl<const R: usize> Active<R> {
    /// Those of the rows' gradients, sample by sample, if they are so few that going row by row, which reads a vector for
    /// each multiply-add, takes less time than tiles.
    fn few(columns: &[[f32; R]]) -> Option<Self> {
        let gradients = columns.as_flattened();
        if 5 * gradients.iter().filter(|dy| **dy != 0.0).count() >= 2 * gradients.len() {
            return None;
        }
        let mut active = Self { terms: [[(0, 0.0); OUTER_SAMPLES]; R], counts: [0; R] };
        for (k, column) in columns.iter().enumerate() {
            for r in 0..R {
                // Written over by the next one if it is 0: a jump would be foreseen half of the time.
                active.terms[r][active.counts[r]] = (k as u32, column[r]);
                active.counts[r] += usize::from(column[r] != 0.0);
            }
        }
        Some(active)
    }

    /// [`outer_tile`] of some panels next to each other, the first from column `at`; returns `square` with the squares
    /// added, panel by panel.
    fn tiles(
        &self,
        panels: [&[[[f32; LANES]; VECS]]; PANELS],
        add: bool,
        n_pre: usize,
        at: usize,
        square: f64,
        out: &mut [f32],
    ) -> f64 {
        let n = panels[0].len();
        let panels = panels.map(|panel| &panel[..n]);
        let mut squares = [[f32x16::ZERO; VECS]; PANELS];
        for r in 0..R {
            let mut acc = [[f32x16::ZERO; VECS]; PANELS];
            for &(k, dy) in &self.terms[r][..self.counts[r]] {
                let (k, dy) = (k as usize, f32x16::splat(dy));
                if k < n {
                    for i in 0..PANELS {
                        for v in 0..VECS {
                            acc[i][v] = dy.mul_add(f32x16::new(panels[i][k][v]), acc[i][v]);
                        }
                    }
                }
            }
            let row = out[r * n_pre + at..][..PANELS * PANEL].chunks_exact_mut(PANEL);
            for (i, part) in row.enumerate() {
                put(&acc[i], add, part, &mut squares[i]);
            }
        }
        squares.iter().fold(square, |all, s| all + total(s))
    }
}

/// [`outer_tile`] for the last panel, `width` columns wide.
fn outer_rest<const R: usize>(
    columns: &[[f32; R]],
    panel: &[f32],
    width: usize,
    add: bool,
    n_pre: usize,
    at: usize,
    out: &mut [f32],
) -> f64 {
    let mut square = 0.0;
    for first in (0..width).step_by(LANES) {
        let mut acc = [[f32x16::ZERO]; R];
        for (k, column) in columns.iter().enumerate() {
            dense_slices::add(&mut acc, |r| column[r], |_| load_at(panel, k * width + first));
        }
        for r in 0..R {
            let part = &mut out[r * n_pre + at + first..r * n_pre + at + width.min(first + LANES)];
            let old = if add { load(part) } else { f32x16::ZERO };
            store(part, acc[r][0] + old);
            square += f64::from(part.iter().map(|v| v * v).sum::<f32>());
        }
    }
    square
}

/// `xt (B, N) = x (N, B)` turned round, in blocks of 8 x 8.
fn turn(x: &[f32], n: usize, batch: usize, xt: &mut [f32]) {
    const SIDE: usize = 8;
    let (full_n, full_b) = (n / SIDE * SIDE, batch / SIDE * SIDE);
    for n0 in (0..full_n).step_by(SIDE) {
        for b0 in (0..full_b).step_by(SIDE) {
            let mut block = [f32x8::ZERO; SIDE];
            for r in 0..SIDE {
                let mut row = [0.0; SIDE];
                row.copy_from_slice(&x[(n0 + r) * batch + b0..][..SIDE]);
                block[r] = f32x8::new(row);
            }
            let block = f32x8::transpose(block);
            for b in 0..SIDE {
                xt[(b0 + b) * n + n0..][..SIDE].copy_from_slice(&block[b].to_array());
            }
        }
        for b in full_b..batch {
            for r in n0..n0 + SIDE {
                xt[b * n + r] = x[r * batch + b];
            }
        }
    }
    for r in full_n..n {
        for b in 0..batch {
            xt[b * n + r] = x[r * batch + b];
        }
    }
}
