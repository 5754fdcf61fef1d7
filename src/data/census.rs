//! What a data set holds: images per split and class, duplicates, contradictions, leaks between splits.

use super::{Dataset, EXPRESSIONS, PIXELS, Split};
use xxhash_rust::xxh3::xxh3_64;

/// Counts of [`census`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    /// Images by split (order of [`Split::ALL`]).
    pub images: [usize; 3],
    /// Labelled images by split and class.
    pub per_class: [[usize; 7]; 3],
    /// What only a look at every pixel tells; `None` of faces that are drawn when they are needed.
    pub pixels: Option<PixelCensus>,
}

/// What a look at every pixel tells of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PixelCensus {
    /// Different images.
    pub distinct: usize,
    /// Images identical to an earlier one.
    pub duplicates: usize,
    /// Groups of identical images that carry more than one label.
    pub conflicting_groups: usize,
    /// Images in those groups.
    pub conflicting_images: usize,
    /// Public images that also occur in Training.
    pub public_in_training: usize,
    /// Private images that also occur in Training.
    pub private_in_training: usize,
    /// Training images that also occur in Public or Private.
    pub training_in_tests: usize,
    /// Images whose pixels are all equal.
    pub blank: usize,
}

impl Census {
    /// The census in a few lines of text, without line ends.
    pub fn summary_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (k, split) in Split::ALL.into_iter().enumerate().filter(|&(k, _)| self.images[k] > 0) {
            let classes = EXPRESSIONS.iter().zip(self.per_class[k]).map(|(name, n)| format!("{name} {n}"));
            let labelled = self.per_class[k].iter().sum::<usize>() > 0;
            let classes = if labelled { classes.collect::<Vec<_>>().join(", ") } else { "no labels".into() };
            lines.push(format!("{}: {} images ({classes})", split.usage(), self.images[k]));
        }
        lines.extend(self.pixels.iter().flat_map(PixelCensus::summary_lines));
        lines
    }
}

impl PixelCensus {
    fn summary_lines(&self) -> Vec<String> {
        let mut lines = vec![format!("distinct images: {}, {} repeat an earlier one", self.distinct, self.duplicates)];
        if self.conflicting_groups > 0 {
            lines.push(format!(
                "identical images with different labels: {} images in {} groups",
                self.conflicting_images, self.conflicting_groups
            ));
        }
        if self.training_in_tests > 0 {
            lines.push(format!(
                "test images that also occur in Training: {} PublicTest, {} PrivateTest ({} Training images)",
                self.public_in_training, self.private_in_training, self.training_in_tests
            ));
        }
        if self.blank > 0 {
            lines.push(format!("blank images (all pixels equal): {}", self.blank));
        }
        lines
    }
}

/// Counts images, and of those in memory duplicates, contradicting labels, leaks from the test splits, and blank ones.
pub fn census(dataset: &Dataset) -> Census {
    let (mut images, mut per_class) = ([0; 3], [[0; 7]; 3]);
    for (i, split) in dataset.splits.iter().enumerate() {
        images[*split as usize] += 1;
        if let Some(&label) = dataset.labels.get(i) {
            per_class[*split as usize][usize::from(label)] += 1;
        }
    }
    Census { images, per_class, pixels: (!dataset.pixels.are_drawn()).then(|| pixel_census(dataset)) }
}

fn pixel_census(dataset: &Dataset) -> PixelCensus {
    let mut census = PixelCensus::default();
    for image in (0..dataset.len()).map(|i| dataset.image(i)) {
        census.blank += usize::from(image.iter().all(|&p| p == image[0]));
    }
    for group in identical(dataset) {
        census.distinct += 1;
        census.duplicates += group.len() - 1;
        let count = |split| group.iter().filter(|&&i| dataset.splits[i] == split).count();
        let [training, public, private] = Split::ALL.map(count);
        if training > 0 {
            census.public_in_training += public;
            census.private_in_training += private;
        }
        if public + private > 0 {
            census.training_in_tests += training;
        }
        let label = |i: usize| dataset.labels.get(i);
        if group.iter().any(|&i| label(i) != label(group[0])) {
            census.conflicting_groups += 1;
            census.conflicting_images += group.len();
        }
    }
    census
}

/// Removes the Training images that also occur in Public or Private; gives their number.
pub fn exclude_test_duplicates(dataset: &mut Dataset) -> usize {
    dataset.pixels.hold();
    let mut keep = vec![true; dataset.len()];
    for group in identical(dataset) {
        if group.iter().any(|&i| dataset.splits[i] != Split::Training) {
            group.iter().filter(|&&i| dataset.splits[i] == Split::Training).for_each(|&i| keep[i] = false);
        }
    }
    let (mut kept, pixels) = (0, dataset.pixels.hold());
    for i in (0..keep.len()).filter(|&i| keep[i]) {
        pixels.copy_within(i * PIXELS..(i + 1) * PIXELS, kept * PIXELS);
        kept += 1;
    }
    pixels.truncate(kept * PIXELS);
    let mut flags = keep.iter();
    dataset.splits.retain(|_| flags.next().is_none_or(|&k| k));
    let mut flags = keep.iter();
    dataset.labels.retain(|_| flags.next().is_none_or(|&k| k));
    keep.len() - kept
}

