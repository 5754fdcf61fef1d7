//! Neurons, and the synapses between them as a checked CSR mask; where they come from; what they look like; null wirings.

mod column;
mod export;
mod import;
mod neurons;
mod null;
mod summary;
mod synapses;

pub use column::generate;
pub use export::write_folder;
pub use import::{IMPORTERS, Importer, empty_projection, load, read_folder};
pub use neurons::{Connectome, Neuron, Polarity};
pub use null::{NULL_WIRINGS, NullWiring};
pub use summary::{DensityRow, LaminaRow, PopulationRow, Quantiles, Summary, TypeRow, note, summary};
pub use synapses::{Problem, Synapses};
