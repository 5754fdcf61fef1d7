//! Sums along a run of numbers, in four chains of sixteen lanes.

use super::lanes::{LANES, load, load_or};
use wide::f32x16;

/// `sum_i a_i`; `a (N)`.
pub(super) fn sum(a: &[f32]) -> f32 {
    fold(0.0, a, a, |a, _, sum| sum + a)
}

/// `sum_i a_i b_i`; `a (N)`, `b (N)`.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    fold(0.0, a, b, |a, b, sum| a.mul_add(b, sum))
}

/// `sum_i (a_i - centre) b_i`; `a (N)`, `b (N)`.
pub(super) fn dot_about(centre: f32, a: &[f32], b: &[f32]) -> f32 {
    fold(0.0, a, b, |a, b, sum| (a - f32x16::splat(centre)).mul_add(b, sum))
}

/// `sum_i (a_i - centre)^2`; `a (N)`.
pub(super) fn square_about(centre: f32, a: &[f32]) -> f32 {
    fold(centre, a, a, |a, _, sum| {
        let apart = a - f32x16::splat(centre);
        apart.mul_add(apart, sum)
    })
}

/// Folds `f(a_i, b_i, sum)` into four partial sums of sixteen lanes, in an order fixed by N; lanes behind the end
/// hold `fill`, for which `f` must add nothing.
#[inline(always)]
fn fold(fill: f32, a: &[f32], b: &[f32], f: impl Fn(f32x16, f32x16, f32x16) -> f32x16) -> f32 {
    assert_eq!(a.len(), b.len(), "a and b must be (N)");
    let mut sums = [f32x16::ZERO; 4];
    let (a4, b4) = (a.chunks_exact(4 * LANES), b.chunks_exact(4 * LANES));
    let rest = a4.remainder().chunks(LANES).zip(b4.remainder().chunks(LANES));
    for (a, b) in a4.zip(b4) {
        for k in 0..4 {
            sums[k] = f(load(&a[k * LANES..]), load(&b[k * LANES..]), sums[k]);
        }
    }
    for (k, (a, b)) in rest.enumerate() {
        sums[k] = f(load_or(fill, a), load_or(fill, b), sums[k]);
    }
    ((sums[0] + sums[1]) + (sums[2] + sums[3])).reduce_add()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity;

    #[test]
    fn sums_count_every_value_once_at_any_length() {
        for n in (0..140).chain([4096, 4111]) {
            let (a, b) = (parity::random("a", n), parity::random("b", n));
            let want = |f: fn(f64, f64) -> f64| -> f64 { a.iter().zip(&b).map(|(&a, &b)| f(a.into(), b.into())).sum() };
            let near = |got: f32, want: f64| assert!((f64::from(got) - want).abs() < 1e-3, "{n}: {got} {want}");
            near(sum(&a), want(|a, _| a));
            near(dot(&a, &b), want(|a, b| a * b));
            near(dot_about(0.5, &a, &b), want(|a, b| (a - 0.5) * b));
            near(square_about(0.5, &a), want(|a, _| (a - 0.5) * (a - 0.5)));
        }
    }
}
