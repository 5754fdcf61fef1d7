//! Products of factors rounded to bf16 (the upper half of an f32: 8 bits of exponent, 8 of significand), summed in f32.
//!
//! [`conv`] is what uses them, in one of two ways. The matrix unit of a CPU with AMX (`amx.rs`) multiplies tiles of 16
//! rows of 64 bytes at 16 times the rate of its vector units (`tiles.rs`). Any other CPU rounds the factors and goes on
//! in f32 (`rounded.rs`): the same sums but for their last bits.

mod amx;
pub mod conv;
#[cfg(test)]
mod emulated;
mod rounded;
mod tiles;

use super::lanes::LANES;
use amx::Amx;

/// Sixteen pairs of bf16; of a pair the lower half is the earlier term.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Row([u32; LANES]);

/// Factors of 32 terms. On the left 16 outputs, a row each, with their terms in its pairs; on the right 16 outputs,
/// a column each, whose terms `2 k` and `2 k + 1` are in row `k`.
type Tile = [Row; LANES];

/// Terms of a tile.
const TERMS: usize = 2 * LANES;

/// Rows of a tile.
const ROWS: usize = LANES;

impl Row {
    const ZERO: Self = Self([0; LANES]);

    /// The pairs of `low` and `high`, lane by lane.
    #[inline(always)]
    fn of(low: &[f32; LANES], high: &[f32; LANES]) -> Self {
        Self(std::array::from_fn(|lane| pair(low[lane], high[lane])))
    }
}

/// The tile that begins with row `at`.
#[inline(always)]
fn tile(rows: &[Row], at: usize) -> &Tile {
    match rows[at..].first_chunk() {
        Some(tile) => tile,
        None => panic!("a tile from row {at} leaves {} rows", rows.len()),
    }
}

/// 16 outputs on the left by 16 on the right.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
struct Sums([[f32; LANES]; LANES]);

impl Sums {
    const ZERO: Self = Self([[0.0; LANES]; LANES]);
}

/// What multiplies tiles: two on the left by two on the right into four sums.
trait Unit {
    /// One for the calling thread; its sums mean nothing before [`Unit::clear`].
    ///
    /// # Panics
    /// If there is none, or another one of the thread.
    fn new() -> Self;

    /// All sums become 0.
    fn clear(&mut self);

    /// `sums[i][j] += left[i] right[j]`. Even and odd terms are summed apart, each with a fused multiply-add, then
    /// both, and those are added to the sum; what is below the least normal number counts as 0.
    fn add(&mut self, left: [&Tile; 2], right: [&Tile; 2]);

    /// Writes the sums, `[left][right]`.
    fn read(&mut self, sums: &mut [[Sums; 2]; 2]);
}

/// Whether this machine has a matrix unit that multiplies bf16.
pub fn is_native() -> bool {
    Amx::is_there()
}

/// The bits of the bf16 nearest to `x`, of two the even one, as an f32; NaN stays NaN.
#[inline(always)]
fn round(x: f32) -> u32 {
    const NAN: u32 = 0x7fc0_0000;
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000;
    if x.is_nan() { NAN } else { nearest }
}

/// Two bf16, the first in the lower half.
#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    round(first) >> 16 | round(second)
}

