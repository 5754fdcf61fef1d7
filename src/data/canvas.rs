//! A 48 x 48 grey canvas on which anti-aliased shapes are painted in coordinates of their own.

use super::{PIXELS, SIDE};
use crate::rng::Rng;

/// Pixels of a row that are worked on together: a vector.
const GROUP: usize = 16;
/// Each number below 2^23 added to this leaves its integer part in the lowest bits.
const INTEGERS: f32 = 8_388_608.0;

/// Where a drawing lies on the canvas: pixel = centre + scale R(angle) (squeeze u + shift_u, v + shift_v).
#[derive(Clone, Copy)]
pub struct Frame {
    /// Pixel of the origin.
    pub centre: [f32; 2],
    /// Rotation, radians.
    pub angle: f32,
    /// Pixels per unit.
    pub scale: f32,
    /// Factor on `u` (the head turned aside).
    pub squeeze: f32,
    /// Offset of `u` and `v` (the head turned aside or nodding), units.
    pub shift: [f32; 2],
}

impl Frame {
    /// Pixel of the point `(u, v)`.
    fn pixel(&self, u: f32, v: f32) -> [f32; 2] {
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = (self.squeeze * u + self.shift[0], v + self.shift[1]);
        [self.centre[0] + self.scale * (cos * u - sin * v), self.centre[1] + self.scale * (sin * u + cos * v)]
    }
}

/// Box around a shape: least and greatest `u`, least and greatest `v`.
pub type Bounds = [f32; 4];

/// Everything.
pub const EVERYWHERE: Bounds = [-9.0, 9.0, -9.0, 9.0];

/// Grey levels `(48, 48)`, 0 black to 1 white.
pub struct Canvas {
    /// Grey level of each pixel `(48, 48)`.
    pub pixels: [f32; PIXELS],
    /// Frame of what is painted next.
    pub frame: Frame,
}

impl Canvas {
    /// A canvas of one grey level.
    pub fn new(grey: f32, frame: Frame) -> Self {
        Self { pixels: [grey; PIXELS], frame }
    }

    /// Paints `grey` with `opacity` where `distance(u, v)`, in units, is negative; edges are one pixel wide.
    ///
    /// `distance` is looked at within `bounds` and a pixel around them.
    pub fn paint(&mut self, bounds: Bounds, grey: f32, opacity: f32, distance: impl Fn(f32, f32) -> f32) {
        if opacity == 0.0 {
            return;
        }
        let scale = self.frame.scale;
        self.blend(bounds, |u, v| (opacity * (0.5 - scale * distance(u, v)).clamp(0.0, 1.0), grey));
    }

    /// As [`Canvas::paint`] where `distance(u, v, value)` sees `values (48, 48)` too.
    pub fn paint_with(
        &mut self,
        bounds: Bounds,
        grey: f32,
        opacity: f32,
        values: &[f32; PIXELS],
        distance: impl Fn(f32, f32, f32) -> f32,
    ) {
        if opacity == 0.0 {
            return;
        }
        let scale = self.frame.scale;
        for_groups(self.frame, bounds, |at, u, v, inside| {
            let (pixels, values) = (&mut self.pixels.as_chunks_mut().0[at], &values.as_chunks::<GROUP>().0[at]);
            let mut shares = [0.0; GROUP];
            for k in 0..GROUP {
                shares[k] = opacity * (0.5 - scale * distance(u[k], v[k], values[k])).clamp(0.0, 1.0);
            }
            mix(pixels, &shares, &[grey; GROUP], inside);
        });
    }

    /// Mixes in `(share, grey) = shade(u, v)` for each pixel of `bounds`.
    #[inline(always)]
    pub fn blend(&mut self, bounds: Bounds, shade: impl Fn(f32, f32) -> (f32, f32)) {
        for_groups(self.frame, bounds, |at, u, v, inside| {
            let (mut shares, mut greys) = ([0.0; GROUP], [0.0; GROUP]);
            for k in 0..GROUP {
                (shares[k], greys[k]) = shade(u[k], v[k]);
            }
            mix(&mut self.pixels.as_chunks_mut().0[at], &shares, &greys, inside);
        });
    }

