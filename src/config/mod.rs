//! The whole configuration of a run: plain structs, their defaults, and where each value came from.
//!
//! Priority: default of the preset < TOML file < `--set key=value` < flag. [`KEYS`] documents every key once;
//! `--print-config`, the error for an unknown key and a test read it.

mod choices;
mod keys;
mod merge;
mod text;

pub use choices::{
    InhibitionKind, InputProjection, LearningMode, NoiseKind, OptimizerKind, Precision, ScheduleKind, Standardization,
};
pub use keys::{KEYS, Key};
pub use merge::{Overrides, effective, nearest, one_of, read_file, toml_fault};
pub use text::{Difference, differences, listed, missing_key, to_commented_toml, to_former_toml, to_toml};

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Everything that decides the result of a run. Same values, same build: same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of the preset that the values started from.
    pub preset: String,
    /// Seed of every random stream of the run.
    pub seed: u64,
    /// Worker threads; 0 = one per core. The result does not depend on it.
    pub threads: usize,
    /// Seconds between saved states within an epoch. The result does not depend on it.
    pub commit_seconds: f32,
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch: usize,
    /// Factors of the products in convolutions, in training.
    pub precision: Precision,
    /// Images.
    pub data: Data,
    /// Random changes to training images.
    pub augment: Augment,
    /// Wiring.
    pub connectome: Connectome,
    /// Layers between the image and the column (or the read-out), in order: `layer = "name"` and its parameters.
    pub stem: Vec<toml::Table>,
    /// The cortical column.
    pub column: Column,
    /// Gradient learning.
    pub learning: Learning,
    /// Hebbian learning and homeostasis.
    pub plasticity: Plasticity,
}

/// Where the images come from and how pixels become numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `demo`, a Kaggle CSV (also `.gz`) or an image folder.
    pub source: String,
    /// How pixels become the input.
    pub standardize: Standardization,
    /// Leave out training images that also occur in a test split.
    pub exclude_test_duplicates: bool,
    /// Part of the training images held out for validation where the source has no PublicTest.
    pub validation_fraction: f32,
    /// Drawn faces for training.
    pub demo_train: usize,
    /// Drawn faces for PublicTest and as many again for PrivateTest.
    pub demo_test: usize,
    /// Seed of the drawn faces, apart from the run's seed so that seeds compare on the same faces.
    pub demo_seed: u64,
}

/// Strengths of the augmentation; each is drawn anew per (epoch, image).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Off: training images are used as they are.
    pub enabled: bool,
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// Largest rotation either way, degrees.
    pub rotation_deg: f32,
    /// Largest shift either way in x and in y, pixels.
    pub shift_px: f32,
    /// Largest relative change of size.
    pub scale: f32,
    /// Largest change of brightness, fraction of full range.
    pub brightness: f32,
    /// Largest relative change of contrast about the image's mean.
    pub contrast: f32,
    /// Standard deviation of additive pixel noise, fraction of full range.
    pub noise: f32,
    /// Probability of erasing one rectangle.
    pub erase: f32,
    /// Largest side of the erased rectangle, pixels.
    pub erase_max_px: usize,
}

/// Which wiring is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connectome {
    /// `column` (the embedded statistical column) or a folder or file of measured data.
    pub source: String,
    /// Add the statistically imputed connections of a measured folder (`imputed_connections.csv`).
    pub completed: bool,
    /// Pairs joined by fewer synapses are treated as unconnected.
    pub min_synapses: u32,
    /// Seed of the embedded statistical column, apart from the run's seed so that seeds share the wiring.
    pub seed: u64,
    /// Null wiring that takes the place of the connectome, or `none`.
    pub null: String,
    /// Seed of the null wiring, apart from the run's seed; in a study each cell has its own.
    pub null_seed: u64,
}

