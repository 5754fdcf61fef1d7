//! The shared two-layer network of channel attention, `gate = sigmoid(MLP(means) + MLP(maxima))`, and its gradients.
//!
//! Both pools pass as one batch of `2 B` columns. The second layer is linear, so its two outputs are summed by
//! summing the two hidden layers first.

use super::attention::{sigmoid, sigmoid_backward};
use super::reduce::dot;

/// Sizes of the network.
#[derive(Clone, Copy, Debug)]
pub struct GateShape {
    /// Channels C.
    pub c: usize,
    /// Hidden units J.
    pub hidden: usize,
    /// Images.
    pub batch: usize,
}

/// Weights of the network, or their gradients.
pub struct GateWeights<T> {
    /// `(J, C)`.
    pub squeeze: T,
    /// `(J)`.
    pub squeeze_bias: T,
    /// `(C, J)`.
    pub excite: T,
    /// `(C)`.
    pub excite_bias: T,
}

/// `gate = sigmoid(sum over both pools of (excite * relu(squeeze * pool + squeeze_bias) + excite_bias))`.
///
/// `pools (C, 2, B)`, `hidden (J, 2, B)` (kept for the gradient), `gate (C, B)`.
pub fn gate(shape: GateShape, weights: &GateWeights<&[f32]>, pools: &[f32], hidden: &mut [f32], gate: &mut [f32]) {
    let GateShape { c: _, hidden: n_hidden, batch } = shape;
    check(shape, weights.squeeze, weights.excite, pools, hidden, gate);
    for (j, hidden) in hidden.chunks_exact_mut(2 * batch).enumerate() {
        hidden.fill(weights.squeeze_bias[j]);
        for (&w, pools) in weights.squeeze[j * shape.c..].iter().zip(pools.chunks_exact(2 * batch)) {
            axpy(w, pools, hidden);
        }
        hidden.iter_mut().for_each(|h| *h = h.max(0.0));
    }
    for (c, gate) in gate.chunks_exact_mut(batch).enumerate() {
        gate.fill(2.0 * weights.excite_bias[c]);
        for (&w, hidden) in weights.excite[c * n_hidden..].iter().zip(hidden.chunks_exact(2 * batch)) {
            let (of_mean, of_max) = hidden.split_at(batch);
            axpy(w, of_mean, gate);
            axpy(w, of_max, gate);
        }
    }
    sigmoid(gate);
}

/// The gradients of [`gate`]; its arguments, and `d (C, B)`: the gradient of the gate, changed here to that before
/// the sigmoid; `dhidden (J, 2, B)` scratch; out come `dpools (C, 2, B)` and `dweights`.
pub fn gate_backward(
    shape: GateShape,
    weights: &GateWeights<&[f32]>,
    pools: &[f32],
    hidden: &[f32],
    gate: &[f32],
    d: &mut [f32],
    dhidden: &mut [f32],
    dpools: &mut [f32],
    dweights: &mut GateWeights<&mut [f32]>,
) {
    let GateShape { c: n_c, hidden: n_hidden, batch } = shape;
    check(shape, weights.squeeze, weights.excite, pools, hidden, gate);
    check(shape, dweights.squeeze, dweights.excite, dpools, dhidden, d);
    sigmoid_backward(gate, d);
    for (c, d) in d.chunks_exact(batch).enumerate() {
        dweights.excite_bias[c] = 2.0 * d.iter().sum::<f32>();
        for (dw, hidden) in dweights.excite[c * n_hidden..].iter_mut().zip(hidden.chunks_exact(2 * batch)) {
            let (of_mean, of_max) = hidden.split_at(batch);
            *dw = dot(d, of_mean) + dot(d, of_max);
        }
    }
    for (j, (dhidden, hidden)) in dhidden.chunks_exact_mut(2 * batch).zip(hidden.chunks_exact(2 * batch)).enumerate() {
        let (of_mean, of_max) = dhidden.split_at_mut(batch);
        of_mean.fill(0.0);
        for (c, d) in d.chunks_exact(batch).enumerate() {
            axpy(weights.excite[c * n_hidden + j], d, of_mean);
        }
        of_max.copy_from_slice(of_mean);
        for (dh, &h) in dhidden.iter_mut().zip(hidden) {
            *dh = if h > 0.0 { *dh } else { 0.0 };
        }
        dweights.squeeze_bias[j] = dhidden.iter().sum();
        for (dw, pools) in dweights.squeeze[j * n_c..].iter_mut().zip(pools.chunks_exact(2 * batch)) {
            *dw = dot(dhidden, pools);
        }
    }
    for (c, dpools) in dpools.chunks_exact_mut(2 * batch).enumerate() {
        dpools.fill(0.0);
        for (j, dhidden) in dhidden.chunks_exact(2 * batch).enumerate() {
            axpy(weights.squeeze[j * n_c + c], dhidden, dpools);
        }
    }
}

fn check(shape: GateShape, squeeze: &[f32], excite: &[f32], pools: &[f32], hidden: &[f32], gate: &[f32]) {
    let GateShape { c, hidden: n_hidden, batch } = shape;
    assert_eq!(squeeze.len(), n_hidden * c, "squeeze must be (J, C)");
    assert_eq!(excite.len(), n_hidden * c, "excite must be (C, J)");
    assert_eq!(pools.len(), c * 2 * batch, "pools must be (C, 2, B)");
    assert_eq!(hidden.len(), n_hidden * 2 * batch, "hidden must be (J, 2, B)");
    assert_eq!(gate.len(), c * batch, "gate must be (C, B)");
}

/// `y += a x`; `x (N)`, `y (N)`.
fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = a.mul_add(x, *y);
    }
}
