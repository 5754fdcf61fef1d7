//! What one cell of a study gave: the scores of one model trained with one seed.

mod file;

pub(super) use file::exact;
pub use file::{read_results, write_results};
#[cfg(test)]
pub(super) use tests::random_cell;

use crate::error::{Error, Result};
use crate::eval::Evaluation;
use crate::kernels::scores::Scores;
use crate::train::Summary;
use serde::{Deserialize, Serialize};

/// Scores and figures of one finished run of a study; one row of `results.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Name of the model in the plan.
    pub model: String,
    /// PublicTest + PrivateTest (the paper's split); PrivateTest alone where validation images were held out of Training.
    pub test: SplitScores,
    /// PublicTest; `None` where validation images were held out of Training.
    pub public: Option<SplitScores>,
    /// PrivateTest; `None` where `test` is PrivateTest alone.
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
    /// # Errors
    /// `State` for scores of another split.
    pub fn new(model: &str, run: RunNumbers, evaluation: &Evaluation) -> Result<Self> {
        if evaluation.split != "test" {
            return Err(Error::state(
                format!("scores of `{model}`, seed {}", run.seed),
                format!("are of split `{}`, expected `test`", evaluation.split),
                "remove scores.json from the run: the study scores it again",
            ));
        }
        let part = |part: &Option<Box<Evaluation>>| part.as_ref().map(|p| SplitScores::from(&p.scores));
        Ok(Self {
            model: model.to_owned(),
            test: SplitScores::from(&evaluation.scores),
            public: part(&evaluation.public),
            private: part(&evaluation.private),
            run,
        })
    }

    /// Names of the classes, in the order of the labels.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.test.recall.iter().map(|r| r.class.as_str())
    }
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
        let part = |split: &str, scores| Evaluation { split: split.into(), scores, public: None, private: None };
        let (public, private) = (part("public", random_scores(7, rng)), part("private", random_scores(9, rng)));
        let whole = part("test", random_scores(16, rng));
        Evaluation { public: Some(Box::new(public)), private: Some(Box::new(private)), ..whole }
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
        CellResult::new(model, run, &evaluation(rng)).unwrap()
    }

    #[test]
    fn a_cell_has_the_scores_of_its_evaluation_after_a_way_through_json() {
        let mut rng = Rng::stream(1, "cells", &[]);
        for _ in 0..100 {
            let evaluation = evaluation(&mut rng);
            let text = serde_json::to_string(&evaluation).unwrap();
            let back: Evaluation = serde_json::from_str(&text).unwrap();
            let run = random_cell("m", 3, &mut rng).run;
            let cell = CellResult::new("m", run.clone(), &back).unwrap();
            let (scores, public) = (&evaluation.scores, &evaluation.public.as_ref().unwrap().scores);
            assert_eq!(cell.test.accuracy.to_bits(), scores.accuracy.to_bits());
            assert_eq!(cell.test.macro_f1.to_bits(), scores.macro_f1.to_bits());
            assert_eq!(cell.test.roc_auc, scores.roc_auc);
            assert_eq!(cell.test.images, 48);
            assert_eq!(cell.public.as_ref().unwrap().recall[2].recall, public.per_class[2].recall);
            assert_eq!(cell.private.as_ref().unwrap().images, 27);
            assert_eq!(cell.classes().collect::<Vec<_>>(), ["left", "right", "up, \"down\""]);
            let text = serde_json::to_string(&cell).unwrap();
            assert_eq!(serde_json::from_str::<CellResult>(&text).unwrap(), cell);
            assert!(text.contains("\"seed\":3"), "{text}");
            let part = CellResult::new("m", run, evaluation.public.as_ref().unwrap()).unwrap_err();
            assert!(part.exit_code() == 5 && part.to_string().contains("split `public`"), "{part}");
        }
    }
}
