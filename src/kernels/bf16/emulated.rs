//! The matrix unit of AMX in plain code, to the bit: TDPBF16PS as in Intel's instruction set reference.

use super::{LANES, Sums, Tile, Unit};

/// Four sums.
pub(super) struct Emulated([[Sums; 2]; 2]);

impl Unit for Emulated {
    fn new() -> Self {
        Self([[Sums::ZERO; 2]; 2])
    }

    fn clear(&mut self) {
        *self = Self::new();
    }

    fn add(&mut self, left: [&Tile; 2], right: [&Tile; 2]) {
        for (sums, left) in self.0.iter_mut().zip(left) {
            for (sums, right) in sums.iter_mut().zip(right) {
                multiply(left, right, sums);
            }
        }
    }

    fn read(&mut self, sums: &mut [[Sums; 2]; 2]) {
        *sums = self.0;
    }
}

fn multiply(left: &Tile, right: &Tile, sums: &mut Sums) {
    for (left, sums) in left.iter().zip(&mut sums.0) {
        let (mut even, mut odd) = ([0.0; LANES], [0.0; LANES]);
        for (&left, right) in left.0.iter().zip(right) {
            for n in 0..LANES {
                even[n] = flush(first(left).mul_add(first(right.0[n]), even[n]));
                odd[n] = flush(second(left).mul_add(second(right.0[n]), odd[n]));
            }
        }
        for n in 0..LANES {
            sums[n] = flush(sums[n] + flush(even[n] + odd[n]));
        }
    }
}

fn first(pair: u32) -> f32 {
    flush(f32::from_bits(pair << 16))
}

fn second(pair: u32) -> f32 {
    flush(f32::from_bits(pair & 0xffff_0000))
}

/// Zero of the same sign for what is below the least normal number.
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0_f32.copysign(x) } else { x }
}
