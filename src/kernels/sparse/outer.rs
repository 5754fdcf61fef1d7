//! The outer product under the mask: one sum over the batch per stored synapse.

use super::Pattern;
use super::panel::{Panels, Tile, TileWork};
use super::product::fetch;
use super::stretch::Stretches;
use crate::kernels::lane_sums::lane_sums;
use crate::kernels::lanes::{LANES, load_padded, load_whole};
use crate::kernels::threads::for_pieces;
use std::ops::Range;
use wide::f32x16;

/// Synapses per piece of work where tiles come one by one.
const SYNAPSES: usize = 2048;
/// Synapses per piece of work of a batch of one.
const SINGLES: usize = 16_384;
/// Synapses of a row taken together; sixteen are slower, for the last ones of a row are mostly those of the next.
const G: usize = 8;

/// As [`backward_weights`](super::backward_weights), then `finish(first, sums)` for the sums of a piece of work, those of
/// the synapses from `first`: lets a learning rule end its sums while they are in the cache.
pub(in crate::kernels) fn outer(
    p: Pattern,
    batch: usize,
    dy: &[f32],
    x: &[f32],
    dw: &mut [f32],
    finish: impl Fn(usize, &mut [f32]) + Sync + Send,
) {
    p.check();
    assert_eq!(dy.len(), p.n_post * batch, "dy must be (N_post, B)");
    assert_eq!(x.len(), p.n_pre * batch, "x must be (N_pre, B)");
    assert_eq!(dw.len(), p.synapses(), "dw must be (S)");
    if batch == 0 {
        dw.fill(0.0);
        return finish(0, dw);
    }
    if batch == 1 {
        return for_pieces(dw, SINGLES, p.synapses(), |i, piece| {
            let first = i * SINGLES;
            each_row(p, first, piece, |post, range, dw| {
                let pre = &p.pre[first + range.start..first + range.end];
                update_row(pre, x, &mut dw[range], |_, x| dy[post] * x);
            });
            finish(first, piece);
        });
    }
    let stretches = Stretches::of(p.n_pre, p.n_post, p.synapses());
    Panels::one_by_one(batch, x, p.synapses(), |panels| {
        let work = p.synapses() * panels.lanes();
        // Each piece fetches every tile in place and stretch anew: of several, it must have many more synapses than
        // neurons.
        let len = match (stretches.several(), panels.single()) {
            (false, true) => SYNAPSES,
            (false, false) => p.synapses().max(SYNAPSES),
            (true, _) => p.synapses().div_ceil(16).clamp(16 * p.n_pre, 64 * p.n_pre),
        };
        let len = p.synapses().div_ceil(p.synapses().div_ceil(len).next_multiple_of(2).max(2)).max(1);
        for_pieces(dw, len, work, |i, piece| {
            let start = i * len;
            let (first, last) = (p.post(start), p.post(start + piece.len() - 1));
            let more = if stretches.several() { 0 } else { G - 1 };
            stretches.each(&p.row_starts[first..=last + 1], p.pre, |starts, ends| {
                let (pre, dw, dy) = (&p.pre[start..][..piece.len()], &mut *piece, &dy[first * batch..]);
                panels.each(&mut Piece { start, starts, ends, more, pre, batch, dy, dw });
            });
            if panels.last() {
                finish(start, piece);
            }
        });
    });
}

/// `w[s] ← step(w[s], x[pre[s]])` of one sample at some synapses of a row, eight at a time.
#[inline(always)]
pub(in crate::kernels) fn update_row(pre: &[u32], x: &[f32], w: &mut [f32], step: impl Fn(f32, f32) -> f32) {
    let (groups, rest) = pre.as_chunks::<8>();
    let (w_groups, w_rest) = w.as_chunks_mut::<8>();
    for (w, pre) in w_groups.iter_mut().zip(groups) {
        let x = fetch(x, pre);
        for u in 0..8 {
            w[u] = step(w[u], x[u]);
        }
    }
    for (w, &pre) in w_rest.iter_mut().zip(rest) {
        *w = step(*w, x[pre as usize]);
    }
}

