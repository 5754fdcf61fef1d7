//! The transforms of Winograd's convolution F(4x4, 3x3), on registers of lanes.
//!
//! A 3 x 3 kernel over a 6 x 6 tile gives 4 x 4 outputs by 36 products instead of 144: tile and kernel are read as
//! polynomials, evaluated at six points, multiplied there, and the outputs are recovered from the products (Winograd
//! 1980; Lavin & Gray 2016, arXiv:1509.09308). The weight gradient is the same with the roles changed: 4 x 4 output
//! gradients over a 6 x 6 tile give 3 x 3 sums.
//!
//! The points are 0, ±3/4, ±3/2 and infinity. With the usual 0, ±1, ±2 the largest error over 128 channels is eight
//! times the direct sum's, with these it is 1.3 times: their powers stay near 1. All factors of the tile's and the
//! outputs' transforms are exact in 32 bits.

use super::lanes::{LANES, ONE_REGISTER, PARTS, REGISTER, Register, put_register, register};

/// Side of an input tile: six points.
pub(super) const POINTS: usize = 6;

/// Side of a tile of outputs, and the step from tile to tile.
pub(super) const STEP: usize = 4;

/// Weights of a kernel.
pub(super) const TAPS: usize = 9;

/// Products per tile.
pub(super) const PRODUCTS: usize = POINTS * POINTS;

const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// `product over the other points q of (p - q)` at 0, ±A, ±B.
const AT_0: f32 = A2 * B2;
const AT_A: f32 = 2.0 * A2 * (A2 - B2);
const AT_B: f32 = 2.0 * B2 * (B2 - A2);

/// `x * factor + y`.
#[inline(always)]
fn fma(x: Register, factor: f32, y: Register) -> Register {
    x.mul_add(Register::splat(factor), y)
}

#[inline(always)]
fn scaled(x: Register, factor: f32) -> Register {
    x * Register::splat(factor)
}

/// A row of an input tile at the points.
#[inline(always)]
fn inputs([d0, d1, d2, d3, d4, d5]: [Register; 6]) -> [Register; 6] {
    let (even_a, odd_a) = (fma(d2, -B2, d4), fma(d1, -B2, d3));
    let (even_b, odd_b) = (fma(d2, -A2, d4), fma(d1, -A2, d3));
    [
        fma(d0, AT_0, fma(d2, -A2 - B2, d4)),
        fma(odd_a, A, even_a),
        fma(odd_a, -A, even_a),
        fma(odd_b, B, even_b),
        fma(odd_b, -B, even_b),
        fma(d1, AT_0, fma(d3, -A2 - B2, d5)),
    ]
}

/// A row of a kernel at the points.
#[inline(always)]
fn kernels([g0, g1, g2]: [Register; 3]) -> [Register; 6] {
    let (even_a, odd_a) = (scaled(fma(g2, A2, g0), 1.0 / AT_A), scaled(g1, A / AT_A));
    let (even_b, odd_b) = (scaled(fma(g2, B2, g0), 1.0 / AT_B), scaled(g1, B / AT_B));
    [scaled(g0, 1.0 / AT_0), even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g2]
}

/// Four outputs from their products.
#[inline(always)]
fn outputs([m0, a, minus_a, b, minus_b, last]: [Register; 6]) -> [Register; 4] {
    let (even_a, odd_a, even_b, odd_b) = (a + minus_a, a - minus_a, b + minus_b, b - minus_b);
    [
        m0 + even_a + even_b,
        fma(odd_a, A, scaled(odd_b, B)),
        fma(even_a, A2, scaled(even_b, B2)),
        fma(odd_a, A2 * A, fma(odd_b, B2 * B, last)),
    ]
}

/// Applies `f` to each of the `N` <= 6 columns and then to each row of that; gives `put` row, column and value of the
/// result.
///
/// The columns are written out one by one: what a loop fills is zeroed first, with 16 registers by a call for each
/// tile. With 32 registers the result is kept and given as a whole: its loop is then unrolled, and nothing is zeroed. With
/// 16 that would send all of it through memory, so each row is given at once.
#[inline(always)]
fn both<const N: usize, const M: usize>(
    columns: impl Fn(usize) -> [Register; N],
    f: impl Fn([Register; N]) -> [Register; M],
    mut put: impl FnMut(usize, usize, Register),
) {
    const { assert!(N <= 6) };
    let column = |c| if c < N { f(columns(c)) } else { [Register::ZERO; M] };
    let half = [column(0), column(1), column(2), column(3), column(4), column(5)];
    let mut whole = [[Register::ZERO; M]; M];
    let mut put_row = |r: usize, row: [Register; M]| {
        for c in 0..M {
            put(r, c, row[c]);
        }
    };
    for r in 0..M {
        let mut row = [Register::ZERO; N];
        for c in 0..N {
            row[c] = half[c][r];
        }
        let row = f(row);
        if ONE_REGISTER { whole[r] = row } else { put_row(r, row) }
    }
    if ONE_REGISTER {
        for r in 0..M {
            put_row(r, whole[r]);
        }
    }
}