/// Groups of identical images, each ascending: equal hashes, then equal pixels.
fn identical(dataset: &Dataset) -> Vec<Vec<usize>> {
    let hash = |image: &[u8]| xxh3_64(image);
    group_by(dataset.len(), |i| hash(dataset.image(i)), |i, j| dataset.image(i) == dataset.image(j))
}

/// Groups `0..n` by `same`, comparing only items of equal `hash`.
fn group_by(n: usize, hash: impl Fn(usize) -> u64, same: impl Fn(usize, usize) -> bool) -> Vec<Vec<usize>> {
    let mut order: Vec<(u64, usize)> = (0..n).map(|i| (hash(i), i)).collect();
    order.sort_unstable();
    let mut groups = Vec::new();
    for run in order.chunk_by(|a, b| a.0 == b.0) {
        let first = groups.len();
        for &(_, i) in run {
            match groups[first..].iter_mut().find(|group: &&mut Vec<usize>| same(group[0], i)) {
                Some(group) => group.push(i),
                None => groups.push(vec![i]),
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of one grey level each: (level, label, split).
    fn flat(images: &[(u8, u8, Split)]) -> Dataset {
        Dataset {
            source: String::new(),
            pixels: images.iter().flat_map(|i| [i.0; PIXELS]).collect::<Vec<u8>>().into(),
            labels: images.iter().map(|i| i.1).collect(),
            splits: images.iter().map(|i| i.2).collect(),
        }
    }

    #[test]
    fn counts_duplicates_conflicts_and_leaks() {
        use Split::{Private, Public, Training};
        let mut d = flat(&[
            (1, 0, Training),
            (2, 1, Training),
            (1, 0, Training),
            (1, 3, Private),
            (3, 2, Public),
            (2, 1, Public),
        ]);
        for i in [0, 2, 3] {
            d.pixels.hold()[i * PIXELS] = 99;
        }
        let c = census(&d);
        let lines = c.summary_lines();
        assert!(lines.iter().any(|l| l.contains("3 images in 1 groups")), "{lines:?}");
        let p = c.pixels.unwrap();
        assert_eq!((c.images, p.distinct, p.duplicates), ([3, 2, 1], 3, 3));
        assert_eq!((p.conflicting_groups, p.conflicting_images), (1, 3));
        assert_eq!((p.public_in_training, p.private_in_training, p.training_in_tests, p.blank), (1, 1, 3, 3));
        assert_eq!(exclude_test_duplicates(&mut d), 3);
        assert_eq!(d.splits, [Private, Public, Public]);
        assert_eq!(d.labels, [3, 2, 1]);
        assert_eq!((d.image(0)[0], d.image(1)[0], d.image(2)[0]), (99, 3, 2));
        assert_eq!(exclude_test_duplicates(&mut d), 0);
    }

    #[test]
    fn equal_hashes_of_different_images_are_told_apart() {
        assert_eq!(group_by(5, |_| 7, |i, j| i % 2 == j % 2), [vec![0, 2, 4], vec![1, 3]]);
    }

    #[test]
    fn works_without_labels() {
        let mut d = flat(&[(1, 0, Split::Private), (1, 0, Split::Private)]);
        d.labels.clear();
        let c = census(&d);
        assert!(c.summary_lines()[0].contains("no labels"));
        let p = c.pixels.unwrap();
        assert_eq!((p.distinct, p.conflicting_groups), (1, 0));
    }

    /// `BIONIC_FER2013`: path of the full `fer2013.csv`.
    #[test]
    fn real_fer2013_has_the_published_numbers() {
        let Some(path) = std::env::var_os("BIONIC_FER2013") else {
            println!("skipped: BIONIC_FER2013 is not set");
            return;
        };
        let mut d = crate::data::load(&path.to_string_lossy(), &crate::data::tests::config()).unwrap();
        let c = census(&d);
        assert_eq!(c.images, [28_709, 3_589, 3_589]);
        let p = c.pixels.unwrap();
        assert_eq!((p.distinct, p.blank), (34_034, 12));
        assert_eq!((p.conflicting_groups, p.conflicting_images), (57, 160));
        assert_eq!((p.public_in_training, p.private_in_training), (280, 288));
        let (mean, sd) = d.mean_sd(Split::Training);
        assert!((mean - 0.507_743).abs() < 1e-6 && (sd - 0.255_009).abs() < 1e-6, "{mean} {sd}");
        assert_eq!(exclude_test_duplicates(&mut d), p.training_in_tests);
        let p = census(&d).pixels.unwrap();
        assert_eq!((p.public_in_training, p.private_in_training, p.training_in_tests), (0, 0, 0));
    }
}
