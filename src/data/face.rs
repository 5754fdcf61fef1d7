//! A drawn face: who it is and how it is painted; what it shows is its [`Look`].
//!
//! Units: half the height of the head. `u` to the right, `v` down, origin between eyes and mouth.

use super::canvas::{Bounds, Canvas, EVERYWHERE, ellipse, segment};
use super::look::Look;
use crate::rng::Rng;

/// Who the face is: shape and tone of everything that no expression moves.
pub struct Person {
    skin: f32,
    hair: f32,
    brow: f32,
    lip: f32,
    sclera: f32,
    iris: f32,
    head_width: f32,
    jaw: f32,
    hair_style: usize,
    hairline: f32,
    eye_distance: f32,
    eye_height: f32,
    eye_width: f32,
    brow_height: f32,
    brow_half: f32,
    brow_length: f32,
    nose_length: f32,
    nose_width: f32,
    mouth_height: f32,
    mouth_width: f32,
    lip_thickness: f32,
    beard: f32,
    moustache: f32,
    glasses: f32,
    rim: f32,
    clothes: f32,
}

impl Person {
    /// A person with features drawn at random.
    pub fn draw(rng: &mut Rng) -> Self {
        let skin = rng.range(0.25, 0.85);
        let hair = if rng.chance(0.7) { rng.range(0.03, 0.3) } else { rng.range(0.3, 0.95) };
        // Light brows on dark skin occur: a feature is known by its shape, not by being darker.
        let brow =
            if rng.chance(0.8) { skin * rng.range(0.15, 0.55) } else { skin + (1.0 - skin) * rng.range(0.4, 0.8) };
        let bearded = rng.chance(0.22);
        Self {
            skin,
            hair,
            brow,
            lip: skin * rng.range(0.5, 0.85),
            sclera: (skin + rng.range(0.2, 0.35)).min(1.0),
            iris: rng.range(0.02, 0.25),
            head_width: rng.range(0.68, 0.84),
            jaw: rng.range(-0.12, 0.15),
            hair_style: rng.below(5),
            hairline: rng.range(-0.78, -0.55),
            eye_distance: rng.range(0.29, 0.37),
            eye_height: rng.range(-0.2, -0.1),
            eye_width: rng.range(0.14, 0.19),
            brow_height: rng.range(0.21, 0.27),
            brow_half: rng.range(0.022, 0.05),
            brow_length: rng.range(0.16, 0.22),
            nose_length: rng.range(0.28, 0.4),
            nose_width: rng.range(0.07, 0.12),
            mouth_height: rng.range(0.47, 0.57),
            mouth_width: rng.range(0.25, 0.32),
            lip_thickness: rng.range(0.02, 0.06),
            beard: if bearded { rng.range(0.2, 0.75) } else { 0.0 },
            moustache: if bearded && rng.chance(0.6) { rng.range(0.3, 0.8) } else { 0.0 },
            glasses: if rng.chance(0.14) { rng.range(0.5, 0.95) } else { 0.0 },
            rim: if rng.chance(0.75) { rng.range(0.0, 0.2) } else { rng.range(0.7, 1.0) },
            clothes: rng.range(0.05, 0.95),
        }
    }

