//! Two-dimensional convolution (stride 1, zero padding that keeps the size, odd kernel) and its gradients.
//!
//! With the batch innermost, the inputs under one tap of the kernel are one contiguous run for a whole row of output
//! pixels. The unfolded (im2col) matrix is therefore never written: the micro-kernel walks the taps of a tile of
//! output channels x lanes and reads each run where it lies. Taps outside the image are left out, which only concerns
//! the first and last `k / 2` pixels of a row; the pixels between form one segment of `(W - k + 1) * B` lanes, so
//! that vectors are full even for a batch of one.

use super::conv_weights::accumulate;
use super::dense::{ROWS, VECS};
use super::lanes::{LANES, load_at, store};
use super::threads::{for_pieces, for_plane_pieces};
use std::ops::Range;
use wide::f32x16;

/// Output channels computed together, so that the taps of a tile come from the first-level cache for all but one.
const GROUP: usize = 32;

/// Taps of a tile that stay in the first-level cache: 144 taps x 2 vectors = 18 KiB.
const TAPS_IN_CACHE: usize = 144;

/// Sizes of a convolution; `x` is `(C_in, H, W, B)`, `y` is `(C_out, H, W, B)`, weights are `(C_out, C_in, k, k)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Input channels.
    pub c_in: usize,
    /// Output channels.
    pub c_out: usize,
    /// Height of the image.
    pub h: usize,
    /// Width of the image.
    pub w: usize,
    /// Side of the kernel, odd.
    pub k: usize,
}

impl ConvShape {
    /// Weights of one output channel: `C_in * k * k`.
    pub fn taps(&self) -> usize {
        self.c_in * self.k * self.k
    }

    /// Weights: `C_out * C_in * k * k`; also the length of the scratch `packed`.
    pub fn weights_len(&self) -> usize {
        self.c_out * self.taps()
    }

    /// Length of the scratch `partial` of [`backward_weights`].
    pub fn partial_len(&self) -> usize {
        self.chunks() * self.c_out.next_multiple_of(ROWS) * self.taps()
    }

    /// Multiply-adds of one image's forward pass.
    pub fn work(&self) -> usize {
        self.weights_len() * self.h * self.w
    }

    /// Chunks of image rows whose weight gradients are summed apart: few where there are many output channels to
    /// share out, at most one per row.
    fn chunks(&self) -> usize {
        let wanted = 32usize.div_ceil(self.c_out.div_ceil(ROWS).max(1));
        self.h.div_ceil(self.rows_per(wanted))
    }

    /// Image rows per chunk if there are to be about `chunks`.
    fn rows_per(&self, chunks: usize) -> usize {
        self.h.div_ceil(chunks).max(1)
    }

    /// The same convolution seen from the gradient: input and output channels change places.
    fn swapped(&self) -> Self {
        Self { c_in: self.c_out, c_out: self.c_in, ..*self }
    }

    fn check(&self, batch: usize, weights: &[f32], x: &[f32], y: &[f32]) {
        assert!(self.k % 2 == 1, "the kernel side must be odd");
        assert_eq!(weights.len(), self.weights_len(), "weights must be (C_out, C_in, k, k)");
        assert_eq!(x.len(), self.c_in * self.h * self.w * batch, "x must be (C_in, H, W, B)");
        assert_eq!(y.len(), self.c_out * self.h * self.w * batch, "y must be (C_out, H, W, B)");
    }
}

/// `y[o] = bias[o] + sum over i, ky, kx of w[o, i, ky, kx] * x[i, shifted by (ky, kx) - k / 2]`.
///
/// `weights (C_out, C_in, k, k)`, `bias (C_out)`, scratch `packed` of [`ConvShape::weights_len`], `x (C_in, H, W, B)`,
/// `y (C_out, H, W, B)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn forward(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
    packed: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    shape.check(batch, weights, x, y);
    assert!(bias.is_none_or(|b| b.len() == shape.c_out), "bias must be (C_out)");
    assert_eq!(packed.len(), shape.weights_len(), "packed must be (C_out, C_in, k, k)");
    let taps = shape.taps();
    pack(taps, packed, |o, tap| weights[o * taps + tap]);
    convolve(shape, batch, packed, bias, x, y);
}

