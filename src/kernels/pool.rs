//! Maximum over square windows that do not overlap.

use super::lanes::{LANES, load_first, load_whole, store_first, store_whole, tiles};
use super::threads;
use wide::f32x16;

/// Largest window side: the place of the maximum is kept in a byte.
pub const MAX_SIDE: usize = 16;

/// The place of a maximum that a ReLU cut off, in windows smaller than [`MAX_SIDE`].
const NOWHERE: u8 = u8::MAX;

/// Sizes of a pooling pass.
#[derive(Clone, Copy, Debug)]
pub struct PoolShape {
    /// Channels.
    pub c: usize,
    /// Height before pooling.
    pub h: usize,
    /// Width before pooling.
    pub w: usize,
    /// Window side, 1 to [`MAX_SIDE`]. Rows and columns that fill no window are left out.
    pub side: usize,
    /// Images.
    pub batch: usize,
}

impl PoolShape {
    /// Elements before pooling: `C H W B`.
    pub fn pre(&self) -> usize {
        self.c * self.h * self.w * self.batch
    }

    /// Elements after pooling: `C (H/side) (W/side) B`.
    pub fn post(&self) -> usize {
        self.c * self.h_post() * self.w_post() * self.batch
    }

    fn h_post(&self) -> usize {
        self.h / self.side
    }

    fn w_post(&self) -> usize {
        self.w / self.side
    }

    /// Start of place `k` of window `(row, col)` within its channel, `k` row by row.
    #[inline(always)]
    fn at(&self, row: usize, col: usize, k: usize) -> usize {
        ((row * self.side + k / self.side) * self.w + col * self.side + k % self.side) * self.batch
    }
}

/// `y = max over the window of x`; `place` says which: `row * side + column` in the window, the first of equals.
/// `rectified`: then also `y = max(y, 0)`, and no gradient passes where y is not above 0, as of a ReLU behind the pooling.
///
/// `x (C, H, W, B)`, `y (C, H/side, W/side, B)`, `place` as `y`. Not-a-number counts only in the first place.
///
/// # Panics
/// If a length does not fit the shape, or windows of [`MAX_SIDE`] are to be rectified.
pub fn max_pool(shape: PoolShape, rectified: bool, x: &[f32], y: &mut [f32], place: &mut [u8]) {
    check(shape, x, y, place);
    assert!(!rectified || shape.side < MAX_SIDE, "only windows smaller than {MAX_SIDE} are rectified");
    let (pre, post) = (shape.pre() / shape.c.max(1), shape.post() / shape.c.max(1));
    threads::for_piece_pairs(y, post, place, post, shape.pre(), |c, y, place| {
        let x = &x[c * pre..][..pre];
        if shape.side == 2 {
            let (row, pooled) = (shape.w * shape.batch, shape.w_post() * shape.batch);
            let posts = y.chunks_exact_mut(pooled.max(1)).zip(place.chunks_exact_mut(pooled.max(1)));
            for ((y, place), x) in posts.zip(x.chunks_exact(2 * row)) {
                let (top, low) = x.split_at(row);
                let (top, low) = (&top[..2 * pooled], &low[..2 * pooled]);
                if rectified {
                    halve_rows::<true>(shape.batch, top, low, y, place);
                } else {
                    halve_rows::<false>(shape.batch, top, low, y, place);
                }
            }
            return;
        }
        let windows = y.chunks_exact_mut(shape.batch).zip(place.chunks_exact_mut(shape.batch));
        for (i, (y, place)) in windows.enumerate() {
            let (row, col) = (i / shape.w_post(), i % shape.w_post());
            let lanes = |k| &x[shape.at(row, col, k)..][..shape.batch];
            y.copy_from_slice(lanes(0));
            place.fill(0);
            for k in 1..shape.side * shape.side {
                for ((y, place), &x) in y.iter_mut().zip(place.iter_mut()).zip(lanes(k)) {
                    (*y, *place) = if x > *y { (x, k as u8) } else { (*y, *place) };
                }
            }
        }
        if rectified {
            y.iter_mut().zip(place).for_each(|(y, place)| (*y, *place) = rectify((*y, *place)));
        }
    });
}

/// `max(y, 0)`, not-a-number staying, and its place: nowhere unless `y > 0`.
#[inline(always)]
fn rectify((y, place): (f32, u8)) -> (f32, u8) {
    (if 0.0 > y { 0.0 } else { y }, if y > 0.0 { place } else { NOWHERE })
}

/// A row of windows of side 2: `top` and `low (2 W', B)`, `y` and `place (W', B)`, with the ReLU behind if `RECTIFIED`.
fn halve_rows<const RECTIFIED: bool>(batch: usize, top: &[f32], low: &[f32], y: &mut [f32], place: &mut [u8]) {
    if batch == 1 {
        // Both columns of a window lie in one pair.
        let pairs = top.as_chunks().0.iter().zip(low.as_chunks().0);
        for ((y, place), (&[a, b], &[c, d])) in y.iter_mut().zip(place).zip(pairs) {
            (*y, *place) = best_of_four::<RECTIFIED>(a, b, c, d);
        }
        return;
    }
    let posts = y.chunks_exact_mut(batch).zip(place.chunks_exact_mut(batch));
    for ((y, place), (top, low)) in posts.zip(top.chunks_exact(2 * batch).zip(low.chunks_exact(2 * batch))) {
        // The compiler makes better code of this than of vectors: it packs the places into bytes.
        let pairs = top.iter().zip(&top[batch..]).zip(low.iter().zip(&low[batch..]));
        for ((y, place), ((&a, &b), (&c, &d))) in y.iter_mut().zip(place).zip(pairs) {
            (*y, *place) = best_of_four::<RECTIFIED>(a, b, c, d);
        }
    }
}

