//! One line of documentation per configuration key: help, `--print-config` and the tests read this table.

use super::choices::{
    InhibitionKind, InputProjection, LearningMode, NoiseKind, OptimizerKind, Precision, ScheduleKind, Standardization,
};

/// A configuration key and what it means, with its unit.
pub struct Key {
    /// Dotted path, e.g. `augment.rotation_deg`.
    pub path: &'static str,
    /// One line: meaning, unit, accepted values.
    pub doc: &'static str,
    /// The accepted values, where they are a few names.
    pub names: &'static [&'static str],
}

const fn key(path: &'static str, doc: &'static str) -> Key {
    Key { path, doc, names: &[] }
}

const fn choice(path: &'static str, names: &'static [&'static str], doc: &'static str) -> Key {
    Key { path, doc, names }
}

/// Keys at the top that configurations of former builds lack, and the value by which those went.
pub const LATER: &[(&str, &str)] = &[("precision", Precision::F32.name())];

/// Every key of [`super::Config`], in the order of printing.
pub const KEYS: &[Key] = &[
    key("preset", "preset that the values started from; `train --help` lists them"),
    key("seed", "seed of every random stream of the run"),
    key("threads", "worker threads; 0 = one per core; the result does not depend on it"),
    key(
        "commit_seconds",
        "seconds between saved states within an epoch (each epoch ends with one); the result does not depend on it",
    ),
    key("epochs", "passes over the training images"),
    key("batch", "images per step"),
    choice(
        "precision",
        Precision::NAMES,
        "f32, or bf16: in training, convolutions between 32 or more channels multiply numbers rounded to 8 significant bits",
    ),
    key("stem", "layers in front of the column: layer = \"name\" and its parameters, in order"),
    key("data.source", "demo, a Kaggle CSV (also .gz) or a folder train|test/<class>/*.png|jpg"),
    choice(
        "data.standardize",
        Standardization::NAMES,
        "dataset (mean and deviation of the training pixels), image (each on its own) or none",
    ),
    key("data.exclude_test_duplicates", "leave out training images that also occur in a test split"),
    key("data.validation_fraction", "part of Training held out for validation where the source has no PublicTest"),
    key("data.demo_train", "drawn faces for training"),
    key("data.demo_test", "drawn faces for PublicTest, and as many again for PrivateTest"),
    key("data.demo_seed", "seed of the drawn faces"),
    key("augment.enabled", "augment training images, anew for each epoch and image"),
    key("augment.flip", "probability of a horizontal flip"),
    key("augment.rotation_deg", "largest rotation either way, degrees"),
    key("augment.shift_px", "largest shift either way in x and in y, pixels"),
    key("augment.scale", "largest relative change of size"),
    key(
        "augment.brightness",
        "largest change of brightness, fraction of full range; undone if data.standardize = image",
    ),
    key("augment.contrast", "largest relative change of contrast about the image's mean; undone likewise"),
    key("augment.noise", "standard deviation of pixel noise, fraction of full range"),
    key("augment.erase", "probability of erasing one rectangle"),
    key("augment.erase_max_px", "largest side of the erased rectangle, pixels"),
    key("connectome.source", "column (embedded, statistical) or a folder or file of measured data"),
    key("connectome.completed", "add the imputed connections of a measured folder (imputed_connections.csv)"),
    key("connectome.min_synapses", "pairs joined by fewer synapses are treated as unconnected"),
    key("connectome.seed", "seed of the embedded statistical column"),
    key("connectome.null", "null wiring in place of the connectome: `connectome null --help` lists them; or none"),
    key("connectome.null_seed", "seed of the null wiring"),
    key("column.enabled", "false: the stem feeds the read-out and no connectome is used"),
    key("column.laminae", "laminae in processing order; [] = those of the connectome"),
    choice(
        "column.input",
        InputProjection::NAMES,
        "projection of the features onto the first lamina: dense or retinotopic",
    ),
    key("column.receptive_field", "side of a retinotopic receptive field, fraction of the visual field"),
    key("column.masks", "false: all-to-all projections instead of the connectome's masks"),
    key("column.skips", "projections that skip laminae, where the connectome has them"),
    key("column.intra", "one step of recurrence through the intra-laminar projections"),
    choice(
        "column.inhibition",
        InhibitionKind::NAMES,
        "graded, interneurons (real inhibitory cells, Dale's law) or none",
    ),
    key("column.gamma", "strength of graded inhibition (initial value where it is learned)"),
    key("column.gamma_learned", "learn gamma, one value per lamina"),
    key("column.shunt_floor", "interneurons: constant of the divisor exp(alpha) W_EI h + floor"),
    key("column.layer_norm", "normalise each lamina over its neurons"),
    choice("column.noise", NoiseKind::NAMES, "synapse (multiplicative), unit (additive) or none; in training only"),
    key("column.noise_sigma", "standard deviation of the noise"),
    key("column.readout", "laminae that the read-out sees; [] = the last one, [\"all\"] = every one"),
    choice(
        "learning.mode",
        LearningMode::NAMES,
        "backprop, hybrid (optimizer step, then Hebbian step) or local (Hebbian; supervised read-out)",
    ),
    choice("learning.optimizer", OptimizerKind::NAMES, "adam, adamw or sgd (Nesterov)"),
    key("learning.learning_rate", "peak learning rate"),
    key("learning.beta1", "adam: decay of the first moment"),
    key("learning.beta2", "adam: decay of the second moment"),
    key("learning.epsilon", "adam: floor of the denominator"),
    key("learning.momentum", "sgd: Nesterov momentum"),
    key("learning.weight_decay", "weight decay (decoupled in adamw); never on norms and biases"),
    choice("learning.schedule", ScheduleKind::NAMES, "cosine, one-cycle, plateau or constant"),
    key("learning.warmup_epochs", "epochs of linear warm-up"),
    key("learning.final_fraction", "final learning rate as a fraction of the peak"),
    key("learning.plateau_factor", "plateau: factor on the learning rate"),
    key("learning.plateau_patience", "plateau: epochs without a better PublicTest loss"),
    key("learning.label_smoothing", "probability mass spread evenly over all classes"),
    key("learning.clip_norm", "largest norm of the whole gradient; 0 = no clipping"),
    key(
        "learning.early_stopping",
        "epochs without a better epoch (PublicTest accuracy, then loss) before training stops; 0 = never",
    ),
    key("plasticity.rule", "hebb, oja, bcm, softwta, subspace or none (homeostasis alone)"),
    key("plasticity.rate", "rate of the Hebbian step at the peak of the schedule"),
    key(
        "plasticity.cap",
        "largest norm of the Hebbian step per projection: hybrid, relative to the optimizer's; local, to the weights'",
    ),
    key("plasticity.hebb_decay", "hebb: decay per unit of rate"),
    key("plasticity.bcm_tau_steps", "bcm: memory of the sliding threshold, steps"),
    key("plasticity.softwta_temperature", "softwta: softmax temperature"),
    key("plasticity.scaling_rate", "rate of synaptic scaling; 0 = off"),
    key("plasticity.intrinsic_rate", "rate of the intrinsic bias step; 0 = off"),
    key("plasticity.target_rate", "target of a neuron's mean activity"),
    key("plasticity.rate_tau_steps", "memory of the running mean activity, steps"),
    key(
        "plasticity.centered",
        "covariance form: a rule's gate and drive count from their mean over the batch (of 2 or more)",
    ),
];
