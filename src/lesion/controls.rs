//! Random neurons to compare a lesion with: as many of each kind, drawn from those that the network has.
//!
//! Under the hypothesis that it does not matter which neurons of a kind fall silent, a lesion is one draw like its
//! controls, so the draws are from all neurons of the kind, those of the lesion among them; and with k of R controls at
//! least as harmful, p = (k + 1) / (R + 1) (Phipson & Smyth 2010, doi 10.2202/1544-6115.1585).

use super::row::{Kind, Lesion};
use super::subject::Role;
use crate::connectome::{Connectome, Polarity};
use crate::rng::Rng;
use crate::statistics::{mean, standard_deviation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// In what a random neuron is like the one that it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// Polarity: does it matter which neurons of the network are silent?
    Polarity,
    /// Polarity and lamina: does it matter which neurons of a lamina are?
    Lamina,
}

impl Match {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Polarity, Self::Lamina];
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Polarity => "polarity",
            Self::Lamina => "lamina",
        })
    }
}

/// Neurons that the network has, by kind.
pub(super) struct Pool<'a> {
    connectome: &'a Connectome,
    /// What a kind has in common.
    pub matched: Match,
    /// Neurons of each kind, ascending.
    kinds: BTreeMap<(Polarity, &'a str), Vec<usize>>,
}

impl<'a> Pool<'a> {
    pub fn new(connectome: &'a Connectome, roles: &[Role], matched: Match) -> Self {
        let mut pool = Self { connectome, matched, kinds: BTreeMap::new() };
        for i in (0..roles.len()).filter(|&i| roles[i] != Role::Absent) {
            pool.kinds.entry(pool.kind(i)).or_default().push(i);
        }
        pool
    }

    fn kind(&self, neuron: usize) -> (Polarity, &'a str) {
        let n = &self.connectome.neurons[neuron];
        (n.polarity, if self.matched == Match::Lamina { &n.lamina } else { "" })
    }

    /// How many of `silenced`, all of the pool, are of each kind.
    fn counts(&self, silenced: &[usize]) -> BTreeMap<(Polarity, &'a str), usize> {
        let mut counts = BTreeMap::new();
        silenced.iter().for_each(|&i| *counts.entry(self.kind(i)).or_default() += 1);
        counts
    }

    /// As many random neurons of each kind as `silenced`, all of the pool, has; ascending.
    pub fn draw(&self, silenced: &[usize], rng: &mut Rng) -> Vec<usize> {
        let of_kind = |(kind, n)| sample(&self.kinds[&kind], n, rng);
        let mut drawn: Vec<usize> = self.counts(silenced).into_iter().flat_map(of_kind).collect();
        drawn.sort_unstable();
        drawn
    }

    /// True if `silenced` are all that there are of their kinds: every draw would be the lesion itself.
    pub fn is_exhausted(&self, silenced: &[usize]) -> bool {
        self.counts(silenced).iter().all(|(kind, &n)| n == self.kinds[kind].len())
    }
}

/// `n` different ones of `all`, ascending.
///
/// # Panics
/// If there are fewer.
pub(super) fn sample(all: &[usize], n: usize, rng: &mut Rng) -> Vec<usize> {
    assert!(n <= all.len(), "{n} of {} cannot be drawn", all.len());
    let mut all = all.to_vec();
    for i in 0..n {
        let j = i + rng.below(all.len() - i);
        all.swap(i, j);
    }
    all.truncate(n);
    all.sort_unstable();
    all
}

/// A lesion beside the controls of the same selector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effect {
    /// What a reader calls it.
    pub name: String,
    /// The conditions that its neurons meet, the same text for the same lesion.
    pub selector: String,
    /// What was silenced; none where only random draws were asked for.
    pub lesion: Option<Lesion>,
    /// Its controls of each kind, or the random draws; none where it takes all neurons of the kind.
    pub controls: Vec<Controls>,
}

