//! Factorial designs: models as combinations of levels of factors.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Most models that a design may make.
const MAX_MODELS: usize = 10_000;

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

    /// Pairs of models that differ in factor `factor` alone, the one at `level` and the other at the first one.
    pub(super) fn pairs(&self, factor: usize, level: usize) -> impl Iterator<Item = [&str; 2]> {
        let by_levels: BTreeMap<&[usize], &str> =
            self.models.iter().map(|(name, levels)| (levels.as_slice(), name.as_str())).collect();
        self.models.iter().filter(move |(_, levels)| levels.get(factor) == Some(&level)).filter_map(
            move |(name, levels)| {
                let mut other = levels.clone();
                other[factor] = 0;
                Some([name.as_str(), by_levels.get(other.as_slice())?])
            },
        )
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
    for f in factors {
        if f.levels.len() < 2 {
            return Err(format!("factor \"{}\" has fewer than two levels", f.name));
        }
        for (i, level) in f.levels.iter().enumerate() {
            if f.levels[..i].iter().any(|other| other.name == level.name) {
                return Err(format!("factor \"{}\" has two levels called \"{}\"", f.name, level.name));
            }
        }
    }
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
