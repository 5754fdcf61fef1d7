//! Factorial designs: models as combinations of levels of factors.

use serde::Deserialize;
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

/// Name and configuration keys of each combination in which at most `order` factors are away from their first level, those
/// with fewer first; none without factors. `order` 1 varies one at a time, 2 adds all pairs, `None` is the full factorial.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn combinations(factors: &[Factor], order: Option<usize>) -> Result<Vec<(String, Table)>, String> {
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
    combined.iter().map(|c| combination(factors, c)).collect()
}

fn combination(factors: &[Factor], levels: &[usize]) -> Result<(String, Table), String> {
    let mut set = Table::new();
    let mut names = Vec::new();
    for (factor, &level) in factors.iter().zip(levels) {
        merge(&mut set, &factor.levels[level].set)
            .map_err(|key| format!("factor \"{}\" sets {key}, which another factor sets too", factor.name))?;
        if level > 0 {
            names.push(factor.levels[level].name.as_str());
        }
    }
    let name = if names.is_empty() { "full".to_string() } else { names.join("+") };
    Ok((name, set))
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
