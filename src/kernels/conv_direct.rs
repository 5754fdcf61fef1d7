//! Convolution tap by tap, for every shape.
//!
//! With the batch innermost, the inputs under one tap of the kernel are one contiguous run for a whole row of output
//! pixels. The unfolded (im2col) matrix is therefore never written: the micro-kernel walks the taps of a tile of
//! output channels x lanes and reads each run where it lies. Taps outside the image are left out, which only concerns
//! the first and last `k / 2` pixels of a row; the pixels between form one segment of `(W - k + 1) * B` lanes, so
//! that vectors are full even for a batch of one.

use super::conv::ConvShape;
use super::dense::{ROWS, VECS};
use super::lanes::{LANES, load_at, store};
use super::threads::{for_pieces, for_plane_pieces};
use std::ops::Range;
use wide::f32x16;

/// Output channels computed together, so that the taps of a tile come from the first-level cache for all but one.
const GROUP: usize = 32;

/// Taps of a tile that stay in the first-level cache: 144 taps x 2 vectors = 18 KiB.
const TAPS_IN_CACHE: usize = 144;

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
pub(super) fn pack(taps: usize, packed: &mut [f32], weight: impl Fn(usize, usize) -> f32 + Sync + Send) {
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
pub(super) fn convolve(
    shape: &ConvShape,
    batch: usize,
    packed: &[f32],
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
) {
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