/// Calls `f(post, range, dw)` for each row, or part of one, among the synapses `start ..` of `dw`; `range` is of `dw`.
#[inline(always)]
pub(in crate::kernels) fn each_row(
    p: Pattern,
    start: usize,
    dw: &mut [f32],
    mut f: impl FnMut(usize, Range<usize>, &mut [f32]),
) {
    let end = start + dw.len();
    let mut post = p.post(start);
    let mut s = start;
    while s < end {
        let row_end = (p.row_starts[post + 1] as usize).min(end);
        f(post, s - start..row_end - start, dw);
        s = row_end;
        post += 1;
    }
}

/// Some synapses, or those of them that rows find in a stretch.
struct Piece<'a> {
    /// The first synapse.
    start: usize,
    /// Where each row begins `(R)`, the first one and the last one maybe outside of the piece.
    starts: &'a [u32],
    /// Where it ends `(R)`.
    ends: &'a [u32],
    /// Synapses by which the last group of a row may run on: into the next row, which comes after it and puts its own sums
    /// there. None in a stretch: those that follow may have their sums already.
    more: usize,
    /// Input of each synapse.
    pre: &'a [u32],
    batch: usize,
    /// From the first row on.
    dy: &'a [f32],
    dw: &'a mut [f32],
}

impl TileWork for Piece<'_> {
    /// Eight synapses of a row at a time.
    #[inline(never)]
    fn tile<const T: usize>(&mut self, b: usize, n: usize, x: impl Tile<T>) {
        let (start, end) = (self.start, self.start + self.dw.len());
        for ((&from, &to), dy) in self.starts.iter().zip(self.ends).zip(self.dy.chunks_exact(self.batch)) {
            let (from, to) = ((from as usize).max(start), (to as usize).min(end));
            if from >= to {
                continue;
            }
            let (lanes, len) = (&dy[b..][..n], to - from);
            let dy = row_tile::<T>(lanes);
            let (pre, dw) = (&self.pre[from - start..], &mut self.dw[from - start..]);
            let groups = pre.as_chunks::<G>().0.iter().zip(dw.as_chunks_mut::<G>().0).take((len + self.more) / G);
            let done = groups.len() * G;
            if b == 0 {
                groups.for_each(|(pre, out)| *out = products(&dy, pre, x));
            } else {
                // What the next row has of the last group stays as it is.
                groups.enumerate().for_each(|(k, (pre, out))| add(out, &products(&dy, pre, x), len - k * G));
            }
            if done < len {
                last_group(lanes, &pre[done..len], &mut dw[done..len], b, x);
            }
        }
    }
}

/// `out += sums` for the first `n`, or for all there are.
#[inline(always)]
fn add(out: &mut [f32], sums: &[f32; G], n: usize) {
    match out.first_chunk_mut::<G>() {
        Some(out) if n >= G => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum),
        _ => out.iter_mut().zip(sums).take(n).for_each(|(out, sum)| *out += sum),
    }
}

/// The fewer than `G` synapses `rest` at the end of a piece or of a row in a stretch: the last one stands for those that
/// lack. Takes the row's numbers and not its vectors, which have no address and stay in registers.
#[inline(never)]
fn last_group<const T: usize>(lanes: &[f32], rest: &[u32], out: &mut [f32], b: usize, x: impl Tile<T>) {
    let mut pre = [rest[rest.len() - 1]; G];
    pre[..rest.len()].copy_from_slice(rest);
    let sums = products(&row_tile::<T>(lanes), &pre, x);
    if b == 0 {
        out.copy_from_slice(&sums[..rest.len()]);
    } else {
        add(out, &sums, rest.len());
    }
}

/// At most `T` vectors of a row of `dy`, then zeros.
#[inline(always)]
fn row_tile<const T: usize>(lanes: &[f32]) -> [f32x16; T] {
    let mut tile = [f32x16::ZERO; T];
    for t in 0..T {
        let at = t * LANES;
        let n = (lanes.len() - at).min(LANES);
        tile[t] = if lanes.len() == T * LANES { load_whole(lanes, at) } else { load_padded(lanes, at, n) };
    }
    tile
}

/// `dy · x[pre]` of `G` synapses.
#[inline(always)]
fn products<const T: usize>(dy: &[f32x16; T], pre: &[u32; G], x: impl Tile<T>) -> [f32; G] {
    let mut v = [f32x16::ZERO; G];
    for k in 0..G {
        let x = x.of(pre[k]);
        v[k] = dy[0] * x[0];
        for t in 1..T {
            v[k] = dy[t].mul_add(x[t], v[k]);
        }
    }
    lane_sums(&v)
}
