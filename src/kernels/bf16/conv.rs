//! Convolution (stride 1, zero padding that keeps the size) and its gradients by tiles of bf16.
//!
//! Sums over input channels: a tile holds 32 channels of a pixel of 16 images, so that the maps under a tap are the tiles
//! of the pixels beside. The weight gradient sums over images: a tile holds two pixels of 16 images.

use super::{LANES, ROWS, Row, Sums, TERMS, Unit, pair, tile};
use crate::kernels::conv::ConvShape;
use crate::kernels::lanes::{load_padded, store_first};
use crate::kernels::threads::{for_piece_pairs, for_pieces, sharing, workers};
use crate::kernels::winograd_turn::turn_tile;
use wide::f32x16;

/// Channels of the two tiles that a unit takes at once.
const GROUP: usize = 2 * LANES;

/// Packed factors. It grows and never shrinks.
#[derive(Clone, Default)]
pub struct Scratch {
    left: Vec<Row>,
    right: Vec<Row>,
}

impl Scratch {
    fn rows(&mut self, left: usize, right: usize) -> [&mut [Row]; 2] {
        [(&mut self.left, left), (&mut self.right, right)].map(|(rows, len)| {
            if rows.len() < len {
                rows.resize(len, Row::ZERO);
            }
            &mut rows[..len]
        })
    }
}

/// Whether the tiles of this convolution are full enough: fewer channels take longer than in f32.
pub fn pays(shape: &ConvShape) -> bool {
    shape.c_in >= 8
}

/// [`crate::kernels::conv::forward`] with `weights` and `x` rounded to bf16.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn forward(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    bias: &[f32],
    scratch: &mut Scratch,
    x: &[f32],
    y: &mut [f32],
) {
    let (taps, side) = (shape.taps(), shape.k * shape.k);
    assert_eq!(weights.len(), shape.weights_len(), "weights must be (C_out, C_in, k, k)");
    assert_eq!(bias.len(), shape.c_out, "bias must be (C_out)");
    convolve(shape, batch, |o, i, tap| weights[o * taps + i * side + tap], Some(bias), scratch, x, y);
}

/// [`crate::kernels::conv::backward_input`] with `weights` and `dy` rounded to bf16.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn backward_input(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    scratch: &mut Scratch,
    dy: &[f32],
    dx: &mut [f32],
) {
    let (taps, side) = (shape.taps(), shape.k * shape.k);
    assert_eq!(weights.len(), shape.weights_len(), "weights must be (C_out, C_in, k, k)");
    let turned = |i: usize, o: usize, tap: usize| weights[o * taps + i * side + side - 1 - tap];
    convolve(&shape.swapped(), batch, turned, None, scratch, dy, dx);
}

/// Where the pixels of a packed image lie: columns of 16 images, those of a pixel beside each other, rows a whole number of
/// pairs of columns wide behind the padding.
struct Grid {
    /// Columns of a pixel.
    vectors: usize,
    /// Columns of a row of pixels, even.
    columns: usize,
    /// Columns of a padded row.
    wide: usize,
    /// Padded rows.
    high: usize,
}

impl Grid {
    fn new(shape: &ConvShape, batch: usize) -> Self {
        let vectors = batch.div_ceil(LANES);
        let columns = (shape.w * vectors).next_multiple_of(2);
        Self { vectors, columns, wide: columns + (shape.k - 1) * vectors, high: shape.h + shape.k - 1 }
    }

    /// Calls `f(column, pixel, image)` for the columns of a row with their padding.
    fn each(&self, shape: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
        for pixel in 0..shape.w {
            for vector in 0..self.vectors {
                f((pixel + shape.k / 2) * self.vectors + vector, pixel, vector * LANES);
            }
        }
    }
}

