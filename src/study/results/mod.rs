//! What one cell of a study gave: the scores of one model trained with one seed.

mod file;

pub(super) use file::exact;
pub use file::{read_results, write_results};
#[cfg(test)]
pub(super) use tests::random_cell;

use crate::eval::{Evaluation, Part};
use crate::kernels::scores::Scores;
use crate::train::Summary;
use serde::{Deserialize, Serialize};

/// Most runs of a study.
pub(super) const MAX_CELLS: usize = 16 << 10;
/// Longest name of a model or version, bytes.
pub(super) const MAX_NAME_BYTES: usize = 128;
/// Most classes, and longest name of a class, bytes.
const MAX_CLASSES: usize = 64;
const MAX_CLASS_BYTES: usize = 32;

/// Scores and figures of one finished run of a study; one row of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Name of the model in the plan.
    pub model: String,
    /// PublicTest + PrivateTest (the paper's split); PrivateTest alone where validation images were held out of Training.
    pub test: SplitScores,
    /// PublicTest; `None` where it has no images or validation images were held out of Training.
    pub public: Option<SplitScores>,
    /// PrivateTest; `None` where it has no images.
    pub private: Option<SplitScores>,
    /// What the training tells.
    #[serde(flatten)]
    pub run: RunNumbers,
}

/// Figures of the run behind a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNumbers {
    /// Seed of the run; models are compared pair by pair of equal seed.
    pub seed: u64,
    /// Epoch whose weights were scored.
    pub best_epoch: usize,
    /// Epochs trained.
    pub epochs: usize,
    /// Trained parameters.
    pub parameters: usize,
    /// Synapses of the connectome that carry a weight.
    pub synapses: usize,
    /// Wall time of all epochs, seconds.
    pub seconds: f64,
    /// Version of the program that trained.
    pub version: String,
    /// Fingerprint of the data set, 16 hexadecimal digits, as the next two.
    pub data: String,
    /// Fingerprint of the wiring, null wirings included; zeros without a column.
    pub connectome: String,
    /// Fingerprint of what decides the result beside the two: it says which cell of which plan this is.
    pub configuration: String,
}

/// Scores on one split; fractions, not percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitScores {
    /// Images.
    pub images: usize,
    /// Part of the images whose most probable class is their label.
    pub accuracy: f64,
    /// Mean F1 over all classes.
    pub macro_f1: f64,
    /// Mean over all classes of the area under the ROC curve against the rest; `None` where a class has no image.
    pub roc_auc: Option<f64>,
    /// Recall of each class, in the order of the labels.
    pub recall: Vec<ClassRecall>,
}

/// Recall of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassRecall {
    /// Name of the class.
    pub class: String,
    /// Part of its images that were taken for it.
    pub recall: f64,
}

impl CellResult {
    /// The result of `model`, whose run has the figures `run` and the scores `evaluation` of split `test`.
    ///
    /// # Panics
    /// If the scores are of another split.
    pub fn new(model: &str, run: RunNumbers, evaluation: &Evaluation) -> Self {
        let Some(parts) = &evaluation.parts else { panic!("a study compares scores of `test`") };
        let part = |part: &Option<Part>| part.as_ref().map(|p| SplitScores::from(&p.scores));
        Self {
            model: model.to_owned(),
            test: SplitScores::from(&evaluation.scores),
            public: part(&parts.public),
            private: part(&parts.private),
            run,
        }
    }

    /// The same without the scores of parts that have no images, which former builds wrote as 0.
    fn without_empty_parts(mut self) -> Self {
        self.public.take_if(|s| s.images == 0);
        self.private.take_if(|s| s.images == 0);
        self
    }

    /// Reads the result of a run that this or a former build has written as JSON.
    ///
    /// # Errors
    /// In words, if it is no result.
    pub(super) fn from_json(text: &[u8]) -> std::result::Result<Self, String> {
        let result: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        match result.fault() {
            Some(fault) => Err(fault.to_owned()),
            None => Ok(result.without_empty_parts()),
        }
    }

    /// What no result can have, in words: names that are no names, fractions outside 0 to 1, parts with other classes.
    fn fault(&self) -> Option<&'static str> {
        let Self { model, run, test, public, private } = self;
        let parts = || [Some(test), public.as_ref(), private.as_ref()].into_iter().flatten();
        let mut fractions = parts().flat_map(|s| {
            let recall = s.recall.iter().map(|r| r.recall);
            [s.accuracy, s.macro_f1].into_iter().chain(s.roc_auc).chain(recall)
        });
        let same_classes = |s: &SplitScores| s.recall.iter().map(|r| r.class.as_str()).eq(self.classes());
        let names = [model, &run.version, &run.data, &run.connectome, &run.configuration];
        if !names.into_iter().all(|name| is_name(name, MAX_NAME_BYTES)) {
            Some("has a name that is empty, too long or has control characters")
        } else if !fractions.all(|f| (0.0..=1.0).contains(&f)) {
            Some("has a score that is no number from 0 to 1")
        } else if !(run.seconds >= 0.0 && run.seconds.is_finite()) {
            Some("has a time that is no number from 0")
        } else if test.recall.len() > MAX_CLASSES || !test.recall.iter().all(|r| is_name(&r.class, MAX_CLASS_BYTES)) {
            Some("has too many classes, or one whose name is empty, too long or has control characters")
        } else if !parts().all(same_classes) {
            Some("has parts with other classes than the whole")
        } else {
            None
        }
    }

    /// Names of the classes, in the order of the labels.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.test.recall.iter().map(|r| r.class.as_str())
    }
}

