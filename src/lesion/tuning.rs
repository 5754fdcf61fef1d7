//! What each neuron of the intact network responds to.
//!
//! With r the response to an image (an excitatory neuron's output, an interneuron's activity h; arbitrary units, above 0
//! where the neuron is active), n the images and m_c the mean of r over the images of class c:
//!
//! - **preferred**: the class of the largest m_c; none for a neuron that is never active. The mean over a class of few images
//!   (FER-2013: disgust, 1.5 %) is noisy, and so is the largest more often than it should be.
//! - **selectivity** = (m_max − m_other) / (m_max + m_other), m_other the mean of the m_c of all other classes (Morcos et
//!   al. 2018, arXiv 1803.06959): 0 = the same to all classes, 1 = to one alone.
//! - **sparseness**, over images (lifetime): (1 − (Σ r / n)² / (Σ r² / n)) / (1 − 1 / n) (Vinje & Gallant 2000, Science 287,
//!   after Rolls & Tovee 1995): 0 = the same to all images, 1 = to one alone.
//! - **active**: the part of the images with r > 0.
//!
//! Sums are in 64 bits, image by image in slices of fixed size and slice by slice: any number of threads gives the same.

use super::subject::Subject;
use crate::connectome::{Neuron, Polarity};
use crate::data::EXPRESSIONS;
use crate::kernels::threads;
use crate::model::{Layer, Pass, slices};
use std::ops::Range;

const CLASSES: usize = EXPRESSIONS.len();

/// One neuron's tuning; a row of `tuning.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Identifier in the connectome.
    pub id: String,
    /// Cell type.
    pub cell_type: String,
    /// Lamina.
    pub lamina: String,
    /// Excitatory or inhibitory.
    pub polarity: Polarity,
    /// Position `[x, depth, z]`, micrometres, if known.
    pub position_um: Option<[f32; 3]>,
    /// Mean response over all images, arbitrary units.
    pub mean: f64,
    /// Part of the images with a response above 0.
    pub active: f64,
    /// Class with the largest mean response.
    pub preferred: Option<String>,
    /// Class selectivity index.
    pub selectivity: Option<f64>,
    /// Lifetime sparseness.
    pub sparseness: Option<f64>,
    /// Mean response over the images of each class `(7)`; none where the class has no image.
    pub class_means: Vec<Option<f64>>,
}

/// Sums over images for one neuron.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Of the responses to each class.
    classes: [f64; CLASSES],
    /// Of the squared responses.
    squares: f64,
    /// Images with a response above 0.
    active: usize,
}

impl Sums {
    fn add(&mut self, response: f32, class: u8) {
        let r = f64::from(response);
        self.classes[usize::from(class)] += r;
        self.squares += r * r;
        self.active += usize::from(response > 0.0);
    }

    fn add_all(&mut self, other: &Self) {
        self.classes.iter_mut().zip(other.classes).for_each(|(a, b)| *a += b);
        self.squares += other.squares;
        self.active += other.active;
    }

    /// The measures, for classes of `images (7)` images.
    fn tuning(&self, neuron: &Neuron, images: &[usize; CLASSES]) -> Tuning {
        let n = images.iter().sum::<usize>() as f64;
        let mean = self.classes.iter().sum::<f64>() / n;
        let class_means: Vec<Option<f64>> =
            self.classes.iter().zip(images).map(|(sum, &n)| (n > 0).then(|| sum / n as f64)).collect();
        let there = || class_means.iter().enumerate().filter_map(|(k, m)| Some((k, (*m)?)));
        let best = there().reduce(|best, next| if next.1 > best.1 { next } else { best }).filter(|_| self.active > 0);
        let others = there().count() as f64 - 1.0;
        let selectivity = best.filter(|_| others > 0.0).and_then(|(_, max)| {
            let other = (there().map(|(_, m)| m).sum::<f64>() - max) / others;
            (max + other > 0.0).then(|| (max - other) / (max + other))
        });
        let sparseness = (self.squares > 0.0 && n > 1.0)
            .then(|| ((1.0 - mean * mean / (self.squares / n)) / (1.0 - 1.0 / n)).clamp(0.0, 1.0));
        Tuning {
            id: neuron.id.clone(),
            cell_type: neuron.cell_type.clone(),
            lamina: neuron.lamina.clone(),
            polarity: neuron.polarity,
            position_um: neuron.position_um,
            mean,
            active: self.active as f64 / n,
            preferred: best.map(|(k, _)| EXPRESSIONS[k].to_owned()),
            selectivity,
            sparseness,
            class_means,
        }
    }
}