/// `dx`: the convolution of `dy` with the kernels turned by 180 degrees and the channels' roles exchanged.
///
/// `weights (C_out, C_in, k, k)`, scratch `packed` of [`ConvShape::weights_len`], `dy (C_out, H, W, B)`,
/// `dx (C_in, H, W, B)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn backward_input(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    packed: &mut [f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    shape.check(batch, weights, dx, dy);
    assert_eq!(packed.len(), shape.weights_len(), "packed must be (C_out, C_in, k, k)");
    let (swapped, side) = (shape.swapped(), shape.k * shape.k);
    pack(swapped.taps(), packed, |i, tap| {
        let (o, turned) = (tap / side, side - 1 - tap % side);
        weights[(o * shape.c_in + i) * side + turned]
    });
    convolve(&swapped, batch, packed, None, dy, dx);
}

/// `dw[o, i, ky, kx] = sum over pixels and batch of dy[o] * x[i, shifted by (ky, kx) - k / 2]`.
///
/// `dy (C_out, H, W, B)`, `x (C_in, H, W, B)`, scratch `partial` of [`ConvShape::partial_len`],
/// `dw (C_out, C_in, k, k)`.
///
/// # Panics
/// If a length does not fit the shape or `k` is even.
pub fn backward_weights(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], partial: &mut [f32], dw: &mut [f32]) {
    shape.check(batch, dw, x, dy);
    assert_eq!(partial.len(), shape.partial_len(), "partial must be as long as partial_len()");
    let block = ROWS * shape.taps();
    let blocks = shape.c_out.div_ceil(ROWS);
    let rows = shape.rows_per(shape.chunks());
    for_pieces(partial, block, shape.work() * batch, |i, sums| {
        let (chunk, o) = (i / blocks, i % blocks * ROWS);
        sums.fill(0.0);
        accumulate(shape, batch, dy, x, o, chunk * rows..((chunk + 1) * rows).min(shape.h), sums);
    });
    let stride = blocks * block;
    for_pieces(dw, block, partial.len(), |i, dw| {
        dw.fill(0.0);
        for chunk in partial.chunks_exact(stride) {
            dw.iter_mut().zip(&chunk[i * block..]).for_each(|(dw, sum)| *dw += sum);
        }
    });
}

/// [`forward`] as loops.
pub fn forward_reference(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
) {
    for o in 0..shape.c_out {
        y[o * shape.h * shape.w * batch..][..shape.h * shape.w * batch].fill(bias.map_or(0.0, |b| b[o]));
    }
    for_terms(shape, batch, |weight, at_x, at_y| y[at_y] += weights[weight] * x[at_x]);
}

