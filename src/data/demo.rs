//! Faces drawn by the program: the data set that needs no download.
//!
//! Image `i` of a seed is the same whatever the number of images. Its label is `i` mod 7. Pose, light, contrast,
//! person and strength of the expression vary so much that single pixels say little: a linear classifier (54 %
//! of PublicTest) stays far below a network of two convolutions (95 % after six epochs over 4,192 faces).

use super::canvas::{Canvas, Frame};
use super::face::{Person, backdrop, light, occlude};
use super::look::Look;
use super::{Dataset, EXPRESSIONS, PIXELS, Split};
use crate::config;
use crate::kernels::threads::for_pieces;
use crate::rng::Rng;
use std::sync::OnceLock;
use xxhash_rust::xxh3::Xxh3;

/// Faces drawn by one task.
const FACES_PER_TASK: usize = 16;
/// Multiply-adds of drawing a face, roughly.
const FACE_WORK: usize = 200_000;

/// Faces that stand for all of their seed in its fingerprint: most of what a face may have occurs in them.
const SAMPLE: usize = 32;

/// `demo_train` Training, then `demo_test` Public, then `demo_test` Private faces of `demo_seed`, each drawn when it is
/// first looked at: who trains does not wait for faces that come later.
pub fn draw(config: &config::Data) -> Dataset {
    let (train, test) = (config.demo_train, config.demo_test);
    let n = train + 2 * test;
    let counts = [(Split::Training, train), (Split::Public, test), (Split::Private, test)];
    Dataset {
        source: "demo".into(),
        pixels: Faces { seed: config.demo_seed, drawn: vec![OnceLock::new(); n] }.into(),
        labels: (0..n).map(label).collect(),
        splits: counts.iter().flat_map(|&(split, n)| std::iter::repeat_n(split, n)).collect(),
    }
}

/// Faces of a seed, each drawn once, when it is first looked at.
#[derive(Clone, Debug)]
pub(super) struct Faces {
    seed: u64,
    drawn: Vec<OnceLock<Box<[u8]>>>,
}

impl Faces {
    pub fn len(&self) -> usize {
        self.drawn.len()
    }

    /// Pixels of face `i`, `(48, 48)`.
    pub fn face(&self, i: usize) -> &[u8] {
        self.drawn[i].get_or_init(|| {
            let mut face = vec![0; PIXELS];
            draw_face(self.seed, i, &mut face);
            face.into()
        })
    }

    /// Draws those of `faces` that nobody has looked at, on all threads.
    pub fn complete(&self, faces: &[usize]) {
        let mut missing: Vec<usize> = faces.iter().copied().filter(|&i| self.drawn[i].get().is_none()).collect();
        let work = missing.len() * FACE_WORK;
        for_pieces(&mut missing, FACES_PER_TASK, work, |_, some| {
            for &mut i in some {
                self.face(i);
            }
        });
    }

    /// The seed and the first faces: a program or a mathematical library that draws others is noticed by these.
    pub fn hash(&self, hash: &mut Xxh3) {
        hash.update(b"drawn faces");
        hash.update(&self.seed.to_le_bytes());
        (0..self.len().min(SAMPLE)).for_each(|i| hash.update(self.face(i)));
    }
}

fn label(i: usize) -> u8 {
    (i % EXPRESSIONS.len()) as u8
}