/// An input tile at the 6 x 6 points, each of them given to `put`; `column(c)` is column `c` of the tile.
#[inline(always)]
pub(super) fn input_tile(column: impl Fn(usize) -> [Register; 6], mut put: impl FnMut(usize, Register)) {
    both(column, inputs, |r, c, v| put(r * POINTS + c, v));
}

/// A kernel at the 6 x 6 points, each of them given to `put`; `column(c)` is column `c` of the kernel.
#[inline(always)]
pub(super) fn kernel_tile(column: impl Fn(usize) -> [Register; 3], mut put: impl FnMut(usize, Register)) {
    both(column, kernels, |r, c, v| put(r * POINTS + c, v));
}

/// The 4 x 4 outputs, given to `put` with row and column; `column(c)` is column `c` of the products.
#[inline(always)]
pub(super) fn output_tile(column: impl Fn(usize) -> [Register; 6], put: impl FnMut(usize, usize, Register)) {
    both(column, outputs, put);
}

/// A row of output gradients at the points.
#[inline(always)]
fn gradients([g0, g1, g2, g3]: [Register; 4]) -> [Register; 6] {
    let (even_a, odd_a) = (scaled(fma(g2, A2, g0), 1.0 / AT_A), scaled(fma(g3, A2, g1), A / AT_A));
    let (even_b, odd_b) = (scaled(fma(g2, B2, g0), 1.0 / AT_B), scaled(fma(g3, B2, g1), B / AT_B));
    [scaled(g0, 1.0 / AT_0), even_a + odd_a, even_a - odd_a, even_b + odd_b, even_b - odd_b, g3]
}

/// Three weight gradients from their products.
#[inline(always)]
fn weight_gradients([m0, a, minus_a, b, minus_b, last]: [Register; 6]) -> [Register; 3] {
    let (even_a, odd_a, even_b, odd_b) = (a + minus_a, a - minus_a, b + minus_b, b - minus_b);
    [m0 + even_a + even_b, fma(odd_a, A, scaled(odd_b, B)), fma(even_a, A2, fma(even_b, B2, last))]
}

/// 4 x 4 output gradients of 16 channels, `turned (16 pixels, 16 images)`, at the 6 x 6 points: image `b` becomes vector
/// `first + b` of each point, `stride` vectors apart.
#[inline(always)]
pub(super) fn gradient_tiles(turned: &[[f32; LANES]], stride: usize, first: usize, out: &mut [[f32; LANES]]) {
    for b in 0..LANES {
        for part in 0..PARTS {
            let column = |c| std::array::from_fn(|r| register(&turned[(r * STEP + c) * LANES + b], part));
            let mut put = spread(stride, first + b, part, out);
            both(column, gradients, |r, c, v| put(r * POINTS + c, v));
        }
    }
}

/// Writes a point to register `part` of vector `at` of that point, `stride` vectors apart.
#[inline(always)]
pub(super) fn spread(stride: usize, at: usize, part: usize, out: &mut [[f32; LANES]]) -> impl FnMut(usize, Register) {
    move |point, v| put_register(&mut out[point * stride + at], part, v)
}

/// Writes the 3 x 3 weight gradients of up to 16 channels, whose products at each point are `product`: nine numbers each,
/// `stride` from channel to channel.
#[inline(always)]
pub(super) fn write_weight_gradients<'a>(product: impl Fn(usize) -> &'a [f32; LANES], stride: usize, dw: &mut [f32]) {
    for (part, dw) in dw.chunks_mut(REGISTER * stride).enumerate() {
        let column = |c| std::array::from_fn(|r| register(product(r * POINTS + c), part));
        let mut tile = [[[0.0; REGISTER]; 3]; 3];
        both(column, weight_gradients, |r, c, v| tile[r][c] = v.to_array());
        for (i, dw) in dw.chunks_mut(stride).enumerate() {
            for (tap, dw) in dw.iter_mut().take(TAPS).enumerate() {
                *dw = tile[tap / 3][tap % 3][i];
            }
        }
    }
}
