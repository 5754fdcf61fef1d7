//! The products of [`super::conv`] by tiles of bf16, on a [`Unit`].
//!
//! Sums over input channels: a tile holds 32 channels of a pixel of 16 images, so that the maps under a tap are the
//! tiles of the pixels beside. The weight gradient sums over images: a tile holds two pixels of 16 images.

use super::conv::Products;
use super::{LANES, ROWS, Row, Sums, TERMS, Unit, pair, tile};
use crate::kernels::conv::ConvShape;
use crate::kernels::lanes::{load_padded, store_first};
use crate::kernels::threads::{for_piece_pairs, for_pieces, sharing, workers};
use crate::kernels::winograd_turn::turn_tile;
use std::marker::PhantomData;
use std::ops::Range;
use wide::f32x16;

/// Channels of the two tiles that a unit takes at once.
const GROUP: usize = 2 * LANES;

/// Packed factors for a unit of each thread.
pub(super) struct Tiles<U> {
    pub(super) left: Vec<Row>,
    pub(super) right: Vec<Row>,
    unit: PhantomData<fn() -> U>,
}

impl<U> Tiles<U> {
    pub(super) fn new() -> Self {
        Self { left: Vec::new(), right: Vec::new(), unit: PhantomData }
    }

    fn rows(&mut self, left: usize, right: usize) -> [&mut [Row]; 2] {
        [(&mut self.left, left), (&mut self.right, right)].map(|(rows, len)| {
            if rows.len() < len {
                rows.resize(len, Row::ZERO);
            }
            &mut rows[..len]
        })
    }
}

impl<U: Unit + 'static> Products for Tiles<U> {
    fn forward(&mut self, shape: &ConvShape, batch: usize, weights: &[f32], bias: &[f32], x: &[f32], y: &mut [f32]) {
        let (taps, side) = (shape.taps(), shape.k * shape.k);
        assert_eq!(weights.len(), shape.weights_len(), "weights must be (C_out, C_in, k, k)");
        assert_eq!(bias.len(), shape.c_out, "bias must be (C_out)");
        let kernel = |o: usize, i: usize| &weights[o * taps + i * side..][..side];
        convolve::<U, false>(shape, batch, kernel, Some(bias), self, x, y);
    }

    fn backward_input(&mut self, shape: &ConvShape, batch: usize, weights: &[f32], dy: &[f32], dx: &mut [f32]) {
        let (taps, side) = (shape.taps(), shape.k * shape.k);
        assert_eq!(weights.len(), shape.weights_len(), "weights must be (C_out, C_in, k, k)");
        let kernel = |i: usize, o: usize| &weights[o * taps + i * side..][..side];
        convolve::<U, true>(&shape.swapped(), batch, kernel, None, self, dy, dx);
    }

    fn backward_weights(&mut self, shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
        shape.check(batch, x, dy);
        assert_eq!(dw.len(), shape.weights_len(), "dw must be (C_out, C_in, k, k)");
        let ConvShape { c_in, c_out, h, k, .. } = *shape;
        let (taps, side, grid, work) = (shape.taps(), k * k, Grid::new(shape, batch), shape.work() * batch);
        // Rows of the gradients of a tile of outputs; of a padded row of a tile of inputs, and of all its rows.
        let (per_tile, line) = (h * grid.columns * PAIRS, grid.wide * PAIRS);
        let maps = (h + k - 1) * line;
        let [left, right] = self.rows(c_out.div_ceil(GROUP) * 2 * per_tile, c_in.div_ceil(GROUP) * 2 * maps);
        for_pieces(left, per_tile, work, |tile, rows| pack_gradients(&grid, dy, tile * LANES, rows));
        for_pieces(right, line, work, |i, rows| pack_turned(&grid, x, i / (h + k - 1) * LANES, i % (h + k - 1), rows));
        let (left, right) = (&*left, &*right);
        for_pieces(dw, GROUP * taps, work, |group, dw| {
            let (mut unit, mut sums) = (U::new(), [[Sums::ZERO; 2]; 2]);
            let gradients = left[group * 2 * per_tile..][..2 * per_tile].split_at(per_tile);
            for first in (0..c_in).step_by(GROUP) {
                let maps = right[first / LANES * maps..][..2 * maps].split_at(maps);
                for tap in 0..side {
                    unit.clear();
                    for oy in 0..h {
                        for column in (0..grid.columns).step_by(2) {
                            let at = (oy * grid.columns + column) * PAIRS;
                            let under = (oy + tap / k) * line + (column + tap % k * grid.vectors) * PAIRS;
                            let maps = [tile(maps.0, under), tile(maps.1, under)];
                            unit.add([tile(gradients.0, at), tile(gradients.1, at)], maps);
                        }
                    }
                    unit.read(&mut sums);
                    for (r, dw) in dw.chunks_exact_mut(taps).enumerate() {
                        for (c, dw) in dw.chunks_exact_mut(side).skip(first).take(GROUP).enumerate() {
                            dw[tap] = sums[r / LANES][c / LANES].0[r % LANES][c % LANES];
                        }
                    }
                }
            }
        });
    }

    fn replicate(&self) -> Box<dyn Products> {
        Box::new(Self::new())
    }
}

