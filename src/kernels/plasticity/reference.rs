//! Hebbian change as loops to read.

use crate::kernels::sparse::Pattern;

/// [`hebbian_sparse`](super::hebbian_sparse) as loops.
pub fn hebbian_sparse_reference(
    p: Pattern,
    batch: usize,
    gate: &[f32],
    x: &[f32],
    decay: &[f32],
    w: &[f32],
    dw: &mut [f32],
) -> f64 {
    for post in 0..p.n_post {
        for s in p.row_starts[post] as usize..p.row_starts[post + 1] as usize {
            let x = &x[p.pre[s] as usize * batch..];
            let sum: f32 = (0..batch).map(|b| gate[post * batch + b] * x[b]).sum();
            dw[s] = sum / batch as f32 - decay[post] * w[s];
        }
    }
    dw.iter().map(|&d| f64::from(d) * f64::from(d)).sum()
}

/// [`hebbian_online`](super::hebbian_online) as loops.
pub fn hebbian_online_reference(p: Pattern, rate: f32, gate: &[f32], x: &[f32], decay: &[f32], w: &mut [f32]) {
    for post in 0..p.n_post {
        for s in p.row_starts[post] as usize..p.row_starts[post + 1] as usize {
            w[s] += rate * (gate[post] * x[p.pre[s] as usize] - decay[post] * w[s]);
        }
    }
}

/// The dense Hebbian change, product and [`finish_dense`](super::finish_dense), as loops.
pub fn hebbian_dense_reference(
    n_post: usize,
    n_pre: usize,
    batch: usize,
    gate: &[f32],
    x: &[f32],
    decay: &[f32],
    w: &[f32],
    dw: &mut [f32],
) -> f64 {
    for post in 0..n_post {
        for pre in 0..n_pre {
            let sum: f32 = (0..batch).map(|b| gate[post * batch + b] * x[pre * batch + b]).sum();
            dw[post * n_pre + pre] = sum / batch as f32 - decay[post] * w[post * n_pre + pre];
        }
    }
    dw.iter().map(|&d| f64::from(d) * f64::from(d)).sum()
}
