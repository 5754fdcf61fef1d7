//! Passes that treat every element alike. They are bound by memory: each goes through its arrays once.
//!
//! Plain loops over slices: the compiler turns them into the same vector code as hand-written lanes.

use super::threads;

/// Elements per piece: 64 KiB of each array.
const PIECE: usize = 16_384;

/// `y = max(x, 0)`; `x (N)`, `y (N)`. Not-a-number stays, so that a diverging run shows.
pub fn relu(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y must be (N)");
    threads::for_pieces(y, PIECE, x.len(), |i, y| {
        for (y, &x) in y.iter_mut().zip(&x[i * PIECE..]) {
            *y = if 0.0 > x { 0.0 } else { x };
        }
    });
}

/// `dx = dy` where `y > 0`, else 0; `y (N)` is the output of [`relu`], `dy (N)`, `dx (N)`.
pub fn relu_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert_eq!(y.len(), dx.len(), "y and dx must be (N)");
    assert_eq!(dy.len(), dx.len(), "dy and dx must be (N)");
    threads::for_pieces(dx, PIECE, y.len(), |i, dx| {
        for ((dx, &y), &dy) in dx.iter_mut().zip(&y[i * PIECE..]).zip(&dy[i * PIECE..]) {
            *dx = if y > 0.0 { dy } else { 0.0 };
        }
    });
}

/// `y = max(y, 0)`; `y (N)`.
pub fn relu_in_place(y: &mut [f32]) {
    let n = y.len();
    threads::for_pieces(y, PIECE, n, |_, y| {
        for y in y {
            *y = if 0.0 > *y { 0.0 } else { *y };
        }
    });
}

/// `du += da` where `a > 0`: back through `a = max(u, 0)` into a gradient that has another part already. All `(N)`.
pub fn add_relu_backward(a: &[f32], da: &[f32], du: &mut [f32]) {
    assert_eq!(a.len(), du.len(), "a and du must be (N)");
    assert_eq!(da.len(), du.len(), "da and du must be (N)");
    for ((du, &a), &da) in du.iter_mut().zip(a).zip(da) {
        *du += if a > 0.0 { da } else { 0.0 };
    }
}

/// `y[n, b] += bias[n]`; `y (N, B)`, `bias (N)`.
///
/// # Panics
/// If a length does not fit, or the batch is empty.
pub fn add_rows(y: &mut [f32], bias: &[f32], batch: usize) {
    assert_eq!(y.len(), bias.len() * batch, "y must be (N, B)");
    if batch == 1 {
        return y.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
    }
    for (row, bias) in y.chunks_exact_mut(batch).zip(bias) {
        row.iter_mut().for_each(|y| *y += bias);
    }
}

/// `y = x (1 - γ n)`, graded inhibition of dose n: `dose (N)`, `x (N, B)`, `y (N, B)`.
///
/// # Panics
/// If a length does not fit, or the batch is empty.
pub fn inhibit_rows(gamma: f32, dose: &[f32], batch: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), dose.len() * batch, "x must be (N, B)");
    assert_eq!(y.len(), dose.len() * batch, "y must be (N, B)");
    if batch == 1 {
        return y.iter_mut().zip(x).zip(dose).for_each(|((y, x), n)| *y = x * (1.0 - gamma * n));
    }
    for ((y, x), n) in y.chunks_exact_mut(batch).zip(x.chunks_exact(batch)).zip(dose) {
        let factor = 1.0 - gamma * n;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * factor);
    }
}

/// `y += x`; `x (N)`, `y (N)`.
pub fn add(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y must be (N)");
    threads::for_pieces(y, PIECE, x.len(), |i, y| {
        for (y, &x) in y.iter_mut().zip(&x[i * PIECE..]) {
            *y += x;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_cuts_below_zero_and_lets_not_a_number_through() {
        let x = [-2.0, -0.0, 0.0, 3.0, f32::NAN, f32::NEG_INFINITY];
        let mut y = [f32::NAN; 6];
        relu(&x, &mut y);
        assert_eq!(y[..4], [0.0, 0.0, 0.0, 3.0]);
        assert!(y[4].is_nan());
        assert_eq!(y[5], 0.0);
    }

    #[test]
    fn the_gradient_passes_only_where_the_output_is_above_zero() {
        let mut dx = [f32::NAN; 3];
        relu_backward(&[0.0, 2.0, 0.0], &[5.0, 6.0, 7.0], &mut dx);
        assert_eq!(dx, [0.0, 6.0, 0.0]);
    }

    /// Of one sample, which goes by another loop, and of several.
    #[test]
    fn a_neuron_has_its_bias_and_dose_in_every_sample() {
        for batch in [1, 3] {
            let mut y = vec![1.0; 2 * batch];
            add_rows(&mut y, &[1.0, 3.0], batch);
            assert_eq!(y, [vec![2.0; batch], vec![4.0; batch]].concat());
            let mut v = vec![f32::NAN; 2 * batch];
            inhibit_rows(0.5, &[0.0, 1.0], batch, &y, &mut v);
            assert_eq!(v, vec![2.0; 2 * batch]);
        }
    }

    #[test]
    fn add_reaches_every_piece() {
        let n = 3 * PIECE + 5;
        let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let mut y = x.clone();
        add(&x, &mut y);
        assert!(y.iter().zip(&x).all(|(y, x)| *y == 2.0 * x));
    }
}
