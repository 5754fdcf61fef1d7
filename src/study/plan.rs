//! The plan of a study: which models, compared with which, over which seeds.
//!
//! [`PLAN_FORM`] shows all that a plan may hold. A model made of factors has the names of its levels joined by `+`, the
//! first levels left out; where all are at the first it is called `full`.

use super::design::{Design, Factor, combinations};
use super::folder::About;
use super::results::MAX_CELLS;
use crate::config::{Config, Overrides, effective, nearest, toml_fault};
use crate::error::{Error, Result};
use crate::input;
use crate::model::presets::preset;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use toml::{Table, Value};

/// Largest plan, bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// An example with all that a plan may hold.
pub const PLAN_FORM: &str = include_str!("plans/form.toml");

/// A plan that the program brings along.
pub struct BuiltIn {
    /// Name, in the place of a file.
    pub name: &'static str,
    /// What it compares, one line.
    pub doc: &'static str,
    /// The plan.
    text: &'static str,
}

/// Every plan that the program brings along.
pub const PLANS: &[BuiltIn] = &[
    BuiltIn {
        name: "paper",
        doc: "the 14 models of BioNIC's ablation table: full, conventional CNN, 12 features removed in turn; 5 seeds",
        text: include_str!("plans/paper.toml"),
    },
    BuiltIn {
        name: "wiring",
        doc: "the connectome against its five null wirings and all-to-all projections; 5 seeds",
        text: include_str!("plans/wiring.toml"),
    },
];

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One line for tables and reports.
    pub title: String,
    /// Name of the model that the others are compared with.
    pub reference: String,
    /// Seeds of each model, in order.
    pub seeds: Vec<u64>,
    /// Models, in order.
    pub models: Vec<Model>,
    /// The factors that some of them combine.
    design: Design,
    /// No run starts later than so many hours after the study did.
    pub hours: Option<f64>,
    /// Runs side by side; 0 = one per core.
    pub at_once: usize,
    /// Configuration keys over the preset of each model.
    base: Table,
}

/// One model of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Name, part of a folder's name.
    pub name: String,
    /// Preset that it starts from.
    pub preset: String,
    /// Accuracy that somebody else has published, a fraction.
    pub published: Option<f64>,
    /// Configuration keys of this model, over everything else.
    set: Table,
}

/// One run of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Name of its model.
    pub model: String,
    /// Its seed.
    pub seed: u64,
    /// Its whole configuration.
    pub config: Config,
}

impl Cell {
    /// Name of its run folder: `<model>-s<seed>`.
    pub fn folder(&self) -> String {
        format!("{}-s{}", self.model, self.seed)
    }
}

