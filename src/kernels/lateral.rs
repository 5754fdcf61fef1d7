//! Lateral inhibition within a feature map: each unit is suppressed by the mean of its eight neighbours.

use super::lanes::{LANES, ONE_REGISTER, REGISTER, Register, all_or_none, load, load_whole, mask, store, tiles};
use super::threads;
use wide::f32x16;

/// Rows of a map that are walked together: four rows of output take six loads, one at a time twelve. Sixteen registers
/// have room for the sums of three columns of two rows.
const ROWS: usize = if ONE_REGISTER { 4 } else { 2 };

/// Height, width and batch of a stack of feature maps.
#[derive(Clone, Copy, Debug)]
pub struct MapShape {
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
    /// Images.
    pub batch: usize,
}

impl MapShape {
    /// Elements of one map: `H W B`.
    pub fn len(&self) -> usize {
        self.h * self.w * self.batch
    }

    /// Elements of one row: `W B`.
    fn row(&self) -> usize {
        self.w * self.batch
    }

    /// True if there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `y = x - strength_c * surround(x)`, surround = sum of the 8 neighbours / 8, zero outside the image.
///
/// `strength (C)`, `x (C, H, W, B)`, `y (C, H, W, B)`.
pub fn inhibit(shape: MapShape, strength: &[f32], x: &[f32], y: &mut [f32]) {
    let n = shape.len();
    assert_eq!(x.len(), strength.len() * n, "x must be (C, H, W, B)");
    assert_eq!(y.len(), x.len(), "y must be (C, H, W, B)");
    threads::for_pieces(y, n, 4 * x.len(), |c, y| inhibit_map(shape, strength[c] / 8.0, &x[c * n..][..n], y));
}

/// [`inhibit`] for one map: `y = x - share * sum of the 8 neighbours`.
fn inhibit_map(shape: MapShape, share: f32, x: &[f32], y: &mut [f32]) {
    if shape.batch.is_multiple_of(LANES) {
        let share = Register::splat(share);
        let (tiled, rest) = y.split_at_mut(shape.h / ROWS * ROWS * shape.row());
        for (i, y) in tiled.chunks_exact_mut(ROWS * shape.row()).enumerate() {
            let mut y = rows_mut::<ROWS>(y, shape.row());
            in_rows::<ROWS>(shape, x, i * ROWS, |at, centre, sum| put(&mut y, at, share, centre, sum));
        }
        for (i, y) in rest.chunks_exact_mut(shape.row()).enumerate() {
            let mut y = rows_mut::<1>(y, shape.row());
            in_rows::<1>(shape, x, shape.h / ROWS * ROWS + i, |at, centre, sum| put(&mut y, at, share, centre, sum));
        }
    } else {
        let share = f32x16::splat(share);
        in_map(shape, x, |at, lanes, centre, sum| store(&mut y[at..at + lanes], share.mul_neg_add(sum, centre)));
    }
}

/// The gradients of [`inhibit`]: `dx = dy - strength_c * surround(dy)` and `dstrength_c = -sum dy * surround(x)`.
///
/// `strength (C)`, `x`, `dy` and, if wanted, `dx` `(C, H, W, B)`, `dstrength (C)`. The operator is symmetric, so
/// `sum dy * surround(x) = sum x * surround(dy)`: one pass over `dy` gives both.
pub fn inhibit_backward(
    shape: MapShape,
    strength: &[f32],
    x: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dstrength: &mut [f32],
) {
    let n = shape.len();
    assert_eq!(dstrength.len(), strength.len(), "dstrength must be (C)");
    assert_eq!(x.len(), strength.len() * n, "x must be (C, H, W, B)");
    assert_eq!(dy.len(), x.len(), "dy must be (C, H, W, B)");
    let map = |c: usize| (&x[c * n..][..n], &dy[c * n..][..n]);
    match dx {
        Some(dx) => {
            assert_eq!(dx.len(), x.len(), "dx must be (C, H, W, B)");
            threads::for_piece_pairs(dx, n, dstrength, 1, 5 * x.len(), |c, dx, dstrength| {
                dstrength[0] = backward_map(shape, strength[c] / 8.0, map(c), dx);
            });
        }
        None => threads::for_pieces(dstrength, 1, 4 * x.len(), |c, dstrength| {
            dstrength[0] = strength_gradient(shape, map(c));
        }),
    }
}

/// `dx` of one map, and the gradient of its strength.
fn backward_map(shape: MapShape, share: f32, maps: (&[f32], &[f32]), dx: &mut [f32]) -> f32 {
    if !shape.batch.is_multiple_of(LANES) {
        let share = f32x16::splat(share);
        return product_in_map(shape, maps, |at, lanes, centre, sum| {
            store(&mut dx[at..at + lanes], share.mul_neg_add(sum, centre));
        });
    }
    let (share, len) = (Register::splat(share), shape.row());
    let whole = shape.h / ROWS * ROWS;
    let (tiled, rest) = dx.split_at_mut(whole * len);
    let of_tiles = tiled.chunks_exact_mut(ROWS * len).enumerate().map(|(i, dx)| {
        let mut dx = rows_mut::<ROWS>(dx, len);
        product_in_rows::<ROWS>(shape, maps, i * ROWS, |at, centre, sum| put(&mut dx, at, share, centre, sum))
    });
    let of_rest = rest.chunks_exact_mut(len).enumerate().map(|(i, dx)| {
        let mut dx = rows_mut::<1>(dx, len);
        product_in_rows::<1>(shape, maps, whole + i, |at, centre, sum| put(&mut dx, at, share, centre, sum))
    });
    (-of_tiles.chain(of_rest).sum::<f64>() / 8.0) as f32
}

/// The gradient of the strength of one map alone: the same sums.
fn strength_gradient(shape: MapShape, maps: (&[f32], &[f32])) -> f32 {
    if !shape.batch.is_multiple_of(LANES) {
        return product_in_map(shape, maps, |_, _, _, _| ());
    }
    let whole = shape.h / ROWS * ROWS;
    let of_tiles = (0..whole).step_by(ROWS).map(|row| product_in_rows::<ROWS>(shape, maps, row, |_, _, _| ()));
    let of_rest = (whole..shape.h).map(|row| product_in_rows::<1>(shape, maps, row, |_, _, _| ()));
    (-of_tiles.chain(of_rest).sum::<f64>() / 8.0) as f32
}

/// `sum x * (sum of the 8 neighbours in dy)` over R rows from `row`, in f32; `f` sees what [`in_rows`] gives for `dy`.
#[inline(always)]
fn product_in_rows<const R: usize>(
    shape: MapShape,
    (x, dy): (&[f32], &[f32]),
    row: usize,
    mut f: impl FnMut(usize, &[Register; R], &[Register; R]),
) -> f64 {
    let x: [&[[f32; REGISTER]]; R] = std::array::from_fn(|k| vectors(x, shape.row(), row + k));
    let mut sums = [Register::ZERO; R];
    in_rows::<R>(shape, dy, row, |at, centre, sum| {
        for k in 0..R {
            sums[k] = Register::new(x[k][at]).mul_add(sum[k], sums[k]);
        }
        f(at, centre, sum);
    });
    sums.iter().map(|sum| f64::from(sum.reduce_add())).sum()
}

/// The gradient of the strength of one map; `f` sees what [`in_map`] gives for `dy`. Sums in f32 within a strip of
/// [`LANES`] floats a row, f64 over strips.
#[inline(always)]
fn product_in_map(shape: MapShape, (x, dy): (&[f32], &[f32]), mut f: impl FnMut(usize, usize, f32x16, f32x16)) -> f32 {
    let (mut total, mut in_strip, mut next) = (0.0f64, f32x16::ZERO, 0);
    in_map(shape, dy, |at, lanes, centre, sum| {
        if at < next {
            total += f64::from(std::mem::replace(&mut in_strip, f32x16::ZERO).reduce_add());
        }
        next = at;
        in_strip = load(&x[at..at + lanes]).mul_add(if lanes == LANES { sum } else { sum & mask(lanes) }, in_strip);
        f(at, lanes, centre, sum);
    });
    (-(total + f64::from(in_strip.reduce_add())) / 8.0) as f32
}

/// Row `row` of `x (H, W, B)`, rows `len` long, as vectors.
#[inline(always)]
fn vectors(x: &[f32], len: usize, row: usize) -> &[[f32; REGISTER]] {
    x[row * len..][..len].as_chunks().0
}

/// The R rows of `y (R, W, B)`, each `len` long, as vectors.
#[inline(always)]
fn rows_mut<const R: usize>(y: &mut [f32], len: usize) -> [&mut [[f32; REGISTER]]; R] {
    let mut rest = y;
    std::array::from_fn(|_| {
        let (row, after) = std::mem::take(&mut rest).split_at_mut(len);
        rest = after;
        row.as_chunks_mut().0
    })
}

/// Writes `centre - share * sum` to vector `at` of each row.
#[inline(always)]
fn put<const R: usize>(
    y: &mut [&mut [[f32; REGISTER]]; R],
    at: usize,
    share: Register,
    centre: &[Register; R],
    sum: &[Register; R],
) {
    for k in 0..R {
        y[k][at] = share.mul_neg_add(sum[k], centre[k]).to_array();
    }
}

/// Calls `f(at, centre, sum of the 8 neighbours)` for every vector of the R rows from `row` of a map `x (H, W, B)`, B a
/// multiple of [`LANES`]: `at` in vectors from the start of each row.
///
/// Goes along the rows and keeps the sums of three columns, which share the rows that they have in common.
#[inline(always)]
fn in_rows<const R: usize>(
    shape: MapShape,
    x: &[f32],
    row: usize,
    mut f: impl FnMut(usize, &[Register; R], &[Register; R]),
) {
    let (len, step) = (shape.row(), shape.batch / REGISTER);
    let has_below = row + R < shape.h;
    let rows: [&[[f32; REGISTER]]; R] = std::array::from_fn(|k| vectors(x, len, row + k));
    // A row outside of the map is any row, zeroed.
    let (above, keep_above) = (vectors(x, len, row.saturating_sub(1)), all_or_none(row > 0));
    let (below, keep_below) = (vectors(x, len, if has_below { row + R } else { row }), all_or_none(has_below));
    let column = |at: usize| {
        let centre: [Register; R] = std::array::from_fn(|k| Register::new(rows[k][at]));
        let (above, below) = (Register::new(above[at]) & keep_above, Register::new(below[at]) & keep_below);
        let sum = std::array::from_fn(|k| {
            let before = if k == 0 { above } else { centre[k - 1] };
            centre[k] + before + if k + 1 == R { below } else { centre[k + 1] }
        });
        (centre, sum)
    };
    for first in 0..step {
        let mut before = [Register::ZERO; R];
        let (mut centre, mut here) = column(first);
        let mut at = first;
        while at + step < rows[0].len() {
            let (next, after) = column(at + step);
            f(at, &centre, &std::array::from_fn(|k| before[k] + here[k] + after[k] - centre[k]));
            (before, here, centre) = (here, after, next);
            at += step;
        }
        f(at, &centre, &std::array::from_fn(|k| before[k] + here[k] - centre[k]));
    }
}

/// Calls `f(at, lanes, centre, sum of the 8 neighbours)` for every vector of a map `x (H, W, B)` of any batch: 16 floats
/// of a row from `at`, whatever their columns; the next column is B floats away. From lane `lanes` on the centre is 0
/// and the sum anything.
///
/// Goes down the rows and keeps the sums of three of them.
#[inline(always)]
fn in_map(shape: MapShape, x: &[f32], f: impl FnMut(usize, usize, f32x16, f32x16)) {
    match shape.batch {
        // A distance that the compiler knows.
        1 => in_strips(shape, 1, x, f),
        batch => in_strips(shape, batch, x, f),
    }
}

/// [`in_map`] where `batch`, the batch of `shape`, may be a constant.
#[inline(always)]
fn in_strips(shape: MapShape, batch: usize, x: &[f32], mut f: impl FnMut(usize, usize, f32x16, f32x16)) {
    let len = shape.row();
    for (first, lanes) in tiles(len) {
        let left = !mask(batch.saturating_sub(first).min(LANES));
        // Unmasked, the values themselves would be put together in memory, by halves, and waited for.
        let middle = mask(lanes);
        let right = mask((len - first).saturating_sub(batch).min(LANES));
        // The values of a row, and of their neighbours to the left and right.
        let row = |at: usize| {
            let around = x.get(at.wrapping_sub(batch)..).and_then(|x| x.get(..LANES + 2 * batch));
            // Not by `map`: where that is not inlined, one image takes twice the time.
            let [before, here, after] = match around {
                Some(run) => [load_whole(run, 0), load_whole(run, batch), load_whole(run, 2 * batch)],
                None => [load_edge(x, at.wrapping_sub(batch)), load_edge(x, at), load_edge(x, at + batch)],
            };
            [before & left, here & middle, after & right]
        };
        let (mut above, mut here) = ([f32x16::ZERO; 3], row(first));
        for h in 0..shape.h {
            let at = first + h * len;
            let below = if h + 1 < shape.h { row(at + len) } else { [f32x16::ZERO; 3] };
            let sums: [f32x16; 3] = std::array::from_fn(|j| here[j] + above[j] + below[j]);
            f(at, lanes, here[1], sums[0] + sums[1] + sums[2] - here[1]);
            (above, here) = (here, below);
        }
    }
}

/// The 16 floats of `x` from `at`, which may have wrapped below zero; zeros outside of `x`.
#[cold]
fn load_edge(x: &[f32], at: usize) -> f32x16 {
    f32x16::new(std::array::from_fn(|lane| x.get(at.wrapping_add(lane)).map_or(0.0, |v| *v)))
}

/// [`inhibit`] as loops to read.
pub fn inhibit_reference(shape: MapShape, strength: &[f32], x: &[f32], y: &mut [f32]) {
    let MapShape { h, w, batch } = shape;
    let index = |c: usize, i: usize, j: usize, b: usize| ((c * h + i) * w + j) * batch + b;
    for (c, strength) in strength.iter().enumerate() {
        for i in 0..h {
            for j in 0..w {
                for b in 0..batch {
                    let mut sum = 0.0;
                    for i2 in i.saturating_sub(1)..(i + 2).min(h) {
                        for j2 in j.saturating_sub(1)..(j + 2).min(w) {
                            if (i2, j2) != (i, j) {
                                sum += x[index(c, i2, j2, b)];
                            }
                        }
                    }
                    y[index(c, i, j, b)] = x[index(c, i, j, b)] - strength * sum / 8.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::{self, BATCHES};

    const SHAPES: [(usize, usize, usize); 6] = [(1, 1, 1), (2, 1, 5), (2, 4, 1), (3, 5, 7), (1, 2, 2), (3, 48, 48)];

    /// Each shape with each batch; 48 images are several vectors of any width.
    fn cases() -> impl Iterator<Item = ((usize, usize, usize), usize)> {
        SHAPES.into_iter().flat_map(|shape| BATCHES.into_iter().chain([48]).map(move |batch| (shape, batch)))
    }

    #[test]
    fn inhibition_equals_its_reference() {
        for ((c, h, w), batch) in cases() {
            let shape = MapShape { h, w, batch };
            let (x, strength) = (parity::random("x", c * shape.len()), parity::random("strength", c));
            parity::check(
                &format!("{c} maps of {shape:?}"),
                x.len(),
                1e-6,
                |y| inhibit(shape, &strength, &x, y),
                |y| inhibit_reference(shape, &strength, &x, y),
            );
        }
    }

    #[test]
    fn the_gradients_of_inhibition_equal_their_definition() {
        for ((c, h, w), batch) in cases() {
            let shape = MapShape { h, w, batch };
            let (x, dy) = (parity::random("x", c * shape.len()), parity::random("dy", c * shape.len()));
            let strength = parity::random("strength", c);
            let mut dstrength = vec![f32::NAN; c];
            inhibit_backward(shape, &strength, &x, &dy, None, &mut dstrength);
            parity::check(
                &format!("dx of {c} maps of {shape:?}"),
                x.len(),
                1e-6,
                |dx| {
                    let mut again = vec![f32::NAN; c];
                    inhibit_backward(shape, &strength, &x, &dy, Some(dx), &mut again);
                    assert_eq!(again, dstrength);
                },
                |dx| inhibit_reference(shape, &strength, &dy, dx),
            );
            // With strength 1 the reference leaves x less its surround.
            let mut rest = vec![f32::NAN; x.len()];
            inhibit_reference(shape, &vec![1.0; c], &x, &mut rest);
            for (k, dstrength) in dstrength.iter().enumerate() {
                let map = k * shape.len()..(k + 1) * shape.len();
                let want: f64 = map.map(|i| -f64::from(dy[i]) * f64::from(x[i] - rest[i])).sum();
                assert!((f64::from(*dstrength) - want).abs() < 1e-4 * (1.0 + want.abs()), "{dstrength} {want}");
            }
        }
    }
}
