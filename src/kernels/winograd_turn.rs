//! Turning (transposing) planes of pixels, so that 16 channels lie together, and back.

use super::conv::ConvShape;
use super::lanes::LANES;
use super::winograd::Lanes;
use wide::f32x8;

/// What is turned at once: 8 x 8 numbers.
pub(super) const HALF: usize = LANES / 2;

/// `to (C / 16, pixels, 16)` of `planes (C, pixels)`, zeros in channels that are not there.
pub(super) fn turn_planes(planes: &[f32], pixels: usize, to: &mut [f32]) {
    for (planes, to) in planes.chunks(LANES * pixels).zip(to.chunks_exact_mut(LANES * pixels)) {
        let channels = planes.len() / pixels;
        for half in [0, HALF] {
            if channels <= half {
                to.chunks_exact_mut(LANES).for_each(|lanes| lanes[half..half + HALF].fill(0.0));
                continue;
            }
            let whole = if channels >= half + HALF { pixels / HALF * HALF } else { 0 };
            for at in (0..whole).step_by(HALF) {
                turn(&planes[half * pixels + at..], pixels, &mut to[at * LANES + half..], LANES);
            }
            for at in whole..pixels {
                for c in half..half + HALF {
                    to[at * LANES + c] = if c < channels { planes[c * pixels + at] } else { 0.0 };
                }
            }
        }
    }
}

/// `planes (C, pixels)` of `from (C / 16, pixels, 16)`.
pub(super) fn turn_back(from: &[f32], pixels: usize, planes: &mut [f32]) {
    for (planes, from) in planes.chunks_mut(LANES * pixels).zip(from.chunks_exact(LANES * pixels)) {
        let channels = planes.len() / pixels;
        for half in [0, HALF] {
            let whole = if channels >= half + HALF { pixels / HALF * HALF } else { 0 };
            for at in (0..whole).step_by(HALF) {
                turn(&from[at * LANES + half..], LANES, &mut planes[half * pixels + at..], pixels);
            }
            for at in whole..pixels {
                for c in half..channels.min(half + HALF) {
                    planes[c * pixels + at] = from[at * LANES + c];
                }
            }
        }
    }
}

/// `to[i * to_stride + j] = from[j * from_stride + i]` for 8 x 8 numbers.
#[inline(always)]
pub(super) fn turn(from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
    let rows: [f32x8; HALF] = std::array::from_fn(|j| f32x8::new(from[j * from_stride..].as_chunks().0[0]));
    for (i, row) in f32x8::transpose(rows).iter().enumerate() {
        to[i * to_stride..][..HALF].copy_from_slice(row.as_array());
    }
}

/// `turned (SIDE * SIDE, 16 images)` with 16 channels in the lanes: the `SIDE` x `SIDE` pixels of `planes (16, H, W, B)`
/// from row `top - PAD` and column `left - PAD`, zeros outside and in channels and images that are not there.
#[inline(never)]
pub(super) fn turn_tile<const SIDE: usize, const PAD: usize>(
    shape: &ConvShape,
    batch: usize,
    planes: &[f32],
    top: usize,
    left: usize,
    image: usize,
    turned: &mut [Lanes],
) {
    let (h, w) = (shape.h, shape.w);
    let (plane, images) = (h * w * batch, LANES.min(batch - image));
    let channels = planes.len() / plane;
    let pixels = turned.as_chunks_mut::<LANES>().0;
    for r in 0..SIDE {
        for c in 0..SIDE {
            let (y, x) = (top + r, left + c);
            let pixel = &mut pixels[r * SIDE + c];
            if !(PAD..h + PAD).contains(&y) || !(PAD..w + PAD).contains(&x) {
                *pixel = [[0.0; LANES]; LANES];
                continue;
            }
            let at = ((y - PAD) * w + x - PAD) * batch + image;
            for half in [0, HALF] {
                if images == LANES && channels >= half + HALF {
                    let (from, pixel) = (&planes[half * plane + at..], pixel.as_flattened_mut());
                    turn(from, plane, &mut pixel[half..], LANES);
                    turn(&from[HALF..], plane, &mut pixel[HALF * LANES + half..], LANES);
                } else if channels <= half {
                    pixel.iter_mut().for_each(|row| row[half..half + HALF].fill(0.0));
                } else {
                    for (b, row) in pixel.iter_mut().enumerate() {
                        for (channel, value) in row[half..half + HALF].iter_mut().enumerate() {
                            let inside = half + channel < channels && b < images;
                            *value = if inside { planes[(half + channel) * plane + at + b] } else { 0.0 };
                        }
                    }
                }
            }
        }
    }
}