/// The column: populations by lamina, masked projections between and within them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Off: the stem feeds the read-out.
    pub enabled: bool,
    /// Laminae in processing order; empty = the connectome's own, canonical order.
    pub laminae: Vec<String>,
    /// Projection of the features onto the first lamina.
    pub input: InputProjection,
    /// Side of a retinotopic receptive field, fraction of the visual field.
    pub receptive_field: f32,
    /// Off: all-to-all projections instead of the connectome's masks.
    pub masks: bool,
    /// Projections that skip laminae, where the connectome has them.
    pub skips: bool,
    /// One step of recurrence through the intra-laminar projections.
    pub intra: bool,
    /// What inhibitory cells do.
    pub inhibition: InhibitionKind,
    /// Strength of graded inhibition, or its initial value where it is learned.
    pub gamma: f32,
    /// Learn gamma, one value per lamina.
    pub gamma_learned: bool,
    /// Shunting floor of `interneurons`: keeps the divisor positive.
    pub shunt_floor: f32,
    /// Normalise each lamina's activity over its neurons.
    pub layer_norm: bool,
    /// Synaptic noise, in training only.
    pub noise: NoiseKind,
    /// Standard deviation of the noise.
    pub noise_sigma: f32,
    /// Laminae that the read-out sees; empty = the last one, `["all"]` = every one.
    pub readout: Vec<String>,
}

/// Gradient learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learning {
    /// Who changes the weights.
    pub mode: LearningMode,
    /// The gradient optimizer.
    pub optimizer: OptimizerKind,
    /// Peak learning rate.
    pub learning_rate: f32,
    /// Adam's decay of the first moment.
    pub beta1: f32,
    /// Adam's decay of the second moment.
    pub beta2: f32,
    /// Adam's floor of the denominator.
    pub epsilon: f32,
    /// SGD's Nesterov momentum.
    pub momentum: f32,
    /// Weight decay: decoupled in `adamw`, added to the gradient in `adam` and `sgd`; never on norms and biases.
    pub weight_decay: f32,
    /// Course of the learning rate.
    pub schedule: ScheduleKind,
    /// Epochs of linear warm-up.
    pub warmup_epochs: f32,
    /// Final learning rate as a fraction of the peak.
    pub final_fraction: f32,
    /// Factor applied by `plateau`.
    pub plateau_factor: f32,
    /// Epochs without a better PublicTest loss before `plateau` acts.
    pub plateau_patience: usize,
    /// Probability mass spread evenly over all classes.
    pub label_smoothing: f32,
    /// Largest norm of the whole gradient; 0 = no clipping.
    pub clip_norm: f32,
    /// Epochs without a better PublicTest accuracy before training stops; 0 = never.
    pub early_stopping: usize,
}

/// Hebbian learning and homeostasis (modes `hybrid` and `local`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plasticity {
    /// `hebb`, `oja`, `bcm`, `softwta`, `subspace` or `none` (homeostasis alone).
    pub rule: String,
    /// Rate of the Hebbian step at the peak of the schedule.
    pub rate: f32,
    /// Largest norm of the Hebbian step per projection: in `hybrid` relative to the optimizer's step, in `local` to the
    /// weights.
    pub cap: f32,
    /// Decay of `hebb`, per unit of rate.
    pub hebb_decay: f32,
    /// Memory of the sliding threshold of `bcm`, steps.
    pub bcm_tau_steps: f32,
    /// Softmax temperature of `softwta`; smaller is closer to winner-take-all.
    pub softwta_temperature: f32,
    /// Rate of synaptic scaling; 0 = off.
    pub scaling_rate: f32,
    /// Rate of the intrinsic bias step; 0 = off.
    pub intrinsic_rate: f32,
    /// Target of the mean activity of a neuron.
    pub target_rate: f32,
    /// Memory of the running mean activity, steps.
    pub rate_tau_steps: f32,
    /// Covariance form: a rule's gate and drive count from their mean over the batch, which needs a batch of 2 or more.
    pub centered: bool,
}

