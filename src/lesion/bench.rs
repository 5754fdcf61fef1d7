//! Scoring with silent neurons: the rows of each job.

use super::controls::{Match, Pool, sample};
use super::request::Job;
use super::row::{Kind, Lesion};
use super::selection::Target;
use super::subject::{Answer, Role, Subject};
use crate::error::Result;
use crate::rng::Rng;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// What is the same in all rows of one call.
pub(super) struct Bench<'a> {
    subject: &'a Subject,
    split: String,
    data: String,
    /// Fingerprint of the data set.
    dataset: String,
    /// Of the draws.
    seed: u64,
    /// The intact network's answer.
    intact: Answer,
    /// Rows of earlier calls with this network and these images, by the identifiers of the silent neurons.
    known: BTreeMap<String, Lesion>,
}

impl<'a> Bench<'a> {
    /// Scores the intact network; `data` is the place of the images, `dataset` the fingerprint of what is there.
    pub fn new(subject: &'a Subject, split: &str, [data, dataset]: [String; 2], seed: u64) -> Self {
        let (split, intact) = (split.to_owned(), subject.answer(&[]));
        Self { subject, split, data, dataset, seed, intact, known: BTreeMap::new() }
    }

    /// The row of the intact network.
    pub fn intact(&self) -> Lesion {
        self.row("intact", "intact", Kind::Intact, 0, &[], &self.intact)
    }

    /// Takes up the scores in `earlier` rows of this network and these images.
    pub fn take_up(&mut self, earlier: Vec<Lesion>) {
        let intact = self.intact();
        let rows = earlier.into_iter().filter(|row| row.is_of(&intact) && row.dataset == intact.dataset);
        let (before, rows): (Vec<_>, Vec<_>) = rows.partition(|row| row.kind == Kind::Intact);
        // `;` in an identifier would make two sets of neurons one.
        let told = self.subject.connectome.neurons.iter().all(|n| !n.id.contains(';'));
        if told && !before.is_empty() && !before.iter().chain(&rows).any(|row| row.contradicts(&intact)) {
            let silent = rows.into_iter().filter(|row| !row.ids.is_empty());
            self.known = silent.map(|row| (row.ids.clone(), row)).collect();
        }
    }

    /// Whether the scores of `row` were taken up.
    pub fn was_known(&self, row: &Lesion) -> bool {
        self.known.contains_key(&row.ids)
    }

    /// Silences `selected` and scores, or takes the scores that are known: the row of the answer.
    pub fn lesion(&self, name: &str, selector: &str, kind: Kind, repeat: usize, selected: &[usize]) -> Lesion {
        let acting = self.acting(selected);
        let row = |answer: &Answer| self.row(name, selector, kind, repeat, selected, answer);
        match self.known.get(&self.ids(&acting)) {
            None if acting.is_empty() => row(&self.intact),
            None => row(&self.subject.answer(&acting)),
            Some(known) => Lesion {
                name: name.to_owned(),
                selector: selector.to_owned(),
                kind,
                repeat,
                selected: selected.len(),
                without_effect: selected.len() - acting.len(),
                matched: None,
                seed: self.seed,
                ..known.clone()
            },
        }
    }

    /// Identifiers of `neurons`, as in a row.
    fn ids(&self, neurons: &[usize]) -> String {
        let ids: Vec<&str> = neurons.iter().map(|&i| self.subject.connectome.neurons[i].id.as_str()).collect();
        ids.join(";")
    }

    /// Those of `selected` that the network has.
    pub fn acting(&self, selected: &[usize]) -> Vec<usize> {
        selected.iter().copied().filter(|&i| self.subject.roles[i] != Role::Absent).collect()
    }

    fn row(
        &self,
        name: &str,
        selector: &str,
        kind: Kind,
        repeat: usize,
        selected: &[usize],
        answer: &Answer,
    ) -> Lesion {
        let Self { subject, intact, .. } = self;
        let acting = self.acting(selected);
        let neurons = &subject.connectome.neurons;
        let inhibitory = acting.iter().filter(|&&i| neurons[i].polarity.sign() < 0.0).count();
        let (now, before) = (&answer.scores, &intact.scores);
        let hits = answer.hits(&subject.labels).into_iter().zip(intact.hits(&subject.labels)).collect::<Vec<_>>();
        let recall: Vec<f64> = now.per_class.iter().map(|c| c.recall).collect();
        Lesion {
            name: name.to_owned(),
            selector: selector.to_owned(),
            kind,
            repeat,
            split: self.split.clone(),
            data: self.data.clone(),
            images: subject.labels.len(),
            dataset: self.dataset.clone(),
            selected: selected.len(),
            excitatory: acting.len() - inhibitory,
            inhibitory,
            without_effect: selected.len() - acting.len(),
            accuracy: now.accuracy,
            accuracy_change: now.accuracy - before.accuracy,
            macro_f1: now.macro_f1,
            macro_f1_change: now.macro_f1 - before.macro_f1,
            roc_auc: now.roc_auc,
            roc_auc_change: now.roc_auc.zip(before.roc_auc).map(|(now, before)| now - before),
            lost: hits.iter().filter(|(now, before)| !now & before).count(),
            gained: hits.iter().filter(|(now, before)| now & !before).count(),
            recall_change: recall.iter().zip(&before.per_class).map(|(r, c)| r - c.recall).collect(),
            recall,
            matched: None,
            seed: self.seed,
            weights: subject.weights_fingerprint.clone(),
            ids: self.ids(&acting),
        }
    }
}

/// Hands the rows of one job to `keep`, each as it is scored, with controls from each of `pools`. A lesion that takes all
/// neurons of its kind has no controls of that kind.
///
/// # Errors
/// Those of `keep`.
pub(super) fn silence(
    bench: &Bench,
    pools: &[Pool],
    job: &Job,
    keep: &mut dyn FnMut(Lesion) -> Result<()>,
) -> Result<()> {
    let Job { target: Target { name, selector, neurons }, random, repeats } = job;
    let stream = |kind: u64, repeat: usize| {
        Rng::stream(bench.seed, "lesion", &[xxh3_64(selector.as_bytes()), kind, repeat as u64])
    };
    let control = |matched: Option<Match>, repeat: usize, drawn: &[usize]| Lesion {
        matched,
        ..bench.lesion(name, selector, Kind::Control, repeat, drawn)
    };
    let acting = bench.acting(neurons);
    if let Some(n) = random {
        let draw = |repeat| sample(&acting, *n, &mut stream(0, repeat));
        return (1..=*repeats).try_for_each(|repeat| keep(control(None, repeat, &draw(repeat))));
    }
    keep(bench.lesion(name, selector, Kind::Lesion, 0, neurons))?;
    for pool in comparable(pools, &acting) {
        let draw = |repeat| pool.draw(&acting, &mut stream(1 + pool.matched as u64, repeat));
        (1..=*repeats).try_for_each(|repeat| keep(control(Some(pool.matched), repeat, &draw(repeat))))?;
    }
    Ok(())
}

/// Scorings of [`silence`].
pub(super) fn scorings(bench: &Bench, pools: &[Pool], job: &Job) -> usize {
    match job.random {
        Some(_) => job.repeats,
        None => 1 + job.repeats * comparable(pools, &bench.acting(&job.target.neurons)).count(),
    }
}

/// The pools that have more neurons of the kinds of `acting` than these.
fn comparable<'a>(pools: &'a [Pool<'a>], acting: &'a [usize]) -> impl Iterator<Item = &'a Pool<'a>> {
    pools.iter().filter(|pool| !acting.is_empty() && !pool.is_exhausted(acting))
}