    /// `f(u)` at each pixel of `bounds` `(48, 48)`, 0 elsewhere: what several shapes share and is slow to compute.
    pub fn values(&self, bounds: Bounds, f: impl Fn(f32) -> f32) -> [f32; PIXELS] {
        let mut values = [0.0; PIXELS];
        for_groups(self.frame, bounds, |at, u, _, inside| {
            let values = &mut values.as_chunks_mut::<GROUP>().0[at];
            for k in 0..GROUP {
                if inside[k] {
                    values[k] = f(u[k]);
                }
            }
        });
        values
    }

    /// Multiplies each pixel by `light(u, v)`.
    pub fn shade(&mut self, light: impl Fn(f32, f32) -> f32) {
        self.blend(EVERYWHERE, |u, v| (1.0 - light(u, v), 0.0));
    }

    /// Mixes each pixel with the mean of its eight neighbours and itself: `amount` 0 none, 1 the mean alone.
    pub fn blur(&mut self, amount: f32) {
        let mut thirds = [0.0; PIXELS];
        for (row, out) in self.pixels.chunks_exact(SIDE).zip(thirds.chunks_exact_mut(SIDE)) {
            for x in 0..SIDE {
                out[x] = (row[x.saturating_sub(1)] + row[x] + row[(x + 1).min(SIDE - 1)]) / 3.0;
            }
        }
        for y in 0..SIDE {
            let (above, below) = (y.saturating_sub(1) * SIDE, (y + 1).min(SIDE - 1) * SIDE);
            for x in 0..SIDE {
                let mean = (thirds[above + x] + thirds[y * SIDE + x] + thirds[below + x]) / 3.0;
                let pixel = &mut self.pixels[y * SIDE + x];
                *pixel += amount * (mean - *pixel);
            }
        }
    }

    /// Bytes of `0.5 + contrast (x - 0.5) + brightness`, with noise of deviation `noise`.
    pub fn develop(&self, contrast: f32, brightness: f32, noise: f32, rng: &mut Rng, out: &mut [u8]) {
        assert_eq!(out.len(), PIXELS, "out must be (48, 48)");
        // Drawn first: the rest is vectors then.
        let mut normals = [0.0; PIXELS];
        rng.fill_normal_fast(&mut normals);
        for ((byte, &x), normal) in out.iter_mut().zip(&self.pixels).zip(normals) {
            let value = 0.5 + contrast * (x - 0.5) + brightness + noise * normal;
            // Rounded as `as u8` does it, which the compiler makes no vectors of.
            *byte = ((255.0 * value.clamp(0.0, 1.0) + 0.5).floor() + INTEGERS).to_bits() as u8;
        }
    }
}

/// Mixes `greys` into `pixels` by `shares`, where `inside`.
#[inline(always)]
fn mix(pixels: &mut [f32; GROUP], shares: &[f32; GROUP], greys: &[f32; GROUP], inside: &[bool; GROUP]) {
    for k in 0..GROUP {
        let share = if inside[k] { shares[k] } else { 0.0 };
        pixels[k] += share * (greys[k] - pixels[k]);
    }
}

