//! Steps of gradient optimizers over one tensor, in place, and the small vector operations around them.
//!
//! Squared norms are `f32` within runs of 1024 numbers and `f64` beyond, always in the same order.

use super::lanes::{LANES, load, load_first, load_padded, mask, store, store_first, tiles};
use super::threads::{for_pieces, sum_pieces};
use wide::f32x16;

/// Numbers per piece of work where no sum is wanted.
const PIECE: usize = 16_384;
/// Numbers whose squares are added in `f32`.
const RUN: usize = 1024;
/// What counts as 0 in a moment. A synapse whose gradient stays 0 would end with subnormal moments for ever (0.9 times one
/// of the smallest numbers rounds to itself), and arithmetic on these takes many times as long.
/// Above the least normal number, 1.2e-38, so that a decay of it is normal too.
const NOTHING: f32 = 1e-36;

/// Settings of [`adam_step`] at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate η.
    pub learning_rate: f32,
    /// Decay β₁ of the mean of gradients.
    pub beta1: f32,
    /// Decay β₂ of the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Factor of the gradient: below 1 where its norm is clipped.
    pub gradient_factor: f32,
    /// Weight decay λ.
    pub weight_decay: f32,
    /// True: w shrinks by η λ before the step (AdamW); false: λ w is added to the gradient (Adam).
    pub decoupled: bool,
    /// `1 - β₁^t`, t counted from 1.
    pub bias_correction1: f32,
    /// `1 - β₂^t`.
    pub bias_correction2: f32,
}

/// One step of Adam (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019, algorithm 2), as in PyTorch:
/// `m ← β₁ m + (1 - β₁) g`, `v ← β₂ v + (1 - β₂) g²`, `w ← w - η (m / c₁) / (√(v / c₂) + ε)`.
///
/// `w`, `m`, `v`, `g` `(n)`; g counts times `gradient_factor`. Moments smaller than 1e-36 in size become 0. Returns
/// `Σ (w_new - w_old)²`, weight decay included.
///
/// # Panics
/// If the lengths differ.
pub fn adam_step(p: &AdamStep, w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) -> f64 {
    assert_eq!(w.len(), g.len(), "w must be as long as g");
    let (beta1, beta2) = (f32x16::splat(p.beta1), f32x16::splat(p.beta2));
    let (rest1, rest2) = (f32x16::splat(1.0 - p.beta1), f32x16::splat(1.0 - p.beta2));
    let step = f32x16::splat(p.learning_rate / p.bias_correction1);
    let root = f32x16::splat(1.0 / p.bias_correction2.sqrt());
    let epsilon = f32x16::splat(p.epsilon);
    let shrink = f32x16::splat(if p.decoupled { 1.0 - p.learning_rate * p.weight_decay } else { 1.0 });
    let coupled = f32x16::splat(if p.decoupled { 0.0 } else { p.weight_decay });
    let factor = f32x16::splat(p.gradient_factor);
    // A division and a square root for each number: about 20 multiply-adds.
    sum_pieces(g.len(), [w, m, v], 20 * g.len(), |range, state| {
        change(state, &g[range], |[old, m, v], g| {
            let g = coupled.mul_add(old, factor * g);
            let first = or_nothing(beta1.mul_add(m, rest1 * g));
            let second = or_nothing(beta2.mul_add(v, rest2 * g * g));
            [old * shrink - step * first / (second.sqrt() * root + epsilon), first, second]
        })
    })
}

/// One step of gradient descent with Nesterov momentum μ, as in PyTorch (no dampening): `d = g + λ w`,
/// `velocity ← μ velocity + d`, `w ← w - η (d + μ velocity)`.
///
/// `w`, `velocity`, `g` `(n)`, g counted times `gradient_factor`; a velocity that starts at 0 gives PyTorch's first step, and one
/// smaller than 1e-36 in size becomes 0. Returns `Σ (w_new - w_old)²`.
///
/// # Panics
/// If the lengths differ.
pub fn sgd_nesterov_step(
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
    gradient_factor: f32,
    w: &mut [f32],
    velocity: &mut [f32],
    g: &[f32],
) -> f64 {
    assert_eq!(w.len(), g.len(), "w must be as long as g");
    let (rate, momentum) = (f32x16::splat(learning_rate), f32x16::splat(momentum));
    let (weight_decay, factor) = (f32x16::splat(weight_decay), f32x16::splat(gradient_factor));
    sum_pieces(g.len(), [w, velocity], 4 * g.len(), |range, state| {
        change(state, &g[range], |[old, velocity], g| {
            let d = weight_decay.mul_add(old, factor * g);
            let speed = or_nothing(momentum.mul_add(velocity, d));
            [old - rate * momentum.mul_add(speed, d), speed]
        })
    })
}

