//! Main effects of the factors of a study: what a level does, averaged over where the other factors stand.

use super::{Cells, Differences, differences, verdict};
use crate::study::design::Design;
use crate::study::results::CellResult;
use serde::Serialize;

/// What one level of a factor does beside the first one.
#[derive(Clone, Debug, Serialize)]
pub struct MainEffect {
    /// Name of the factor.
    pub factor: String,
    /// Name of the level.
    pub level: String,
    /// Name of the first level, which it is compared with.
    pub against: String,
    /// Pairs of models that differ in nothing else, over which both sides are averaged, seed by seed.
    pub pairs_of_models: usize,
    /// Differences of these means, paired by seed; Holm's correction is over all main effects.
    pub differences: Differences,
    /// What the difference in accuracy on `test` is worth, in words.
    pub verdict: String,
}

/// Main effects of the levels for which `models` have two pairs or more that differ in nothing else: of one, it is the
/// difference of two models. Without verdicts.
pub(super) fn main_effects(design: &Design, models: &[(&str, Cells)]) -> Vec<MainEffect> {
    let cells = |name: &str| models.iter().find(|(model, _)| *model == name).map(|(_, cells)| cells);
    let mut effects = Vec::new();
    for (f, factor) in design.factors.iter().enumerate() {
        let Some((against, levels)) = factor.levels.split_first() else { continue };
        for (level, name) in levels.iter().enumerate() {
            let pairs = design.pairs(f, level + 1).filter_map(|[at, first]| Some([cells(at)?, cells(first)?]));
            let pairs: Vec<[&Cells; 2]> = pairs.collect();
            if pairs.len() < 2 {
                continue;
            }
            // The seeds that all of these models have.
            let of_seed = |seed: &u64| {
                let side = |k: usize| pairs.iter().map(|pair| pair[k].get(seed).copied()).collect::<Option<_>>();
                Some([side(0)?, side(1)?])
            };
            let seeds: Vec<[Vec<&CellResult>; 2]> = pairs[0][0].keys().filter_map(of_seed).collect();
            if let Some(differences) = differences(&seeds) {
                effects.push(MainEffect {
                    factor: factor.name.clone(),
                    level: name.clone(),
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