/// What a plan file may hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: Option<String>,
    preset: Option<String>,
    reference: Option<String>,
    seeds: Option<Value>,
    #[serde(default)]
    base: Table,
    #[serde(default)]
    budget: Budget,
    #[serde(default)]
    model: Vec<FileModel>,
    #[serde(default)]
    factor: Vec<Factor>,
    #[serde(default)]
    design: FileDesign,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    hours: Option<f64>,
    #[serde(default)]
    at_once: usize,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDesign {
    order: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileModel {
    name: String,
    preset: Option<String>,
    published_percent: Option<f64>,
    #[serde(default)]
    set: Table,
}

impl Plan {
    /// The built-in plan called `source`, or the plan in the file of that name.
    ///
    /// # Errors
    /// `Input` or `Io` for a file that cannot be read, `Usage` for one that is no plan.
    pub fn load(source: &str) -> Result<Self> {
        if let Some(plan) = PLANS.iter().find(|p| p.name == source) {
            return Self::parse(source, plan.text);
        }
        let path = Path::new(source);
        let no_plan = |what: &str| {
            let names: Vec<&str> = PLANS.iter().map(|p| p.name).collect();
            let hint = if path.extension().is_none() { nearest(source, names.iter().copied()) } else { String::new() };
            Error::usage(
                format!("{source}: {what}"),
                format!("{hint}name a file (`study --help` shows its form) or one of: {}", names.join(", ")),
            )
        };
        if !path.exists() {
            return Err(no_plan("no such file and no plan of this name"));
        }
        if input::look(path)? > MAX_FILE_BYTES {
            return Err(no_plan("no plan: longer than 64 KiB"));
        }
        let text =
            String::from_utf8(input::read(path, MAX_FILE_BYTES)?).map_err(|_| no_plan("no plan: not UTF-8 text"))?;
        Self::parse(source, &text)
    }

    /// The plan in `text`; `name` is its place in messages.
    ///
    /// # Errors
    /// `Usage` naming what is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let wrong = |what: String, remedy: &str| Error::usage(format!("{name}: {what}"), remedy);
        let file: File =
            toml::from_str(text).map_err(|e| wrong(toml_fault(text, &e), "`study --help` shows the form of a plan"))?;
        let base_preset = file.preset.unwrap_or_else(|| "bionic".into());
        let combinations = combinations(&file.factor, file.design.order)
            .map_err(|what| wrong(what, "give each factor two or more levels, each with a name of its own"))?;
        let design = Design::new(&file.factor, &combinations);
        let mut models: Vec<Model> = combinations
            .into_iter()
            .map(|c| Model { name: c.name, preset: base_preset.clone(), published: None, set: c.set })
            .collect();
        models.extend(file.model.into_iter().map(|m| Model {
            name: m.name,
            preset: m.preset.unwrap_or_else(|| base_preset.clone()),
            published: m.published_percent.map(|p| p / 100.0),
            set: m.set,
        }));
        let Some(first) = models.first() else {
            return Err(wrong("has no model".into(), "write [[model]] or [[factor]] tables"));
        };
        if let Some(m) = models.iter().find(|m| m.published.is_some_and(|p| !(0.0..=1.0).contains(&p))) {
            return Err(wrong(format!("published_percent of model {} is no percentage", m.name), "use 0 to 100"));
        }
        let reference = file.reference.unwrap_or_else(|| first.name.clone());
        for (i, m) in models.iter().enumerate() {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.+=".contains(c);
            if m.name.is_empty() || m.name.len() > 100 || m.name.starts_with('.') || !m.name.chars().all(fits) {
                let what = format!("model name \"{}\" does not fit a folder's name", m.name);
                return Err(wrong(what, "use letters, digits, - _ . + = and at most 100 of them"));
            }
            if models[..i].iter().any(|other| other.name == m.name) {
                return Err(wrong(format!("two models are called \"{}\"", m.name), "give each a name of its own"));
            }
            if m.set.contains_key("seed") || m.set.contains_key("threads") {
                return Err(wrong(format!("model \"{}\" sets seed or threads", m.name), "the study sets both"));
            }
        }
        if !models.iter().any(|m| m.name == reference) {
            let hint = nearest(&reference, models.iter().map(|m| m.name.as_str()));
            return Err(wrong(
                format!("no model is called \"{reference}\""),
                &format!("{hint}name a model of the plan"),
            ));
        }
        let seeds = seeds(file.seeds.as_ref()).ok_or_else(|| {
            wrong("`seeds` is neither a number from 1 up nor a list of different seeds".into(), "write seeds = 5")
        })?;
        if file.budget.hours.is_some_and(|h| h.is_nan() || h <= 0.0) {
            return Err(wrong("budget.hours is not above 0".into(), "leave it out for no limit"));
        }
        let title = file.title.unwrap_or_else(|| name.to_string());
        let plan = Self {
            title,
            reference,
            seeds,
            models,
            design,
            hours: file.budget.hours,
            at_once: file.budget.at_once,
            base: file.base,
        };
        plan.check_size(name)?;
        Ok(plan)
    }

    /// Takes the seeds 1 to `n`. Of too many, one more than a study may have, which [`Plan::cells`] refuses.
    pub fn take_seeds(&mut self, n: u64) {
        self.seeds = first_seeds(n);
    }

    fn check_size(&self, name: &str) -> Result<()> {
        if self.models.len().saturating_mul(self.seeds.len()) <= MAX_CELLS {
            return Ok(());
        }
        Err(Error::usage(format!("{name}: more than {MAX_CELLS} runs"), "leave out levels, or set design.order"))
    }

    /// What it compares.
    pub(super) fn about(&self) -> About {
        let published = self.models.iter().filter_map(|m| Some((m.name.clone(), m.published?)));
        About {
            title: self.title.clone(),
            reference: self.reference.clone(),
            models: self.models.iter().map(|m| m.name.clone()).collect(),
            seeds: self.seeds.clone(),
            published: published.collect(),
            design: self.design.clone(),
            sources: BTreeMap::new(),
        }
    }

    /// Every run of the study, seed by seed, so that a study cut short has whole tables over fewer seeds. `overrides` rank
    /// above the base and below what makes a model. A null wiring is another one for each seed, unless the plan or an
    /// override says which.
    ///
    /// # Errors
    /// `Usage` for a configuration that is wrong, naming the model.
    pub fn cells(&self, overrides: &Overrides) -> Result<Vec<Cell>> {
        self.check_size("the plan")?;
        let configs: Vec<(Config, bool)> =
            self.models.iter().map(|m| self.config(m, overrides)).collect::<Result<_>>()?;
        let cell = |seed: u64, model: &Model, (config, own_null): &(Config, bool)| {
            let mut config = Config { seed, ..config.clone() };
            if !own_null {
                config.connectome.null_seed = seed;
            }
            Cell { model: model.name.clone(), seed, config }
        };
        let of_seed = |&seed: &u64| self.models.iter().zip(&configs).map(move |(m, c)| cell(seed, m, c));
        Ok(self.seeds.iter().flat_map(of_seed).collect())
    }

    /// The configuration of a model, and whether its null wiring is fixed.
    fn config(&self, model: &Model, overrides: &Overrides) -> Result<(Config, bool)> {
        let as_file = |what: &str, table: &Table| Some((what.to_string(), table.to_string()));
        let place = format!("model {}", model.name);
        let of_base = Overrides { file: as_file("[base]", &self.base), ..overrides.clone() };
        let of_model = Overrides { file: as_file(&place, &model.set), ..Overrides::default() };
        let config = effective(&effective(&preset(&model.preset)?, &of_base)?, &of_model)?;
        let key = "connectome.null_seed";
        let in_table = |t: &Table| t.get("connectome").is_some_and(|c| c.get("null_seed").is_some());
        let fixed =
            in_table(&self.base) || in_table(&model.set) || overrides.sets.iter().any(|s| s.trim().starts_with(key));
        let fixed = fixed || config.connectome.null == "none";
        Ok((config, fixed))
    }
}

fn first_seeds(n: u64) -> Vec<u64> {
    (1..=n.min(MAX_CELLS as u64 + 1)).collect()
}

/// `5` is 1 to 5; a list is itself. `None` for anything else.
fn seeds(value: Option<&Value>) -> Option<Vec<u64>> {
    let list: Vec<u64> = match value {
        None => first_seeds(5),
        Some(Value::Integer(n)) => first_seeds(u64::try_from(*n).ok()?),
        Some(Value::Array(items)) => {
            items.iter().map(|v| v.as_integer().and_then(|s| u64::try_from(s).ok())).collect::<Option<_>>()?
        }
        Some(_) => return None,
    };
    let mut sorted = list.clone();
    sorted.sort_unstable();
    sorted.dedup();
    (!list.is_empty() && sorted.len() == list.len()).then_some(list)
}

#[cfg(test)]
mod tests;
