//! Convolution tap by tap, for every shape.
//!
//! The input is copied with its zero padding around each image, so that no tap leaves it. With the batch innermost, the
//! inputs under one tap are then one contiguous run for a whole row of output pixels. The unfolded (im2col) matrix is
//! never written: the micro-kernel walks the taps of a tile of output channels x lanes and reads each run where it lies.

use super::conv::ConvShape;
use super::lanes::{LANES, ONE_REGISTER, REGISTER, Register, register_at};
use super::threads::{for_pieces, for_plane_pieces};
use std::ops::Range;

/// Output channels computed together, so that the inputs of a span come from the first-level cache for all but the first.
const GROUP: usize = 32;

/// Taps whose weights stay in the first-level cache, and whose sums are kept in registers: 144 x 8 numbers = 4.5 KiB.
const TAPS_IN_CACHE: usize = 144;

/// Lanes of padded rows that stay there: 20 KiB. Few input channels have whole rows in it, and long runs of stores.
const LANES_IN_CACHE: usize = 5120;

/// Output channels of the tallest tile; their weights are packed together, their weight gradients summed together. It
/// decides how many sums are in registers, see [`WIDTH`], and into how many chunks of image rows a weight gradient is
/// cut, that is, its last bits.
pub(super) const BLOCK: usize = if ONE_REGISTER { 8 } else { 4 };

/// Registers side by side: 8 x 3 sums, three inputs and one weight fill 28 of 32 registers of AVX-512, with 4 x 3 sums
/// all 16 of AVX2.
const WIDTH: usize = 3;

/// Registers side by side of two output channels and of one, where the span has as many: three would be too few sums to
/// hide the latency of a multiply-add.
const TWO: usize = if ONE_REGISTER { 8 } else { 6 };
const ONE: usize = 8;

/// Length of the scratch of [`forward`]: packed weights and the padded input.
pub fn scratch_len(shape: &ConvShape, batch: usize) -> usize {
    shape.weights_len() + padded_len(shape, batch)
}

/// [`super::conv::forward`] tap by tap, whatever the shape; `scratch` of [`scratch_len`].
///
/// # Panics
/// If `scratch` is shorter.
pub fn forward(
    shape: &ConvShape,
    batch: usize,
    weights: &[f32],
    bias: Option<&[f32]>,
    scratch: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    let taps = shape.taps();
    let (packed, padded) = scratch.split_at_mut(shape.weights_len());
    pack(taps, packed, |o, tap| weights[o * taps + tap]);
    convolve(shape, batch, packed, bias, padded, x, y);
}

/// Lanes of a row of the padded input.
pub(super) fn padded_row(shape: &ConvShape, batch: usize) -> usize {
    (shape.w + shape.k - 1) * batch
}

/// Lanes of a plane of the padded input.
pub(super) fn padded_plane(shape: &ConvShape, batch: usize) -> usize {
    (shape.h + shape.k - 1) * padded_row(shape, batch)
}

/// Length of the scratch of [`pad`] and [`convolve`]: the padded input, room to begin at a cache line and to read past
/// its end.
pub(super) fn padded_len(shape: &ConvShape, batch: usize) -> usize {
    shape.c_in * padded_plane(shape, batch) + (WIDTH + 1) * LANES
}

/// The padded copy `(C_in, H + k - 1, W + k - 1, B)` of `x (C_in, H, W, B)` and at least `WIDTH` vectors behind it, in
/// `scratch` of [`padded_len`].
pub(super) fn pad<'a>(shape: &ConvShape, batch: usize, x: &[f32], scratch: &'a mut [f32]) -> &'a [f32] {
    assert_eq!(x.len(), shape.c_in * shape.h * shape.w * batch, "x must be (C_in, H, W, B)");
    let place = padded_place(shape, batch, scratch);
    let scratch = &mut scratch[place];
    let (len, plane, row) = (shape.w * batch, padded_plane(shape, batch), padded_row(shape, batch));
    let (inside, behind) = scratch.split_at_mut(shape.c_in * plane);
    behind.fill(0.0);
    for_pieces(inside, plane, shape.c_in * plane, |i, padded| {
        let pad = shape.k / 2;
        for (y, padded) in padded.chunks_exact_mut(row.max(1)).enumerate() {
            if !(pad..shape.h + pad).contains(&y) {
                padded.fill(0.0);
                continue;
            }
            let at = pad * batch;
            padded[..at].fill(0.0);
            padded[at..at + len].copy_from_slice(&x[(i * shape.h + y - pad) * len..][..len]);
            padded[at + len..].fill(0.0);
        }
    });
    scratch
}