/// Calls `f(at, u, v, inside)` for each group of a row that meets `bounds` in `frame`: its index in `(48, 3)`, the coordinates
/// of its pixels, and which of them lie within.
///
/// Loops over a group have no branch and a length that the compiler knows: it makes vectors of them.
#[inline(always)]
fn for_groups(frame: Frame, bounds: Bounds, mut f: impl FnMut(usize, &[f32; GROUP], &[f32; GROUP], &[bool; GROUP])) {
    let [u0, u1, v0, v1] = bounds;
    let corners = [frame.pixel(u0, v0), frame.pixel(u1, v0), frame.pixel(u0, v1), frame.pixel(u1, v1)];
    let range = |k: usize| {
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        corners.iter().for_each(|c| (low, high) = (low.min(c[k]), high.max(c[k])));
        (low - 1.0).clamp(0.0, SIDE as f32) as usize..(high + 2.0).clamp(0.0, SIDE as f32) as usize
    };
    let (columns, rows) = (range(0), range(1));
    let (sin, cos) = frame.angle.sin_cos();
    let (step, squeeze) = (1.0 / frame.scale, 1.0 / frame.squeeze);
    for group in columns.start / GROUP..columns.end.div_ceil(GROUP) {
        let (mut along, mut across, mut inside) = ([0.0; GROUP], [0.0; GROUP], [false; GROUP]);
        for k in 0..GROUP {
            let x = group * GROUP + k;
            let dx = step * (x as f32 - frame.centre[0]);
            (along[k], across[k], inside[k]) = (cos * dx, sin * dx, columns.contains(&x));
        }
        for y in rows.clone() {
            let dy = step * (y as f32 - frame.centre[1]);
            let (mut u, mut v) = ([0.0; GROUP], [0.0; GROUP]);
            for k in 0..GROUP {
                u[k] = (along[k] + sin * dy - frame.shift[0]) * squeeze;
                v[k] = cos * dy - across[k] - frame.shift[1];
            }
            f(y * (SIDE / GROUP) + group, &u, &v, &inside);
        }
    }
}

/// Approximate distance to the ellipse about `centre` with half axes `half`.
pub fn ellipse(u: f32, v: f32, centre: [f32; 2], half: [f32; 2]) -> f32 {
    let (x, y) = ((u - centre[0]) / half[0], (v - centre[1]) / half[1]);
    ((x * x + y * y).sqrt() - 1.0) * half[0].min(half[1])
}

/// Distance to the line from `a` to `b` with half width `half`.
pub fn segment(u: f32, v: f32, a: [f32; 2], b: [f32; 2], half: f32) -> f32 {
    let (bx, by) = (b[0] - a[0], b[1] - a[1]);
    let (px, py) = (u - a[0], v - a[1]);
    let t = ((px * bx + py * by) / (bx * bx + by * by)).clamp(0.0, 1.0);
    ((px - t * bx).powi(2) + (py - t * by).powi(2)).sqrt() - half
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { centre: [23.5, 23.5], angle: 0.3, scale: 10.0, squeeze: 0.9, shift: [0.1, 0.0] };

    #[test]
    fn area_of_a_disc_is_anti_aliased() {
        let mut canvas = Canvas::new(0.0, Frame { squeeze: 1.0, ..FRAME });
        canvas.paint([-1.0, 1.0, -1.0, 1.0], 1.0, 1.0, |u, v| ellipse(u, v, [0.0, 0.0], [1.0, 1.0]));
        let area: f32 = canvas.pixels.iter().sum();
        assert!((area - 314.16).abs() < 1.5, "{area}");
    }

    #[test]
    fn bounds_change_nothing_outside_the_shape() {
        let shape = |u: f32, v: f32| segment(u, v, [-0.5, 0.2], [0.6, 0.5], 0.1);
        let (mut near, mut all) = (Canvas::new(0.2, FRAME), Canvas::new(0.2, FRAME));
        near.paint([-0.6, 0.7, 0.1, 0.6], 0.9, 0.7, shape);
        all.paint(EVERYWHERE, 0.9, 0.7, shape);
        assert!(near.pixels == all.pixels);
    }

    #[test]
    fn blur_keeps_a_flat_canvas_and_shade_multiplies() {
        let mut canvas = Canvas::new(0.5, FRAME);
        canvas.blur(1.0);
        assert!(canvas.pixels.iter().all(|p| (p - 0.5).abs() < 1e-6));
        canvas.shade(|_, _| 0.5);
        assert!(canvas.pixels.iter().all(|p| (p - 0.25).abs() < 1e-6));
    }
}
