//! Images with labels and splits: one file per source, augmentation, and batches.

mod augment;
mod batch;
mod canvas;
mod census;
mod csv;
mod demo;
mod face;
mod folder;
mod image;
mod look;
mod pixels;

pub use self::image::decode;
pub use augment::augment;
pub use batch::{MIN_SD, Standardize, fill_batch};
pub use census::{Census, PixelCensus, census, exclude_test_duplicates};
pub use demo::draw;
pub use pixels::Pixels;

use crate::config;
use crate::error::{Error, Result};
use crate::rng::Rng;
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Side of an image, pixels.
pub const SIDE: usize = 48;
/// Pixels of an image.
pub const PIXELS: usize = SIDE * SIDE;
/// The seven expressions in FER-2013's order; labels are indices into it.
pub const EXPRESSIONS: [&str; 7] = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];

/// Which part of a data set an image belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// Trained on.
    Training,
    /// Everything is chosen on it.
    Public,
    /// Scored once.
    Private,
}

impl Split {
    /// All splits, in the order of FER-2013's rows.
    pub const ALL: [Split; 3] = [Split::Training, Split::Public, Split::Private];

    /// Kaggle's name of the split, as in the column `Usage`.
    pub fn usage(self) -> &'static str {
        ["Training", "PublicTest", "PrivateTest"][self as usize]
    }
}

/// A data set: images with their labels and splits.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where it came from, for messages and the run folder.
    pub source: String,
    /// Pixels `(n, 48, 48)`.
    pub pixels: Pixels,
    /// Label of each image `(n)`, an index into [`EXPRESSIONS`]; empty where the source has none (Kaggle's `test.csv`).
    pub labels: Vec<u8>,
    /// Split of each image `(n)`.
    pub splits: Vec<Split>,
}

impl Dataset {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.splits.len()
    }

    /// True if there is no image.
    pub fn is_empty(&self) -> bool {
        self.splits.is_empty()
    }

    /// Pixels of image `i`, `(48, 48)`.
    pub fn image(&self, i: usize) -> &[u8] {
        self.pixels.image(i)
    }

    /// Indices of the images of `split`, ascending.
    pub fn indices(&self, split: Split) -> Vec<usize> {
        (0..self.len()).filter(|&i| self.splits[i] == split).collect()
    }

    /// Mean and standard deviation of pixel / 255 over the images of `split`, from exact integer sums.
    ///
    /// `(0, 1)` for an empty split; a deviation below one grey level is returned as 1, so that dividing by it is safe.
    pub fn mean_sd(&self, split: Split) -> (f32, f32) {
        let (mut sum, mut squares, mut images) = (0u64, 0u64, 0u64);
        let members = self.indices(split);
        self.pixels.complete(&members);
        for pixels in members.into_iter().map(|i| self.image(i)) {
            sum += u64::from(pixels.iter().map(|&p| u32::from(p)).sum::<u32>());
            squares += u64::from(pixels.iter().map(|&p| u32::from(p) * u32::from(p)).sum::<u32>());
            images += 1;
        }
        if images == 0 {
            return (0.0, 1.0);
        }
        let n = (images * PIXELS as u64) as f64;
        let mean = sum as f64 / n;
        let sd = (squares as f64 / n - mean * mean).max(0.0).sqrt();
        ((mean / 255.0) as f32, if sd < 1.0 { 1.0 } else { (sd / 255.0) as f32 })
    }

    /// xxh3 of pixels, labels and splits: equal for equal data, whatever file it came from. Of faces that are drawn when
    /// they are looked at, the seed and the first ones stand for all pixels.
    pub fn fingerprint(&self) -> u64 {
        let mut hash = Xxh3::new();
        hash.update(&(self.len() as u64).to_le_bytes());
        self.pixels.hash(&mut hash);
        hash.update(&self.labels);
        for chunk in self.splits.chunks(4096) {
            hash.update(&chunk.iter().map(|&s| s as u8).collect::<Vec<u8>>());
        }
        hash.digest()
    }
}

/// A kind of source: one row of [`LOADERS`].
pub struct Loader {
    /// Short name.
    pub name: &'static str,
    /// One line for help texts and error messages.
    pub doc: &'static str,
    /// True if the source looks like this kind (by name, and by being a folder or not).
    pub accepts: fn(&Path) -> bool,
    /// Reads the source, in its own order and with the splits that it has.
    pub load: fn(&Path, &config::Data) -> Result<Dataset>,
}

/// Every kind of source; the first that accepts a source loads it.
pub const LOADERS: &[Loader] = &[
    Loader {
        name: "demo",
        doc: "`demo`: faces drawn by the program from a seed",
        accepts: |path| path == Path::new("demo"),
        load: |_, config| Ok(draw(config)),
    },
    Loader {
        name: "folder",
        doc: "a folder train|test/<class>/*.png|jpg",
        accepts: Path::is_dir,
        load: |path, _| folder::load(path),
    },
    Loader {
        name: "csv",
        doc: "a Kaggle CSV (fer2013.csv, icml_face_data.csv, train.csv, test.csv)",
        accepts: |path| has_ending(path, ".csv"),
        load: |path, _| csv::load(path),
    },
    Loader {
        name: "csv.gz",
        doc: "the same packed with gzip (.csv.gz)",
        accepts: |path| has_ending(path, ".csv.gz"),
        load: |path, _| csv::load(path),
    },
];

fn has_ending(path: &Path, ending: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().to_ascii_lowercase().ends_with(ending))
}