#[cfg(test)]
mod tests {
    use super::emulated::Emulated;
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn numbers_become_the_nearest_of_eight_bits() {
        let cases = [
            (1.0, 1.0),
            (-1.0, -1.0),
            (0.0, 0.0),
            (1.0 + 1.0 / 256.0, 1.0), // A tie: to the even one.
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (1.0 + 1.1 / 256.0, 1.0 + 2.0 / 256.0),
            (f32::MAX, f32::INFINITY),
            (f32::NEG_INFINITY, f32::NEG_INFINITY),
        ];
        for (x, expected) in cases {
            assert_eq!(f32::from_bits(round(x)), expected, "{x}");
        }
        for bits in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0xff80_0001] {
            assert!(f32::from_bits(round(f32::from_bits(bits))).is_nan(), "{bits:x}");
        }
        assert_eq!(pair(1.0, -2.0), 0xc000_3f80);
    }

    fn sums(unit: &mut impl Unit) -> [[Sums; 2]; 2] {
        let mut sums = [[Sums([[f32::NAN; LANES]; LANES]); 2]; 2];
        unit.read(&mut sums);
        sums
    }

    fn tiles(rng: &mut Rng, exponents: std::ops::Range<i32>) -> [Tile; 4] {
        let mut number = || {
            let size = exponents.start + rng.below(exponents.len()) as i32;
            rng.range(-1.0, 1.0) * 2f32.powi(size)
        };
        std::array::from_fn(|_| std::array::from_fn(|_| Row(std::array::from_fn(|_| pair(number(), number())))))
    }

    /// Whether there is a unit to test; says so if not.
    fn has_amx() -> bool {
        if !is_native() {
            eprintln!("skipped: this machine has no AMX");
        }
        is_native()
    }

    /// Of all sizes, also where products and sums are too small to be normal.
    #[test]
    fn amx_gives_the_bits_of_its_reference() {
        if !has_amx() {
            return;
        }
        let (mut native, mut emulated) = (Amx::new(), Emulated::new());
        let mut rng = Rng::stream(1, "tiles", &[]);
        for exponents in [0..1, -3..3, -20..20, -70..-60, -64..-62, -130..-120, 60..66] {
            native.clear();
            emulated.clear();
            assert!(sums(&mut native).as_flattened().iter().all(|sums| *sums == Sums::ZERO));
            for _ in 0..40 {
                let [a, b, c, d] = tiles(&mut rng, exponents.clone());
                native.add([&a, &b], [&c, &d]);
                emulated.add([&a, &b], [&c, &d]);
            }
            // Sums beyond all numbers end as NaN, whose other bits mean nothing.
            let bits = |x: f32| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() };
            let all = |sums: [[Sums; 2]; 2]| sums.map(|two| two.map(|sums| sums.0.map(|row| row.map(bits))));
            assert!(all(sums(&mut native)) == all(sums(&mut emulated)), "exponents {exponents:?}");
        }
    }

    /// Another one of a thread is refused and leaves the first one's sums alone; so does asking.
    #[test]
    fn the_tiles_of_a_thread_are_taken_once() {
        if !has_amx() {
            return;
        }
        let [a, b, c, d] = tiles(&mut Rng::stream(3, "tiles", &[]), 0..1);
        let product = |among: &dyn Fn()| {
            let mut unit = Amx::new();
            unit.clear();
            unit.add([&a, &b], [&c, &d]);
            among();
            unit.add([&a, &b], [&c, &d]);
            sums(&mut unit)
        };
        let plain = product(&|| ());
        assert!(product(&|| assert!(is_native())) == plain);
        assert!(product(&|| assert!(std::panic::catch_unwind(Amx::new).is_err())) == plain);
        assert!(std::panic::catch_unwind(Amx::new).is_ok(), "given back");
    }

    #[test]
    fn the_reference_adds_products() {
        let [a, b, c, d] = tiles(&mut Rng::stream(2, "tiles", &[]), 0..1);
        let term = |pair: u32, k: usize| f32::from_bits([pair << 16, pair & 0xffff_0000][k % 2]);
        let mut unit = Emulated::new();
        unit.clear();
        unit.add([&a, &b], [&c, &d]);
        unit.add([&a, &b], [&c, &d]);
        for (sums, left) in sums(&mut unit).iter().zip([a, b]) {
            for (sums, right) in sums.iter().zip([c, d]) {
                for (m, n) in (0..LANES).flat_map(|m| (0..LANES).map(move |n| (m, n))) {
                    let product = |k: usize| term(left[m].0[k / 2], k) * term(right[k / 2].0[n], k);
                    let expected = 2.0 * (0..TERMS).map(product).sum::<f32>();
                    assert!((sums.0[m][n] - expected).abs() < 1e-5, "row {m}, column {n}");
                }
            }
        }
    }
}
