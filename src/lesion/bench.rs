//! Scoring with silent neurons: the rows of each job.

use super::controls::{Match, Pool, sample};
use super::request::Job;
use super::row::{Kind, Lesion};
use super::selection::Target;
use super::subject::{Answer, Role, Subject};
use crate::rng::Rng;
use xxhash_rust::xxh3::xxh3_64;

/// What is the same in all rows of one call.
pub(super) struct Bench<'a> {
    pub subject: &'a Subject,
    pub split: String,
    pub data: String,
    pub seed: u64,
    /// The intact network's answer.
    pub intact: Answer,
}

impl Bench<'_> {
    /// The row of the intact network.
    pub fn intact(&self) -> Lesion {
        self.row("intact", "intact", Kind::Intact, 0, &[], &self.intact)
    }

    /// Silences `selected` and scores: the row of the answer.
    pub fn lesion(&self, name: &str, selector: &str, kind: Kind, repeat: usize, selected: &[usize]) -> Lesion {
        let acting = self.acting(selected);
        let answer = if acting.is_empty() { self.intact.clone() } else { self.subject.answer(&acting) };
        self.row(name, selector, kind, repeat, selected, &answer)
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
        let ids: Vec<&str> = acting.iter().map(|&i| neurons[i].id.as_str()).collect();
        Lesion {
            name: name.to_owned(),
            selector: selector.to_owned(),
            kind,
            repeat,
            split: self.split.clone(),
            data: self.data.clone(),
            images: subject.labels.len(),
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
            ids: ids.join(";"),
        }
    }
}

/// Rows of one job, with controls from each of `pools`; `tick` after each scoring. A lesion that takes all neurons of its
/// kind has no controls of that kind.
pub(super) fn silence(bench: &Bench, pools: &[Pool], job: &Job, tick: &mut dyn FnMut()) -> Vec<Lesion> {
    let Job { target: Target { name, selector, neurons }, random, repeats } = job;
    let stream = |kind: u64, repeat: usize| {
        Rng::stream(bench.seed, "lesion", &[xxh3_64(selector.as_bytes()), kind, repeat as u64])
    };
    let acting = bench.acting(neurons);
    let mut rows = Vec::new();
    let mut control = |matched: Option<Match>, repeat: usize, drawn: &[usize]| {
        let row = bench.lesion(name, selector, Kind::Control, repeat, drawn);
        rows.push(Lesion { matched, ..row });
        tick();
    };
    if let Some(n) = random {
        (1..=*repeats).for_each(|repeat| control(None, repeat, &sample(&acting, *n, &mut stream(0, repeat))));
        return rows;
    }
    for pool in comparable(pools, &acting) {
        for repeat in 1..=*repeats {
            let kind = 1 + pool.matched as u64;
            control(Some(pool.matched), repeat, &pool.draw(&acting, &mut stream(kind, repeat)));
        }
    }
    rows.insert(0, bench.lesion(name, selector, Kind::Lesion, 0, neurons));
    tick();
    rows
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
