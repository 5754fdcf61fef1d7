//! Batches: chosen images augmented, standardised and laid out batch innermost.

use super::{Dataset, PIXELS, SIDE, augment::augment};
use crate::config::{Augment, Standardization};
use crate::kernels::threads::for_pieces;

/// Deviations below one grey level count as one grey level, so that a blank image stays finite.
pub const MIN_SD: f32 = 1.0 / 255.0;
/// Images transposed together: one cache line of the output.
const BLOCK: usize = 16;
/// Multiply-adds of augmenting one pixel, roughly.
const PIXEL_WORK: usize = 32;

/// How pixel / 255 becomes the input of a network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standardize {
    /// `(x - mean) / sd` with one mean and deviation for all images.
    Dataset {
        /// Mean of pixel / 255.
        mean: f32,
        /// Standard deviation of pixel / 255.
        sd: f32,
    },
    /// `(x - m) / max(s, 1/255)` with mean and deviation of the image itself.
    Image,
    /// `x`.
    None,
}

impl Standardize {
    /// The configured standardisation; that of the data set takes this mean and deviation, those of the Training images:
    /// [`Dataset::mean_sd`].
    pub fn of(kind: Standardization, (mean, sd): (f32, f32)) -> Self {
        match kind {
            Standardization::Dataset => Self::Dataset { mean, sd },
            Standardization::Image => Self::Image,
            Standardization::None => Self::None,
        }
    }

    /// Applies it to one image in `[0, 1]`, `(48, 48)`.
    pub fn apply(self, image: &mut [f32]) {
        let (mean, sd) = match self {
            Self::Dataset { mean, sd } => (mean, sd.max(MIN_SD)),
            Self::Image => {
                let mean = lane_sum(image, |v| v) / image.len() as f32;
                let variance = lane_sum(image, |v| (v - mean) * (v - mean)) / image.len() as f32;
                (mean, variance.sqrt().max(MIN_SD))
            }
            Self::None => return,
        };
        let gain = 1.0 / sd;
        image.iter_mut().for_each(|v| *v = (*v - mean) * gain);
    }
}

/// Sum of `f(v)` in 16 running sums, added in order.
fn lane_sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let chunks = values.chunks_exact(16);
    let tail: f32 = chunks.remainder().iter().map(|&v| f(v)).sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &v)| *lane += f(v));
    }
    lanes.iter().sum::<f32>() + tail
}

/// Writes the images `indices` `(B)` to `out` `(1, 48, 48, B)`: `out[p * B + b]` is pixel `p` of image `indices[b]`.
///
/// `augmentation` is (strengths, seed, epoch), or `None` for the images as they are; the stream of an image is
/// addressed by its index in the data set, so its place in the batch does not matter.
///
/// # Panics
/// If `out` is not `(1, 48, 48, B)` or an index is out of range.
pub fn fill_batch(
    dataset: &Dataset,
    indices: &[usize],
    augmentation: Option<(&Augment, u64, u64)>,
    standardize: Standardize,
    out: &mut [f32],
) {
    let batch = indices.len();
    assert_eq!(out.len(), PIXELS * batch, "out must be (1, 48, 48, B)");
    let work = batch * PIXELS * PIXEL_WORK;
    let mut images = vec![0.0; batch * PIXELS];
    for_pieces(&mut images, PIXELS, work, |b, image| {
        let src = dataset.image(indices[b]);
        match augmentation {
            Some((config, seed, epoch)) if config.enabled => {
                augment(config, seed, epoch, indices[b] as u64, src, image);
            }
            _ => image.iter_mut().zip(src).for_each(|(v, &p)| *v = f32::from(p) * (1.0 / 255.0)),
        }
        standardize.apply(image);
    });
    if batch == 1 {
        out.copy_from_slice(&images);
        return;
    }
    for_pieces(out, SIDE * batch, work / 8, |y, rows| transpose(&images[y * SIDE..], rows, batch));
}

