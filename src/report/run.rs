//! The report of a run.

use super::page::{Cell, Page};
use super::text::{count, fixed, percent};
use super::{Options, curves, filters, lesions, scores, tuning, weights, wiring};
use crate::config::{self, Config, Difference, LearningMode};
use crate::connectome;
use crate::error::Result;
use crate::eval::classified;
use crate::model::presets::preset;
use crate::store;
use crate::train::{About, EpochRecord, Trained, load_about, load_best, load_config, load_metrics};
use std::path::Path;

/// The page about the run in folder `run`. Scores are left out, with a word in the page and to `warn`, if the images that
/// it was trained on are gone; an `options.data` that cannot be used is an error.
///
/// # Errors
/// `State` for a run that cannot be used; those of scoring where images were asked for.
pub(super) fn page(run: &Path, folder: &str, options: &Options, warn: &mut dyn FnMut(&str)) -> Result<Page> {
    load_config(run).map_err(|e| e.with_remedy("name a folder made by `bionic-cpu train` or `bionic-cpu study`"))?;
    let mut trained = load_best(run, warn)?;
    let (about, epochs) = (load_about(run)?, load_metrics(run, trained.finished)?);
    let whole = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let name = whole.file_name().map_or_else(|| "run".to_owned(), |n| n.to_string_lossy().into_owned());
    let lead = format!("Preset {}, seed {}, {} epochs trained.", trained.config.preset, about.seed, epochs.len());
    let mut page = Page::new(&format!("Run {name}"), &lead, folder);
    header(&mut page, run, &about, &trained, &epochs)?;
    match classified(&mut trained, options.data, options.split, false, options.threads) {
        Ok(c) => scores::append(&mut page, &c, options.data.unwrap_or(&trained.config.data.source)),
        Err(e) if options.data.is_some() => return Err(e),
        Err(e) => {
            warn(&format!("no scores in the report: {e}"));
            page.section("Scores");
            page.warning(&format!(
                "Not scored: {}: {}. Confusion matrix, scores by class and reliability need the images; name them with \
                 --data.",
                trained.config.data.source,
                e.what()
            ));
        }
    }
    curves::append(&mut page, &epochs, trained.epoch);
    if let Some(connectome) = &trained.connectome {
        wiring::append(&mut page, connectome);
    }
    let fingerprint = format!("{:016x}", store::fingerprint(&trained.weights));
    lesions::append(&mut page, run, &fingerprint, warn)?;
    tuning::append(&mut page, run, &fingerprint, warn)?;
    let network = &trained.network;
    let (mut before, mut buffers) = (vec![0.0; network.weights_len()], vec![0.0; network.buffers_len()]);
    network.initialise(trained.config.seed, &mut before, &mut buffers);
    weights::append(&mut page, &trained, &before);
    filters::append(&mut page, &trained, &before);
    Ok(page)
}

/// What the run was made from, and its layers.
fn header(page: &mut Page, run: &Path, about: &About, trained: &Trained, epochs: &[EpochRecord]) -> Result<()> {
    let config = &trained.config;
    page.section("Run");
    let best = epochs.get(trained.epoch.wrapping_sub(1));
    let accuracy = best.map_or_else(String::new, |e| format!(", PublicTest accuracy {} %", percent(e.val_accuracy, 2)));
    let seconds: f64 = epochs.iter().map(|e| e.seconds).sum();
    let mut facts = vec![
        ("folder", run.display().to_string()),
        ("version", format!("bionic-cpu {}, {}, {}", about.version, about.cpu, about.kernels)),
        ("seed", about.seed.to_string()),
        ("epochs", format!("{} of {}, best {}{accuracy}", epochs.len(), config.epochs, trained.epoch)),
        ("time", format!("{} min in all epochs, scoring included", fixed(seconds / 60.0, 1))),
        ("parameters", count(about.parameters)),
        ("synapses", synapses(about, trained)),
        ("images", format!("{} (fingerprint {})", about.data, about.fingerprints.data)),
    ];
    match &trained.connectome {
        Some(c) => {
            facts.push(("connectome", format!("{} (fingerprint {})", c.origin, about.fingerprints.connectome)));
            facts.push(("caveat", connectome::note(c.known_pairs)));
        }
        None => facts.push(("connectome", "none: the stem feeds the read-out".to_owned())),
    }
    facts.push(("learning", learning(config)));
    facts.push(("changed settings", changed(config)?));
    page.facts(&facts);
    let rows: Vec<Vec<Cell>> = trained
        .network
        .layers()
        .iter()
        .map(|l| {
            let parameters = l.tensors().iter().map(|t| t.len()).sum();
            let synapses = if l.synapses() > 0 { count(l.synapses()) } else { String::new() };
            [l.name().to_owned(), l.output().to_string(), count(parameters), synapses].map(Cell::from).to_vec()
        })
        .collect();
    page.table("Layers", "lrrr", &["layer", "output", "parameters", "synapses"], &rows);
    page.folded("Every setting (config.toml)", &config::to_commented_toml(config)?);
    Ok(())
}

/// How many connections of the wiring carry a weight.
fn synapses(about: &About, trained: &Trained) -> String {
    let of = trained.connectome.as_ref().filter(|_| trained.config.column.masks).map_or(0, |c| c.synapses.len());
    let of = if of > 0 { format!(", of {} connections", count(of)) } else { String::new() };
    format!("{} with a weight of their own{of}", count(about.synapses))
}

/// How the weights are changed, in a line.
fn learning(config: &Config) -> String {
    let l = &config.learning;
    let hebbian = if l.mode == LearningMode::Backprop {
        String::new()
    } else {
        format!(", Hebbian rule {}", config.plasticity.rule)
    };
    format!(
        "{}{hebbian}; {}, learning rate {}, {} schedule, batch {}, label smoothing {}",
        l.mode, l.optimizer, l.learning_rate, l.schedule, config.batch, l.label_smoothing
    )
}

/// What differs from the preset, but for where things lie and how fast they go.
fn changed(config: &Config) -> Result<String> {
    let mut base = preset(&config.preset)?;
    base.seed = config.seed;
    base.threads = config.threads;
    base.commit_seconds = config.commit_seconds;
    base.data.source.clone_from(&config.data.source);
    base.connectome.source.clone_from(&config.connectome.source);
    let differences = config::differences(&config::to_toml(&base)?, &config::to_toml(config)?);
    let told = |d: &Difference| match &d.values {
        Some([preset, run]) => format!("{}: preset has {preset}, run has {run}", d.key),
        None => d.to_string(),
    };
    Ok(if differences.is_empty() {
        format!("none: all as in preset {}", config.preset)
    } else {
        differences.iter().map(told).collect::<Vec<_>>().join("; ")
    })
}
