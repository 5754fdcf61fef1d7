//! The sums of the lanes of eight vectors at once: a tree of shuffles and additions, no sum by itself.
//!
//! The shuffles are written as arrays of lanes, each list being one instruction on vectors of 16 lanes. Called inside
//! [`lane_sums`] alone: a closure in between, and the lanes would go through memory.

use wide::f32x16;

/// The sum of the lanes of each vector.
#[inline(always)]
pub(super) fn lane_sums(v: &[f32x16; 8]) -> [f32; 8] {
    let a = quarters(halves(v[0], v[4]), halves(v[2], v[6]));
    let b = quarters(halves(v[1], v[5]), halves(v[3], v[7]));
    let s = ones(pairs(a, b), f32x16::ZERO).to_array();
    [s[0], s[1], s[8], s[9], s[4], s[5], s[12], s[13]]
}

/// Sums of the halves: 8 lanes left of each, `a` first.
#[inline(always)]
#[rustfmt::skip]
fn halves(a: f32x16, b: f32x16) -> f32x16 {
    let (a, b) = (a.to_array(), b.to_array());
    let low = [a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]];
    let high = [a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]];
    f32x16::new(low) + f32x16::new(high)
}

/// Of each half of each, the sum of its quarters.
#[inline(always)]
#[rustfmt::skip]
fn quarters(a: f32x16, b: f32x16) -> f32x16 {
    let (a, b) = (a.to_array(), b.to_array());
    let low = [a[0], a[1], a[2], a[3], a[8], a[9], a[10], a[11], b[0], b[1], b[2], b[3], b[8], b[9], b[10], b[11]];
    let high = [a[4], a[5], a[6], a[7], a[12], a[13], a[14], a[15], b[4], b[5], b[6], b[7], b[12], b[13], b[14], b[15]];
    f32x16::new(low) + f32x16::new(high)
}

/// Of each quarter, the sum of its pairs: 2 lanes left of each.
#[inline(always)]
#[rustfmt::skip]
fn pairs(a: f32x16, b: f32x16) -> f32x16 {
    let (a, b) = (a.to_array(), b.to_array());
    let low = [a[0], a[1], b[0], b[1], a[4], a[5], b[4], b[5], a[8], a[9], b[8], b[9], a[12], a[13], b[12], b[13]];
    let high = [a[2], a[3], b[2], b[3], a[6], a[7], b[6], b[7], a[10], a[11], b[10], b[11], a[14], a[15], b[14], b[15]];
    f32x16::new(low) + f32x16::new(high)
}

/// Of each pair, the sum.
#[inline(always)]
#[rustfmt::skip]
fn ones(a: f32x16, b: f32x16) -> f32x16 {
    let (a, b) = (a.to_array(), b.to_array());
    let low = [a[0], a[2], b[0], b[2], a[4], a[6], b[4], b[6], a[8], a[10], b[8], b[10], a[12], a[14], b[12], b[14]];
    let high = [a[1], a[3], b[1], b[3], a[5], a[7], b[5], b[7], a[9], a[11], b[9], b[11], a[13], a[15], b[13], b[15]];
    f32x16::new(low) + f32x16::new(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_has_the_sum_of_its_vector() {
        let v: [f32x16; 8] =
            std::array::from_fn(|i| f32x16::new(std::array::from_fn(|lane| (i * 100 + lane * lane) as f32)));
        let sums = v.map(|v| v.reduce_add());
        assert_eq!(lane_sums(&v), sums);
    }
}