/// `rows[x * B + b] = images[b * 2304 + x]` for one row of 48 pixels of every image, [`BLOCK`] images at a time.
fn transpose(images: &[f32], rows: &mut [f32], batch: usize) {
    for first in (0..batch).step_by(BLOCK) {
        let n = BLOCK.min(batch - first);
        if n == BLOCK {
            let mut block = [[0.0f32; BLOCK]; SIDE];
            for lane in 0..BLOCK {
                let line = &images[(first + lane) * PIXELS..][..SIDE];
                block.iter_mut().zip(line).for_each(|(lanes, &v)| lanes[lane] = v);
            }
            for (row, lanes) in rows.chunks_exact_mut(batch).zip(&block) {
                row[first..first + BLOCK].copy_from_slice(lanes);
            }
        } else {
            for (x, row) in rows.chunks_exact_mut(batch).enumerate() {
                row[first..].iter_mut().enumerate().for_each(|(lane, v)| *v = images[(first + lane) * PIXELS + x]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Split;
    use crate::data::augment::tests::usual;
    use crate::data::tests::config;
    use crate::kernels::threads::pool;

    const MANY: Standardize = Standardize::Dataset { mean: 0.5, sd: 0.25 };

    #[test]
    fn layout_is_batch_innermost_for_awkward_batches() {
        let d = crate::data::draw(&config());
        for batch in [0, 1, 2, 7, 8, 9, 15, 16, 17, 33] {
            let indices: Vec<usize> = (0..batch).map(|b| (b * 37 + 5) % d.len()).collect();
            let mut out = vec![f32::NAN; batch * PIXELS];
            fill_batch(&d, &indices, None, Standardize::None, &mut out);
            for (b, &i) in indices.iter().enumerate() {
                assert!((0..PIXELS).all(|p| out[p * batch + b] == f32::from(d.image(i)[p]) * (1.0 / 255.0)));
            }
        }
    }

    #[test]
    fn threads_and_place_in_the_batch_do_not_matter() {
        let d = crate::data::draw(&config());
        let indices: Vec<usize> = (0..50).map(|b| b * 3).collect();
        let fill = |threads: usize, indices: &[usize]| {
            let mut out = vec![f32::NAN; indices.len() * PIXELS];
            pool(threads).unwrap().run(|| fill_batch(&d, indices, Some((&usual(), 1, 2)), MANY, &mut out));
            out.iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
        };
        let (one, two) = (fill(1, &indices), fill(2, &indices));
        assert!(one == two);
        let alone = fill(1, &indices[7..8]);
        assert!((0..PIXELS).all(|p| one[p * 50 + 7] == alone[p]));
    }

    #[test]
    fn standardised_images_have_mean_0_and_deviation_1_and_blank_ones_stay_finite() {
        let mut d = crate::data::draw(&config());
        d.pixels.hold()[..PIXELS].fill(200);
        let mut out = vec![f32::NAN; PIXELS];
        fill_batch(&d, &[0], None, Standardize::Image, &mut out);
        assert!(out.iter().all(|&v| v.abs() < 1e-3));
        fill_batch(&d, &[1], None, Standardize::Image, &mut out);
        let mean = lane_sum(&out, |v| v) / PIXELS as f32;
        let variance = lane_sum(&out, |v| v * v) / PIXELS as f32;
        assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        let indices = d.indices(Split::Training);
        let mut all = vec![f32::NAN; indices.len() * PIXELS];
        fill_batch(&d, &indices, None, Standardize::of(Standardization::Dataset, d.mean_sd(Split::Training)), &mut all);
        let mean = lane_sum(&all, |v| v) / all.len() as f32;
        assert!(mean.abs() < 1e-3, "{mean}");
    }

    #[test]
    fn disabled_augmentation_changes_nothing() {
        let d = crate::data::draw(&config());
        let off = Augment { enabled: false, ..usual() };
        let (mut a, mut b) = (vec![0.0; 4 * PIXELS], vec![0.0; 4 * PIXELS]);
        fill_batch(&d, &[1, 2, 3, 4], Some((&off, 1, 1)), MANY, &mut a);
        fill_batch(&d, &[1, 2, 3, 4], None, MANY, &mut b);
        assert!(a == b);
    }
}