/// `moment`, but 0 where it is smaller than [`NOTHING`] in size.
#[inline(always)]
fn or_nothing(moment: f32x16) -> f32x16 {
    moment.abs().simd_lt(f32x16::splat(NOTHING)).select(f32x16::ZERO, moment)
}

/// Replaces each vector of `state` by what `f` makes of it and of the gradient; returns `Σ (new - old)²` of the first.
/// Whole vectors go by without a check or a call: with one, a step took twice the time.
#[inline(always)]
fn change<const K: usize>(state: [&mut [f32]; K], g: &[f32], f: impl Fn([f32x16; K], f32x16) -> [f32x16; K]) -> f64 {
    let (vectors, g_rest) = g.as_chunks::<LANES>();
    let mut rests: [&mut [f32]; K] = std::array::from_fn(|_| Default::default());
    let mut whole: [&mut [[f32; LANES]]; K] = std::array::from_fn(|_| Default::default());
    for (k, state) in state.into_iter().enumerate() {
        let (vectors_k, rest) = state.as_chunks_mut::<LANES>();
        (whole[k], rests[k]) = (&mut vectors_k[..vectors.len()], rest);
    }
    let mut total = 0.0f64;
    for (start, run) in vectors.chunks(RUN / LANES).enumerate() {
        let start = start * (RUN / LANES);
        let state = whole.each_mut().map(|whole| &mut whole[start..start + run.len()]);
        let mut sum = f32x16::ZERO;
        for i in 0..run.len() {
            let mut old = [f32x16::ZERO; K];
            for k in 0..K {
                old[k] = f32x16::new(state[k][i]);
            }
            let new = f(old, f32x16::new(run[i]));
            for k in 0..K {
                state[k][i] = new[k].to_array();
            }
            let step = new[0] - old[0];
            sum = step.mul_add(step, sum);
        }
        total += f64::from(sum.reduce_add());
    }
    if !g_rest.is_empty() {
        let n = g_rest.len();
        let mut old = [f32x16::ZERO; K];
        for k in 0..K {
            old[k] = load(rests[k]);
        }
        let new = f(old, load(g_rest));
        for k in 0..K {
            store(rests[k], new[k]);
        }
        let step = (new[0] - old[0]) & mask(n);
        total += f64::from((step * step).reduce_add());
    }
    total
}

/// `Σ g²`. `g (n)`.
pub fn square_norm(g: &[f32]) -> f64 {
    sum_pieces(g.len(), [], g.len(), |range, []| {
        let g = &g[range];
        sum_of_squares(g.len(), |at, n| load_padded(g, at, n))
    })
}

/// `sum ← Σ parts`, in their order; returns `Σ sum²`, as [`square_norm`] of it. `parts` and `sum` `(n)`.
///
/// # Panics
/// If there are no parts or the lengths differ.
pub fn sum_parts(parts: &[&[f32]], sum: &mut [f32]) -> f64 {
    let len = sum.len();
    assert!(parts.iter().all(|part| part.len() == len), "every part must be as long as the sum");
    let Some((first, others)) = parts.split_first() else { panic!("there must be a part") };
    sum_pieces(len, [sum], parts.len() * len, |range, [sum]| {
        let first = &first[range.clone()];
        sum_of_squares(first.len(), |at, n| {
            let add = |v, part: &&[f32]| v + load_first(part, range.start + at, n);
            let v = others.iter().fold(load_first(first, at, n), add);
            store_first(sum, at, n, v);
            v
        })
    })
}

/// `w ← max(w, 0)`: what Dale's law leaves of a step. `w (n)`; NaN stays, so that a broken run is seen.
pub fn clamp_non_negative(w: &mut [f32]) {
    let work = w.len();
    for_pieces(w, PIECE, work, |_, w| {
        for (at, n) in tiles(w.len()) {
            let v = load_first(w, at, n);
            store_first(w, at, n, v.simd_lt(f32x16::ZERO).select(f32x16::ZERO, v));
        }
    });
}

