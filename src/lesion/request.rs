//! What is asked for, and the jobs that answer it.

use super::REPEATS;
use super::controls::Match;
use super::selection::{Each, Selection, Target};
use super::subject::{Role, Subject};
use crate::error::{Error, Result};
use crate::eval::EvalSplit;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is to be silenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// All neurons of the selection at once; a name for it, if it is to have another one.
    Together(Option<String>),
    /// The parts of the selection, one after another.
    Each(Vec<Each>),
    /// So many random neurons of the selection, several times.
    Random(Vec<usize>),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which neurons.
    pub selection: Selection,
    /// What of them is silenced.
    pub what: What,
    /// Images; none = what the run was trained on.
    pub data: Option<String>,
    /// Which of them.
    pub split: EvalSplit,
    /// Draws of random neurons; none = [`REPEATS`], but no control for single neurons.
    pub repeats: Option<usize>,
    /// In what controls are like the neurons that they stand for: one set of draws for each.
    pub matched: Vec<Match>,
    /// Seed of the draws.
    pub seed: u64,
    /// Worker threads; 0 = one per core. The result does not depend on it.
    pub threads: usize,
    /// Time between two saves of the table of lesions.
    pub save_every: Duration,
}

/// A target and how it is scored.
pub(super) struct Job {
    pub target: Target,
    /// Neurons that the draws take the place of; none where the target is to be silenced itself.
    pub random: Option<usize>,
    pub repeats: usize,
}

/// The jobs that a request asks for.
pub(super) fn jobs(subject: &Subject, request: &Request) -> Result<Vec<Job>> {
    let connectome = &subject.connectome;
    let repeats = request.repeats.unwrap_or(REPEATS);
    let named = |target| Job { target, random: None, repeats };
    match &request.what {
        What::Together(name) => {
            let mut target = request.selection.target(connectome)?;
            if let Some(name) = name {
                target.name.clone_from(name);
            }
            Ok(vec![named(target)])
        }
        What::Each(each) => {
            let mut jobs = Vec::new();
            for &each in each {
                let mut parts = request.selection.parts(connectome, each)?;
                let alone = each == Each::Neuron;
                if alone {
                    parts.retain(|t| t.neurons.iter().all(|&i| subject.roles[i] != Role::Absent));
                }
                let repeats = if alone { request.repeats.unwrap_or(0) } else { repeats };
                jobs.extend(parts.into_iter().map(|target| Job { repeats, ..named(target) }));
            }
            // Narrow selections have the same parts by type and by lamina.
            let mut seen = BTreeSet::new();
            jobs.retain(|job| seen.insert(job.target.selector.clone()));
            Ok(jobs)
        }
        What::Random(counts) => {
            let all = request.selection.target(connectome)?;
            let there = all.neurons.iter().filter(|&&i| subject.roles[i] != Role::Absent).copied();
            let neurons: Vec<usize> = there.collect();
            let job = |&n: &usize| {
                if n == 0 || n > neurons.len() {
                    let what = format!("{n} random neurons of {}: the network has {}", all.selector, neurons.len());
                    return Err(Error::usage(what, format!("draw 1 to {}", neurons.len())));
                }
                let of = if request.selection.is_everything() { String::new() } else { format!(" of {}", all.name) };
                let name = format!("{n} random{of}");
                let target =
                    Target { name, selector: format!("random={n}; {}", all.selector), neurons: neurons.clone() };
                Ok(Job { random: Some(n), repeats: repeats.max(1), target })
            };
            counts.iter().collect::<BTreeSet<_>>().into_iter().map(job).collect()
        }
    }
}
