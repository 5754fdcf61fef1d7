//! Hebbian change of stored synapses, and homeostasis.
//!
//! Every rule here has one shape, batch-averaged: `Δw_ij = ⟨g_i x_j⟩ - d_i w_ij`. A `gate_*` function turns the
//! postsynaptic side into the gate `g (N_post, B)` and the decay `d (N_post)`; one product then serves all rules.
//! `⟨⟩` is the mean over the batch.

mod reference;

pub use reference::{hebbian_dense_reference, hebbian_online_reference, hebbian_sparse_reference};

use super::lanes::{LANES, chain_sum, load_first, load_padded, mask, store_first, tiles};
use super::optimizer::{square_norm, sum_of_squares};
use super::sparse::{Pattern, each_row, outer, update_row};
use super::threads::{for_piece_pairs, for_pieces, sum_pieces};
use std::ops::Range;
use wide::f32x16;

/// Neurons per piece of work.
const ROWS: usize = 32;
/// Weights per piece of work.
const PIECE: usize = 16_384;
/// Tiles of 16 samples whose soft competition is held on the stack at a time.
const BLOCK: usize = 16;

/// `dw[s] = ⟨gate[post] x[pre]⟩ - decay[post] w[s]` at every stored synapse; returns `Σ dw²`.
///
/// `gate (N_post, B)`, `x (N_pre, B)`, `decay (N_post)`, `w (S)`, `dw (S)`. A synapse that the mask lacks has no place
/// to appear in.
///
/// # Panics
/// If a shape is wrong.
pub fn hebbian_sparse(
    p: Pattern,
    batch: usize,
    gate: &[f32],
    x: &[f32],
    decay: &[f32],
    w: &[f32],
    dw: &mut [f32],
) -> f64 {
    assert_eq!(decay.len(), p.n_post, "decay must be (N_post)");
    assert_eq!(w.len(), p.synapses(), "w must be (S)");
    let share = share_of(batch);
    outer(p, batch, gate, x, dw, |first, dw| {
        let w = &w[first..][..dw.len()];
        each_row(p, first, dw, |post, range, dw| finish_row(share, decay[post], w, dw, range));
    });
    square_norm(dw)
}

/// `dw = share dw - decay w` in `range`, in whole vectors: in `bionic` a row has 14 synapses. What lies behind the range is
/// read and written back as it was.
#[inline(always)]
fn finish_row(share: f32, decay: f32, w: &[f32], dw: &mut [f32], range: Range<usize>) {
    for at in range.clone().step_by(LANES) {
        let n = (range.end - at).min(LANES);
        let old = load_first(dw, at, n);
        let new = old * f32x16::splat(share) - f32x16::splat(decay) * load_first(w, at, n);
        match dw[at..].first_chunk_mut() {
            Some(run) => *run = mask(n).bitselect(new, old).to_array(),
            None => store_first(dw, at, n, new),
        }
    }
}

/// `w[s] ← w[s] + rate (gate[post] x[pre] - decay[post] w[s])` for one sample, in place and in one pass.
///
/// `gate (N_post)`, `x (N_pre)`, `decay (N_post)`, `w (S)`. Homeostasis costs nothing more: synaptic scaling is a part
/// of `decay`, the rates follow from the activity. To cap the step by its norm, take [`hebbian_sparse`] and [`apply`].
///
/// # Panics
/// If a shape is wrong.
pub fn hebbian_online(p: Pattern, rate: f32, gate: &[f32], x: &[f32], decay: &[f32], w: &mut [f32]) {
    p.check();
    assert_eq!(gate.len(), p.n_post, "gate must be (N_post)");
    assert_eq!(x.len(), p.n_pre, "x must be (N_pre)");
    assert_eq!(decay.len(), p.n_post, "decay must be (N_post)");
    assert_eq!(w.len(), p.synapses(), "w must be (S)");
    for_pieces(w, PIECE, p.synapses(), |i, piece| {
        let start = i * PIECE;
        each_row(p, start, piece, |post, range, w| {
            let (kept, grown) = (1.0 - rate * decay[post], rate * gate[post]);
            let pre = &p.pre[start + range.start..start + range.end];
            update_row(pre, x, &mut w[range], |w, x| kept.mul_add(w, grown * x));
        });
    });
}

