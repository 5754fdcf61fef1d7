//! Factorial designs: models as combinations of levels of factors.

use super::results::{MAX_NAME_BYTES, is_name};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// Most models that a design may make.
const MAX_MODELS: usize = 10_000;
/// Most factors.
const MAX_FACTORS: usize = 200;

/// One thing that a study varies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Factor {
    name: String,
    /// The first is where the factor stands in the reference.
    levels: Vec<Level>,
}

/// One state of a factor.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    name: String,
    #[serde(default)]
    set: Table,
}

/// What a study varies, and where each of its combinations stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design {
    /// The factors in their order.
    pub factors: Vec<Axis>,
    /// Level of each factor, from 0, by model.
    pub models: BTreeMap<String, Vec<usize>>,
}

/// A factor by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Names of its levels; the first is where it stands in the reference.
    pub levels: Vec<String>,
}

impl Design {
    pub(super) fn new(factors: &[Factor], combinations: &[Combination]) -> Self {
        let names = |f: &Factor| f.levels.iter().map(|l| l.name.clone()).collect();
        let axis = |f: &Factor| Axis { name: f.name.clone(), levels: names(f) };
        let models = combinations.iter().map(|c| (c.name.clone(), c.levels.clone()));
        Self { factors: factors.iter().map(axis).collect(), models: models.collect() }
    }

    /// Refuses names that are none, and models that stand nowhere or where another one does.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.factors.len() > MAX_FACTORS {
            return Err(format!("more than {MAX_FACTORS} factors"));
        }
        if self.models.len() > MAX_MODELS {
            return Err(format!("more than {MAX_MODELS} combinations"));
        }
        for (i, f) in self.factors.iter().enumerate() {
            if f.levels.len() < 2 {
                return Err(format!("factor \"{}\" has fewer than two levels", f.name));
            }
            if self.factors[..i].iter().any(|other| other.name == f.name) {
                return Err(format!("two factors are called \"{}\"", f.name));
            }
            let mut levels = BTreeSet::new();
            if let Some(level) = f.levels.iter().find(|level| !levels.insert(level.as_str())) {
                return Err(format!("factor \"{}\" has two levels called \"{level}\"", f.name));
            }
            if let Some(name) = f.levels.iter().chain([&f.name]).find(|name| !is_name(name, MAX_NAME_BYTES)) {
                return Err(format!(
                    "the name {name:?} of a factor or level is empty, too long or has control characters"
                ));
            }
        }
        let mut places = BTreeSet::new();
        let stands = |levels: &[usize]| {
            let there = levels.iter().zip(&self.factors).all(|(level, f)| *level < f.levels.len());
            there && levels.len() == self.factors.len()
        };
        match self.models.iter().find(|(_, levels)| !stands(levels) || !places.insert(levels.as_slice())) {
            Some((name, _)) => Err(format!("model {name:?} is no combination of its own")),
            None => Ok(()),
        }
    }

    /// Pairs of models that differ in factor `factor` alone, the second at its first level: for each other level with which
    /// all combinations of the other factors are there, its index and its pairs. None in a design of one factor.
    pub(super) fn pairs(&self, factor: usize) -> Vec<(usize, Vec<[&str; 2]>)> {
        let others = self.factors.iter().enumerate().filter(|(f, _)| *f != factor);
        let all = others.fold(1, |n: usize, (_, f)| n.saturating_mul(f.levels.len()));
        if all < 2 || all > self.models.len() {
            return Vec::new();
        }
        let (first, others): (Vec<_>, Vec<_>) = self.models.iter().partition(|(_, levels)| levels[factor] == 0);
        let first: BTreeMap<&[usize], &str> =
            first.into_iter().map(|(name, levels)| (levels.as_slice(), name.as_str())).collect();
        let mut pairs: BTreeMap<usize, Vec<[&str; 2]>> = BTreeMap::new();
        for (name, levels) in others {
            let mut at_first = levels.clone();
            at_first[factor] = 0;
            if let Some(first) = first.get(at_first.as_slice()) {
                pairs.entry(levels[factor]).or_default().push([name, first]);
            }
        }
        pairs.into_iter().filter(|(_, pairs)| pairs.len() == all).collect()
    }
}

/// Levels of all factors together.
pub(super) struct Combination {
    /// The names of the levels that are not the first, joined by `+`; `full` if all are.
    pub name: String,
    /// Level of each factor.
    pub levels: Vec<usize>,
    /// Configuration keys.
    pub set: Table,
}

/// Name and configuration keys of each combination in which at most `order` factors are away from their first level, those
/// with fewer first; none without factors. `order` 1 varies one at a time, 2 adds all pairs, `None` is the full factorial.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn combinations(factors: &[Factor], order: Option<usize>) -> Result<Vec<Combination>, String> {
    if factors.is_empty() {
        return match order {
            None => Ok(Vec::new()),
            Some(_) => Err("design.order is set but there is no [[factor]]".into()),
        };
    }
    Design::new(factors, &[]).check()?;
    // Level of each factor in each combination, factor by factor.
    let mut combined: Vec<Vec<usize>> = vec![Vec::new()];
    for f in factors {
        let mut longer = Vec::new();
        for c in &combined {
            let away = c.iter().filter(|&&level| level > 0).count();
            let levels = if order.is_some_and(|order| away >= order) { 1 } else { f.levels.len() };
            longer.extend((0..levels).map(|level| c.iter().copied().chain([level]).collect::<Vec<_>>()));
            if longer.len() > MAX_MODELS {
                return Err(format!("more than {MAX_MODELS} combinations"));
            }
        }
        combined = longer;
    }
    combined.sort_by_key(|c| c.iter().filter(|&&level| level > 0).count());
    combined.into_iter().map(|levels| combination(factors, levels)).collect()
}

fn combination(factors: &[Factor], levels: Vec<usize>) -> Result<Combination, String> {
    let mut set = Table::new();
    let mut names = Vec::new();
    for (factor, &level) in factors.iter().zip(&levels) {
        merge(&mut set, &factor.levels[level].set)
            .map_err(|key| format!("factor \"{}\" sets {key}, which another factor sets too", factor.name))?;
        if level > 0 {
            names.push(factor.levels[level].name.as_str());
        }
    }
    let name = if names.is_empty() { "full".to_string() } else { names.join("+") };
    Ok(Combination { name, levels, set })
}

/// Lays `from` over `into`, section by section; the key that both have is an error.
fn merge(into: &mut Table, from: &Table) -> Result<(), String> {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => {
                merge(inner, value).map_err(|k| format!("{key}.{k}"))?
            }
            (Some(_), _) => return Err(format!("`{key}`")),
            (None, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(())
}