/// `Σ d²` over `0..len`, where `d(at, n)` gives `n` <= 16 numbers from `at`, in order; lanes beyond `n` do not count.
#[inline(always)]
pub(super) fn sum_of_squares(len: usize, mut d: impl FnMut(usize, usize) -> f32x16) -> f64 {
    let mut total = 0.0f64;
    for start in (0..len).step_by(RUN) {
        let end = len.min(start + RUN);
        let full = end - (end - start) % 16;
        let mut sum = f32x16::ZERO;
        for at in (start..full).step_by(16) {
            let v = d(at, 16);
            sum = v.mul_add(v, sum);
        }
        if full < end {
            let v = d(full, end - full) & mask(end - full);
            sum = v.mul_add(v, sum);
        }
        total += f64::from(sum.reduce_add());
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{close, random};
    use crate::kernels::threads::pool;

    const LENGTHS: [usize; 9] = [0, 1, 7, 15, 16, 17, 1023, 1041, 40_000];

    fn adam(decoupled: bool) -> AdamStep {
        AdamStep {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            gradient_factor: 1.0,
            weight_decay: 0.5,
            decoupled,
            bias_correction1: 1.0 - 0.9,
            bias_correction2: 1.0 - 0.99,
        }
    }

    #[test]
    fn adam_follows_a_sequence_worked_by_hand() {
        // w = 1, g = 2 then -1, no decay. Step 1: m = 0.2, v = 0.04, m/c1 = 2, sqrt(v/c2) = 2, w = 1 - 0.1 = 0.9.
        // Step 2: m = 0.08, v = 0.0496; c1 = 0.19, c2 = 0.0199; 0.42105263 / 1.57875187 = 0.26669968, w = 0.87333003.
        let (mut w, mut m, mut v) = ([1.0f32], [0.0], [0.0]);
        let first = AdamStep { weight_decay: 0.0, ..adam(false) };
        let square = adam_step(&first, &mut w, &mut m, &mut v, &[2.0]);
        assert!((w[0] - 0.9).abs() < 1e-6, "{w:?}");
        assert!((square - 0.01).abs() < 1e-7, "{square}");
        let second = AdamStep { bias_correction1: 1.0 - 0.81, bias_correction2: 1.0 - 0.9801, ..first };
        adam_step(&second, &mut w, &mut m, &mut v, &[-1.0]);
        assert!((w[0] - 0.873_330_03).abs() < 1e-6, "{w:?}");
        assert!((m[0] - 0.08).abs() < 1e-7 && (v[0] - 0.0496).abs() < 1e-7, "{m:?} {v:?}");
    }

    #[test]
    fn weight_decay_is_decoupled_in_adamw_and_coupled_in_adam() {
        // AdamW: w = 1 (1 - 0.1 0.5) - 0.1 sign(g); Adam: the first step is 0.1 sign(g + 0.5 w), whatever the size.
        let after = |decoupled, g| {
            let (mut w, mut m, mut v) = ([1.0f32], [0.0], [0.0]);
            adam_step(&adam(decoupled), &mut w, &mut m, &mut v, &[g]);
            w[0]
        };
        assert!((after(true, 2.0) - 0.85).abs() < 1e-6);
        assert!((after(true, -0.2) - 1.05).abs() < 1e-6);
        assert!((after(false, -0.2) - 0.9).abs() < 1e-6);
    }

    #[test]
    fn nesterov_follows_a_sequence_worked_by_hand() {
        // η 0.1, μ 0.9, λ 0.5, w = 1. Step 1: d = 2.5, velocity = 2.5, w = 1 - 0.1 (2.5 + 2.25) = 0.525.
        // Step 2: d = -1 + 0.2625, velocity = 1.5125, w = 0.525 - 0.1 (-0.7375 + 1.36125) = 0.462625.
        let (mut w, mut velocity) = ([1.0f32], [0.0]);
        let square = sgd_nesterov_step(0.1, 0.9, 0.5, 1.0, &mut w, &mut velocity, &[2.0]);
        assert!((square - 0.475f64.powi(2)).abs() < 1e-6, "{square}");
        sgd_nesterov_step(0.1, 0.9, 0.5, 1.0, &mut w, &mut velocity, &[-1.0]);
        assert!((w[0] - 0.462_625).abs() < 1e-6, "{w:?}");
    }

    /// After a first gradient, which may be so small that its square is subnormal, comes none any more.
    #[test]
    fn moments_end_at_zero_and_never_subnormal() {
        let n = 20;
        for first in [1.0, 1e-21] {
            let (mut w, mut m, mut v, mut velocity) = (vec![1.0f32; n], vec![0.0; n], vec![0.0; n], vec![0.0; n]);
            let p = AdamStep { weight_decay: 0.0, ..adam(true) };
            for step in 0..9000 {
                let g = vec![if step == 0 { first } else { 0.0 }; n];
                adam_step(&p, &mut w, &mut m, &mut v, &g);
                sgd_nesterov_step(0.0, 0.9, 0.0, 1.0, &mut w, &mut velocity, &g);
                assert!(
                    [&m, &v, &velocity].iter().all(|x| x.iter().all(|x| !x.is_subnormal())),
                    "{first}: step {step}"
                );
            }
            assert_eq!((m[0], v[0], velocity[0]), (0.0, 0.0, 0.0), "{first}");
            assert!(w.iter().all(|w| w.is_finite()));
        }
        let mut moment = [f32::NAN];
        adam_step(&adam(true), &mut [1.0], &mut moment, &mut [0.0], &[0.0]);
        assert!(moment[0].is_nan(), "a broken run is seen");
    }

    #[test]
    fn every_length_agrees_with_a_loop_and_every_number_of_threads_with_one() {
        for n in LENGTHS {
            let [w0, g, m0] = ["w", "g", "m"].map(|name| random(name, n));
            let v0: Vec<f32> = random("v", n).iter().map(|v| v * v).collect();
            let run = |threads| {
                pool(threads).unwrap().run(|| {
                    let (mut w, mut m, mut v) = (w0.clone(), m0.clone(), v0.clone());
                    let square = adam_step(&adam(false), &mut w, &mut m, &mut v, &g);
                    let (mut w2, mut m2) = (w0.clone(), m0.clone());
                    let square2 = sgd_nesterov_step(0.1, 0.9, 0.5, 1.0, &mut w2, &mut m2, &g);
                    ([w, m, v, w2, m2].concat(), [square, square2, square_norm(&g)].map(f64::to_bits))
                })
            };
            let (one, squares) = run(1);
            assert!((one.clone(), squares) == run(2), "bits differ at {n}");

            let p = adam(false);
            let mut want = vec![0.0; n];
            let (mut square, mut norm) = (0.0, 0.0);
            for i in 0..n {
                let d = g[i] + 0.5 * w0[i];
                let (m, v) = (0.9 * m0[i] + 0.1 * d, 0.99 * v0[i] + 0.01 * d * d);
                let change = 0.1 * (m / p.bias_correction1) / ((v / p.bias_correction2).sqrt() + 1e-8);
                want[i] = w0[i] - change;
                square += f64::from(change).powi(2);
                norm += f64::from(g[i]).powi(2);
            }
            if n > 0 {
                close("adam", &one[..n], &want, 1e-5);
            }
            let near = |bits: u64, want: f64| (f64::from_bits(bits) - want).abs() <= 1e-5 * want;
            assert!(near(squares[0], square), "{} {square}", f64::from_bits(squares[0]));
            assert!(near(squares[2], norm), "{} {norm}", f64::from_bits(squares[2]));
        }
    }

    #[test]
    fn a_factor_of_the_gradient_is_a_smaller_gradient() {
        let [w0, g, m0] = ["w", "g", "m"].map(|name| random(name, 100));
        let smaller: Vec<f32> = g.iter().map(|g| 0.25 * g).collect();
        let run = |gradient_factor, g: &[f32]| {
            let (mut w, mut m, mut v) = (w0.clone(), m0.clone(), vec![0.5; 100]);
            adam_step(&AdamStep { gradient_factor, ..adam(false) }, &mut w, &mut m, &mut v, g);
            let (mut w2, mut m2) = (w0.clone(), m0.clone());
            sgd_nesterov_step(0.1, 0.9, 0.5, gradient_factor, &mut w2, &mut m2, g);
            [w, m, v, w2, m2].concat()
        };
        assert_eq!(run(0.25, &g), run(1.0, &smaller));
    }

    #[test]
    fn parts_add_up_as_one_after_another() {
        for n in LENGTHS {
            let [a, b, c] = ["a", "b", "c"].map(|name| random(name, n));
            for parts in [&[&a[..]][..], &[&a, &b, &c]] {
                let mut want = parts[0].to_vec();
                parts[1..].iter().for_each(|part| want.iter_mut().zip(*part).for_each(|(sum, v)| *sum += v));
                for threads in [1, 2] {
                    let mut sum = vec![f32::NAN; n];
                    let square = pool(threads).unwrap().run(|| sum_parts(parts, &mut sum));
                    assert_eq!((&sum, square.to_bits()), (&want, square_norm(&want).to_bits()), "{n}");
                }
            }
        }
    }

    #[test]
    fn clamping_keeps_what_is_broken() {
        for n in LENGTHS {
            let x = random("x", n);
            let mut y = x.clone();
            clamp_non_negative(&mut y);
            assert!(x.iter().zip(&y).all(|(x, y)| *y == x.max(0.0)));
        }
        let mut broken = [f32::NAN, -1.0];
        clamp_non_negative(&mut broken);
        assert!(broken[0].is_nan() && broken[1] == 0.0);
    }
}
