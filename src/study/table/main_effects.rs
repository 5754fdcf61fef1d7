//! Main effects of the factors of a full design: what a level does, averaged over all states of the other factors.

use super::{Cells, Differences, differences, verdict};
use crate::study::design::Design;
use crate::study::results::CellResult;
use serde::Serialize;
use std::collections::BTreeMap;

/// What one level of a factor does beside the first one.
#[derive(Clone, Debug, Serialize)]
pub struct MainEffect {
    /// Name of the factor.
    pub factor: String,
    /// Name of the level.
    pub level: String,
    /// Name of the first level, which it is compared with.
    pub against: String,
    /// Pairs of models that differ in nothing else, as many as the other factors have combinations; both sides are averaged
    /// over them, seed by seed.
    pub pairs_of_models: usize,
    /// Differences of these means, paired by seed; Holm's correction is over all main effects.
    pub differences: Differences,
    /// What the difference in accuracy on `test` is worth, in words.
    pub verdict: String,
}

/// Main effects of the levels with which `models` has all combinations of the other factors: without one, the mean would be
/// over other states of these for each factor. A seed counts that all of these models have. Without verdicts.
pub(super) fn main_effects(design: &Design, models: &[(&str, Cells)]) -> Vec<MainEffect> {
    let by_name: BTreeMap<&str, &Cells> = models.iter().map(|(name, cells)| (*name, cells)).collect();
    let mut effects = Vec::new();
    for (f, factor) in design.factors.iter().enumerate() {
        let Some(against) = factor.levels.first() else { continue };
        for (level, pairs) in design.pairs(f) {
            let cells = pairs.into_iter().map(|[at, first]| Some([*by_name.get(at)?, *by_name.get(first)?]));
            let Some(pairs) = cells.collect::<Option<Vec<[&Cells; 2]>>>() else { continue };
            let of_seed = |seed: &u64| {
                let side = |k: usize| pairs.iter().map(|pair| pair[k].get(seed).copied()).collect::<Option<_>>();
                Some([side(0)?, side(1)?])
            };
            let seeds: Vec<[Vec<&CellResult>; 2]> = pairs[0][0].keys().filter_map(of_seed).collect();
            if let Some(differences) = differences(&seeds) {
                effects.push(MainEffect {
                    factor: factor.name.clone(),
                    level: factor.levels[level].clone(),
                    against: against.clone(),
                    pairs_of_models: pairs.len(),
                    differences,
                    verdict: String::new(),
                });
            }
        }
    }
    effects
}

impl MainEffect {
    /// Puts the verdict into words, once the corrections are there.
    pub(super) fn judge(&mut self) {
        let difference = Some(&self.differences.test_accuracy);
        self.verdict = verdict::verdict(difference, &self.against, verdict::Unit::Points);
    }

    /// `noise: silent`.
    pub fn name(&self) -> String {
        format!("{}: {}", self.factor, self.level)
    }
}