/// Where [`pad`] puts its copy in `scratch`.
pub(super) fn padded_place(shape: &ConvShape, batch: usize, scratch: &[f32]) -> Range<usize> {
    let first = scratch.as_ptr().align_offset(64).min(LANES);
    first..first + shape.c_in * padded_plane(shape, batch) + WIDTH * LANES
}

/// Output channels of the tile that starts where `left` channels are left.
pub(super) fn tile_rows(left: usize) -> usize {
    match left {
        _ if left >= BLOCK => BLOCK,
        _ if left >= 4 => 4,
        _ if left >= 2 => 2,
        _ => 1,
    }
}

/// `packed`: for each tile of `R` output channels, `(taps, R)`, so that one tap's weights are contiguous.
pub(super) fn pack(taps: usize, packed: &mut [f32], weight: impl Fn(usize, usize) -> f32 + Sync + Send) {
    let work = packed.len();
    for_pieces(packed, BLOCK * taps, work, |i, piece| {
        let channels = piece.len() / taps;
        let mut o = 0;
        while o < channels {
            let rows = tile_rows(channels - o);
            for (tap, block) in piece[o * taps..(o + rows) * taps].chunks_exact_mut(rows).enumerate() {
                for (r, value) in block.iter_mut().enumerate() {
                    *value = weight(i * BLOCK + o + r, tap);
                }
            }
            o += rows;
        }
    });
}

/// `y (C_out, H, W, B)` of `x (C_in, H, W, B)`; `packed` from [`pack`], `scratch` of [`padded_len`].
pub(super) fn convolve(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    bias: Option<&[f32]>,
    scratch: &mut [f32],
    x: &[f32],
    y: &mut [f32],
) {
    convolve_padded(shape, batch, packed, bias, pad(shape, batch, x, scratch), y);
}

/// [`convolve`] of the copy from [`pad`].
pub(super) fn convolve_padded(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
) {
    let ConvShape { c_in, h, w, k, .. } = *shape;
    let row = w * batch;
    let rows = shape.rows_per(16);
    let channels = (TAPS_IN_CACHE / (k * k)).clamp(1, c_in.max(1));
    let span = (LANES_IN_CACHE / (channels * k)).saturating_sub((k - 1) * batch) / (WIDTH * LANES);
    let span = span.max(1) * WIDTH * LANES;
    for_plane_pieces::<GROUP>(y, h * row, rows * row, shape.work() * batch, |group, piece, planes| {
        for i in (0..c_in.max(1)).step_by(channels) {
            for r in 0..planes[0].len() / row {
                for lane in (0..row).step_by(span) {
                    let (channels, lanes) = (i..(i + channels).min(c_in), lane..(lane + span).min(row));
                    let run =
                        Row { shape, batch, packed, bias, x, oy: piece * rows + r, out: r * row, channels, lanes };
                    run.group(group * GROUP, planes);
                }
            }
        }
    });
}

/// A span of an output row, and the input channels to add.
struct Row<'a> {
    shape: &'a ConvShape,
    batch: usize,
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    /// Padded input.
    x: &'a [f32],
    /// Output row in the image.
    oy: usize,
    /// The row's first lane in the piece of the output plane.
    out: usize,
    channels: Range<usize>,
    /// The span in the row.
    lanes: Range<usize>,
}