/// [`backward_input`] as loops.
pub fn backward_input_reference(shape: &ConvShape, batch: usize, weights: &[f32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    for_terms(shape, batch, |weight, at_x, at_y| dx[at_x] += weights[weight] * dy[at_y]);
}

/// [`backward_weights`] as loops.
pub fn backward_weights_reference(shape: &ConvShape, batch: usize, dy: &[f32], x: &[f32], dw: &mut [f32]) {
    dw.fill(0.0);
    for_terms(shape, batch, |weight, at_x, at_y| dw[weight] += dy[at_y] * x[at_x]);
}

/// Calls `f(weight, x, y)` with the three indices of every product of the convolution.
fn for_terms(shape: &ConvShape, batch: usize, mut f: impl FnMut(usize, usize, usize)) {
    let ConvShape { c_in, c_out, h, w, k } = *shape;
    let pad = k / 2;
    for o in 0..c_out {
        for (oy, ox) in (0..h).flat_map(|oy| (0..w).map(move |ox| (oy, ox))) {
            for i in 0..c_in {
                for (ky, kx) in (0..k).flat_map(|ky| (0..k).map(move |kx| (ky, kx))) {
                    // Row and column of the input, one padding too far.
                    let (iy, ix) = (oy + ky, ox + kx);
                    if (pad..h + pad).contains(&iy) && (pad..w + pad).contains(&ix) {
                        for b in 0..batch {
                            f(
                                ((o * c_in + i) * k + ky) * k + kx,
                                ((i * h + iy - pad) * w + ix - pad) * batch + b,
                                ((o * h + oy) * w + ox) * batch + b,
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Output channels of the tile that starts where `left` channels are left.
pub(super) fn tile_rows(left: usize) -> usize {
    match left {
        _ if left >= ROWS => ROWS,
        _ if left >= 4 => 4,
        _ if left >= 2 => 2,
        _ => 1,
    }
}

/// `packed`: for each tile of `R` output channels, `(taps, R)`, so that one tap's weights are contiguous.
fn pack(taps: usize, packed: &mut [f32], weight: impl Fn(usize, usize) -> f32 + Sync + Send) {
    let work = packed.len();
    for_pieces(packed, ROWS * taps, work, |i, piece| {
        let channels = piece.len() / taps;
        let mut o = 0;
        while o < channels {
            let rows = tile_rows(channels - o);
            for (tap, block) in piece[o * taps..(o + rows) * taps].chunks_exact_mut(rows).enumerate() {
                for (r, value) in block.iter_mut().enumerate() {
                    *value = weight(i * ROWS + o + r, tap);
                }
            }
            o += rows;
        }
    });
}

/// A run of lanes in one output row in which every pixel has the same taps, and the input channels to add.
struct Run<'a> {
    shape: &'a ConvShape,
    batch: usize,
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    x: &'a [f32],
    /// Output row in the image.
    oy: usize,
    /// First lane in the output row.
    lane: usize,
    /// First lane in the piece of the output plane.
    out: usize,
    /// Lanes to the end of the segment.
    lanes: usize,
    channels: Range<usize>,
    ky: Range<usize>,
    kx: Range<usize>,
}

/// `y` from packed weights.
fn convolve(shape: &ConvShape, batch: usize, packed: &[f32], bias: Option<&[f32]>, x: &[f32], y: &mut [f32]) {
    let ConvShape { c_in, h, w, k, .. } = *shape;
    let (row, pad) = (w * batch, k / 2);
    let rows = shape.rows_per(16);
    let channels = (TAPS_IN_CACHE / (k * k)).max(1);
    for_plane_pieces::<GROUP, f32>(y, h * row, rows * row, shape.work() * batch, |group, piece, planes| {
        let (o, first) = (group * GROUP, piece * rows);
        for i in (0..c_in.max(1)).step_by(channels) {
            for r in 0..planes[0].len() / row {
                let oy = first + r;
                let ky = pad.saturating_sub(oy)..k.min(h + pad - oy);
                let mut ox = 0;
                while ox < w {
                    let end = if ox >= pad && ox + pad < w { w - pad } else { ox + 1 };
                    let kx = pad.saturating_sub(ox)..k.min(w + pad - ox);
                    let mut lane = ox * batch;
                    while lane < end * batch {
                        let run = Run {
                            shape,
                            batch,
                            packed,
                            bias,
                            x,
                            oy,
                            lane,
                            out: r * row + lane,
                            lanes: end * batch - lane,
                            channels: i..(i + channels).min(c_in),
                            ky: ky.clone(),
                            kx: kx.clone(),
                        };
                        lane += match run.lanes {
                            n if n >= VECS * LANES => run.group::<VECS, true>(o, planes),
                            n if n > (VECS - 1) * LANES => run.group::<VECS, false>(o, planes),
                            LANES => run.group::<1, true>(o, planes),
                            _ => run.group::<1, false>(o, planes),
                        };
                    }
                    ox = end;
                }
            }
        }
    });
}

impl Run<'_> {
    /// `V` vectors of every output channel of a group that starts at channel `o`, all lanes of them in the run if
    /// `FULL`; returns the lanes.
    fn group<const V: usize, const FULL: bool>(&self, o: usize, planes: &mut [&mut [f32]]) -> usize {
        let mut c = 0;
        while c < planes.len() {
            let left = planes.len() - c;
            let planes = &mut planes[c..];
            match tile_rows(left) {
                ROWS.. => self.tile::<ROWS, V, FULL>(o + c, planes),
                4 => self.tile::<4, V, FULL>(o + c, planes),
                2 => self.tile::<2, V, FULL>(o + c, planes),
                _ => self.tile::<1, V, FULL>(o + c, planes),
            }
            c += tile_rows(left);
        }
        V * LANES
    }

    /// `R` output channels from `o` by `V` vectors, their sums in registers over the taps.
    fn tile<const R: usize, const V: usize, const FULL: bool>(&self, o: usize, planes: &mut [&mut [f32]]) {
        let ConvShape { h, w, k, .. } = *self.shape;
        let pad = k / 2;
        let taps = self.shape.taps();
        let mut acc = [[f32x16::ZERO; V]; R];
        for r in 0..R {
            for v in 0..V {
                acc[r][v] = if self.channels.start > 0 {
                    load_at::<FULL>(planes[r], self.out + v * LANES)
                } else {
                    f32x16::splat(self.bias.map_or(0.0, |bias| bias[o + r]))
                };
            }
        }
        let packed = &self.packed[o * taps..][..R * taps];
        for i in self.channels.clone() {
            for ky in self.ky.clone() {
                let tap = (i * k + ky) * k;
                let weights = &packed[(tap + self.kx.start) * R..(tap + self.kx.end) * R];
                let mut at = (i * h + self.oy + ky - pad) * w * self.batch + self.lane + self.kx.start * self.batch
                    - pad * self.batch;
                for weights in weights.as_chunks::<R>().0 {
                    let mut xs = [f32x16::ZERO; V];
                    for v in 0..V {
                        xs[v] = load_at::<FULL>(self.x, at + v * LANES);
                    }
                    for r in 0..R {
                        let weight = f32x16::splat(weights[r]);
                        for v in 0..V {
                            acc[r][v] = weight.mul_add(xs[v], acc[r][v]);
                        }
                    }
                    at += self.batch;
                }
            }
        }
        for r in 0..R {
            let out = &mut planes[r][self.out..self.out + self.lanes];
            for v in 0..V {
                let start = (v * LANES).min(out.len());
                store(&mut out[start..], acc[r][v]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{BATCHES, check, random};

    /// Awkward shapes: kernels larger than the image, single pixels, odd channels, several groups and pieces.
    fn shapes() -> Vec<(ConvShape, usize)> {
        let mut shapes = Vec::new();
        for batch in BATCHES {
            for (c_in, c_out, h, w, k) in [
                (1, 1, 1, 1, 1),
                (1, 8, 9, 8, 5),
                (3, 2, 2, 3, 3),
                (2, 9, 3, 1, 5),
                (8, 17, 8, 9, 3),
                (9, 3, 17, 2, 3),
                (2, 7, 3, 3, 7),
            ] {
                shapes.push((ConvShape { c_in, c_out, h, w, k }, batch));
            }
        }
        shapes.push((ConvShape { c_in: 17, c_out: 41, h: 5, w: 6, k: 3 }, 64));
        shapes.push((ConvShape { c_in: 35, c_out: 8, h: 3, w: 19, k: 3 }, 48));
        shapes
    }

    fn x_len(s: &ConvShape, batch: usize) -> usize {
        s.c_in * s.h * s.w * batch
    }

    fn y_len(s: &ConvShape, batch: usize) -> usize {
        s.c_out * s.h * s.w * batch
    }

    #[test]
    fn forward_is_the_reference() {
        for (s, b) in shapes() {
            let (w, x, bias) = (random("w", s.weights_len()), random("x", x_len(&s, b)), random("bias", s.c_out));
            for bias in [None, Some(&bias[..])] {
                check(
                    &format!("forward {s:?} B{b}"),
                    y_len(&s, b),
                    1e-5,
                    |y| forward(&s, b, &w, bias, &mut vec![f32::NAN; s.weights_len()], &x, y),
                    |y| forward_reference(&s, b, &w, bias, &x, y),
                );
            }
        }
    }

    #[test]
    fn backward_input_is_the_reference() {
        for (s, b) in shapes() {
            let (w, dy) = (random("w", s.weights_len()), random("dy", y_len(&s, b)));
            check(
                &format!("backward_input {s:?} B{b}"),
                x_len(&s, b),
                1e-5,
                |dx| backward_input(&s, b, &w, &mut vec![f32::NAN; s.weights_len()], &dy, dx),
                |dx| backward_input_reference(&s, b, &w, &dy, dx),
            );
        }
    }

    #[test]
    fn backward_weights_is_the_reference() {
        for (s, b) in shapes() {
            let (x, dy) = (random("x", x_len(&s, b)), random("dy", y_len(&s, b)));
            check(
                &format!("backward_weights {s:?} B{b}"),
                s.weights_len(),
                2e-5,
                |dw| backward_weights(&s, b, &dy, &x, &mut vec![f32::NAN; s.partial_len()], dw),
                |dw| backward_weights_reference(&s, b, &dy, &x, dw),
            );
        }
    }

    /// A kernel with a single 1 in the middle copies the image.
    #[test]
    fn the_identity_kernel_copies() {
        let s = ConvShape { c_in: 1, c_out: 1, h: 4, w: 5, k: 3 };
        let x = random("x", 60);
        let mut y = vec![f32::NAN; 60];
        forward(&s, 3, &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], None, &mut [0.0; 9], &x, &mut y);
        assert_eq!(x, y);
    }
}
