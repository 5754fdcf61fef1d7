//! What every format holds: the arrays of a trained network, and what a reader has to know about them.

use crate::config::to_commented_toml;
use crate::connectome::{Connectome, Synapses};
use crate::data::{EXPRESSIONS, Standardize};
use crate::error::Result;
use crate::model::Tensor;
use crate::train::Trained;
use serde_json::{Map, Value, json};

/// How the values of an array are laid out.
#[derive(Clone, Copy, Debug)]
pub enum Layout<'a> {
    /// All of them, row-major, with this shape.
    Dense(&'a [usize]),
    /// At synapses only, CSR: `(N_post, N_pre)`.
    Sparse(&'a Synapses),
}

/// One tensor of the network.
#[derive(Clone, Copy, Debug)]
pub struct Array<'a> {
    /// Name, unique in the network.
    pub name: &'a str,
    /// Its values.
    pub values: &'a [f32],
    /// Where each value belongs.
    pub layout: Layout<'a>,
}

impl Array<'_> {
    /// Shape as a reader sees it: `(N_post, N_pre)` of a sparse one.
    pub fn shape(&self) -> Vec<usize> {
        match self.layout {
            Layout::Dense(shape) => shape.to_vec(),
            Layout::Sparse(synapses) => vec![synapses.n_post(), synapses.n_pre()],
        }
    }
}

/// What every format holds.
pub struct Contents<'a> {
    /// The network.
    pub trained: &'a Trained,
    /// Its tensors in the order of the layers, then the running statistics.
    pub arrays: Vec<Array<'a>>,
}

impl<'a> Contents<'a> {
    /// The contents of a trained network.
    pub fn of(trained: &'a Trained) -> Self {
        let network = &trained.network;
        let mut arrays = named(network.tensors(), &trained.weights);
        for (i, layer) in network.layers().iter().enumerate() {
            for (tensor, synapses) in layer.masks() {
                arrays[network.tensor_index(i, tensor)].layout = Layout::Sparse(synapses);
            }
        }
        arrays.extend(named(network.buffer_tensors(), &trained.buffers));
        Self { trained, arrays }
    }

    /// What a reader has to know: `version`, `preset`, `epoch`, `seed`, `classes` in the order of the outputs, `input`
    /// (how a face becomes the input), `neurons` (of each population of the column the identifiers of its cells, in the
    /// order of the rows and columns of its projections), `fingerprints` of the data set and the connectome, and
    /// `config`, the whole configuration as TOML.
    pub fn metadata(&self) -> Result<Map<String, Value>> {
        let Trained { config, connectome, epoch, data_fingerprint, .. } = self.trained;
        let hex = |f: u64| format!("{f:016x}");
        let pairs = [
            ("version", json!(concat!("bionic-cpu ", env!("CARGO_PKG_VERSION")))),
            ("preset", json!(config.preset)),
            ("epoch", json!(epoch)),
            ("seed", json!(config.seed)),
            ("classes", json!(EXPRESSIONS)),
            ("input", json!(input(self.trained.standardize))),
            ("neurons", self.neurons().into()),
            (
                "fingerprints",
                json!({
                    "data": hex(*data_fingerprint),
                    "connectome": connectome.as_ref().map(Connectome::fingerprint).map(hex),
                }),
            ),
            ("config", json!(to_commented_toml(config)?)),
        ];
        Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Identifiers of the cells of each population.
    fn neurons(&self) -> Map<String, Value> {
        let Trained { network, connectome, .. } = self.trained;
        let ids = |indices: &[usize]| -> Value {
            let all = connectome.iter().flat_map(|c| indices.iter().map(|&i| c.neurons[i].id.as_str()));
            all.collect::<Vec<&str>>().into()
        };
        let groups = network.column().into_iter().flat_map(|(_, column)| column.groups());
        groups.map(|group| (group.name(), ids(group.neurons))).collect()
    }

    /// The same where every value has to be a text: strings as they are, anything else as JSON.
    pub fn metadata_texts(&self) -> Result<Vec<(String, String)>> {
        let text = |value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(self.metadata()?.into_iter().map(|(key, value)| (key, text(value))).collect())
    }
}

fn named<'a>(tensors: &'a [Tensor], values: &'a [f32]) -> Vec<Array<'a>> {
    let array = |t: &'a Tensor| Array {
        name: &t.spec.name,
        values: &values[t.range.clone()],
        layout: Layout::Dense(&t.spec.shape),
    };
    tensors.iter().map(array).collect()
}

/// How grey levels become the input of the network, in words and numbers.
fn input(standardize: Standardize) -> String {
    let grey = "grey levels 0 to 255 of a face of 48x48 pixels, divided by 255";
    match standardize {
        Standardize::Dataset { mean, sd } => format!("{grey}, minus {mean}, divided by {sd} (at least 1/255)"),
        Standardize::Image => {
            format!("{grey}, minus the image's mean, divided by its standard deviation (biased, at least 1/255)")
        }
        Standardize::None => grey.to_owned(),
    }
}