/// The end of a dense Hebbian change: `dw ← dw / B - decay[post] w`, where `dw` holds `Σ_b gate[post] x[pre]` from
/// [`dense::backward_weights`](super::dense::backward_weights). Returns `Σ dw²`.
///
/// `decay (N_post)`, `w (N_post, N_pre)`, `dw (N_post, N_pre)`.
///
/// # Panics
/// If a shape is wrong.
pub fn finish_dense(n_post: usize, n_pre: usize, batch: usize, decay: &[f32], w: &[f32], dw: &mut [f32]) -> f64 {
    assert_eq!(decay.len(), n_post, "decay must be (N_post)");
    assert_eq!(w.len(), n_post * n_pre, "w must be (N_post, N_pre)");
    assert_eq!(dw.len(), n_post * n_pre, "dw must be (N_post, N_pre)");
    let share = f32x16::splat(share_of(batch));
    sum_pieces(w.len(), [dw], 2 * w.len(), |range, [dw]| {
        let mut total = 0.0;
        let mut at = 0;
        while at < dw.len() {
            // A piece may begin and end within a row.
            let whole = range.start + at;
            let len = (n_pre - whole % n_pre).min(dw.len() - at);
            let decay = f32x16::splat(decay[whole / n_pre]);
            let (dw, w) = (&mut dw[at..at + len], &w[whole..whole + len]);
            total += sum_of_squares(len, |k, n| {
                let change = load_first(dw, k, n) * share - decay * load_first(w, k, n);
                store_first(dw, k, n, change);
                change
            });
            at += len;
        }
        total
    })
}

/// `w ← w + rate dw`. `dw (S)`, `w (S)`.
///
/// # Panics
/// If the lengths differ.
pub fn apply(rate: f32, dw: &[f32], w: &mut [f32]) {
    assert_eq!(dw.len(), w.len(), "dw must be as long as w");
    let rate = f32x16::splat(rate);
    for_pieces(w, PIECE, dw.len(), |i, w| {
        let dw = &dw[i * PIECE..][..w.len()];
        for (at, n) in tiles(w.len()) {
            let v = rate.mul_add(load_first(dw, at, n), load_first(w, at, n));
            store_first(w, at, n, v);
        }
    });
}

/// Plain Hebb with decay λ: `Δw = ⟨y x⟩ - λ w`, so `g = y`, `d = λ` (Hebb 1949; without decay it diverges).
///
/// `post (N, B)` is y, `gate (N, B)`, `decay (N)`.
///
/// # Panics
/// If a shape is wrong.
pub fn gate_hebb(n: usize, batch: usize, post: &[f32], lambda: f32, gate: &mut [f32], decay: &mut [f32]) {
    check_gate(n, batch, post, gate, decay);
    gate.copy_from_slice(post);
    decay.fill(lambda);
}

/// Oja's rule: `Δw = ⟨y x⟩ - ⟨y²⟩ w`, so `g = y`, `d = ⟨y²⟩` (Oja 1982, eq. 3). A linear neuron ends at the first
/// principal component of its input, of length 1. In the covariance form, `centered`, y counts from its mean.
///
/// `post (N, B)` is y, `gate (N, B)`, `decay (N)`.
///
/// # Panics
/// If a shape is wrong.
pub fn gate_oja(n: usize, batch: usize, post: &[f32], centered: bool, gate: &mut [f32], decay: &mut [f32]) {
    check_gate(n, batch, post, gate, decay);
    gate.copy_from_slice(post);
    if centered {
        center_rows(n, batch, gate);
    }
    let gate = &*gate;
    for_pieces(decay, ROWS, gate.len(), |i, decay| {
        for (k, d) in (i * ROWS..).zip(decay) {
            *d = mean_square(&gate[k * batch..][..batch]);
        }
    });
}