/// Largest of a window `a b / c d`, and its place; the first of equals.
#[inline(always)]
fn best_of_four<const RECTIFIED: bool>(a: f32, b: f32, c: f32, d: f32) -> (f32, u8) {
    let (top, top_place) = if b > a { (b, 1) } else { (a, 0) };
    let (low, low_place) = if d > c { (d, 3) } else { (c, 2) };
    let best = if low > top { (low, low_place) } else { (top, top_place) };
    if RECTIFIED { rectify(best) } else { best }
}

/// `dx = dy` at the place of each maximum, 0 elsewhere; shapes as in [`max_pool`]. Writes every element of `dx`.
pub fn max_pool_backward(shape: PoolShape, dy: &[f32], place: &[u8], dx: &mut [f32]) {
    check(shape, dx, dy, place);
    let (pre, post) = (shape.pre() / shape.c.max(1), shape.post() / shape.c.max(1));
    let (side, batch) = (shape.side, shape.batch);
    threads::for_pieces(dx, pre, shape.pre(), |c, dx| {
        let (dy, place) = (&dy[c * post..][..post], &place[c * post..][..post]);
        let pooled = shape.w_post() * batch;
        if side == 2 && batch > 1 && shape.w.is_multiple_of(2) {
            let rows = dy.chunks_exact(pooled).zip(place.chunks_exact(pooled));
            let mut pairs = dx.chunks_exact_mut(4 * pooled);
            for (dx, (dy, place)) in pairs.by_ref().zip(rows) {
                double_row(batch, dy, place, dx);
            }
            pairs.into_remainder().fill(0.0);
            return;
        }
        for (h, dx) in dx.chunks_exact_mut(shape.w * batch).enumerate() {
            if h / side >= shape.h_post() {
                dx.fill(0.0);
                continue;
            }
            let row = h / side * shape.w_post() * batch;
            for (w, dx) in dx.chunks_exact_mut(batch).enumerate() {
                if w / side >= shape.w_post() {
                    dx.fill(0.0);
                    continue;
                }
                let window = row + w / side * batch;
                let k = (h % side * side + w % side) as u8;
                let lanes = dy[window..][..batch].iter().zip(&place[window..][..batch]);
                for (dx, (&dy, &place)) in dx.iter_mut().zip(lanes) {
                    *dx = if place == k { dy } else { 0.0 };
                }
            }
        }
    });
}

/// The way back of a row of windows of side 2: `dy` and `place (W', B)`, `dx (2, 2 W', B)`.
fn double_row(batch: usize, dy: &[f32], place: &[u8], dx: &mut [f32]) {
    let (top, low) = dx.split_at_mut(2 * dy.len());
    if batch == LANES {
        // A slice: whole vectors, without the bookkeeping of others, which took a third of the time.
        let windows = dy.as_chunks::<LANES>().0.iter().zip(place.as_chunks::<LANES>().0);
        let dx = top.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0.iter_mut();
        let dx = dx.zip(low.as_chunks_mut::<LANES>().0.as_chunks_mut::<2>().0);
        for ((dy, place), (top, low)) in windows.zip(dx) {
            route(
                f32x16::new(*dy),
                *place,
                |k, v| if k < 2 { top[k] = v.to_array() } else { low[k - 2] = v.to_array() },
            );
        }
        return;
    }
    let dx = top.chunks_exact_mut(2 * batch).zip(low.chunks_exact_mut(2 * batch));
    for ((dy, place), (top, low)) in dy.chunks_exact(batch).zip(place.chunks_exact(batch)).zip(dx) {
        for (at, n) in tiles(batch) {
            // Two calls, so that the first is compiled for full vectors.
            if n == LANES {
                let which = place[at..at + LANES].first_chunk().map_or([0; LANES], |p| *p);
                route(load_whole(dy, at), which, |k, v| {
                    store_whole(if k < 2 { &mut *top } else { &mut *low }, k % 2 * batch + at, v)
                });
            } else {
                let mut which = [0; LANES];
                which[..n].copy_from_slice(&place[at..]);
                route(load_first(dy, at, n), which, |k, v| {
                    store_first(if k < 2 { &mut *top } else { &mut *low }, k % 2 * batch + at, n, v)
                });
            }
        }
    }
}

/// Calls `f` for each place of a window of side 2, with `dy` in the lanes whose maximum was there and 0 elsewhere.
#[inline(always)]
fn route(dy: f32x16, place: [u8; LANES], mut f: impl FnMut(usize, f32x16)) {
    let place = f32x16::new(place.map(f32::from));
    for k in 0..4u8 {
        f(usize::from(k), dy & place.simd_eq(f32x16::splat(f32::from(k))));
    }
}