impl Config {
    /// Checks the ranges that no type expresses.
    ///
    /// # Errors
    /// `Usage`, naming the key, the value and the accepted range.
    pub fn validate(&self) -> Result<()> {
        let within = |key: &str, value: f32, low: f32, high: f32| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Error::usage(format!("{key} = {value} is out of range"), format!("use a value from {low} to {high}")))
        };
        let positive = |key: &str, value: usize| {
            if value > 0 { Ok(()) } else { Err(Error::usage(format!("{key} = 0 is out of range"), "use at least 1")) }
        };
        within("commit_seconds", self.commit_seconds, 0.0, 1e6)?;
        positive("epochs", self.epochs)?;
        positive("batch", self.batch)?;
        positive("data.demo_train", self.data.demo_train)?;
        positive("data.demo_test", self.data.demo_test)?;
        positive("connectome.min_synapses", self.connectome.min_synapses as usize)?;
        let at_most = |key: &str, value: usize, limit: usize| {
            if value <= limit {
                return Ok(());
            }
            Err(Error::usage(format!("{key} = {value} is out of range"), format!("use at most {limit}")))
        };
        at_most("epochs", self.epochs, 1_000_000)?;
        at_most("threads", self.threads, 4096)?;
        at_most("batch", self.batch, 65_536)?;
        let rule_acts = self.learning.mode != LearningMode::Backprop && self.plasticity.rule != "none";
        if rule_acts && self.plasticity.centered && self.batch < 2 {
            let what = "plasticity.centered = true needs a mean over the batch, which has one image";
            return Err(Error::usage(what, "use a batch of 2 or more"));
        }
        at_most("data.demo_train", self.data.demo_train, 10_000_000)?;
        at_most("data.demo_test", self.data.demo_test, 10_000_000)?;
        within("data.validation_fraction", self.data.validation_fraction, 0.01, 0.9)?;
        let a = &self.augment;
        within("augment.flip", a.flip, 0.0, 1.0)?;
        within("augment.rotation_deg", a.rotation_deg, 0.0, 180.0)?;
        within("augment.shift_px", a.shift_px, 0.0, 48.0)?;
        within("augment.scale", a.scale, 0.0, 0.9)?;
        within("augment.brightness", a.brightness, 0.0, 1.0)?;
        within("augment.contrast", a.contrast, 0.0, 1.0)?;
        within("augment.noise", a.noise, 0.0, 1.0)?;
        within("augment.erase", a.erase, 0.0, 1.0)?;
        within("column.receptive_field", self.column.receptive_field, 0.01, 1.0)?;
        within("column.gamma", self.column.gamma, 0.0, 1.0)?;
        within("column.shunt_floor", self.column.shunt_floor, 1e-6, 1e6)?;
        within("column.noise_sigma", self.column.noise_sigma, 0.0, 10.0)?;
        let l = &self.learning;
        within("learning.learning_rate", l.learning_rate, 0.0, 100.0)?;
        within("learning.beta1", l.beta1, 0.0, 0.999_999)?;
        within("learning.beta2", l.beta2, 0.0, 0.999_999)?;
        within("learning.epsilon", l.epsilon, 1e-12, 1.0)?;
        within("learning.momentum", l.momentum, 0.0, 0.999_999)?;
        within("learning.weight_decay", l.weight_decay, 0.0, 10.0)?;
        within("learning.warmup_epochs", l.warmup_epochs, 0.0, 1e6)?;
        within("learning.final_fraction", l.final_fraction, 0.0, 1.0)?;
        within("learning.plateau_factor", l.plateau_factor, 1e-3, 1.0)?;
        within("learning.label_smoothing", l.label_smoothing, 0.0, 0.99)?;
        within("learning.clip_norm", l.clip_norm, 0.0, 1e9)?;
        let p = &self.plasticity;
        within("plasticity.rate", p.rate, 0.0, 1e3)?;
        within("plasticity.cap", p.cap, 0.0, 1e3)?;
        within("plasticity.hebb_decay", p.hebb_decay, 0.0, 1e3)?;
        within("plasticity.bcm_tau_steps", p.bcm_tau_steps, 1.0, 1e9)?;
        within("plasticity.softwta_temperature", p.softwta_temperature, 1e-3, 1e6)?;
        within("plasticity.scaling_rate", p.scaling_rate, 0.0, 1.0)?;
        within("plasticity.intrinsic_rate", p.intrinsic_rate, 0.0, 1.0)?;
        within("plasticity.target_rate", p.target_rate, 1e-6, 1e6)?;
        within("plasticity.rate_tau_steps", p.rate_tau_steps, 1.0, 1e9)
    }
}
