//! Scores of a trained run, and class probabilities of single images.

use crate::data::{self, Dataset, EXPRESSIONS, Split};
use crate::error::{Error, Result};
use crate::kernels::scores::{Scores, score, winner};
use crate::kernels::threads;
use crate::model::inference::probabilities;
use crate::train::{Trained, load_best};
use serde::Serialize;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Which images are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvalSplit {
    /// The training images, without augmentation.
    Train,
    /// PublicTest.
    Public,
    /// PrivateTest.
    Private,
    /// PublicTest + PrivateTest: the paper's 7,178 images.
    Test,
}

/// Scores of one split; with `test` also of its two parts.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// `train`, `public`, `private` or `test`.
    pub split: String,
    /// Scores over the whole split.
    #[serde(flatten)]
    pub scores: Scores,
    /// Of `test`: its parts.
    #[serde(flatten)]
    pub parts: Option<Parts>,
}

/// Scores of the parts of `test`; `None` of a part without images.
#[derive(Clone, Debug, Serialize)]
pub struct Parts {
    /// PublicTest alone; none where images held out of Training chose the epoch.
    pub public: Option<Part>,
    /// PrivateTest alone.
    pub private: Option<Part>,
}

/// Scores of a part of `test`.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// `public` or `private`.
    pub split: &'static str,
    /// Its scores.
    #[serde(flatten)]
    pub scores: Scores,
}

/// Scores the best epoch of `run` on `data` (default: what it was trained on). `tta` averages over the mirror image.
/// Where validation images were held out of Training, `Test` is without them. `warn` is told of damage that did no harm.
///
/// # Errors
/// `State` for a run that cannot be used or whose data set has changed, `Input` for data without labels or without the split.
pub fn evaluate(
    run: &Path,
    data: Option<&str>,
    split: EvalSplit,
    tta: bool,
    threads: usize,
    warn: &mut dyn FnMut(&str),
) -> Result<Evaluation> {
    Ok(classified(&mut load_best(run, warn)?, data, split, tta, threads)?.evaluation())
}

/// Class probabilities of one split beside its labels.
#[derive(Clone, Debug)]
pub struct Classified {
    /// `train`, `public`, `private` or `test`.
    pub split: &'static str,
    /// Probability of each class `(n, 7)`.
    pub probabilities: Vec<f32>,
    /// Labels `(n)`.
    pub labels: Vec<u8>,
    /// Of `test`: how many images are PublicTest's; they come first.
    pub public: Option<usize>,
}

/// Class probabilities of a split by a trained network; the arguments are those of [`evaluate`].
///
/// # Errors
/// Those of [`evaluate`] but for the run's own.
pub fn classified(
    trained: &mut Trained,
    data: Option<&str>,
    split: EvalSplit,
    tta: bool,
    threads: usize,
) -> Result<Classified> {
    let Images { dataset, name, parts } = images(trained, data, split)?;
    // Part by part, so that an image has the same bits whichever split is asked for.
    let of = |part: &Vec<usize>| classify(trained, &dataset, part, tta);
    let probabilities = threads::pool(threads)?.run(|| parts.iter().flat_map(of).collect());
    let labels = labels_of(&dataset, &parts.concat());
    let public = (split == EvalSplit::Test).then(|| parts[0].len());
    Ok(Classified { split: name, probabilities, labels, public })
}

impl Classified {
    /// The scores.
    pub fn evaluation(&self) -> Evaluation {
        let classes = EXPRESSIONS.len();
        let scored = |images: Range<usize>| {
            let rows = &self.probabilities[classes * images.start..classes * images.end];
            score(&EXPRESSIONS, rows, &self.labels[images])
        };
        let n = self.labels.len();
        let part = |split, images: Range<usize>| (!images.is_empty()).then(|| Part { split, scores: scored(images) });
        let parts =
            self.public.map(|public| Parts { public: part("public", 0..public), private: part("private", public..n) });
        Evaluation { split: self.split.to_owned(), scores: scored(0..n), parts }
    }
}

/// Labelled images of a split.
pub(crate) struct Images {
    /// The data set that they are in.
    pub(crate) dataset: Dataset,
    /// Name of the split.
    pub(crate) name: &'static str,
    /// Indices into the data set, ascending; of `test` PublicTest's and PrivateTest's.
    pub(crate) parts: Vec<Vec<usize>>,
}

