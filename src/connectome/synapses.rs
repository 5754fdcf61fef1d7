//! The mask of a projection: which presynaptic neuron reaches which postsynaptic one, as CSR and its transpose.

/// Synapses between two populations: CSR by postsynaptic neuron, with counts, and the transpose, checked when made.
#[derive(Clone, Debug, PartialEq)]
pub struct Synapses {
    n_post: usize,
    n_pre: usize,
    /// Start of each postsynaptic row `(N_post + 1)`.
    row_starts: Vec<u32>,
    /// Presynaptic neuron of each connection `(S)`, ascending within a row.
    pre: Vec<u32>,
    /// Synapses of each connection `(S)`, at least 1.
    counts: Vec<u32>,
    /// Start of each presynaptic row of the transpose `(N_pre + 1)`.
    column_starts: Vec<u32>,
    /// Postsynaptic neuron of each connection of the transpose `(S)`, ascending within a row.
    post: Vec<u32>,
    /// For each connection of the transpose, its index in the CSR order `(S)`.
    order: Vec<u32>,
}

impl Synapses {
    /// Number of postsynaptic neurons.
    pub fn n_post(&self) -> usize {
        self.n_post
    }

    /// Number of presynaptic neurons.
    pub fn n_pre(&self) -> usize {
        self.n_pre
    }

    /// Number of connections S (weights that a projection stores).
    pub fn len(&self) -> usize {
        self.pre.len()
    }

    /// True if nothing is connected.
    pub fn is_empty(&self) -> bool {
        self.pre.is_empty()
    }

    /// Start of each postsynaptic row `(N_post + 1)`.
    pub fn row_starts(&self) -> &[u32] {
        &self.row_starts
    }

    /// Presynaptic neuron of each connection `(S)`.
    pub fn pre(&self) -> &[u32] {
        &self.pre
    }

    /// Synapses of each connection `(S)`.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Start of each presynaptic row of the transpose `(N_pre + 1)`.
    pub fn column_starts(&self) -> &[u32] {
        &self.column_starts
    }

    /// Postsynaptic neuron of each connection of the transpose `(S)`.
    pub fn post(&self) -> &[u32] {
        &self.post
    }

    /// For each connection of the transpose, its index in the CSR order `(S)`.
    pub fn order(&self) -> &[u32] {
        &self.order
    }
}
