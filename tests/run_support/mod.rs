//! What the tests of whole runs share: small configurations in a folder of their own, and looking into saved files.
#![allow(dead_code)] // Each test binary uses a part of it.

use bionic_cpu::config::{Config, Overrides, effective};
use bionic_cpu::connectome::{self, Connectome, Polarity};
use bionic_cpu::error::Result;
use bionic_cpu::model::presets::preset;
use bionic_cpu::store::{self, Section};
use bionic_cpu::train::{Event, Stop, Summary, train};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use tempfile::TempDir;

/// A tiny stem with batch norm and dropout, in the manner of the preset `deep`.
pub const SHRUNKEN_DEEP: &str = "stem=[{layer=\"conv\", filters=4}, {layer=\"batch_norm\"}, {layer=\"max_pool\"}, \
     {layer=\"relu\"}, {layer=\"dropout\", p=0.1}, {layer=\"conv\", filters=8}, {layer=\"batch_norm\"}, \
     {layer=\"max_pool\"}, {layer=\"relu\"}, {layer=\"dropout\", p=0.1}]";

/// Convolutions between as many channels as are rounded to bf16.
pub const WIDE: &str = "stem=[{layer=\"conv\", filters=32, kernel=3}, {layer=\"max_pool\", size=4}, {layer=\"relu\"}, \
     {layer=\"conv\", filters=32, kernel=3}, {layer=\"max_pool\"}, {layer=\"relu\"}]";

/// Every fourth neuron of the embedded column: the same laminae and densities, quickly loaded.
pub static QUARTER: LazyLock<Connectome> = LazyLock::new(|| {
    let whole = connectome::generate(1);
    let kept: Vec<usize> = (0..whole.neurons.len()).step_by(4).collect();
    Connectome {
        origin: "a quarter of the column".into(),
        neurons: kept.iter().map(|&i| whole.neurons[i].clone()).collect(),
        synapses: whole.synapses.block(&kept, &kept),
        known_pairs: None,
    }
});

/// A folder with wiring in it and room for runs; goes when dropped.
pub struct Place(TempDir);

impl Place {
    /// With a quarter of the embedded column.
    pub fn new() -> Self {
        Self::with(&QUARTER)
    }

    pub fn with(connectome: &Connectome) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        connectome::write_folder(connectome, &folder.path().join("wiring")).unwrap();
        Self(folder)
    }

    /// A run of 12 steps on this wiring, changed by `sets`.
    pub fn config(&self, name: &str, sets: &[&str]) -> Config {
        let wiring = format!("connectome.source={}", self.0.path().join("wiring").display());
        let mut all: Vec<String> = vec![wiring];
        let small = ["threads=1", "epochs=2", "batch=16", "data.demo_train=96", "data.demo_test=32"];
        all.extend(small.iter().chain(&["learning.warmup_epochs=0.5"]).chain(sets).map(|s| s.to_string()));
        effective(&preset(name).unwrap(), &Overrides { sets: all, ..Overrides::default() }).unwrap()
    }

    /// Folder of the run called `name`.
    pub fn run(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Trains `config` to its end in the folder called `name`.
    pub fn train(&self, name: &str, config: &Config) -> (PathBuf, Summary) {
        let out = self.run(name);
        let summary = train(config, &out, &mut |_| {}, &Stop::new()).unwrap();
        (out, summary)
    }
}

/// Trains `config` in `out` and asks it to stop after `steps` steps in all.
pub fn train_and_stop(config: &Config, out: &Path, steps: usize) -> Result<Summary> {
    let stop = Stop::new();
    train(config, out, &mut stop_after(steps, &stop), &stop)
}

/// An observer that asks to stop after `steps` steps.
pub fn stop_after(steps: usize, stop: &Stop) -> impl FnMut(Event) + Send {
    let mut done = 0;
    move |event| {
        if let Event::Step { .. } = event {
            done += 1;
            if done == steps {
                stop.request(75);
            }
        }
    }
}

/// Every tensor of a run's state, with the bits of its values.
pub fn bits(run: &Path) -> Vec<(Section, Vec<u32>)> {
    let opened = store::read(&run.join("state.bcw"), |_| true).unwrap();
    let bits = opened.tensors().map(|f| f.iter().map(|v| v.to_bits()).collect());
    opened.sections.iter().cloned().zip(bits).collect()
}

/// The tensors of the best epoch.
pub fn best_bits(run: &Path) -> Vec<(Section, Vec<u32>)> {
    bits(run).into_iter().filter(|(section, _)| section.name.ends_with("#best")).collect()
}

/// Asserts that two runs hold the same bits, in the best epoch and in the last state.
#[track_caller]
pub fn assert_same_bits(a: &Path, b: &Path) {
    let (a, b) = (bits(a), bits(b));
    assert_eq!(a.len(), b.len());
    for ((section, values), (other, other_values)) in a.iter().zip(&b) {
        assert_eq!(section, other);
        assert!(values == other_values, "{} differs", section.name);
    }
}

/// Flags that set the number of threads and nothing else.
pub fn threads(threads: usize) -> Overrides {
    Overrides { sets: vec![format!("threads={threads}")], ..Overrides::default() }
}

/// The records of a run, whole.
pub fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The records of a run without what the clock decides.
pub fn timeless_metrics(run: &Path) -> Vec<serde_json::Value> {
    let mut records = metrics(run);
    for record in &mut records {
        for key in ["seconds", "images_per_second"] {
            assert!(record.as_object_mut().unwrap().remove(key).is_some());
        }
    }
    records
}

/// Pre- and postsynaptic neurons of a masked tensor called `2.column.L4->L2/3 I`; `None` for any other tensor.
pub fn ends(connectome: &Connectome, tensor: &str) -> Option<(Vec<usize>, Vec<usize>)> {
    let (pre, post) = tensor.split_once(".column.")?.1.split_once("->")?;
    let cells = |name: &str| match name.strip_suffix(" I") {
        Some(lamina) => connectome.select(Some(lamina), Some(Polarity::Inhibitory)),
        None => connectome.population(name),
    };
    (pre != "input").then(|| (cells(pre), cells(post)))
}
