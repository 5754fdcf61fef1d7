//! `lesions.csv`: one row per lesion and draw of controls.
//!
//! Columns: `name`, `selector` (the conditions), `kind` (`intact`, `lesion`, `control`: random neurons), `repeat` (draw,
//! from 1; 0 else), `split`, `data`, `images`, `dataset` (its fingerprint); the neurons: `selected`, of them silenced
//! `excitatory` and `inhibitory`, and `without_effect`; `accuracy`, `macro_f1`, `roc_auc` (empty where undefined), each
//! followed by its `_change` against the intact network; `lost` and `gained` (images that only the intact, only the
//! lesioned network gets right); `recall_<class>` and `recall_change_<class>`; `matched` (`polarity` or `lamina`: in what
//! the neurons of a control are like those of the lesion) and `seed` of the draws; `weights` (fingerprint of the network's
//! weights); `ids` of the silenced neurons, separated by `;`. Scores are fractions.

use super::FORM;
use super::controls::Match;
use crate::data::EXPRESSIONS;
use crate::error::Result;
use crate::table::{self, Rows, optional};
use serde::{Serialize, Serializer};
use std::path::Path;

/// What a row tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The network as it was trained.
    Intact,
    /// Neurons that were named.
    Lesion,
    /// Random neurons.
    Control,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Intact, Self::Lesion, Self::Control];

    fn name(self) -> &'static str {
        ["intact", "lesion", "control"][self as usize]
    }
}

/// Scores of the network while some of its neurons are silent; a row of `lesions.csv`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lesion {
    /// What a reader calls it.
    pub name: String,
    /// The conditions that its neurons meet, the same text for the same lesion.
    pub selector: String,
    /// What the row tells of.
    pub kind: Kind,
    /// Which draw of random neurons, from 1; 0 where nothing was drawn.
    pub repeat: usize,
    /// `public`, `private` or `test`.
    #[serde(skip)]
    pub split: String,
    /// Where the images are from.
    #[serde(skip)]
    pub data: String,
    /// Images scored.
    #[serde(skip)]
    pub images: usize,
    /// Fingerprint of the data set that they are of, 16 hexadecimal digits.
    #[serde(skip)]
    pub dataset: String,
    /// Neurons that were to be silenced.
    pub selected: usize,
    /// Excitatory ones that were.
    pub excitatory: usize,
    /// Inhibitory ones that were.
    pub inhibitory: usize,
    /// Neurons that the network does not have.
    pub without_effect: usize,
    /// Part of the images that are classified rightly.
    pub accuracy: f64,
    /// The same less that of the intact network.
    pub accuracy_change: f64,
    /// Mean F1 over the classes.
    pub macro_f1: f64,
    /// The same less that of the intact network.
    pub macro_f1_change: f64,
    /// Mean area under the ROC curve of each class; none if a class has no image.
    pub roc_auc: Option<f64>,
    /// The same less that of the intact network.
    pub roc_auc_change: Option<f64>,
    /// Images that only the intact network gets right.
    pub lost: usize,
    /// Images that only the lesioned network gets right.
    pub gained: usize,
    /// Recall of each class `(7)`.
    #[serde(serialize_with = "by_class")]
    pub recall: Vec<f64>,
    /// The same less that of the intact network.
    #[serde(serialize_with = "by_class")]
    pub recall_change: Vec<f64>,
    /// In what the neurons of a control are like those of the lesion.
    #[serde(skip)]
    pub matched: Option<Match>,
    /// Seed of the draws.
    #[serde(skip)]
    pub seed: u64,
    /// Fingerprint of the network's weights.
    #[serde(skip)]
    pub weights: String,
    /// Identifiers of the silenced neurons, separated by `;`.
    #[serde(skip)]
    pub ids: String,
}

impl Lesion {
    /// Whether this row is of the same split of the same place as `other`.
    pub fn is_of(&self, other: &Self) -> bool {
        (&self.split, &self.data) == (&other.split, &other.data)
    }

    /// Whether this row tells of other weights or images than `intact`, or another arithmetic made it: its intact network
    /// scored otherwise. Former versions did not say which images.
    pub(super) fn contradicts(&self, intact: &Self) -> bool {
        let of_others = !self.dataset.is_empty() && self.dataset != intact.dataset;
        let as_now = || Self { seed: intact.seed, dataset: intact.dataset.clone(), ..self.clone() } == *intact;
        let otherwise = || self.kind == Kind::Intact && !as_now();
        self.weights != intact.weights || (self.is_of(intact) && (of_others || otherwise()))
    }

