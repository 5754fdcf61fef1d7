//! The rules against their equations and against loops.

use super::super::sparse::tests::Mask;
use super::*;
use crate::kernels::dense;
use crate::kernels::parity::{BATCHES, check, close, random};
use crate::rng::Rng;

#[test]
fn sparse_change_is_the_reference() {
    let mut rng = Rng::stream(1, "plasticity", &[]);
    for (n_post, n_pre) in [(1, 1), (4, 9), (20, 33), (70, 64), (150, 400)] {
        let mask = Mask::random(n_post, n_pre, 0.3, &mut rng);
        let p = mask.view();
        // 80 and 130 are several packed tiles, 240 several in place.
        for batch in BATCHES.into_iter().chain([80, 130, 240]) {
            let [gate, x] = [("gate", n_post), ("x", n_pre)].map(|(name, n)| random(name, n * batch));
            let (decay, w) = (random("decay", n_post), random("w", p.synapses()));
            let fast = |dw: &mut [f32]| {
                let square = hebbian_sparse(p, batch, &gate, &x, &decay, &w, dw);
                let want: f64 = dw.iter().map(|&d| f64::from(d).powi(2)).sum();
                assert!((square - want).abs() <= 1e-5 * want, "{square}, expected {want}");
            };
            check("dw", p.synapses(), 1e-5, fast, |dw| {
                hebbian_sparse_reference(p, batch, &gate, &x, &decay, &w, dw);
            });
        }
    }
}

#[test]
fn online_change_is_the_reference() {
    let mut rng = Rng::stream(7, "plasticity", &[]);
    for (n_post, n_pre) in [(0, 3), (1, 1), (4, 9), (70, 64), (300, 200)] {
        let mask = Mask::random(n_post, n_pre, 0.3, &mut rng);
        let p = mask.view();
        let [gate, x] = [("gate", n_post), ("x", n_pre)].map(|(name, n)| random(name, n));
        let (decay, w) = (random("decay", n_post), random("w", p.synapses()));
        let fast = |new: &mut [f32]| {
            new.copy_from_slice(&w);
            hebbian_online(p, 0.25, &gate, &x, &decay, new);
        };
        check("w", p.synapses(), 1e-6, fast, |new| {
            new.copy_from_slice(&w);
            hebbian_online_reference(p, 0.25, &gate, &x, &decay, new);
        });
    }
}

#[test]
fn dense_change_is_the_reference() {
    for (n_post, n_pre) in [(1, 1), (4, 9), (3, 16), (150, 230)] {
        for batch in BATCHES {
            let [gate, x] = [("gate", n_post), ("x", n_pre)].map(|(name, n)| random(name, n * batch));
            let (decay, w) = (random("decay", n_post), random("w", n_post * n_pre));
            let fast = |dw: &mut [f32]| {
                let mut scratch = vec![f32::NAN; x.len()];
                dense::backward_weights(n_post, n_pre, batch, &gate, &x, &mut scratch, dw);
                let square = finish_dense(n_post, n_pre, batch, &decay, &w, dw);
                let want: f64 = dw.iter().map(|&d| f64::from(d).powi(2)).sum();
                assert!((square - want).abs() <= 1e-5 * want, "{square}, expected {want}");
            };
            check("dw", n_post * n_pre, 1e-5, fast, |dw| {
                hebbian_dense_reference(n_post, n_pre, batch, &gate, &x, &decay, &w, dw);
            });
        }
    }
}

/// Gate, then decay, of a rule in one output.
fn both(n: usize, batch: usize, rule: impl Fn(&mut [f32], &mut [f32]) + Sync) -> impl Fn(&mut [f32]) + Sync {
    move |out| {
        let (gate, decay) = out.split_at_mut(n * batch);
        rule(gate, decay);
    }
}

#[test]
fn gates_are_their_equations() {
    for n in [1, 2, 17, 40] {
        for batch in BATCHES.into_iter().chain([256, 300]) {
            let (y, theta) = (random("y", n * batch), random("theta", n));
            let len = n * batch + n;
            let mean = |f: &dyn Fn(usize) -> f32| (0..batch).map(f).sum::<f32>() / batch as f32;
            let at = |i: usize, b: usize| y[i * batch + b];

            let hebb = both(n, batch, |g, d| gate_hebb(n, batch, &y, 0.25, g, d));
            check("hebb", len, 0.0, hebb, |out| {
                out[..n * batch].copy_from_slice(&y);
                out[n * batch..].fill(0.25);
            });
            let oja = both(n, batch, |g, d| gate_oja(n, batch, &y, false, g, d));
            check("oja", len, 1e-5, oja, |out| {
                out[..n * batch].copy_from_slice(&y);
                (0..n).for_each(|i| out[n * batch + i] = mean(&|b| at(i, b) * at(i, b)));
            });
            let oja = both(n, batch, |g, d| gate_oja(n, batch, &y, true, g, d));
            check("centred oja", len, 1e-5, oja, |out| {
                for i in 0..n {
                    let middle = mean(&|b| at(i, b));
                    (0..batch).for_each(|b| out[i * batch + b] = at(i, b) - middle);
                    out[n * batch + i] = mean(&|b| (at(i, b) - middle).powi(2));
                }
            });
            let bcm = both(n, batch, |g, d| {
                let mut moved = theta.clone();
                gate_bcm(n, batch, &y, 4.0, &mut moved, g, d);
                assert!(d.iter().all(|&d| d == 0.0));
                d.copy_from_slice(&moved);
            });
            check("bcm", len, 1e-5, bcm, |out| {
                for i in 0..n {
                    (0..batch).for_each(|b| out[i * batch + b] = at(i, b) * (at(i, b) - theta[i]));
                    out[n * batch + i] = theta[i] + (mean(&|b| at(i, b) * at(i, b)) - theta[i]) / 4.0;
                }
            });
            let softwta = both(n, batch, |g, d| gate_softwta(n, batch, &y, 0.5, g, d));
            check("softwta", len, 1e-5, softwta, |out| {
                for b in 0..batch {
                    let sum: f32 = (0..n).map(|i| (at(i, b) / 0.5).exp()).sum();
                    let winner = (0..n).fold(0, |best, i| if at(i, b) > at(best, b) { i } else { best });
                    for i in 0..n {
                        let sign = if i == winner { 1.0 } else { -1.0 };
                        out[i * batch + b] = sign * (at(i, b) / 0.5).exp() / sum;
                    }
                }
                for i in 0..n {
                    out[n * batch + i] = mean(&|b| out[i * batch + b] * at(i, b));
                }
            });
            // Rates are positive: a mean that cancels has no precision to compare.
            let rates: Vec<f32> = y.iter().map(|y| y.abs()).collect();
            let means = |m: &mut [f32]| row_means(n, batch, &rates, m);
            check("means", n, 1e-5, means, |m| {
                (0..n).for_each(|i| m[i] = mean(&|b| rates[i * batch + b]));
            });
        }
    }
}