/// The rule of Bienenstock, Cooper & Munro (1982): `Δw = ⟨y (y - θ) x⟩`, so `g = y (y - θ)`, `d = 0`; afterwards
/// `θ ← θ + (⟨y²⟩ - θ) / τ` (the threshold as a running mean of y²: Intrator & Cooper 1992).
///
/// Activity above θ strengthens and below it weakens; stable where θ follows faster than the weights move.
/// `post (N, B)` is y, `tau_steps` τ at least 1, `theta (N)`, `gate (N, B)`, `decay (N)`.
///
/// # Panics
/// If a shape is wrong.
pub fn gate_bcm(
    n: usize,
    batch: usize,
    post: &[f32],
    tau_steps: f32,
    theta: &mut [f32],
    gate: &mut [f32],
    decay: &mut [f32],
) {
    check_gate(n, batch, post, gate, decay);
    assert_eq!(theta.len(), n, "theta must be (N)");
    decay.fill(0.0);
    for_piece_pairs(gate, ROWS * batch, theta, ROWS, 2 * post.len(), |i, gate, theta| {
        let rows = post[i * ROWS * batch..][..gate.len()].chunks_exact(batch);
        for ((y, gate), theta) in rows.zip(gate.chunks_exact_mut(batch)).zip(theta) {
            let threshold = f32x16::splat(*theta);
            for (b, lanes) in tiles(batch) {
                let v = load_first(y, b, lanes);
                store_first(gate, b, lanes, v * (v - threshold));
            }
            *theta += (mean_square(y) - *theta) / tau_steps;
        }
    });
}

/// Soft winner-take-all (SoftHebb: Moraitis et al. 2022; Journé et al. 2023): `Δw = ⟨s (x - u w)⟩`, so `g = s`,
/// `d = ⟨s u⟩`, with `p = softmax(u / T)` over the neurons of each sample, `s = p` for the sample's winner (the first of
/// equals) and `s = -p` for the losers.
///
/// `drive (N, B)` is u, the neurons' weighted input; `temperature` T above 0; `gate (N, B)`, `decay (N)`.
///
/// # Panics
/// If a shape is wrong.
pub fn gate_softwta(n: usize, batch: usize, drive: &[f32], temperature: f32, gate: &mut [f32], decay: &mut [f32]) {
    check_gate(n, batch, drive, gate, decay);
    let sharpness = f32x16::splat(1.0 / temperature);
    let share = share_of(batch);
    decay.fill(0.0);
    for start in (0..batch).step_by(BLOCK * LANES) {
        let len = (BLOCK * LANES).min(batch - start);
        let mut contests = [Contest::default(); BLOCK];
        let contests = &mut contests[..len.div_ceil(LANES)];
        for_pieces(contests, 1, 20 * n * len, |i, contest| {
            let at = i * LANES;
            contest[0] = Contest::new(n, batch, drive, start + at, LANES.min(len - at), sharpness);
        });
        let contests = &*contests;
        for_piece_pairs(gate, ROWS * batch, decay, ROWS, 20 * n * len, |i, gate, decay| {
            for (k, (gate, decay)) in (i * ROWS..).zip(gate.chunks_exact_mut(batch).zip(decay)) {
                let mut pull = f32x16::ZERO;
                for ((at, lanes), contest) in tiles(len).zip(contests) {
                    let u = load_first(drive, k * batch + start + at, lanes);
                    let s = contest.signed_share(k, u, sharpness);
                    store_first(gate, start + at, lanes, s);
                    pull += (s * u) & mask(lanes);
                }
                *decay += pull.reduce_add() * share;
            }
        });
    }
}

/// The soft competition of up to 16 samples.
#[derive(Clone, Copy, Default)]
struct Contest {
    /// Largest drive.
    max: f32x16,
    /// Who has it, exact below 2^24.
    winner: f32x16,
    /// `1 / Σ exp((u - max) / T)`.
    share: f32x16,
}

impl Contest {
    fn new(n: usize, batch: usize, drive: &[f32], b: usize, lanes: usize, sharpness: f32x16) -> Self {
        let row = |k: usize| load_first(drive, k * batch + b, lanes);
        let mut c = Self { max: f32x16::splat(f32::NEG_INFINITY), winner: f32x16::ZERO, share: f32x16::ONE };
        for k in 0..n {
            let above = row(k).simd_gt(c.max);
            c.max = above.select(row(k), c.max);
            c.winner = above.select(f32x16::splat(k as f32), c.winner);
        }
        let sum = (0..n).fold(f32x16::ZERO, |sum, k| sum + ((row(k) - c.max) * sharpness).exp());
        c.share = f32x16::ONE / sum;
        c
    }

