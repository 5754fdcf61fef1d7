//! What a drawn face shows: the seven expressions as positions of brows, lids and mouth.
//!
//! Units: half the height of the head.

use crate::rng::Rng;

/// What a face shows; offsets from rest, which is all zero but for `eye_open`, `mouth_width` and `brow_arch`.
#[derive(Clone, Copy)]
pub struct Look {
    /// Brows up (down where negative).
    pub brow_raise: f32,
    /// Inner ends of the brows down (up where negative).
    pub brow_tilt: f32,
    /// Middle of the brows above their ends.
    pub brow_arch: f32,
    /// Opening of the upper lids; 1 at rest.
    pub eye_open: f32,
    /// Lower lids raised, 0 to 1.
    pub lower_lid: f32,
    /// Width of the mouth; 1 at rest.
    pub mouth_width: f32,
    /// Corners of the mouth above its middle.
    pub mouth_curve: f32,
    /// Height of the open mouth.
    pub mouth_open: f32,
    /// Exponent of the opening's outline: 0.25 square, 0.5 round, 1 pointed.
    pub mouth_shape: f32,
    /// Upper teeth shown, 0 to 1.
    pub teeth: f32,
    /// Middle of the upper lip raised.
    pub upper_lip: f32,
    /// Wrinkles on the nose, 0 to 1.
    pub wrinkle: f32,
    /// Furrows between the brows, 0 to 1.
    pub frown: f32,
    /// Folds from nose to mouth, 0 to 1.
    pub fold: f32,
}

/// A face at rest.
pub const REST: Look = Look {
    brow_raise: 0.0,
    brow_tilt: 0.0,
    brow_arch: 0.04,
    eye_open: 1.0,
    lower_lid: 0.0,
    mouth_width: 1.0,
    mouth_curve: 0.0,
    mouth_open: 0.0,
    mouth_shape: 0.5,
    teeth: 0.0,
    upper_lip: 0.0,
    wrinkle: 0.0,
    frown: 0.0,
    fold: 0.0,
};

/// Expressions by label, each in two forms (as a rule, mouth closed and mouth open).
const LOOKS: [[Look; 2]; 7] = {
    let angry = Look {
        brow_raise: -0.11,
        brow_tilt: 0.17,
        brow_arch: 0.0,
        eye_open: 0.8,
        lower_lid: 0.35,
        mouth_width: 0.82,
        mouth_curve: -0.06,
        frown: 1.0,
        ..REST
    };
    let disgust = Look {
        brow_raise: -0.08,
        brow_tilt: 0.05,
        brow_arch: 0.0,
        eye_open: 0.45,
        lower_lid: 0.9,
        mouth_width: 0.95,
        mouth_curve: -0.12,
        upper_lip: 0.09,
        wrinkle: 1.0,
        fold: 1.0,
        ..REST
    };
    let fear = Look {
        brow_raise: 0.13,
        brow_tilt: -0.13,
        brow_arch: 0.0,
        eye_open: 1.65,
        mouth_width: 1.2,
        mouth_curve: -0.05,
        mouth_open: 0.13,
        mouth_shape: 0.25,
        teeth: 0.5,
        ..REST
    };
    let happy = Look {
        brow_raise: 0.03,
        eye_open: 0.8,
        lower_lid: 0.6,
        mouth_width: 1.35,
        mouth_curve: 0.2,
        fold: 0.7,
        ..REST
    };
    let sad = Look {
        brow_raise: 0.02,
        brow_tilt: -0.17,
        brow_arch: 0.0,
        eye_open: 0.6,
        mouth_width: 0.85,
        mouth_curve: -0.19,
        frown: 0.3,
        ..REST
    };
    let surprise = Look { brow_raise: 0.2, brow_arch: 0.11, eye_open: 1.7, mouth_width: 0.68, mouth_open: 0.3, ..REST };
    [
        [angry, Look { mouth_width: 1.0, mouth_open: 0.2, mouth_shape: 0.25, teeth: 1.0, fold: 0.6, ..angry }],
        [disgust, Look { mouth_open: 0.1, teeth: 0.7, mouth_shape: 0.5, ..disgust }],
        [fear, Look { mouth_open: 0.2, teeth: 0.3, mouth_shape: 0.35, ..fear }],
        [happy, Look { mouth_open: 0.2, mouth_shape: 0.6, teeth: 1.0, ..happy }],
        [sad, Look { mouth_open: 0.05, mouth_width: 0.95, ..sad }],
        [surprise, Look { mouth_open: 0.2, mouth_width: 0.6, ..surprise }],
        [REST, Look { mouth_open: 0.025, ..REST }],
    ]
};

impl Look {
    /// A look of expression `label` with its own strength and small deviations of every part.
    pub fn draw(label: usize, rng: &mut Rng) -> Self {
        let full = LOOKS[label][usize::from(rng.chance(0.55))];
        let strength = rng.range(0.65, 1.1);
        // Parts of a face do not move in step: each has its own strength near the common one.
        let mut mix = |rest: f32, full: f32, jitter: f32| {
            rest + (full - rest) * strength * rng.range(0.85, 1.15) + jitter * rng.range(-1.0, 1.0)
        };
        Self {
            brow_raise: mix(REST.brow_raise, full.brow_raise, 0.03),
            brow_tilt: mix(REST.brow_tilt, full.brow_tilt, 0.035),
            brow_arch: mix(REST.brow_arch, full.brow_arch, 0.02),
            eye_open: mix(REST.eye_open, full.eye_open, 0.12),
            lower_lid: mix(REST.lower_lid, full.lower_lid, 0.1).clamp(0.0, 1.0),
            mouth_width: mix(REST.mouth_width, full.mouth_width, 0.06),
            mouth_curve: mix(REST.mouth_curve, full.mouth_curve, 0.03),
            mouth_open: mix(REST.mouth_open, full.mouth_open, 0.01).max(0.0),
            mouth_shape: full.mouth_shape,
            teeth: mix(REST.teeth, full.teeth, 0.2).clamp(0.0, 1.0),
            upper_lip: mix(REST.upper_lip, full.upper_lip, 0.01),
            wrinkle: mix(REST.wrinkle, full.wrinkle, 0.1).clamp(0.0, 1.0),
            frown: mix(REST.frown, full.frown, 0.15).clamp(0.0, 1.0),
            fold: mix(REST.fold, full.fold, 0.2).clamp(0.0, 1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_looks_keep_the_mark_of_their_expression() {
        let mean = |label: usize, part: fn(&Look) -> f32| {
            let drawn = (0..200).map(|i| part(&Look::draw(label, &mut Rng::stream(1, "look", &[i]))));
            drawn.sum::<f32>() / 200.0
        };
        let [angry, disgust, fear, happy, sad, surprise, neutral] = [0, 1, 2, 3, 4, 5, 6];
        assert!(mean(angry, |l| l.brow_tilt) > 0.1 && mean(sad, |l| l.brow_tilt) < -0.1);
        assert!(mean(happy, |l| l.mouth_curve) > 0.1 && mean(sad, |l| l.mouth_curve) < -0.1);
        assert!(mean(disgust, |l| l.wrinkle) > 0.7 && mean(angry, |l| l.wrinkle) < 0.1);
        assert!(mean(surprise, |l| l.mouth_width) < 0.8 && mean(fear, |l| l.mouth_width) > 1.1);
        assert!(mean(neutral, |l| l.mouth_curve).abs() < 0.02 && mean(neutral, |l| l.brow_tilt).abs() < 0.02);
    }
}