/// Draws face `i` of `seed` into `out` `(48, 48)`.
fn draw_face(seed: u64, i: usize, out: &mut [u8]) {
    let rng = &mut Rng::stream(seed, "demo", &[i as u64]);
    let person = Person::draw(rng);
    let look = Look::draw(usize::from(label(i)), rng);
    let turn = rng.range(-0.15, 0.15);
    let nod = rng.range(-0.05, 0.05);
    let head = Frame {
        centre: [23.5 + rng.range(-1.75, 1.75), 23.5 + rng.range(-1.5, 1.5)],
        angle: rng.range(-0.14, 0.14),
        scale: rng.range(20.5, 23.5),
        squeeze: 1.0,
        shift: [0.0, 0.0],
    };
    let features = Frame { squeeze: 1.0 - 0.4 * turn.abs(), shift: [0.6 * turn, nod], ..head };

    let mut canvas = Canvas::new(0.5, head);
    backdrop(&mut canvas, rng);
    person.paint_head(&mut canvas);
    canvas.frame = features;
    let gaze = [rng.range(-0.05, 0.05), rng.range(-0.02, 0.02)];
    person.paint_features(&mut canvas, &look, gaze);
    canvas.frame = head;
    occlude(&mut canvas, rng);
    light(&mut canvas, rng);
    canvas.blur(rng.range(0.0, 0.5));
    let (contrast, brightness, noise) = (rng.range(0.7, 1.25), rng.range(-0.1, 0.1), rng.range(0.0, 0.04));
    canvas.develop(contrast, brightness, noise, rng, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Standardization;
    use crate::data::tests::config;
    use crate::data::{Standardize, fill_batch};

    #[test]
    fn a_face_depends_on_seed_and_index_only() {
        let a = draw(&config());
        let b = draw(&config::Data { demo_train: 70, demo_test: 20, ..config() });
        assert!((0..b.len()).all(|i| b.image(i) == a.image(i)));
        assert_eq!(b.labels, a.labels[..b.len()]);
        let other = draw(&config::Data { demo_seed: 2, ..config() });
        assert!((0..a.len()).all(|i| a.image(i) != other.image(i)));
    }

    #[test]
    fn splits_follow_each_other_and_labels_are_balanced() {
        let mut d = draw(&config());
        assert_eq!(d.indices(Split::Training), (0..140).collect::<Vec<_>>());
        assert_eq!(d.indices(Split::Public), (140..175).collect::<Vec<_>>());
        d.pixels.hold();
        let c = crate::data::census(&d);
        assert_eq!(c.per_class, [[20; 7], [5; 7], [5; 7]]);
        assert_eq!(c.pixels.map(|p| (p.duplicates, p.blank)), Some((0, 0)));
    }

    #[test]
    fn threads_do_not_matter() {
        let on = |threads| {
            crate::kernels::threads::pool(threads).unwrap().run(|| std::mem::take(draw(&config()).pixels.hold()))
        };
        let all = on(1);
        assert!(all == on(2));
        // One by one, the last first.
        let faces = draw(&config());
        assert!((0..faces.len()).rev().all(|i| faces.image(i) == &all[i * PIXELS..][..PIXELS]));
    }

    #[test]
    fn only_what_is_looked_at_is_drawn() {
        let faces = Faces { seed: 1, drawn: vec![OnceLock::new(); 40] };
        let drawn = |faces: &Faces| faces.drawn.iter().filter(|face| face.get().is_some()).count();
        faces.face(5);
        assert_eq!(drawn(&faces), 1);
        faces.complete(&[7, 5, 9]);
        assert_eq!(drawn(&faces), 3);
        faces.hash(&mut Xxh3::new());
        assert_eq!(drawn(&faces), SAMPLE);
    }

    #[test]
    fn the_fingerprint_is_the_same_however_many_faces_are_drawn() {
        let fingerprint = |config: config::Data| draw(&config).fingerprint();
        let drawn = draw(&config());
        drawn.pixels.complete(&drawn.indices(Split::Training));
        assert_eq!(drawn.fingerprint(), fingerprint(config()));
        assert_ne!(drawn.fingerprint(), fingerprint(config::Data { demo_seed: 2, ..config() }));
        assert_ne!(drawn.fingerprint(), fingerprint(config::Data { demo_train: 141, ..config() }));
    }

    /// Softmax regression on standardised pixels: 2,000 faces to learn from, 500 to score, plain gradient descent.
    #[test]
    fn a_linear_classifier_stays_low() {
        let d = draw(&config::Data { demo_train: 2000, demo_test: 500, ..config() });
        let standardize = Standardize::of(Standardization::Dataset, d.mean_sd(Split::Training));
        let inputs = |indices: Vec<usize>| {
            let mut all = vec![0.0; indices.len() * PIXELS];
            for (&i, x) in indices.iter().zip(all.chunks_exact_mut(PIXELS)) {
                fill_batch(&d, &[i], None, standardize, x);
            }
            (indices, all)
        };
        let (train, x_train) = inputs(d.indices(Split::Training));
        let (test, x_test) = inputs(d.indices(Split::Public));
        let mut weights = vec![[0.0f32; PIXELS]; 7];
        let scores = |weights: &[[f32; PIXELS]], x: &[f32]| -> Vec<f32> {
            let dot = |w: &[f32; PIXELS]| {
                let mut lanes = [0.0f32; 16];
                for (a, b) in w.chunks_exact(16).zip(x.chunks_exact(16)) {
                    (0..16).for_each(|k| lanes[k] += a[k] * b[k]);
                }
                lanes.iter().sum()
            };
            weights.iter().map(dot).collect()
        };
        let accuracy = |weights: &[[f32; PIXELS]], indices: &[usize], x: &[f32]| {
            let right = indices.iter().zip(x.chunks_exact(PIXELS)).filter(|(i, x)| {
                let s = scores(weights, x);
                (0..7).max_by(|&a, &b| s[a].total_cmp(&s[b])) == Some(usize::from(d.labels[**i]))
            });
            right.count() as f32 / indices.len() as f32
        };
        let mut best = 0.0f32;
        for epoch in 0..30 {
            let rate = 0.001 / (1.0 + 0.2 * epoch as f32);
            for (&i, x) in train.iter().zip(x_train.chunks_exact(PIXELS)) {
                let s = scores(&weights, x);
                let peak = s.iter().copied().fold(f32::MIN, f32::max);
                let total: f32 = s.iter().map(|v| (v - peak).exp()).sum();
                for (k, w) in weights.iter_mut().enumerate() {
                    let error = (s[k] - peak).exp() / total - f32::from(k == usize::from(d.labels[i]));
                    w.iter_mut().zip(x).for_each(|(w, x)| *w -= rate * (error * x + 0.01 * *w));
                }
            }
            best = best.max(accuracy(&weights, &test, &x_test));
        }
        println!("linear: training {:.3}, test {best:.3}", accuracy(&weights, &train, &x_train));
        assert!((0.25..0.75).contains(&best), "{best}");
    }
}