    /// `±p` of neuron `k` with drive `u`.
    #[inline(always)]
    fn signed_share(&self, k: usize, u: f32x16, sharpness: f32x16) -> f32x16 {
        let p = ((u - self.max) * sharpness).exp() * self.share;
        self.winner.simd_eq(f32x16::splat(k as f32)).select(p, -p)
    }
}

/// `mean[i] = ⟨y[i]⟩`. `y (N, B)`, `mean (N)`.
///
/// # Panics
/// If a shape is wrong.
pub fn row_means(n: usize, batch: usize, y: &[f32], mean: &mut [f32]) {
    assert_eq!(y.len(), n * batch, "y must be (N, B)");
    assert_eq!(mean.len(), n, "mean must be (N)");
    for_pieces(mean, ROWS, y.len(), |i, mean| {
        for (k, m) in (i * ROWS..).zip(mean) {
            *m = chain_sum(&y[k * batch..][..batch]) * share_of(batch);
        }
    });
}

/// `y[i] ← y[i] - ⟨y[i]⟩`: activity counted from its mean. `y (N, B)`.
///
/// With a centred gate a rule takes the covariance form (Sejnowski 1977): `⟨(g - ⟨g⟩) x⟩ = ⟨g (x - ⟨x⟩)⟩`.
///
/// # Panics
/// If the shape is wrong.
pub fn center_rows(n: usize, batch: usize, y: &mut [f32]) {
    assert_eq!(y.len(), n * batch, "y must be (N, B)");
    let work = 2 * y.len();
    for_pieces(y, ROWS * batch.max(1), work, |_, rows| {
        for row in rows.chunks_exact_mut(batch) {
            let mean = f32x16::splat(chain_sum(row) * share_of(batch));
            for (at, lanes) in tiles(batch) {
                let v = load_first(row, at, lanes) - mean;
                store_first(row, at, lanes, v);
            }
        }
    });
}

/// `explained ← x - explained`. `x (N, B)`, `explained (N, B)`.
///
/// # Panics
/// If the lengths differ.
pub fn subtract_from(x: &[f32], explained: &mut [f32]) {
    assert_eq!(x.len(), explained.len(), "explained must be as long as x");
    for_pieces(explained, PIECE, x.len(), |i, explained| {
        for (e, x) in explained.iter_mut().zip(&x[i * PIECE..]) {
            *e = x - *e;
        }
    });
}

/// `running ← running + (mean - running) / τ`. `mean (N)`, `running (N)`, `tau_steps` τ at least 1.
///
/// # Panics
/// If the lengths differ.
pub fn update_running_mean(mean: &[f32], tau_steps: f32, running: &mut [f32]) {
    assert_eq!(mean.len(), running.len(), "mean must be as long as running");
    for (r, m) in running.iter_mut().zip(mean) {
        *r += (m - *r) / tau_steps;
    }
}

/// Intrinsic plasticity: `b ← b + η (r* - r̄)`. `rates (N)` is r̄, `target` r*, `rate` η, `bias (N)`.
///
/// # Panics
/// If the lengths differ.
pub fn intrinsic_step(rates: &[f32], target: f32, rate: f32, bias: &mut [f32]) {
    assert_eq!(rates.len(), bias.len(), "rates must be as long as bias");
    for (b, r) in bias.iter_mut().zip(rates) {
        *b += rate * (target - r);
    }
}

fn share_of(batch: usize) -> f32 {
    1.0 / batch.max(1) as f32
}

fn mean_square(y: &[f32]) -> f32 {
    if let [y] = y {
        return y * y;
    }
    let square = |sum, (at, n)| {
        let v = load_padded(y, at, n);
        v.mul_add(v, sum)
    };
    tiles(y.len()).fold(f32x16::ZERO, square).reduce_add() * share_of(y.len())
}

fn check_gate(n: usize, batch: usize, activity: &[f32], gate: &[f32], decay: &[f32]) {
    assert_eq!(activity.len(), n * batch, "activity must be (N, B)");
    assert_eq!(gate.len(), n * batch, "gate must be (N, B)");
    assert_eq!(decay.len(), n, "decay must be (N)");
}

#[cfg(test)]
mod tests;
