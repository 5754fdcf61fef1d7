//! The level of significance, and how p is written.

/// Fewest pairs that are tested: with two, the t distribution has one degree of freedom and the 95 % interval is 12.7
/// standard errors wide on either side.
pub const MIN_PAIRS: usize = 3;
/// Below this p (after Holm's correction) a difference counts as shown.
pub const LEVEL: f64 = 0.05;

/// p with so many digits after the point, or as many more as it takes to show on which side of the level it lies.
pub fn probability(p: f64, digits: usize) -> String {
    let least = 1.0 / 10f64.powi(digits as i32);
    if p < least {
        return format!("< {least:.digits$}");
    }
    let mut rounded = (digits..17).map(|digits| format!("{p:.digits$}"));
    rounded.find(|text| text.parse().is_ok_and(|r: f64| (r < LEVEL) == (p < LEVEL))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_p_stays_on_its_side() {
        for (p, digits, text) in [
            (0.0, 3, "< 0.001"),
            (0.00099, 3, "< 0.001"),
            (0.00099, 4, "0.0010"),
            (0.001, 3, "0.001"),
            (0.0123, 3, "0.012"),
            (0.0496, 3, "0.0496"),
            (0.049_999_6, 4, "0.0499996"),
            (0.05, 3, "0.050"),
            (0.0504, 3, "0.050"),
            (0.0625, 4, "0.0625"),
            (1.0, 4, "1.0000"),
        ] {
            assert_eq!(probability(p, digits), text);
        }
    }
}