    /// Paints shoulders, hair behind, neck, ears and head without features.
    pub fn paint_head(&self, canvas: &mut Canvas) {
        let width = self.head_width;
        canvas.paint([-2.0, 2.0, 1.0, 4.0], self.clothes, 1.0, |u, v| ellipse(u, v, [0.0, 2.1], [1.5, 0.95]));
        if self.hair_style >= 3 {
            let (drop, wide): (f32, f32) = if self.hair_style == 3 { (0.45, 1.2) } else { (-0.2, 1.32) };
            let half = [width * wide, 1.05 + 0.5 * drop.max(0.0)];
            canvas.paint([-1.3, 1.3, -1.7, 1.9], self.hair, 1.0, |u, v| ellipse(u, v, [0.0, drop - 0.12], half));
        }
        canvas.paint([-0.5, 0.5, 0.4, 1.6], 0.82 * self.skin, 1.0, |u, v| (u.abs() - 0.4).max((v - 1.0).abs() - 0.55));
        for side in [-1.0, 1.0] {
            let ear = [side * width, -0.02];
            canvas.paint([ear[0] - 0.14, ear[0] + 0.14, -0.24, 0.2], 0.9 * self.skin, 1.0, |u, v| {
                ellipse(u, v, ear, [0.12, 0.2])
            });
        }
        canvas.paint([-1.0, 1.0, -1.05, 1.05], self.skin, 1.0, |u, v| self.head(u, v));
        if self.beard > 0.0 {
            canvas.paint([-1.0, 1.0, 0.0, 1.05], self.hair, self.beard, |u, v| {
                self.head(u, v).max(0.22 + 0.2 * (1.0 - u * u) - v)
            });
        }
        if self.hair_style > 0 {
            // A fringe covers the forehead, other styles leave it free.
            let line = if self.hair_style == 2 { self.hairline + 0.17 } else { self.hairline };
            canvas.paint([-1.1, 1.1, -1.3, 0.3], self.hair, 1.0, |u, v| {
                ellipse(u, v, [0.0, -0.12], [width + 0.08, 1.02]).max(v - line - 0.9 * u.abs().powi(3))
            });
        }
    }

    /// Distance to the outline of the head: an ellipse whose lower half is narrower or wider.
    fn head(&self, u: f32, v: f32) -> f32 {
        let width = self.head_width * (1.0 - self.jaw * v.max(0.0));
        ellipse(u, v, [0.0, 0.0], [width, 1.0])
    }

    /// Paints brows, eyes, nose, mouth and glasses with `look`; `gaze` is where the pupils look, units.
    pub fn paint_features(&self, canvas: &mut Canvas, look: &Look, gaze: [f32; 2]) {
        self.paint_nose(canvas, look);
        self.paint_mouth(canvas, look);
        for side in [-1.0, 1.0] {
            self.paint_eye(canvas, look, side, gaze);
            self.paint_brow(canvas, look, side);
        }
        if self.glasses > 0.0 {
            self.paint_glasses(canvas);
        }
    }

    fn paint_eye(&self, canvas: &mut Canvas, look: &Look, side: f32, gaze: [f32; 2]) {
        let (eye_u, eye_v, half) = (side * self.eye_distance, self.eye_height, self.eye_width);
        let upper = 0.092 * look.eye_open.max(0.15);
        let lower = 0.06 * (1.0 - 0.85 * look.lower_lid) * look.eye_open.clamp(0.5, 1.35);
        // Distance to the opening between two parabolic lids; sad outer corners hang with the brows.
        let lids = |u: f32, v: f32| {
            let t = (u - eye_u) / half;
            let v = v - eye_v + 0.25 * look.brow_tilt.min(0.0) * t * side;
            let arc = 1.0 - t * t;
            (-v - upper * arc).max(v - lower * arc).max((t.abs() - 1.0) * half)
        };
        let bounds = [eye_u - half - 0.06, eye_u + half + 0.06, eye_v - 0.24, eye_v + 0.16];
        // The rim of lashes first, then the opening in it.
        canvas.paint(bounds, 0.35 * self.skin, 0.9, |u, v| lids(u, v) - 0.028);
        canvas.paint(bounds, self.sclera, 1.0, lids);
        let iris = [eye_u + gaze[0], eye_v + gaze[1] - 0.01];
        canvas.paint(bounds, self.iris, 1.0, |u, v| ellipse(u, v, iris, [0.072, 0.072]).max(lids(u, v)));
    }

    fn paint_brow(&self, canvas: &mut Canvas, look: &Look, side: f32) {
        let height = self.eye_height - self.brow_height - look.brow_raise;
        let length = self.brow_length;
        let bounds_u = [side * self.eye_distance - length - 0.08, side * self.eye_distance + length + 0.08];
        let bounds: Bounds = [bounds_u[0], bounds_u[1], height - 0.35, height + 0.35];
        canvas.paint(bounds, self.brow, 0.95, |u, v| {
            // From the inner end (-1) to the outer end (1).
            let t = (u * side - self.eye_distance) / length;
            let line = height - look.brow_tilt * t - look.brow_arch * (1.0 - t * t);
            let half = self.brow_half * (1.15 - 0.35 * t.clamp(-1.0, 1.0));
            ((v - line).abs() - half).max((t.abs() - 1.0) * length)
        });
    }