/// Where the pixels of packed maps lie: columns of 16 images, those of a pixel beside each other, behind the padding.
struct Grid<'a> {
    shape: &'a ConvShape,
    batch: usize,
    /// Columns of a pixel.
    vectors: usize,
    /// Columns of a row of pixels, and one more if they are odd.
    columns: usize,
    /// Columns of a padded row.
    wide: usize,
}

impl<'a> Grid<'a> {
    fn new(shape: &'a ConvShape, batch: usize) -> Self {
        let vectors = batch.div_ceil(LANES);
        let columns = (shape.w * vectors).next_multiple_of(2);
        Self { shape, batch, vectors, columns, wide: columns + (shape.k - 1) * vectors }
    }

    /// Numbers of a map.
    fn plane(&self) -> usize {
        self.shape.h * self.row()
    }

    /// Numbers of a row of a map.
    fn row(&self) -> usize {
        self.shape.w * self.batch
    }

    /// The row of maps that padded row `top` is, unless it is padding.
    fn inside(&self, top: usize) -> Option<usize> {
        top.checked_sub(self.shape.k / 2).filter(|&y| y < self.shape.h)
    }

    /// The columns of a row of pixels.
    fn pixels(&self) -> Range<usize> {
        0..self.shape.w * self.vectors
    }

    /// The first column of a padded row that is not padding.
    fn padding(&self) -> usize {
        self.shape.k / 2 * self.vectors
    }

    /// The pixel of a column, and its first image.
    fn place(&self, column: usize) -> (usize, usize) {
        (column / self.vectors, column % self.vectors * LANES)
    }

    /// Where the images of a column lie in a row of a map: from where, and how many.
    fn images(&self, column: usize) -> (usize, usize) {
        let (pixel, image) = self.place(column);
        (pixel * self.batch + image, LANES.min(self.batch - image))
    }
}

/// `y[o] = bias[o] + sum over i and taps of kernel(o, i)[tap] * x[i, shifted]`, factors rounded, kernels turned by 180
/// degrees if `TURNED`.
///
/// Threads share out the output channels and pack the input each for themselves, the rows under a row of outputs at a
/// time.
fn convolve<'a, U: Unit, const TURNED: bool>(
    shape: &ConvShape,
    batch: usize,
    kernel: impl Fn(usize, usize) -> &'a [f32] + Sync + Send,
    bias: Option<&[f32]>,
    packed: &mut Tiles<U>,
    x: &[f32],
    y: &mut [f32],
) {
    shape.check(batch, x, y);
    let (k, grid, work) = (shape.k, Grid::new(shape, batch), shape.work() * batch);
    let (blocks, groups) = (shape.c_in.div_ceil(TERMS), shape.c_out.div_ceil(GROUP));
    let pieces = if sharing() { groups.min(workers()).max(1) } else { 1 };
    let channels = groups.div_ceil(pieces) * GROUP;
    // Rows of the weights of a tile of outputs; of a padded row of all inputs.
    let (per_tile, line) = (blocks * k * k * ROWS, blocks * grid.wide * ROWS);
    let [left, right] = packed.rows(groups * 2 * per_tile, pieces * k * line);
    for_pieces(left, per_tile, shape.weights_len(), |tile, rows| {
        pack_weights::<TURNED>(shape, tile * LANES, &kernel, rows);
    });
    let left = &*left;
    for_piece_pairs(y, channels * grid.plane(), right, k * line, work, |piece, y, lines| {
        let (mut unit, mut sums) = (U::new(), [[Sums::ZERO; 2]; 2]);
        lines.fill(Row::ZERO);
        for top in 0..k - 1 {
            pack_line(&grid, x, top, &mut lines[top * line..][..line]);
        }
        for oy in 0..shape.h {
            let top = oy + k - 1;
            pack_line(&grid, x, top, &mut lines[top % k * line..][..line]);
            for (group, planes) in y.chunks_mut(GROUP * grid.plane()).enumerate() {
                let first = piece * channels + group * GROUP;
                let weights = left[first / LANES * per_tile..][..2 * per_tile].split_at(per_tile);
                for column in (0..grid.columns).step_by(2) {
                    unit.clear();
                    add_taps(&grid, weights, lines, oy, column, &mut unit);
                    unit.read(&mut sums);
                    write(&grid, &sums, bias.map(|bias| &bias[first..]), oy, column, planes);
                }
            }
        }
    });
}

/// Adds the products of all taps and input channels for the outputs in columns `column` and `column + 1` of row `oy`.
/// Padded row `top` is at `top % k` in `lines`.
#[inline(always)]
fn add_taps(grid: &Grid, weights: (&[Row], &[Row]), lines: &[Row], oy: usize, column: usize, unit: &mut impl Unit) {
    let (k, line) = (grid.shape.k, lines.len() / grid.shape.k);
    let mut at = 0;
    for block in (0..line).step_by(grid.wide * ROWS) {
        for ky in 0..k {
            let line = &lines[(oy + ky) % k * line + block..][..grid.wide * ROWS];
            for kx in 0..k {
                let under = (column + kx * grid.vectors) * ROWS;
                let weights = [tile(weights.0, at), tile(weights.1, at)];
                unit.add(weights, [tile(line, under), tile(line, under + ROWS)]);
                at += ROWS;
            }
        }
    }
}

