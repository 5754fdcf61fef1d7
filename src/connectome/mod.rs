//! Neurons, and the synapses between them as a checked CSR mask; where they come from; what they look like.

mod neurons;
mod synapses;

pub use neurons::{Connectome, Neuron, Polarity};
pub use synapses::Synapses;