    fn paint_nose(&self, canvas: &mut Canvas, look: &Look) {
        let tip = self.eye_height + self.nose_length - 0.03 * look.wrinkle;
        let (wide, dark, light) = (self.nose_width, 0.55 * self.skin, (self.skin * 1.2).min(1.0));
        let ridge: Bounds = [-0.1, 0.1, self.eye_height - 0.05, tip];
        canvas.paint(ridge, light, 0.5, |u, v| segment(u, v, [0.0, self.eye_height], [0.0, tip - 0.05], 0.025));
        canvas.paint([-0.3, 0.3, tip - 0.2, tip + 0.1], dark, 0.7, |u, v| {
            let nostril = ellipse(u.abs(), v, [wide * 0.7, tip], [0.045, 0.03]);
            nostril.min((ellipse(u.abs(), v, [wide, tip - 0.04], [0.05, 0.07]).abs() - 0.012).max(wide - u.abs()))
        });
        for line in 0..3 {
            let v = self.eye_height + 0.02 + 0.075 * line as f32;
            canvas.paint([-0.2, 0.2, v - 0.1, v + 0.1], dark, 0.75 * look.wrinkle, |pu, pv| {
                segment(pu.abs(), pv, [0.0, v], [0.12, v - 0.06], 0.014)
            });
        }
        let top = self.eye_height - self.brow_height - 0.02;
        canvas.paint([-0.15, 0.15, top - 0.1, top + 0.25], dark, 0.7 * look.frown, |u, v| {
            segment(u.abs(), v, [0.05, top], [0.045, top + 0.14], 0.014)
        });
        let (from, to) =
            ([wide + 0.06, tip - 0.03], [self.mouth_width * look.mouth_width + 0.1, self.mouth_height - 0.02]);
        canvas.paint([-0.7, 0.7, tip - 0.1, self.mouth_height + 0.1], dark, 0.6 * look.fold, |u, v| {
            segment(u.abs(), v, from, to, 0.016)
        });
    }

    fn paint_mouth(&self, canvas: &mut Canvas, look: &Look) {
        let half = self.mouth_width * look.mouth_width;
        let (curve, open) = (look.mouth_curve, look.mouth_open);
        let arc = |t: f32| (1.0 - t * t).max(0.0);
        // Middle line, and the edges of the opening above and below it, at t from -1 to 1; `height` is that of the opening.
        let edges = |t: f32, height: f32| {
            let line = self.mouth_height + curve * (0.45 - t * t) + 0.35 * open - look.upper_lip * arc(t);
            (line - 0.5 * height, line + 0.5 * height + 0.3 * look.upper_lip * arc(t) * f32::from(open > 0.05))
        };
        // A power is slow: none where it is 0 anyway.
        let height = |t: f32| match open * arc(t) {
            0.0 => 0.0,
            _ => open * arc(t).powf(look.mouth_shape),
        };
        let reach = 0.3 + open + curve.abs();
        let bounds: Bounds = [-half - 0.1, half + 0.1, self.mouth_height - reach, self.mouth_height + reach];
        if self.moustache > 0.0 {
            let v0 = edges(0.0, height(0.0)).0 - 0.08;
            canvas.paint(bounds, self.hair, self.moustache, |u, v| ellipse(u, v, [0.0, v0], [half * 0.95, 0.055]));
        }
        // Powers are slow: once for each pixel, not for each shape.
        let heights = canvas.values(bounds, |u| height(u / half));
        let between = |u: f32, v: f32, height: f32, margin: f32| {
            let t = u / half;
            let (top, bottom) = edges(t, height);
            let margin = margin * arc(t).sqrt() + 0.015;
            (top - margin - v).max(v - bottom - margin).max((t.abs() - 1.0) * half)
        };
        let lip = self.lip_thickness;
        canvas.paint_with(bounds, self.lip, 0.9, &heights, |u, v, height| between(u, v, height, lip));
        canvas.paint_with(bounds, 0.25 * self.skin, 0.95, &heights, |u, v, height| between(u, v, height, 0.0));
        if open > 0.05 {
            canvas.paint_with(bounds, 0.05, 1.0, &heights, |u, v, height| between(u, v, height, -0.008));
            let row = (0.5 * open).min(0.085);
            canvas.paint_with(bounds, self.sclera, look.teeth, &heights, |u, v, height| {
                between(u, v, height, -0.02).max(v - edges(u / half, height).0 - row)
            });
        }
    }