impl Effect {
    /// Change of accuracy by the lesion; the mean of the draws where there is none.
    pub(super) fn accuracy_change(&self) -> Option<f64> {
        let of_draws = || self.controls.first().map(|c| c.accuracy_change_mean);
        self.lesion.as_ref().map(|l| l.accuracy_change).or_else(of_draws)
    }
}

/// Changes of accuracy and recall over random draws, as fractions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Controls {
    /// In what the drawn neurons are like those of the lesion; none of random draws.
    pub matched: Option<Match>,
    /// Draws.
    pub repeats: usize,
    /// Mean change of accuracy.
    pub accuracy_change_mean: f64,
    /// Its standard deviation; none of a single draw.
    pub accuracy_change_sd: Option<f64>,
    /// Smallest and largest change of accuracy.
    pub accuracy_change_range: [f64; 2],
    /// Mean change of the recall of each class `(7)`.
    #[serde(serialize_with = "super::row::by_class")]
    pub recall_change_mean: Vec<f64>,
    /// p of the hypothesis that the lesion costs no more accuracy than random neurons, one-sided.
    pub p_more: Option<f64>,
    /// p of the hypothesis that it costs no less.
    pub p_less: Option<f64>,
}

impl Controls {
    /// `more` or `less`, what the lesion costs beside random neurons, and p of no difference: two-sided, for nobody chose the
    /// side before looking.
    pub fn told(&self) -> Option<(&'static str, f64)> {
        let (more, less) = (self.p_more?, self.p_less?);
        Some((if more <= less { "more" } else { "less" }, (2.0 * more.min(less)).min(1.0)))
    }
}

/// The lesions among rows of one network and one set of images, each with its controls, in the order of the rows.
pub fn effects(rows: &[Lesion]) -> Vec<Effect> {
    let mut selectors: Vec<&str> = Vec::new();
    let mut of: BTreeMap<&str, Vec<&Lesion>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.kind != Kind::Intact) {
        let group = of.entry(&row.selector).or_default();
        if group.is_empty() {
            selectors.push(&row.selector);
        }
        group.push(row);
    }
    let effect = |selector: &str| {
        let rows = &of[selector];
        let lesion = rows.iter().find(|r| r.kind == Kind::Lesion).map(|r| (*r).clone());
        let of = |matched: Option<Match>| {
            let draws = rows.iter().filter(|r| r.kind == Kind::Control && r.matched == matched);
            controls(matched, &draws.copied().collect::<Vec<_>>(), lesion.as_ref())
        };
        let kinds = [None, Some(Match::Polarity), Some(Match::Lamina)];
        let controls = kinds.into_iter().filter_map(of).collect();
        Effect { name: rows[0].name.clone(), selector: selector.to_owned(), controls, lesion }
    };
    selectors.into_iter().map(effect).collect()
}

fn controls(matched: Option<Match>, draws: &[&Lesion], lesion: Option<&Lesion>) -> Option<Controls> {
    let n = draws.len() as f64;
    let changes: Vec<f64> = draws.iter().map(|d| d.accuracy_change).collect();
    let p = |extreme: fn(f64, f64) -> bool| {
        lesion.map(|l| (draws.iter().filter(|d| extreme(d.accuracy, l.accuracy)).count() as f64 + 1.0) / (n + 1.0))
    };
    let classes = draws.first()?.recall_change.len();
    Some(Controls {
        matched,
        repeats: draws.len(),
        accuracy_change_mean: mean(&changes)?,
        accuracy_change_sd: standard_deviation(&changes),
        accuracy_change_range: [
            changes.iter().copied().fold(f64::INFINITY, f64::min),
            changes.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ],
        recall_change_mean: (0..classes).map(|k| draws.iter().map(|d| d.recall_change[k]).sum::<f64>() / n).collect(),
        p_more: p(|control, lesion| control <= lesion),
        p_less: p(|control, lesion| control >= lesion),
    })
}