/// Loads `source` (see [`LOADERS`]) as it is; [`hold_out`] and [`exclude_test_duplicates`] are left to the caller, who
/// reports their numbers.
///
/// # Errors
/// `Input` naming the file, the place in it, what was expected and what was found; `Io` if reading fails.
pub fn load(source: &str, config: &config::Data) -> Result<Dataset> {
    let path = Path::new(source);
    let Some(loader) = LOADERS.iter().find(|loader| (loader.accepts)(path)) else {
        std::fs::metadata(path).map_err(|e| Error::io(path, "opening the data", &e))?;
        let kinds: Vec<&str> = LOADERS.iter().map(|loader| loader.doc).collect();
        return Err(Error::input(
            path.display(),
            "not a kind of data set I know",
            format!("give {}", kinds.join(", ")),
        ));
    };
    let mut dataset = (loader.load)(path, config)?;
    dataset.source = source.to_string();
    Ok(dataset)
}

/// Where labels are there but no Public split, moves `fraction` of each class of Training to Public, for validation:
/// drawn from `seed`, rounded, at least one image and never all of a class. Returns how many images were moved.
pub fn hold_out(dataset: &mut Dataset, fraction: f32, seed: u64) -> usize {
    if dataset.labels.is_empty() || dataset.splits.contains(&Split::Public) {
        return 0;
    }
    for label in 0..EXPRESSIONS.len() as u8 {
        let mut members = dataset.indices(Split::Training);
        members.retain(|&i| dataset.labels[i] == label);
        if members.len() < 2 {
            continue;
        }
        Rng::stream(seed, "validation", &[u64::from(label)]).shuffle(&mut members);
        let n = ((members.len() as f32 * fraction).round() as usize).clamp(1, members.len() - 1);
        for &i in &members[..n] {
            dataset.splits[i] = Split::Public;
        }
    }
    dataset.splits.iter().filter(|&&split| split == Split::Public).count()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::PathBuf;

    /// `data` section used by tests: small demo.
    pub(crate) fn config() -> config::Data {
        config::Data {
            source: "demo".into(),
            standardize: config::Standardization::Dataset,
            exclude_test_duplicates: false,
            validation_fraction: 0.1,
            demo_train: 140,
            demo_test: 35,
            demo_seed: 1,
        }
    }

    /// A file or folder of the shared real data, or `None` with a message where it is absent.
    pub(crate) fn shared(path: &str) -> Option<PathBuf> {
        let root = std::env::var_os("BIONIC_SHARED_DATA")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
        let path = root.join(path);
        if path.exists() {
            return Some(path);
        }
        println!("skipped: no shared data ({})", path.display());
        None
    }

    #[test]
    fn an_unknown_or_missing_source_is_bad_input() {
        let error = load("no/such/file.csv", &config()).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        let error = load("no/such/file.parquet", &config()).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("faces.parquet");
        std::fs::write(&file, "x").unwrap();
        let error = load(file.to_str().unwrap(), &config()).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("Kaggle CSV"), "{error}");
    }

    #[test]
    fn hold_out_is_stratified_and_seeded() {
        let labels: Vec<u8> = (0..700).map(|i| if i < 500 { 0 } else { (i % 6 + 1) as u8 }).collect();
        let fresh = || Dataset {
            source: String::new(),
            pixels: vec![0; 700 * PIXELS].into(),
            labels: labels.clone(),
            splits: vec![Split::Training; 700],
        };
        let (mut a, mut b, mut c) = (fresh(), fresh(), fresh());
        hold_out(&mut a, 0.1, 1);
        hold_out(&mut b, 0.1, 1);
        hold_out(&mut c, 0.1, 2);
        assert_eq!(a.splits, b.splits);
        assert_ne!(a.splits, c.splits);
        let held = a.indices(Split::Public);
        assert_eq!(held.iter().filter(|&&i| labels[i] == 0).count(), 50);
        assert!((1..7).all(|k| (3..=4).contains(&held.iter().filter(|&&i| labels[i] == k).count())));
    }

    #[test]
    fn mean_sd_guards_flat_and_empty_splits() {
        let d = Dataset {
            source: String::new(),
            pixels: vec![51; PIXELS].into(),
            labels: vec![0],
            splits: vec![Split::Training],
        };
        assert_eq!(d.mean_sd(Split::Training), (0.2, 1.0));
        assert_eq!(d.mean_sd(Split::Public), (0.0, 1.0));
    }

    #[test]
    fn fingerprint_sees_pixels_labels_and_splits() {
        let drawn = draw(&config());
        let mut a = drawn.clone();
        a.pixels.hold();
        let (mut b, mut c, mut d) = (a.clone(), a.clone(), a.clone());
        b.pixels.hold()[77] ^= 1;
        c.labels[3] = (c.labels[3] + 1) % 7;
        d.splits[0] = Split::Public;
        let mut same = draw(&config());
        same.pixels.hold();
        assert_eq!(a.fingerprint(), same.fingerprint());
        assert!([b, c, d].iter().all(|x| x.fingerprint() != a.fingerprint()));
        // Nor are labels and splits of faces that nobody has looked at left out.
        let (mut c, mut d) = (drawn.clone(), drawn.clone());
        c.labels[3] = (c.labels[3] + 1) % 7;
        d.splits[0] = Split::Public;
        assert!([c, d].iter().all(|x| x.fingerprint() != drawn.fingerprint()));
    }
}