/// `y[o] = bias[o] + sum over i and taps of weight(o, i, tap) * x[i, shifted]`, factors rounded.
///
/// Threads share out the output channels and pack the input each for themselves, the rows under a row of outputs at a time.
fn convolve(
    shape: &ConvShape,
    batch: usize,
    weight: impl Fn(usize, usize, usize) -> f32 + Sync + Send,
    bias: Option<&[f32]>,
    scratch: &mut Scratch,
    x: &[f32],
    y: &mut [f32],
) {
    shape.check(batch, x, y);
    let ConvShape { c_in, c_out, h, w, k } = *shape;
    let (side, grid) = (k * k, Grid::new(shape, batch));
    let (plane, work) = (h * w * batch, shape.work() * batch);
    let (blocks, groups) = (c_in.div_ceil(TERMS), c_out.div_ceil(GROUP));
    let per_tile = blocks * side * ROWS;
    let pieces = if sharing() { groups.min(workers()).max(1) } else { 1 };
    let channels = groups.div_ceil(pieces) * GROUP;
    let line = blocks * grid.wide * ROWS;
    let [left, right] = scratch.rows(groups * 2 * per_tile, pieces * k * line);
    for_pieces(left, per_tile, c_out * c_in * side, |o, rows| {
        for (t, rows) in rows.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
            let (block, tap) = (t / side, t % side);
            for (r, row) in rows.iter_mut().enumerate() {
                let o = o * LANES + r;
                let weight = |i: usize| if o < c_out && i < c_in { weight(o, i, tap) } else { 0.0 };
                let first = |p: usize| block * TERMS + 2 * p;
                *row = Row(std::array::from_fn(|p| pair(weight(first(p)), weight(first(p) + 1))));
            }
        }
    });
    let left = &*left;
    for_piece_pairs(y, channels * plane, right, k * line, work, |piece, y, lines| {
        let (mut unit, mut sums) = (Unit::new(), [[Sums::ZERO; 2]; 2]);
        lines.fill(Row::ZERO);
        for top in 0..k - 1 {
            pack_line(shape, batch, &grid, x, top, &mut lines[top * line..][..line]);
        }
        for oy in 0..h {
            let top = oy + k - 1;
            pack_line(shape, batch, &grid, x, top, &mut lines[top % k * line..][..line]);
            for (group, planes) in y.chunks_mut(GROUP * plane).enumerate() {
                let first = piece * channels + group * GROUP;
                let weights = left[first / LANES * per_tile..][..2 * per_tile].split_at(per_tile);
                for column in (0..grid.columns).step_by(2) {
                    unit.clear();
                    let mut at = 0;
                    for block in 0..blocks {
                        for ky in 0..k {
                            let line = &lines[(oy + ky) % k * line + block * grid.wide * ROWS..];
                            for kx in 0..k {
                                let under = (column + kx * grid.vectors) * ROWS;
                                let weights = [tile(weights.0, at), tile(weights.1, at)];
                                unit.add(weights, [tile(line, under), tile(line, under + ROWS)]);
                                at += ROWS;
                            }
                        }
                    }
                    unit.read(&mut sums);
                    for j in (0..2).take_while(|j| column + j < w * grid.vectors) {
                        let (pixel, image) = ((column + j) / grid.vectors, (column + j) % grid.vectors * LANES);
                        let (at, n) = ((oy * w + pixel) * batch + image, LANES.min(batch - image));
                        for (r, plane) in planes.chunks_exact_mut(plane).enumerate() {
                            let bias = f32x16::splat(bias.map_or(0.0, |bias| bias[first + r]));
                            store_first(plane, at, n, f32x16::new(sums[r / LANES][j].0[r % LANES]) + bias);
                        }
                    }
                }
            }
        }
    });
}