impl Row<'_> {
    /// Every output channel of a group that starts at channel `o`.
    fn group(&self, o: usize, planes: &mut [&mut [f32]]) {
        let mut c = 0;
        while c < planes.len() {
            let left = planes.len() - c;
            match tile_rows(left) {
                n if n >= BLOCK => self.channels::<BLOCK, WIDTH>(o + c, &mut planes[c..]),
                4 => self.channels::<4, WIDTH>(o + c, &mut planes[c..]),
                2 => self.channels::<2, TWO>(o + c, &mut planes[c..]),
                _ => self.channels::<1, ONE>(o + c, &mut planes[c..]),
            }
            c += tile_rows(left);
        }
    }

    /// `R` output channels from `o`, `V` registers at a time.
    fn channels<const R: usize, const V: usize>(&self, o: usize, planes: &mut [&mut [f32]]) {
        match self.shape.k {
            3 => self.lanes::<R, V, 3>(o, planes),
            5 => self.lanes::<R, V, 5>(o, planes),
            _ => self.lanes::<R, V, 0>(o, planes),
        }
    }

    fn lanes<const R: usize, const V: usize, const K: usize>(&self, o: usize, planes: &mut [&mut [f32]]) {
        let Range { start: mut lane, end } = self.lanes;
        while end - lane >= V * REGISTER {
            self.tile::<R, V, K, true>(o, lane, planes);
            lane += V * REGISTER;
        }
        while end - lane >= WIDTH * REGISTER {
            self.tile::<R, WIDTH, K, true>(o, lane, planes);
            lane += WIDTH * REGISTER;
        }
        while end - lane >= REGISTER {
            self.tile::<R, 1, K, true>(o, lane, planes);
            lane += REGISTER;
        }
        if lane < end {
            self.tile::<R, 1, K, false>(o, lane, planes);
        }
    }

    /// `R` output channels from `o` by `V` registers from `lane`, their sums in registers over the taps; `K` is the side
    /// of the kernel or 0, `WHOLE` says that they lie in the row.
    fn tile<const R: usize, const V: usize, const K: usize, const WHOLE: bool>(
        &self,
        o: usize,
        lane: usize,
        planes: &mut [&mut [f32]],
    ) {
        const { assert!(WHOLE || V == 1) };
        let k = if K == 0 { self.shape.k } else { K };
        let (taps, batch) = (self.shape.taps(), self.batch);
        let mut sums = [[Register::ZERO; V]; R];
        for r in 0..R {
            for v in 0..V {
                sums[r][v] = if self.channels.start > 0 {
                    register_at::<WHOLE>(planes[r], self.out + lane + v * REGISTER)
                } else {
                    Register::splat(self.bias.map_or(0.0, |bias| bias[o + r]))
                };
            }
        }
        let (row, plane) = (padded_row(self.shape, batch), padded_plane(self.shape, batch));
        let packed = &self.packed[o * taps..][..R * taps];
        for i in self.channels.clone() {
            for ky in 0..k {
                let weights = packed[(i * k + ky) * k * R..][..k * R].as_chunks::<R>().0;
                let xs = &self.x[i * plane + (self.oy + ky) * row + lane..][..(k - 1) * batch + V * REGISTER];
                for kx in 0..k {
                    let taps = xs[kx * batch..][..V * REGISTER].as_chunks::<REGISTER>().0;
                    // With 16 registers there is room for inputs or weights beside the sums: for what is less.
                    if ONE_REGISTER || V <= R {
                        let mut xs = [Register::ZERO; V];
                        for v in 0..V {
                            xs[v] = Register::new(taps[v]);
                        }
                        for r in 0..R {
                            let weight = Register::splat(weights[kx][r]);
                            for v in 0..V {
                                sums[r][v] = weight.mul_add(xs[v], sums[r][v]);
                            }
                        }
                    } else {
                        let mut splats = [Register::ZERO; R];
                        for r in 0..R {
                            splats[r] = Register::splat(weights[kx][r]);
                        }
                        for v in 0..V {
                            let x = Register::new(taps[v]);
                            for r in 0..R {
                                sums[r][v] = splats[r].mul_add(x, sums[r][v]);
                            }
                        }
                    }
                }
            }
        }
        for r in 0..R {
            let out = &mut planes[r][self.out + lane..self.out + self.shape.w * batch];
            for v in 0..V {
                let at = v * REGISTER;
                if WHOLE {
                    out[at..at + REGISTER].copy_from_slice(sums[r][v].as_array());
                } else {
                    let n = REGISTER.min(out.len() - at);
                    out[at..at + n].copy_from_slice(&sums[r][v].as_array()[..n]);
                }
            }
        }
    }
}
