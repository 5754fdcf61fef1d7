//! A connectome: neurons with id, type, lamina, polarity and position, and the synapses among them.

use super::Synapses;

/// What a neuron does to its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Polarity {
    /// Depolarises.
    Excitatory,
    /// Hyperpolarises or shunts.
    Inhibitory,
}

impl Polarity {
    /// +1 or -1.
    pub fn sign(self) -> f32 {
        match self {
            Self::Excitatory => 1.0,
            Self::Inhibitory => -1.0,
        }
    }
}

/// One neuron.
#[derive(Clone, Debug, PartialEq)]
pub struct Neuron {
    /// Identifier in its source (a root id, segment id or plain number), as written there.
    pub id: String,
    /// Cell type, canonical spelling (`23P`, `5P-PT`, `BC`, ...).
    pub cell_type: String,
    /// Lamina (`L2/3`), by type for excitatory cells and by depth for inhibitory ones where the source says nothing.
    pub lamina: String,
    /// Excitatory or inhibitory.
    pub polarity: Polarity,
    /// Position `[x, depth, z]` in micrometres (`_um`), if known; depth grows from the pia.
    pub position_um: Option<[f32; 3]>,
}

/// Neurons and the synapses among all of them (`n_post = n_pre = neurons.len()`).
#[derive(Clone, Debug)]
pub struct Connectome {
    /// Where it came from, one line for reports: `measured: .../microns`, `statistical column, seed 1`.
    pub origin: String,
    /// Neurons; index in this list = row and column in `synapses`.
    pub neurons: Vec<Neuron>,
    /// Mask and synapse counts over all pairs.
    pub synapses: Synapses,
    /// Part of the ordered pairs whose state is known (1 for a complete reconstruction), if the source tells.
    pub known_pairs: Option<f64>,
}