/// Writes `sums` and `bias` to columns `column` and `column + 1` of row `oy` of `planes`, up to 32 of them.
#[inline(always)]
fn write(grid: &Grid, sums: &[[Sums; 2]; 2], bias: Option<&[f32]>, oy: usize, column: usize, planes: &mut [f32]) {
    for j in (0..2).take_while(|j| grid.pixels().contains(&(column + j))) {
        let (at, n) = grid.images(column + j);
        for (r, plane) in planes.chunks_exact_mut(grid.plane()).enumerate() {
            let bias = f32x16::splat(bias.map_or(0.0, |bias| bias[r]));
            let sums = f32x16::new(sums[r / LANES][j].0[r % LANES]);
            store_first(plane, oy * grid.row() + at, n, sums + bias);
        }
    }
}

/// `rows (C_in / 32, k, k)` tiles: the weights of the 16 output channels from `first`.
fn pack_weights<'a, const TURNED: bool>(
    shape: &ConvShape,
    first: usize,
    kernel: &impl Fn(usize, usize) -> &'a [f32],
    rows: &mut [Row],
) {
    let side = shape.k * shape.k;
    rows.fill(Row::ZERO);
    for r in 0..LANES.min(shape.c_out.saturating_sub(first)) {
        for i in (0..shape.c_in).step_by(2) {
            let low = kernel(first + r, i);
            let high = if i + 1 < shape.c_in { kernel(first + r, i + 1) } else { &[] };
            let tiles = rows[i / TERMS * side * ROWS..].chunks_exact_mut(ROWS).take(side);
            for (tap, tile) in tiles.enumerate() {
                let tap = if TURNED { side - 1 - tap } else { tap };
                tile[r].0[i % TERMS / 2] = pair(low[tap], high.get(tap).copied().unwrap_or(0.0));
            }
        }
    }
}

/// `rows (C_in / 32, grid.wide)` tiles: the padded row `top` of `x`. The padding on both sides is zero already.
fn pack_line(grid: &Grid, x: &[f32], top: usize, rows: &mut [Row]) {
    let Some(y) = grid.inside(top) else { return rows.fill(Row::ZERO) };
    let line = |c: usize| &x[c * grid.plane() + y * grid.row()..][..grid.row()];
    for c in (0..grid.shape.c_in).step_by(2) {
        let (low, high) = (line(c), (c + 1 < grid.shape.c_in).then(|| line(c + 1)));
        let rows = &mut rows[(c / TERMS * grid.wide + grid.padding()) * ROWS + c % TERMS / 2..];
        for column in grid.pixels() {
            let (at, n) = grid.images(column);
            let high = high.map_or(f32x16::ZERO, |high| load_padded(high, at, n));
            rows[column * ROWS] = Row::of(load_padded(low, at, n).as_array(), high.as_array());
        }
    }
}

/// Rows of a column of 16 images: pairs of them.
const PAIRS: usize = LANES / 2;

/// `rows (H, grid.columns / 2)` tiles: `dy` of the 16 output channels from `first`, each with two columns in a row.
fn pack_gradients(grid: &Grid, dy: &[f32], first: usize, rows: &mut [Row]) {
    rows.fill(Row::ZERO);
    for (r, dy) in dy.chunks_exact(grid.plane()).skip(first).take(LANES).enumerate() {
        for (dy, rows) in dy.chunks_exact(grid.row()).zip(rows.chunks_exact_mut(grid.columns * PAIRS)) {
            for column in grid.pixels() {
                let (at, n) = grid.images(column);
                let lanes = load_padded(dy, at, n).to_array();
                let row = &mut rows[column / 2 * ROWS + r].0[column % 2 * PAIRS..][..PAIRS];
                for (p, two) in row.iter_mut().zip(lanes.as_chunks::<2>().0) {
                    *p = pair(two[0], two[1]);
                }
            }
        }
    }
}

/// `rows (grid.wide, 8)`: the padded row `top` of the 16 input channels of `x` from `first`, pairs of images by
/// channels.
fn pack_turned(grid: &Grid, x: &[f32], first: usize, top: usize, rows: &mut [Row]) {
    rows.fill(Row::ZERO);
    let Some(y) = grid.inside(top).filter(|_| first < grid.shape.c_in) else { return };
    let planes = &x[first * grid.plane()..grid.shape.c_in.min(first + LANES) * grid.plane()];
    for column in grid.pixels() {
        let (pixel, image) = grid.place(column);
        // Images by channels.
        let mut turned = [[0.0; LANES]; LANES];
        turn_tile::<1, 0>(grid.shape, grid.batch, planes, y, pixel, image, &mut turned);
        let rows = &mut rows[(grid.padding() + column) * PAIRS..][..PAIRS];
        for (row, [low, high]) in rows.iter_mut().zip(turned.as_chunks::<2>().0) {
            *row = Row::of(low, high);
        }
    }
}