fn check(shape: PoolShape, pre: &[f32], post: &[f32], place: &[u8]) {
    assert!((1..=MAX_SIDE).contains(&shape.side), "side must be 1 to {MAX_SIDE}");
    assert!(shape.batch > 0, "batch must be at least 1");
    assert_eq!(pre.len(), shape.pre(), "the input side must be (C, H, W, B)");
    assert_eq!(post.len(), shape.post(), "the output side must be (C, H/side, W/side, B)");
    assert_eq!(place.len(), shape.post(), "place must be (C, H/side, W/side, B)");
}

/// [`max_pool`] as loops to read.
pub fn max_pool_reference(shape: PoolShape, x: &[f32], y: &mut [f32], place: &mut [u8]) {
    let PoolShape { c, h, w, side, batch } = shape;
    for channel in 0..c {
        for row in 0..h / side {
            for col in 0..w / side {
                for b in 0..batch {
                    let post = ((channel * (h / side) + row) * (w / side) + col) * batch + b;
                    y[post] = f32::NEG_INFINITY;
                    for k in 0..side * side {
                        let (i, j) = (row * side + k / side, col * side + k % side);
                        let value = x[((channel * h + i) * w + j) * batch + b];
                        if value > y[post] {
                            (y[post], place[post]) = (value, k as u8);
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity::BATCHES;
    use crate::rng::Rng;

    #[test]
    fn a_rectified_not_a_number_stays_and_passes_no_gradient() {
        let shape = PoolShape { c: 1, h: 2, w: 6, side: 2, batch: 1 };
        let x = [f32::NAN, 1.0, -0.0, -0.0, -1.0, -2.0, 2.0, 3.0, -0.0, -0.0, -3.0, -4.0];
        let (mut y, mut place, mut dx) = ([7.0; 3], [7; 3], [7.0; 12]);
        max_pool(shape, true, &x, &mut y, &mut place);
        max_pool_backward(shape, &[1.0; 3], &place, &mut dx);
        assert!(y[0].is_nan() && y[1..] == [0.0; 2] && dx == [0.0; 12], "{y:?} {dx:?}");
    }

    #[test]
    #[should_panic(expected = "smaller than 16")]
    fn windows_whose_places_fill_the_byte_are_not_rectified() {
        let shape = PoolShape { c: 1, h: 16, w: 16, side: 16, batch: 1 };
        max_pool(shape, true, &[0.0; 256], &mut [0.0], &mut [0]);
    }

    #[test]
    fn pooling_equals_its_reference() {
        let pools = [1, 2].map(|n| threads::pool(n).unwrap());
        for (c, h, w) in [(1, 1, 1), (3, 5, 7), (2, 6, 4), (1, 9, 3)] {
            for (side, batch) in [1, 2, 3, 5].into_iter().flat_map(|side| BATCHES.map(|batch| (side, batch))) {
                pools.iter().for_each(|pool| pool.run(|| compare(PoolShape { c, h, w, side, batch })));
            }
        }
    }

    /// A pass forward and back, and one that is rectified, against the reference.
    fn compare(shape: PoolShape) {
        let mut rng = Rng::stream(1, "pool", &[]);
        // Few different values, so that there are ties.
        let x: Vec<f32> = (0..shape.pre()).map(|_| rng.below(5) as f32 - 2.0).collect();
        let (mut y, mut place) = (vec![f32::NAN; shape.post()], vec![255; shape.post()]);
        let (mut y_want, mut place_want) = (y.clone(), place.clone());
        max_pool(shape, false, &x, &mut y, &mut place);
        max_pool_reference(shape, &x, &mut y_want, &mut place_want);
        assert_eq!((&y, &place), (&y_want, &place_want), "{shape:?}");

        let mut dx = vec![f32::NAN; shape.pre()];
        max_pool_backward(shape, &y, &place, &mut dx);
        let kept: f32 = dx.iter().sum();
        assert_eq!(kept, y.iter().sum::<f32>(), "{shape:?}: the gradient is moved, not changed");
        assert!(dx.iter().zip(&x).all(|(&d, &x)| d == 0.0 || d == x), "{shape:?}");

        let (mut y, mut place) = (vec![f32::NAN; shape.post()], vec![254; shape.post()]);
        let mut dx = vec![f32::NAN; shape.pre()];
        max_pool(shape, true, &x, &mut y, &mut place);
        y_want.iter_mut().for_each(|y| *y = y.max(0.0));
        assert_eq!(y, y_want, "{shape:?}: rectified");
        let mut dx_want = vec![f32::NAN; shape.pre()];
        max_pool_backward(shape, &y_want, &place_want, &mut dx_want);
        max_pool_backward(shape, &vec![1.0; y.len()], &place, &mut dx);
        let passed = dx_want.iter().map(|d| f32::from(*d > 0.0));
        assert!(dx.iter().copied().eq(passed), "{shape:?}: gradient where the output is above 0");
    }
}