#[test]
fn of_equal_drives_one_wins() {
    let (mut gate, mut decay) = ([0.0; 3], [0.0; 3]);
    gate_softwta(3, 1, &[2.0, 5.0, 5.0], 1.0, &mut gate, &mut decay);
    assert!(gate[0] < 0.0 && gate[1] > 0.0 && gate[2] < 0.0, "{gate:?}");
    assert!((gate[1] + gate[2]).abs() < 1e-6, "{gate:?}");
}

#[test]
fn oja_finds_the_first_principal_component() {
    // Variance 9 along (0.6, 0.8), 1 across it.
    let (batch, mut rng) = (512, Rng::stream(2, "oja", &[]));
    let mut x = vec![0.0; 2 * batch];
    for b in 0..batch {
        let (along, across) = (3.0 * rng.normal(), rng.normal());
        x[b] = 0.6 * along - 0.8 * across;
        x[batch + b] = 0.8 * along + 0.6 * across;
    }
    let p = Pattern { n_post: 1, n_pre: 2, row_starts: &[0, 2], pre: &[0, 1] };
    let (mut w, mut dw) = ([0.3f32, -0.1], [f32::NAN; 2]);
    let (mut y, mut gate, mut decay) = (vec![0.0; batch], vec![0.0; batch], [0.0]);
    for _ in 0..500 {
        super::super::sparse::forward(p, batch, &w, &x, &mut y, false);
        gate_oja(1, batch, &y, false, &mut gate, &mut decay);
        hebbian_sparse(p, batch, &gate, &x, &decay, &w, &mut dw);
        apply(0.02, &dw, &mut w);
    }
    let length = w[0].hypot(w[1]);
    assert!((length - 1.0).abs() < 1e-3, "length {length}");
    let cosine = (0.6 * w[0] + 0.8 * w[1]).abs() / length;
    assert!(cosine > 0.999, "cosine {cosine}");
}

#[test]
fn the_bcm_threshold_follows_the_mean_square_and_splits_growth_from_decay() {
    let y = [1.0f32, 3.0];
    let (mut gate, mut decay, mut theta) = ([0.0; 2], [0.0], [0.0]);
    for _ in 0..200 {
        gate_bcm(1, 2, &y, 10.0, &mut theta, &mut gate, &mut decay);
    }
    assert!((theta[0] - 5.0).abs() < 1e-3, "{theta:?}");
    assert!(gate[0] < 0.0 && gate[1] < 0.0, "both below the mean of squares: {gate:?}");
    gate_bcm(1, 2, &[1.0, 6.0], 10.0, &mut theta, &mut gate, &mut decay);
    assert!(gate[0] < 0.0 && gate[1] > 0.0, "{gate:?}");
}

#[test]
fn centred_rows_have_mean_zero_and_keep_their_differences() {
    for (n, batch) in [(0, 3), (1, 1), (5, 17), (70, 33)] {
        let y = random("y", n * batch);
        let centred = |out: &mut [f32]| {
            out.copy_from_slice(&y);
            center_rows(n, batch, out);
        };
        check("centred", n * batch, 1e-6, centred, |out| {
            for (row, y) in out.chunks_exact_mut(batch).zip(y.chunks_exact(batch)) {
                let mean = y.iter().sum::<f32>() / batch as f32;
                row.iter_mut().zip(y).for_each(|(r, y)| *r = y - mean);
            }
        });
    }
}

#[test]
fn what_is_explained_is_taken_from_the_activity() {
    for n in [0, 1, PIECE + 5] {
        let (x, explained) = (random("x", n), random("explained", n));
        let mut rest = explained.clone();
        subtract_from(&x, &mut rest);
        assert!(rest.iter().zip(x.iter().zip(&explained)).all(|(r, (x, e))| *r == x - e));
    }
}

#[test]
fn homeostasis_moves_towards_the_target() {
    // Rates 0, at target, far above, and 0.
    let rates = [0.0, 0.2, 9.0, 0.0];
    let mut bias = [0.0f32; 4];
    intrinsic_step(&rates, 0.2, 0.5, &mut bias);
    close("bias", &bias, &[0.1, 0.0, -4.4, 0.1], 1e-6);
    let mut running = [1.0f32, 0.0];
    update_running_mean(&[3.0, 4.0], 4.0, &mut running);
    close("running", &running, &[1.5, 1.0], 1e-6);
}
