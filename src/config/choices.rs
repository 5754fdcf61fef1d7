//! Settings with a fixed list of values, each known by its name in a configuration.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An enum whose values go by these names in TOML and JSON, on the command line and in messages.
macro_rules! choices {
    ($($(#[$doc:meta])* $kind:ident { $($(#[$of_value:meta])* $value:ident = $name:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $kind {
            $($(#[$of_value])* #[serde(rename = $name)] $value,)+
        }

        impl $kind {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$value),+];
            /// Their names, in the same order.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The name in a configuration.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $name,)+
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )+};
}

choices! {
    /// Factors of the products in convolutions, in training.
    Precision {
        /// As they are.
        F32 = "f32",
        /// Rounded to bf16 between 32 or more channels; sums stay in f32.
        Bf16 = "bf16",
    }

    /// How the pixels of an image become the input of a network, see [`crate::data::Standardize`].
    Standardization {
        /// One mean and deviation for all images, those of the Training images.
        Dataset = "dataset",
        /// Mean and deviation of the image itself.
        Image = "image",
        /// Pixel / 255.
        None = "none",
    }

    /// Projection of the features onto the first lamina.
    InputProjection {
        /// All-to-all.
        Dense = "dense",
        /// Each neuron sees the features near its own place in the visual field.
        Retinotopic = "retinotopic",
    }

    /// What inhibitory cells do.
    InhibitionKind {
        /// A dose for each excitatory cell: the inhibitory synapses onto it, relative to the most in its lamina.
        Graded = "graded",
        /// Cells with activity of their own, under Dale's law.
        Interneurons = "interneurons",
        /// Nothing.
        None = "none",
    }

    /// Synaptic noise, in training.
    NoiseKind {
        /// Multiplicative, for each synapse.
        Synapse = "synapse",
        /// Additive, for each neuron.
        Unit = "unit",
        /// None.
        None = "none",
    }

    /// Who changes the weights.
    LearningMode {
        /// The optimizer alone.
        Backprop = "backprop",
        /// The optimizer, then a Hebbian step.
        Hybrid = "hybrid",
        /// A Hebbian step; the read-out alone is supervised.
        Local = "local",
    }

    /// The gradient optimizer, see [`crate::learning::Optimizer`].
    OptimizerKind {
        /// Adam; weight decay is added to the gradient.
        Adam = "adam",
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
        /// Gradient descent with Nesterov momentum.
        Sgd = "sgd",
    }

    /// Course of the learning rate, see [`crate::learning::Schedule`].
    ScheduleKind {
        /// Warm-up, then down along a cosine.
        Cosine = "cosine",
        /// Up over the first 30 % of the run, then down, both along a cosine.
        OneCycle = "one-cycle",
        /// Warm-up, then down by a factor whenever the validation loss stops getting better.
        Plateau = "plateau",
        /// Warm-up, then constant.
        Constant = "constant",
    }
}
