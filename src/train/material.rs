//! What a run is made of before anything is written: images, wiring, network, learners.

use super::memory::Regions;
use super::progress::{Event, Progress};
use crate::config::{Config, Precision, Standardization};
use crate::connectome::{self, Connectome};
use crate::data::{self, Dataset, Split};
use crate::error::{Error, Result};
use crate::kernels::{self, bf16, threads};
use crate::learning::{Hebbian, Optimizer, Schedule};
use crate::model::Network;

/// Everything that training needs, before anything is written.
pub(super) struct Material {
    pub config: Config,
    pub dataset: Dataset,
    pub connectome: Option<Connectome>,
    pub network: Network,
    pub optimizer: Optimizer,
    pub hebbian: Hebbian,
    pub regions: Regions,
}

impl Material {
    /// Loads data and wiring and builds the network; `wiring` is loaded from the configuration where it is `None`.
    pub fn gather(
        config: &Config,
        wiring: Option<Connectome>,
        observer: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Self> {
        // Side by side: a start spends most of its time on these two.
        let (connectome, dataset) = threads::join(
            || match wiring {
                None if config.column.enabled => connectome::load(&config.connectome).map(Some),
                other => Ok(other),
            },
            || data::load(&config.data.source, &config.data),
        );
        let connectome = connectome?;
        if let Some(c) = &connectome {
            observer(Event::Note(format!(
                "connectome: {}: {} neurons, {} connections",
                c.origin,
                c.neurons.len(),
                c.synapses.len()
            )));
        }
        let network = Network::build(config, connectome.as_ref())?;
        if let Some(c) = connectome.as_ref().filter(|c| config.column.masks && network.synapses() < c.synapses.len()) {
            observer(Event::Note(format!(
                "{} of {} connections carry a weight; the others lead back, are switched off, join neurons that the \
                 network leaves out, or act through graded inhibition",
                network.synapses(),
                c.synapses.len()
            )));
        }
        let in_vain = match () {
            () if config.precision == Precision::F32 => None,
            () if !network.rounds() => Some("rounds nothing: no convolution joins 32 or more channels on both sides"),
            () if bf16::is_native() => None,
            () => Some("rounds numbers, but this CPU has no AMX: they are multiplied in f32, no faster"),
        };
        if let Some(why) = in_vain {
            observer(Event::Warning(format!("precision = \"bf16\" {why}")));
        }
        let mut dataset = dataset?;
        if dataset.labels.len() != dataset.len() {
            return Err(Error::input(&dataset.source, "has no labels", "train on a file with an `emotion` column"));
        }
        let held_out = data::hold_out(&mut dataset, config.data.validation_fraction, config.seed);
        if held_out > 0 {
            observer(Event::Note(format!(
                "no PublicTest in the data: held out {held_out} training images for validation"
            )));
        }
        for line in data::census(&dataset).summary_lines() {
            observer(Event::Note(line));
        }
        if config.data.exclude_test_duplicates {
            let left_out = data::exclude_test_duplicates(&mut dataset);
            observer(Event::Note(format!("left out {left_out} training images that also occur in a test split")));
        }
        for split in [Split::Training, Split::Public] {
            if !dataset.splits.contains(&split) {
                return Err(Error::input(
                    &dataset.source,
                    format!("has no image of {}", split.usage()),
                    "use a complete data set",
                ));
            }
        }
        let hebbian = Hebbian::new(config, &network)?;
        let optimizer = Optimizer::new(&config.learning, network.tensors().len());
        let regions = Regions::new(&network, hebbian.state_len());
        Ok(Self { config: config.clone(), dataset, connectome, network, optimizer, hebbian, regions })
    }

    /// Mean and deviation that standardise all pixels alike; (0, 1) where each image has its own, or none.
    pub fn mean_sd(&self) -> (f32, f32) {
        if self.config.data.standardize == Standardization::Dataset {
            self.dataset.mean_sd(Split::Training)
        } else {
            (0.0, 1.0)
        }
    }

    /// What decides the last bits of the run beside what it is made from.
    pub fn arithmetic(&self) -> String {
        kernels::arithmetic(self.network.rounds())
    }

    /// The schedule of a run of `steps` steps an epoch, from its beginning.
    pub fn schedule(&self, steps: usize) -> Schedule {
        Schedule::new(&self.config.learning, self.config.epochs, steps)
    }

    pub fn fresh_progress(&self, steps: usize) -> Progress {
        let (mean, sd) = self.mean_sd();
        Progress {
            epoch: 0,
            cursor: 0,
            step: 0,
            loss: 0.0,
            correct: 0,
            seen: 0,
            shares: Vec::new(),
            schedule: self.schedule(steps),
            best_epoch: 0,
            best_accuracy: -1.0,
            best_loss: f64::MAX,
            log_len: 0,
            epoch_seconds: 0.0,
            seconds: 0.0,
            training_seconds: 0.0,
            images: 0,
            mean,
            sd,
        }
    }

    /// First weights, buffers and local state.
    pub fn initialise(&self, floats: &mut [f32]) {
        let parts = self.regions.split(floats);
        self.network.initialise(self.config.seed, parts.weights, parts.buffers);
        self.hebbian.initialise(parts.local);
    }
}