/// The tuning of every unit of the intact network, lamina by lamina in processing order, excitatory cells first.
pub(super) fn tuning(subject: &Subject) -> Vec<Tuning> {
    let (column, weights) = subject.column();
    let neurons: Vec<usize> = column.groups().iter().flat_map(|g| g.neurons.iter().copied()).collect();
    let mut sums = vec![Sums::default(); neurons.len()];
    let mut workers = vec![(column.clone(), Vec::new()); threads::workers().max(1)];
    let all: Vec<Range<usize>> = slices(subject.labels.len()).collect();
    for round in all.chunks(workers.len()) {
        let parts = threads::map_slices(&mut workers[..round.len()], |i, (column, y)| {
            let images = round[i].clone();
            let pass = Pass { training: false, batch: images.len(), slice: 0, seed: 0, step: 0 };
            y.resize(column.output().n() * images.len(), 0.0);
            column.forward(&pass, weights, &[], subject.features_of(images.clone()), y);
            let rows = column.responses(images.len()).concat();
            let of = |row: &[f32]| {
                let mut sums = Sums::default();
                row.iter().zip(&subject.labels[images.clone()]).for_each(|(&r, &class)| sums.add(r, class));
                sums
            };
            rows.chunks_exact(images.len()).map(of).collect::<Vec<Sums>>()
        });
        for part in parts {
            sums.iter_mut().zip(&part).for_each(|(sum, part)| sum.add_all(part));
        }
    }
    let mut images = [0; CLASSES];
    subject.labels.iter().for_each(|&class| images[usize::from(class)] += 1);
    neurons.iter().zip(&sums).map(|(&i, sum)| sum.tuning(&subject.connectome.neurons[i], &images)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell() -> Neuron {
        Neuron {
            id: "7".into(),
            cell_type: "4P".into(),
            lamina: "L4".into(),
            polarity: Polarity::Excitatory,
            position_um: None,
        }
    }

    /// Tuning from (response, class) of each image.
    fn of(responses: &[(f32, u8)]) -> Tuning {
        let (mut sums, mut images) = (Sums::default(), [0; CLASSES]);
        for &(r, class) in responses {
            sums.add(r, class);
            images[usize::from(class)] += 1;
        }
        sums.tuning(&cell(), &images)
    }

    #[test]
    fn measures_worked_by_hand() {
        // Class means 3 and 1, no image of the other classes.
        let t = of(&[(2.0, 3), (4.0, 3), (0.0, 6), (2.0, 6)]);
        assert_eq!((t.mean, t.active, t.preferred.as_deref()), (2.0, 0.75, Some("happy")));
        assert_eq!(t.class_means, [None, None, None, Some(3.0), None, None, Some(1.0)]);
        assert_eq!(t.selectivity, Some(0.5));
        // A = 2² / 6, n = 4.
        assert!((t.sparseness.unwrap() - (1.0 - 4.0 / 6.0) / 0.75).abs() < 1e-12);

        // Three classes: max 4, the others 1 and 2.
        let t = of(&[(1.0, 0), (4.0, 1), (2.0, 2)]);
        assert_eq!((t.preferred.as_deref(), t.selectivity), (Some("disgust"), Some(2.5 / 5.5)));
    }

    #[test]
    fn the_ends_of_the_scales() {
        let one = of(&[(5.0, 2), (0.0, 1), (0.0, 1), (0.0, 0)]);
        assert_eq!((one.selectivity, one.sparseness, one.active), (Some(1.0), Some(1.0), 0.25));
        let same = of(&[(2.0, 0), (2.0, 1), (2.0, 2)]);
        assert_eq!((same.selectivity, same.sparseness, same.active), (Some(0.0), Some(0.0), 1.0));
        assert_eq!(same.preferred.as_deref(), Some("angry"), "of equal ones the first");
        let silent = of(&[(0.0, 0), (0.0, 1)]);
        assert_eq!((silent.preferred, silent.selectivity, silent.sparseness), (None, None, None));
        assert_eq!(of(&[(1.0, 0), (2.0, 0)]).selectivity, None, "there is no other class");
        assert_eq!(of(&[(1.0, 0)]).sparseness, None, "one image");
    }
}
