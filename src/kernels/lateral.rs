//! Lateral inhibition within a feature map: each unit is suppressed by the mean of its eight neighbours.

use super::lanes::{LANES, load, store};
use super::threads;
use wide::f32x16;

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
    threads::for_pieces(y, n, 4 * x.len(), |c, y| {
        let share = f32x16::splat(strength[c] / 8.0);
        for row in 0..shape.h {
            for_row(shape, &x[c * n..][..n], row, |at, lanes, centre, sum| {
                store(&mut y[at..at + lanes], share.mul_neg_add(sum, centre));
            });
        }
    });
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
    match dx {
        Some(dx) => {
            assert_eq!(dx.len(), x.len(), "dx must be (C, H, W, B)");
            threads::for_piece_pairs(dx, n, dstrength, 1, 5 * x.len(), |c, dx, dstrength| {
                let share = f32x16::splat(strength[c] / 8.0);
                dstrength[0] =
                    strength_gradient(shape, &x[c * n..][..n], &dy[c * n..][..n], |at, lanes, centre, sum| {
                        store(&mut dx[at..at + lanes], share.mul_neg_add(sum, centre));
                    });
            });
        }
        None => threads::for_pieces(dstrength, 1, 4 * x.len(), |c, dstrength| {
            dstrength[0] = strength_gradient(shape, &x[c * n..][..n], &dy[c * n..][..n], |_, _, _, _| ());
        }),
    }
}

/// `-sum x * surround(dy)` of one map; `f` sees what [`for_row`] gives. Sums in f32 within a row, f64 over rows.
#[inline(always)]
fn strength_gradient(shape: MapShape, x: &[f32], dy: &[f32], mut f: impl FnMut(usize, usize, f32x16, f32x16)) -> f32 {
    let mut total = 0.0f64;
    for row in 0..shape.h {
        let mut in_row = f32x16::ZERO;
        for_row(shape, dy, row, |at, lanes, centre, sum| {
            in_row = load(&x[at..at + lanes]).mul_add(sum, in_row);
            f(at, lanes, centre, sum);
        });
        total += f64::from(in_row.reduce_add());
    }
    (-total / 8.0) as f32
}

/// Calls `f(at, lanes, centre, sum of the 8 neighbours)` for every vector of one row; `x (H, W, B)`.
#[inline(always)]
fn for_row(shape: MapShape, x: &[f32], row: usize, mut f: impl FnMut(usize, usize, f32x16, f32x16)) {
    for lane in (0..shape.batch).step_by(LANES) {
        // Two calls, so that the first is compiled for full vectors.
        if shape.batch - lane >= LANES {
            for_strip(shape, x, row, lane, LANES, &mut f);
        } else {
            for_strip(shape, x, row, lane, shape.batch - lane, &mut f);
        }
    }
}

/// [`for_row`] for the `lanes` images from `lane`: walks along the row and keeps the sums of three columns.
#[inline(always)]
fn for_strip(
    shape: MapShape,
    x: &[f32],
    row: usize,
    lane: usize,
    lanes: usize,
    f: &mut impl FnMut(usize, usize, f32x16, f32x16),
) {
    let MapShape { h, w, batch } = shape;
    let run = |row: usize| &x[row * w * batch..][..w * batch];
    let rows = [if row > 0 { run(row - 1) } else { &[] }, run(row), if row + 1 < h { run(row + 1) } else { &[] }];
    let mut before = f32x16::ZERO;
    let (mut centre, mut here) = column(rows, lane, lanes);
    for col in 0..w {
        let at = col * batch + lane;
        let (next, after) = if col + 1 < w { column(rows, at + batch, lanes) } else { (f32x16::ZERO, f32x16::ZERO) };
        f(row * w * batch + at, lanes, centre, before + here + after - centre);
        (before, here, centre) = (here, after, next);
    }
}

/// The middle value of a column of three rows, and the sum of all three; `rows` `(W, B)`, empty outside the image.
#[inline(always)]
fn column(rows: [&[f32]; 3], at: usize, lanes: usize) -> (f32x16, f32x16) {
    let centre = load(&rows[1][at..at + lanes]);
    let mut sum = centre;
    for row in [rows[0], rows[2]] {
        if !row.is_empty() {
            sum += load(&row[at..at + lanes]);
        }
    }
    (centre, sum)
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

    #[test]
    fn inhibition_equals_its_reference() {
        for ((c, h, w), batch) in SHAPES.into_iter().flat_map(|s| BATCHES.map(|batch| (s, batch))) {
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
        for ((c, h, w), batch) in SHAPES.into_iter().flat_map(|s| BATCHES.map(|batch| (s, batch))) {
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