/// Whether `text` may be a name: 1 to `most` bytes and no control character.
pub(super) fn is_name(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && !text.contains(char::is_control)
}

impl From<&Summary> for RunNumbers {
    /// Of a run that this program has trained.
    fn from(summary: &Summary) -> Self {
        Self {
            seed: summary.seed,
            best_epoch: summary.best_epoch,
            epochs: summary.epochs,
            parameters: summary.parameters,
            synapses: summary.synapses,
            seconds: summary.seconds,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data: summary.data_fingerprint.clone(),
            connectome: summary.connectome_fingerprint.clone(),
            configuration: summary.configuration_fingerprint.clone(),
        }
    }
}

impl From<&Scores> for SplitScores {
    fn from(scores: &Scores) -> Self {
        let recall = scores.per_class.iter().map(|c| ClassRecall { class: c.name.clone(), recall: c.recall });
        Self {
            images: scores.n,
            accuracy: scores.accuracy,
            macro_f1: scores.macro_f1,
            roc_auc: scores.roc_auc,
            recall: recall.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Parts;
    use crate::kernels::scores::score;
    use crate::rng::Rng;

    /// Scores of random probabilities for `n` images of each of three classes.
    fn random_scores(n: usize, rng: &mut Rng) -> Scores {
        let labels: Vec<u8> = (0..3 * n).map(|i| (i % 3) as u8).collect();
        let p: Vec<f32> = (0..9 * n).map(|_| rng.uniform()).collect();
        score(&["left", "right", "up, \"down\""], &p, &labels)
    }

    /// An evaluation of `test` with its parts.
    fn evaluation(rng: &mut Rng) -> Evaluation {
        let mut part = |split, n| Some(Part { split, scores: random_scores(n, rng) });
        let parts = Some(Parts { public: part("public", 7), private: part("private", 9) });
        Evaluation { split: "test".into(), scores: random_scores(16, rng), parts }
    }

    /// A cell with random scores.
    pub(in crate::study) fn random_cell(model: &str, seed: u64, rng: &mut Rng) -> CellResult {
        let run = RunNumbers {
            seed,
            best_epoch: rng.below(40),
            epochs: 40 + rng.below(40),
            parameters: 636_496,
            synapses: 15_760,
            seconds: f64::from(rng.uniform()) * 1000.0 / 3.0,
            version: "0.1.0".into(),
            data: "00000000000000aa".into(),
            connectome: "00000000000000bb".into(),
            configuration: format!("{:016x}", rng.next_u64()),
        };
        CellResult::new(model, run, &evaluation(rng))
    }

    #[test]
    fn a_cell_has_the_scores_of_its_evaluation_and_goes_through_json() {
        let mut rng = Rng::stream(1, "cells", &[]);
        for _ in 0..100 {
            let evaluation = evaluation(&mut rng);
            let cell = CellResult::new("m", random_cell("m", 3, &mut rng).run, &evaluation);
            let public = evaluation.parts.as_ref().unwrap().public.as_ref().unwrap();
            let scores = &evaluation.scores;
            assert_eq!(cell.test.accuracy.to_bits(), scores.accuracy.to_bits());
            assert_eq!(cell.test.macro_f1.to_bits(), scores.macro_f1.to_bits());
            assert_eq!(cell.test.roc_auc, scores.roc_auc);
            assert_eq!(cell.test.images, 48);
            assert_eq!(cell.public.as_ref().unwrap().recall[2].recall, public.scores.per_class[2].recall);
            assert_eq!(cell.private.as_ref().unwrap().images, 27);
            assert_eq!(cell.classes().collect::<Vec<_>>(), ["left", "right", "up, \"down\""]);
            let text = serde_json::to_string(&cell).unwrap();
            assert_eq!(serde_json::from_str::<CellResult>(&text).unwrap(), cell);
            assert!(text.contains("\"seed\":3"), "{text}");
        }
    }

    #[test]
    fn what_no_result_can_have_is_found() {
        let good = random_cell("m", 3, &mut Rng::stream(1, "cells", &[]));
        assert_eq!(good.fault(), None);
        let bad: [fn(&mut CellResult); 7] = [
            |c| c.test.accuracy = 1e308,
            |c| c.public.as_mut().unwrap().recall.clear(),
            |c| c.private.as_mut().unwrap().recall[1].recall = -0.1,
            |c| c.test.roc_auc = Some(f64::NAN),
            |c| c.model = "m\n".into(),
            |c| c.run.version = String::new(),
            |c| c.run.seconds = f64::INFINITY,
        ];
        for (i, spoil) in bad.iter().enumerate() {
            let mut cell = good.clone();
            spoil(&mut cell);
            assert!(cell.fault().is_some(), "{i}");
        }
    }
}