/// The images of `split` in `data` (default: what the run was trained on).
///
/// # Errors
/// As [`evaluate`].
pub(crate) fn images(trained: &Trained, data: Option<&str>, split: EvalSplit) -> Result<Images> {
    let config = &trained.config;
    let source = data.unwrap_or(&config.data.source);
    let mut dataset = data::load(source, &config.data)?;
    let mut held_out = 0;
    if data.is_none() {
        held_out = data::hold_out(&mut dataset, config.data.validation_fraction, config.seed);
        if config.data.exclude_test_duplicates {
            data::exclude_test_duplicates(&mut dataset);
        }
        if dataset.fingerprint() != trained.data_fingerprint {
            return Err(Error::state(
                &dataset.source,
                "is no longer the data set that the run was trained on",
                "restore it, or name the data to score with --data",
            ));
        }
    }
    if dataset.labels.len() != dataset.len() {
        return Err(Error::input(&dataset.source, "has no labels", "score a file with an `emotion` column"));
    }
    let (name, splits): (_, &[Split]) = match split {
        EvalSplit::Train => ("train", &[Split::Training]),
        EvalSplit::Public => ("public", &[Split::Public]),
        EvalSplit::Private => ("private", &[Split::Private]),
        EvalSplit::Test => ("test", &[Split::Public, Split::Private]),
    };
    let mut parts: Vec<Vec<usize>> = splits.iter().map(|&s| dataset.indices(s)).collect();
    if split == EvalSplit::Test && held_out > 0 {
        // Images held out of Training chose the epoch: they are no test.
        parts[0].clear();
    }
    if parts.iter().all(Vec::is_empty) {
        return Err(Error::input(&dataset.source, format!("has no image in split `{name}`"), "choose another --split"));
    }
    Ok(Images { dataset, name, parts })
}

fn labels_of(dataset: &Dataset, indices: &[usize]) -> Vec<u8> {
    indices.iter().map(|&i| dataset.labels[i]).collect()
}

fn classify(trained: &mut Trained, dataset: &Dataset, indices: &[usize], mirror: bool) -> Vec<f32> {
    let Trained { network, weights, buffers, standardize, .. } = trained;
    probabilities(network, weights, buffers, dataset, indices, *standardize, mirror)
}

/// Class probabilities of one image.
#[derive(Clone, Debug, Serialize)]
pub struct Prediction {
    /// The file, or `file#row` (from 0) for an image of a table.
    pub file: String,
    /// The most probable expression.
    pub expression: String,
    /// Probability of each expression, in the order of the labels.
    #[serde(serialize_with = "by_name")]
    pub probabilities: Vec<(&'static str, f32)>,
}

fn by_name<S: serde::Serializer>(p: &[(&'static str, f32)], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(p.iter().copied())
}

/// Class probabilities for image files (PNG, JPEG of any size) and Kaggle's CSV tables by a trained network, on the pool
/// of the caller.
///
/// # Errors
/// `Input` for a file that is no image.
pub fn predict(trained: &mut Trained, images: &[PathBuf]) -> Result<Vec<Prediction>> {
    let mut names = Vec::new();
    let (mut pixels, mut splits) = (Vec::new(), Vec::new());
    for path in images {
        let name = path.display().to_string();
        if name.ends_with(".csv") || name.ends_with(".csv.gz") {
            let mut table = data::load(&name, &trained.config.data)?;
            names.extend((0..table.len()).map(|row| format!("{name}#{row}")));
            splits.extend(&table.splits);
            pixels.append(table.pixels.hold());
        } else {
            pixels.extend(data::decode(path)?);
            splits.push(Split::Private);
            names.push(name);
        }
    }
    let dataset = Dataset { source: "images".into(), pixels: pixels.into(), labels: Vec::new(), splits };
    let indices: Vec<usize> = (0..dataset.len()).collect();
    let all = classify(trained, &dataset, &indices, false);
    let rows = all.chunks_exact(EXPRESSIONS.len());
    Ok(names
        .into_iter()
        .zip(rows)
        .map(|(file, p)| Prediction {
            file,
            expression: EXPRESSIONS[winner(p)].to_owned(),
            probabilities: EXPRESSIONS.into_iter().zip(p.iter().copied()).collect(),
        })
        .collect())
}

impl Evaluation {
    /// The parts that have images.
    pub fn each_part(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().flat_map(|parts| [&parts.public, &parts.private]).flatten()
    }

    /// The scores as aligned text.
    pub fn to_text(&self) -> String {
        let s = &self.scores;
        let mut text = format!("split {}: {} images\n", self.split, s.n);
        let auc = |s: &Scores| s.roc_auc.map_or_else(|| "-".to_owned(), |a| format!("{a:.4}"));
        text += &format!("accuracy {:.2} %   macro F1 {:.4}   ROC-AUC {}\n", 100.0 * s.accuracy, s.macro_f1, auc(s));
        for Part { split, scores: s } in self.each_part() {
            text += &format!(
                "  {split:<8} {:>5} images   accuracy {:.2} %   macro F1 {:.4}   ROC-AUC {}\n",
                s.n,
                100.0 * s.accuracy,
                s.macro_f1,
                auc(s)
            );
        }
        text += &format!("\n{:<10} {:>6} {:>10} {:>8} {:>8}\n", "class", "n", "precision", "recall", "F1");
        for c in &s.per_class {
            text += &format!("{:<10} {:>6} {:>10.3} {:>8.3} {:>8.3}\n", c.name, c.n, c.precision, c.recall, c.f1);
        }
        text += "\nconfusion (rows: true class, columns: predicted)\n";
        text += &format!("{:<10}", "");
        for c in &s.per_class {
            text += &format!(" {:>8}", c.name);
        }
        text.push('\n');
        for (c, row) in s.per_class.iter().zip(&s.confusion) {
            text += &format!("{:<10}", c.name);
            for v in row {
                text += &format!(" {v:>8}");
            }
            text.push('\n');
        }
        text
    }
}
