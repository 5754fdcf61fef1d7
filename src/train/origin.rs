//! What a saved state belongs to: fingerprints to find that something differs, words to say what.

use super::material::Material;
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::store::Fingerprints;
use serde::{Deserialize, Serialize};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// What a run is made from, in words; saved with its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub data: String,
    pub connectome: String,
    /// TOML of what decides the result.
    pub configuration: String,
    pub kernels: String,
}

impl Origin {
    /// Of a run with what `material` holds, whose fingerprints these are.
    pub fn of(material: &Material, fingerprints: &Fingerprints) -> Result<Self> {
        let (dataset, connectome) = (&material.dataset, &material.connectome);
        Ok(Self {
            data: format!("{}, {} images, {:016x}", dataset.source, dataset.len(), fingerprints.data),
            connectome: connectome.as_ref().map_or_else(
                || "none".to_string(),
                |c| {
                    let (neurons, synapses) = (c.neurons.len(), c.synapses.len());
                    format!("{}, {neurons} neurons, {synapses} connections, {:016x}", c.origin, fingerprints.connectome)
                },
            ),
            configuration: deciding(&material.config)?,
            kernels: material.arithmetic(),
        })
    }

    /// Refuses to go on as `self` from a state of `found`; `saved` and `now` are the fingerprints of the two.
    ///
    /// # Errors
    /// `State`, naming each thing that differs, as it was and as it is.
    pub fn refuse_other(&self, path: &Path, found: &Self, saved: &Fingerprints, now: &Fingerprints) -> Result<()> {
        let was_is = |was: &str, is: &str| format!("was {was}; is {is}");
        let differing: Vec<String> = [
            ("data set", saved.data != now.data, was_is(&found.data, &self.data)),
            ("connectome", saved.connectome != now.connectome, was_is(&found.connectome, &self.connectome)),
            (
                "configuration",
                saved.configuration != now.configuration,
                config::listed(&config::differences(&found.configuration, &self.configuration)),
            ),
            ("arithmetic", saved.kernels != now.kernels, was_is(&found.kernels, &self.kernels)),
        ]
        .into_iter()
        .filter_map(|(name, differs, how)| differs.then(|| format!("{name} ({how})")))
        .collect();
        if differing.is_empty() {
            return Ok(());
        }
        Err(Error::state(
            path.display(),
            format!("was saved with another {}", differing.join(" and another ")),
            "restore what differs, or go on all the same with --force",
        ))
    }
}

/// Fingerprints of a run with what `material` holds.
pub(super) fn fingerprints(material: &Material) -> Result<Fingerprints> {
    Ok(Fingerprints {
        data: material.dataset.fingerprint(),
        connectome: material.connectome.as_ref().map_or(0, |c| c.fingerprint()),
        configuration: configuration_fingerprint(&material.config)?,
        kernels: xxh3_64(material.arithmetic().as_bytes()),
    })
}

/// Fingerprint of what decides the result beside data and wiring; the same for every number of threads.
///
/// # Errors
/// `Other` if a value cannot be written as TOML.
pub fn configuration_fingerprint(config: &Config) -> Result<u64> {
    config::to_former_toml(&without_places(config)).map(|text| xxh3_64(text.as_bytes()))
}

/// What differs between two configurations of what decides the result: one text `key was x, is y` each.
///
/// # Errors
/// `Other` if a value cannot be written as TOML.
pub fn deciding_differences(was: &Config, is: &Config) -> Result<Vec<config::Difference>> {
    Ok(config::differences(&deciding(was)?, &deciding(is)?))
}

/// `config` with the seed of `reference`: two runs that differ in nothing else are then the same. So is the seed of a null
/// wiring, if it is that of its run, as in studies.
pub fn with_seed_of(reference: &Config, config: &Config) -> Config {
    let mut config = config.clone();
    if config.connectome.null_seed == config.seed {
        config.connectome.null_seed = reference.connectome.null_seed;
    }
    config.seed = reference.seed;
    config
}

/// What differs in where images and wiring lie.
pub fn place_differences(was: &Config, is: &Config) -> Vec<config::Difference> {
    let places = [
        ("data.source", &was.data.source, &is.data.source),
        ("connectome.source", &was.connectome.source, &is.connectome.source),
    ];
    let moved = places.into_iter().filter(|(_, was, is)| was != is);
    moved.map(|(key, was, is)| config::Difference { key, values: Some([was.clone(), is.clone()]) }).collect()
}

/// TOML of what decides the result.
fn deciding(config: &Config) -> Result<String> {
    config::to_toml(&without_places(config))
}

/// The configuration without what does not decide the result: threads, commits, and where data and wiring lie (they have
/// fingerprints of their own).
fn without_places(config: &Config) -> Config {
    let mut same = Config { threads: 0, commit_seconds: 0.0, ..config.clone() };
    same.data.source.clear();
    same.connectome.source.clear();
    same
}