/// The padded row `top` of `x` for [`convolve`] `(C_in / 32, grid.wide)` tiles; its padding on both sides is zero already.
fn pack_line(shape: &ConvShape, batch: usize, grid: &Grid, x: &[f32], top: usize, tiles: &mut [Row]) {
    let ConvShape { c_in, h, w, k, .. } = *shape;
    if !(k / 2..h + k / 2).contains(&top) {
        return tiles.fill(Row::ZERO);
    }
    let line = |c: usize| &x[(c * h + top - k / 2) * w * batch..][..w * batch];
    for c in (0..c_in).step_by(2) {
        let (low, high) = (line(c), (c + 1 < c_in).then(|| line(c + 1)));
        let rows = &mut tiles[c / TERMS * grid.wide * ROWS + c % TERMS / 2..];
        grid.each(shape, |column, pixel, image| {
            let (at, n) = (pixel * batch + image, LANES.min(batch - image));
            let high = high.map_or(f32x16::ZERO, |high| load_padded(high, at, n));
            rows[column * ROWS] = Row::of(load_padded(low, at, n).as_array(), high.as_array());
        });
    }
}

/// [`crate::kernels::conv::backward_weights`] with `dy` and `x` rounded to bf16.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn backward_weights(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], scratch: &mut Scratch, dw: &mut [f32]) {
    shape.check(batch, x, dy);
    assert_eq!(dw.len(), shape.weights_len(), "dw must be (C_out, C_in, k, k)");
    let ConvShape { c_in, c_out, h, w, k } = *shape;
    let (taps, side, grid) = (shape.taps(), k * k, Grid::new(shape, batch));
    let (plane, work) = (h * w * batch, shape.work() * batch);
    // Rows of a column of 16 images on the right: pairs of images.
    const HALF: usize = ROWS / 2;
    let (gradients, line) = (h * grid.columns * HALF, grid.wide * HALF);
    let map = grid.high * line;
    let [left, right] = scratch.rows(c_out.div_ceil(GROUP) * 2 * gradients, c_in.div_ceil(GROUP) * 2 * map);
    for_pieces(left, gradients, work, |o, rows| {
        rows.fill(Row::ZERO);
        for (oy, tiles) in rows.chunks_exact_mut(grid.columns * HALF).enumerate() {
            for (r, dy) in dy.chunks_exact(plane).skip(o * LANES).take(LANES).enumerate() {
                let dy = &dy[oy * w * batch..][..w * batch];
                for column in 0..w * grid.vectors {
                    let (pixel, image) = (column / grid.vectors, column % grid.vectors * LANES);
                    let lanes = load_padded(dy, pixel * batch + image, LANES.min(batch - image)).to_array();
                    let row = &mut tiles[column / 2 * ROWS + r].0[column % 2 * HALF..][..HALF];
                    for (p, two) in row.iter_mut().zip(lanes.as_chunks::<2>().0) {
                        *p = pair(two[0], two[1]);
                    }
                }
            }
        }
    });
    for_pieces(right, line, work, |i, rows| {
        let (channel, top) = (i / grid.high * LANES, i % grid.high);
        rows.fill(Row::ZERO);
        if channel >= c_in || !(k / 2..h + k / 2).contains(&top) {
            return;
        }
        let planes = &x[channel * plane..c_in.min(channel + LANES) * plane];
        grid.each(shape, |column, pixel, image| {
            // Images by channels.
            let mut turned = [[0.0; LANES]; LANES];
            turn_tile::<1, 0>(shape, batch, planes, top - k / 2, pixel, image, &mut turned);
            for (row, [low, high]) in rows[column * HALF..].iter_mut().zip(turned.as_chunks::<2>().0) {
                *row = Row::of(low, high);
            }
        });
    });
    let (left, right) = (&*left, &*right);
    for_pieces(dw, GROUP * taps, work, |group, dw| {
        let (mut unit, mut sums) = (Unit::new(), [[Sums::ZERO; 2]; 2]);
        let gradients = left[group * 2 * gradients..][..2 * gradients].split_at(gradients);
        for first in (0..c_in).step_by(GROUP) {
            let maps = right[first / LANES * map..][..2 * map].split_at(map);
            for tap in 0..side {
                unit.clear();
                for oy in 0..h {
                    for column in (0..grid.columns).step_by(2) {
                        let at = (oy * grid.columns + column) * HALF;
                        let under = (oy + tap / k) * line + (column + tap % k * grid.vectors) * HALF;
                        let maps = [tile(maps.0, under), tile(maps.1, under)];
                        unit.add([tile(gradients.0, at), tile(gradients.1, at)], maps);
                    }
                }
                unit.read(&mut sums);
                for (i, sums) in sums.iter().enumerate() {
                    for (r, dw) in dw.chunks_exact_mut(taps).skip(i * LANES).take(LANES).enumerate() {
                        for (j, Sums(sums)) in sums.iter().enumerate() {
                            let channels = dw.chunks_exact_mut(side).skip(first + j * LANES);
                            channels.zip(&sums[r]).for_each(|(dw, sum)| dw[tap] = *sum);
                        }
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::conv::{backward_input_reference, backward_weights_reference, forward_reference};
    use crate::kernels::parity::{check, random};

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

    fn rounded(name: &str, n: usize) -> [Vec<f32>; 2] {
        let exact = random(name, n);
        let rounded = exact.iter().map(|&x| f32::from_bits(super::super::round(x))).collect();
        [exact, rounded]
    }

    #[test]
    fn products_are_the_references_of_rounded_factors() {
        for (s, b) in shapes() {
            let pixels = s.h * s.w * b;
            let [w, w_rounded] = rounded("w", s.weights_len());
            let [x, x_rounded] = rounded("x", s.c_in * pixels);
            let [dy, dy_rounded] = rounded("dy", s.c_out * pixels);
            let bias = random("bias", s.c_out);
            check(
                &format!("forward {s:?} B{b}"),
                dy.len(),
                1e-5,
                |y| forward(&s, b, &w, &bias, &mut Scratch::default(), &x, y),
                |y| forward_reference(&s, b, &w_rounded, Some(&bias), &x_rounded, y),
            );
            check(
                &format!("backward_input {s:?} B{b}"),
                x.len(),
                1e-5,
                |dx| backward_input(&s, b, &w, &mut Scratch::default(), &dy, dx),
                |dx| backward_input_reference(&s, b, &w_rounded, &dy_rounded, dx),
            );
            check(
                &format!("backward_weights {s:?} B{b}"),
                w.len(),
                1e-5,
                |dw| backward_weights(&s, b, &dy, &x, &mut Scratch::default(), dw),
                |dw| backward_weights_reference(&s, b, &dy_rounded, &x_rounded, dw),
            );
        }
    }

    /// What an earlier, larger convolution left is not read.
    #[test]
    fn scratch_may_be_used_again() {
        let mut scratch = Scratch::default();
        for (s, b) in shapes().into_iter().rev() {
            let pixels = s.h * s.w * b;
            let (w, x, bias) = (random("w", s.weights_len()), random("x", s.c_in * pixels), random("bias", s.c_out));
            let mut y = [vec![f32::NAN; s.c_out * pixels], vec![f32::NAN; s.c_out * pixels]];
            let mut dw = [vec![f32::NAN; w.len()], vec![f32::NAN; w.len()]];
            forward(&s, b, &w, &bias, &mut scratch, &x, &mut y[0]);
            backward_weights(&s, b, &y[0], &x, &mut scratch, &mut dw[0]);
            forward(&s, b, &w, &bias, &mut Scratch::default(), &x, &mut y[1]);
            backward_weights(&s, b, &y[0], &x, &mut Scratch::default(), &mut dw[1]);
            assert_eq!(y[0], y[1]);
            assert_eq!(dw[0], dw[1]);
        }
    }

    /// A diverged network is noticed by its NaN.
    #[test]
    fn nan_stays() {
        let s = ConvShape { c_in: 8, c_out: 8, h: 2, w: 2, k: 3 };
        let (w, mut x) = (random("w", s.weights_len()), random("x", 8 * 4));
        x[3] = f32::from_bits(0xffff_ffff);
        let mut y = vec![0.0; 8 * 4];
        forward(&s, 1, &w, &[0.0; 8], &mut Scratch::default(), &x, &mut y);
        assert!(y.iter().all(|y| y.is_nan()));
    }
}