    /// Identifiers of the silenced neurons, where none of them holds a `;`.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.ids.split(';').filter(|id| !id.is_empty())
    }
}

/// Values of the classes by their names.
pub(super) fn by_class<S: Serializer>(values: &[f64], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(EXPRESSIONS.into_iter().zip(values))
}

const FIRST: [&str; 20] = [
    "name",
    "selector",
    "kind",
    "repeat",
    "split",
    "data",
    "images",
    "dataset",
    "selected",
    "excitatory",
    "inhibitory",
    "without_effect",
    "accuracy",
    "accuracy_change",
    "macro_f1",
    "macro_f1_change",
    "roc_auc",
    "roc_auc_change",
    "lost",
    "gained",
];
const LAST: [&str; 4] = ["matched", "seed", "weights", "ids"];

fn recall_columns(prefix: &'static str) -> impl Iterator<Item = String> {
    EXPRESSIONS.iter().map(move |class| format!("{prefix}_{class}"))
}

fn columns() -> Vec<String> {
    let recall = recall_columns("recall").chain(recall_columns("recall_change"));
    FIRST.map(str::to_owned).into_iter().chain(recall).chain(LAST.map(str::to_owned)).collect()
}

/// Replaces the table by `rows`.
pub(super) fn write(path: &Path, rows: &[Lesion]) -> Result<()> {
    let row = |l: &Lesion| {
        let mut cells = vec![l.name.clone(), l.selector.clone(), l.kind.name().to_owned(), l.repeat.to_string()];
        cells.extend([l.split.clone(), l.data.clone()]);
        cells.extend([l.images.to_string(), l.dataset.clone()]);
        cells.extend([l.selected, l.excitatory, l.inhibitory, l.without_effect].map(|n| n.to_string()));
        let scores = [l.accuracy, l.accuracy_change, l.macro_f1, l.macro_f1_change].map(|v| v.to_string());
        cells.extend(scores);
        cells.extend([optional(l.roc_auc), optional(l.roc_auc_change), l.lost.to_string(), l.gained.to_string()]);
        cells.extend(l.recall.iter().chain(&l.recall_change).map(f64::to_string));
        cells.extend([optional(l.matched), l.seed.to_string(), l.weights.clone(), l.ids.clone()]);
        cells
    };
    table::write(path, columns(), rows.iter().map(row))
}

/// The rows of a run's `lesions.csv`; [`effects`](super::effects) puts lesions and controls together.
///
/// # Errors
/// `Input` naming the file and the line for anything that `bionic-cpu lesion` would not write; `Io` if reading fails.
pub fn read_lesions(path: &Path) -> Result<Vec<Lesion>> {
    FORM.read(path, |rows| {
        // Former versions did not write it.
        rows.require(columns().into_iter().filter(|column| column != "dataset"))?;
        rows.collect(of_row)
    })
}

fn of_row(row: &Rows) -> Result<Lesion> {
    let text = |column: &str| row.text(column).to_owned();
    let recall = |prefix| recall_columns(prefix).map(|c| row.part(&c)).collect::<Result<Vec<f64>>>();
    Ok(Lesion {
        name: text("name"),
        selector: text("selector"),
        kind: row.one_of("kind", &Kind::ALL, |kind| kind.name().to_owned())?,
        repeat: row.count("repeat")?,
        split: text("split"),
        data: text("data"),
        images: row.count("images")?,
        dataset: text("dataset"),
        selected: row.count("selected")?,
        excitatory: row.count("excitatory")?,
        inhibitory: row.count("inhibitory")?,
        without_effect: row.count("without_effect")?,
        accuracy: row.part("accuracy")?,
        accuracy_change: row.part("accuracy_change")?,
        macro_f1: row.part("macro_f1")?,
        macro_f1_change: row.part("macro_f1_change")?,
        roc_auc: row.optional("roc_auc", Rows::part)?,
        roc_auc_change: row.optional("roc_auc_change", Rows::part)?,
        lost: row.count("lost")?,
        gained: row.count("gained")?,
        recall: recall("recall")?,
        recall_change: recall("recall_change")?,
        matched: row.optional("matched", |row, column| row.one_of(column, &Match::ALL, Match::to_string))?,
        seed: row.integer("seed", u64::MAX)?,
        weights: text("weights"),
        ids: text("ids"),
    })
}