    fn paint_glasses(&self, canvas: &mut Canvas) {
        let (lens_u, lens_v) = (self.eye_distance, self.eye_height + 0.02);
        canvas.paint([-0.9, 0.9, lens_v - 0.3, lens_v + 0.3], self.rim, self.glasses, |u, v| {
            let rim = ellipse(u.abs(), v, [lens_u, lens_v], [0.235, 0.19]).abs() - 0.022;
            let bridge = segment(u, v, [-0.1, lens_v - 0.04], [0.1, lens_v - 0.04], 0.018);
            let temple = segment(u.abs(), v, [lens_u + 0.23, lens_v - 0.03], [0.85, lens_v - 0.06], 0.02);
            rim.min(bridge).min(temple)
        });
    }
}

/// Lights the canvas from a side and from above or below, and darkens the rim of the head.
pub fn light(canvas: &mut Canvas, rng: &mut Rng) {
    let (side, above) = (rng.range(-0.45, 0.45), rng.range(-0.15, 0.25));
    let hard = if rng.chance(0.25) { rng.range(0.2, 0.5) } else { 0.0 };
    let rim = rng.range(0.0, 0.3);
    canvas.shade(|u, v| {
        let facing = (side * u - above * v).clamp(-0.6, 0.6);
        let shadow = hard * (0.5 - 6.0 * facing).clamp(0.0, 1.0);
        let edge = rim * ((u * u / 0.6 + v * v) - 0.5).clamp(0.0, 0.8);
        (1.0 + facing) * (1.0 - shadow) * (1.0 - edge)
    });
}

/// Paints a backdrop: a gradient, and sometimes stripes or blots.
pub fn backdrop(canvas: &mut Canvas, rng: &mut Rng) {
    let grey = rng.range(0.05, 0.95);
    let (du, dv) = (rng.range(-0.15, 0.15), rng.range(-0.15, 0.15));
    canvas.blend(EVERYWHERE, |u, v| (1.0, grey + du * u + dv * v));
    for _ in 0..rng.below(4) {
        let centre = [rng.range(-1.3, 1.3), rng.range(-1.3, 1.3)];
        let half = [rng.range(0.1, 0.6), rng.range(0.1, 1.2)];
        let (tone, opacity) = (rng.range(0.0, 1.0), rng.range(0.2, 0.9));
        let round = rng.chance(0.5);
        let bounds = [centre[0] - half[0], centre[0] + half[0], centre[1] - half[1], centre[1] + half[1]];
        canvas.paint(bounds, tone, opacity, |u, v| {
            let corner = ((u - centre[0]).abs() - half[0]).max((v - centre[1]).abs() - half[1]);
            if round { ellipse(u, v, centre, half) } else { corner }
        });
    }
}

/// Covers a part at the edge of the face, now and then: a hand, a strand of hair, a bar.
pub fn occlude(canvas: &mut Canvas, rng: &mut Rng) {
    if !rng.chance(0.15) {
        return;
    }
    let (tone, angle) = (rng.range(0.05, 0.9), rng.range(0.0, std::f32::consts::TAU));
    let (sin, cos) = angle.sin_cos();
    if rng.chance(0.5) {
        let centre = [0.95 * cos, 0.95 * sin];
        canvas.paint(EVERYWHERE, tone, 1.0, |u, v| ellipse(u, v, centre, [0.4, 0.4]));
    } else {
        let (offset, half) = (rng.range(-0.8, 0.8), rng.range(0.03, 0.09));
        canvas.paint(EVERYWHERE, tone, 0.9, |u, v| (cos * u + sin * v - offset).abs() - half);
    }
}
