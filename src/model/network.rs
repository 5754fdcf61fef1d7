//! The network: a stem from the configuration, the column, and a linear read-out, run forward and backward.

use super::replica::Replica;
use super::{Layer, Operation, Params, Shape, TensorSpec, afferents, column, dense, layer_kind, tensor_ranges};
use crate::aligned::Aligned;
use crate::config::{Config, InhibitionKind, Precision, Standardization};
use crate::connectome::Connectome;
use crate::data::{EXPRESSIONS, SIDE};
use crate::error::{Error, Result};
use crate::kernels::threads;
use crate::model::spec::tensors_len;
use crate::rng::Rng;
use std::ops::Range;

/// Most trained parameters: with two moments and the gradient, 4 GiB.
const MAX_PARAMETERS: usize = 1 << 28;
/// Largest activity of a batch in all layers, floats: with its gradient, 8 GiB.
const MAX_ACTIVITY: usize = 1 << 30;

/// A trained tensor: which layer it belongs to and where its values lie.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Index of the layer.
    pub layer: usize,
    /// What it is; the name is prefixed with the layer's position and name.
    pub spec: TensorSpec,
    /// Place in the weights, in floats.
    pub range: Range<usize>,
}

/// A feed-forward chain of layers. Weights and running statistics live outside, in the store. Its passes are in
/// `slices.rs`.
pub struct Network {
    /// The layers, once for each slice of a batch; at least one.
    pub(super) replicas: Vec<Replica>,
    pub(super) input: Shape,
    /// Slices of each layer in the weights and in the buffers.
    pub(super) weights: Vec<Range<usize>>,
    pub(super) buffers: Vec<Range<usize>>,
    pub(super) tensors: Vec<Tensor>,
    buffer_tensors: Vec<Tensor>,
    /// Where the slices of a batch stop.
    pub(super) stops: Vec<Stop>,
    /// Scratch: the activity of all slices, turned round.
    pub(super) turned: Aligned,
}

/// A layer before which the slices of a batch wait for each other, in evaluation those of one worker.
pub(super) struct Stop {
    pub(super) layer: usize,
    /// Its tensors, by index.
    pub(super) tensors: Range<usize>,
    /// True where its images meet; false where its afferents are computed for all slices.
    pub(super) meeting: bool,
}

impl Stop {
    /// Whether a batch of so many slices stops here.
    pub(super) fn stops(&self, slices: usize) -> bool {
        self.meeting || slices > 1
    }
}

impl Network {
    /// Builds the network that the configuration describes.
    ///
    /// # Errors
    /// `Usage` for a stem that cannot be built or needs more memory than a machine has, `Input` for a connectome that cannot wire the column.
    pub fn build(config: &Config, connectome: Option<&Connectome>) -> Result<Self> {
        let input = Shape { c: 1, h: SIDE, w: SIDE };
        let mut layers: Vec<Box<dyn Layer>> = Vec::new();
        let mut shape = input;
        let mut size = Size { batch: config.batch, parameters: 0, activity: 0 };
        for entry in &config.stem {
            let params = Params::new(entry.clone())?.with_bf16(config.precision == Precision::Bf16);
            let twins = layers.iter().filter(|l| l.name() == params.layer() && l.output() == shape).count();
            let mut params = params.with_twins(twins);
            let kind = layer_kind(params.layer())?;
            let layer = (kind.build)(&mut params, shape)?;
            params.finish()?;
            size.add(layer.as_ref())?;
            shape = layer.output();
            layers.push(layer);
        }
        if let Some(connectome) = connectome {
            let column = column::build(config, connectome, shape)?;
            size.add(&column)?;
            shape = column.output();
            layers.push(Box::new(column));
        }
        let readout = dense::Dense::new(shape.n(), EXPRESSIONS.len(), 1.0);
        size.add(&readout)?;
        layers.push(Box::new(readout));
        Ok(Self::new(input, layers))
    }

    /// Refuses to train interneurons of a column whose features may be below zero: inhibition would excite.
    ///
    /// # Errors
    /// `Usage` if the stem may end below zero: with no ReLU, or with a layer behind it that changes signs.
    pub fn check_rates(&self, config: &Config) -> Result<()> {
        let Some((at, _)) = self.column() else { return Ok(()) };
        let stem = &self.layers()[..at];
        // Without a layer that changes signs, the sign is that of the pixels.
        let pixels = config.data.standardize == Standardization::None;
        if config.column.inhibition != InhibitionKind::Interneurons || ends_in_rates(stem).unwrap_or(pixels) {
            return Ok(());
        }
        let what = "column.inhibition = interneurons: the stem may end below zero, and a rate below zero would turn \
                    inhibition into excitation";
        Err(Error::usage(what, "end the stem with relu; max_pool, attention and dropout may follow it"))
    }

    /// A chain of layers for images of shape `input`.
    ///
    /// # Panics
    /// If there is no layer.
    pub fn new(input: Shape, layers: Vec<Box<dyn Layer>>) -> Self {
        assert!(!layers.is_empty(), "a network has a layer");
        let (mut weights, mut buffers, mut tensors, mut buffer_tensors) = (vec![], vec![], vec![], vec![]);
        for (i, layer) in layers.iter().enumerate() {
            place(i, layer.as_ref(), layer.tensors(), &mut weights, &mut tensors);
            place(i, layer.as_ref(), layer.buffers(), &mut buffers, &mut buffer_tensors);
        }
        let mut replica = Replica::new(layers);
        let (mut stops, mut n_pre) = (Vec::new(), input.n());
        for (i, layer) in replica.layers.iter_mut().enumerate() {
            let meeting = layer.meeting().is_some();
            if meeting || (i > 0 && afferents::pay(layer.as_mut(), n_pre)) {
                stops.push(Stop { layer: i, tensors: tensors_of(&tensors, i), meeting });
            }
            n_pre = layer.output().n();
        }
        let (replicas, turned) = (vec![replica], Aligned::default());
        Self { replicas, input, weights, buffers, tensors, buffer_tensors, stops, turned }
    }

    /// A part of the layers as a network of its own, and where its weights and its buffers lie in those of the whole.
    ///
    /// # Panics
    /// If it has no layer.
    pub fn part(&self, layers: Range<usize>) -> (Self, [Range<usize>; 2]) {
        let own: Vec<Box<dyn Layer>> = self.layers()[layers.clone()].iter().map(|l| l.replicate()).collect();
        let input = layers.start.checked_sub(1).map_or(self.input, |before| self.layers()[before].output());
        let place = |slices: &[Range<usize>]| {
            let start = layers.start.checked_sub(1).map_or(0, |before| slices[before].end);
            start..slices[layers.end - 1].end
        };
        (Self::new(input, own), [place(&self.weights), place(&self.buffers)])
    }

    /// Shape of an input image.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Its column, if it has one, and which layer that is.
    pub fn column(&self) -> Option<(usize, &column::Column)> {
        self.layers().iter().enumerate().find_map(|(i, layer)| match layer.operation() {
            Some(Operation::Column(column)) => Some((i, column)),
            _ => None,
        })
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Box<dyn Layer>] {
        &self.replicas[0].layers
    }

    /// Every trained tensor, in the order of the weights.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Every untrained tensor that is saved (running statistics), in the order of the buffers.
    pub fn buffer_tensors(&self) -> &[Tensor] {
        &self.buffer_tensors
    }

    /// Floats of all weights, alignment included.
    pub fn weights_len(&self) -> usize {
        self.weights.last().map_or(0, |r| r.end)
    }

    /// Floats of all buffers, alignment included.
    pub fn buffers_len(&self) -> usize {
        self.buffers.last().map_or(0, |r| r.end)
    }

    /// Trained parameters.
    pub fn parameters(&self) -> usize {
        self.tensors.iter().map(|t| t.spec.len()).sum()
    }

    /// Synapses of the connectome that carry a weight.
    pub fn synapses(&self) -> usize {
        self.layers().iter().map(|l| l.synapses()).sum()
    }

    /// Whether a layer multiplies numbers rounded to bf16 in training.
    pub fn rounds(&self) -> bool {
        self.layers().iter().any(|l| l.rounds())
    }

    /// Draws the first values of all tensors, each from its own stream.
    pub fn initialise(&self, seed: u64, weights: &mut [f32], buffers: &mut [f32]) {
        let mut tensors = Vec::new();
        for (places, mut values) in [(&self.tensors, weights), (&self.buffer_tensors, buffers)] {
            values.fill(0.0);
            let mut start = 0;
            for Tensor { spec, range, .. } in places {
                let (before, rest) = values.split_at_mut(range.end - start);
                tensors.push((spec, &mut before[range.start - start..]));
                (values, start) = (rest, range.end);
            }
        }
        threads::map_slices(&mut tensors, |_, (spec, values)| {
            let mut rng = Rng::stream(seed, "initial weights", &[xxhash_name(&spec.name)]);
            spec.draw(&mut rng, values);
        });
    }

    /// Index in [`Network::tensors`] of tensor `tensor` of layer `layer`.
    pub fn tensor_index(&self, layer: usize, tensor: usize) -> usize {
        tensors_of(&self.tensors, layer).start + tensor
    }
}

/// Whether what leaves the `layers` is never below zero: a ReLU, then nothing but layers that keep signs; `None` if all do.
fn ends_in_rates(layers: &[Box<dyn Layer>]) -> Option<bool> {
    let keeps_signs = |operation: &Option<Operation>| {
        use Operation::{ChannelAttention, Identity, MaxPool, SpatialAttention};
        matches!(operation, Some(Identity | MaxPool { .. } | ChannelAttention | SpatialAttention))
    };
    let mut operations = layers.iter().rev().map(|layer| layer.operation());
    operations.find(|o| !keeps_signs(o)).map(|o| matches!(o, Some(Operation::Relu)))
}

/// Where the tensors of `layer` are among `tensors`, which lie in the order of their layers; empty where it has none.
pub(super) fn tensors_of(tensors: &[Tensor], layer: usize) -> Range<usize> {
    tensors.partition_point(|t| t.layer < layer)..tensors.partition_point(|t| t.layer <= layer)
}

/// Refuses a network which `layer` brings to at least so many parameters, if those are more than fit.
///
/// # Errors
/// `Usage`.
pub(super) fn check_parameters(layer: &str, parameters: usize) -> Result<()> {
    if parameters <= MAX_PARAMETERS {
        return Ok(());
    }
    let what = format!("layer \"{layer}\" brings the network to {parameters} parameters");
    let remedy = format!("at most {MAX_PARAMETERS} fit: fewer units or filters, or a max_pool before them");
    Err(Error::usage(what, remedy))
}

/// What the layers so far need.
struct Size {
    batch: usize,
    /// Trained parameters.
    parameters: usize,
    /// Neurons times batch.
    activity: usize,
}

impl Size {
    /// Counts a layer, before anything as large as its weights or its activity is allocated.
    fn add(&mut self, layer: &dyn Layer) -> Result<()> {
        let product = |factors: &[usize]| factors.iter().fold(1, |p: usize, &f| p.saturating_mul(f));
        let weights = layer.tensors().iter().fold(0, |sum: usize, t| sum.saturating_add(product(&t.shape)));
        let Shape { c, h, w } = layer.output();
        self.parameters = self.parameters.saturating_add(weights);
        self.activity = self.activity.saturating_add(product(&[c, h, w, self.batch]));
        check_parameters(layer.name(), self.parameters)?;
        if self.activity > MAX_ACTIVITY {
            let what = format!("layer \"{}\" brings a batch to {} neurons", layer.name(), self.activity);
            return Err(Error::usage(what, format!("at most {MAX_ACTIVITY} fit: fewer filters or a smaller batch")));
        }
        Ok(())
    }
}

fn place(
    i: usize,
    layer: &dyn Layer,
    specs: Vec<TensorSpec>,
    slices: &mut Vec<Range<usize>>,
    tensors: &mut Vec<Tensor>,
) {
    let start = slices.last().map_or(0, |r| r.end);
    for (mut spec, range) in specs.iter().cloned().zip(tensor_ranges(&specs)) {
        spec.name = format!("{i}.{}.{}", layer.name(), spec.name);
        tensors.push(Tensor { layer: i, spec, range: start + range.start..start + range.end });
    }
    slices.push(start..start + tensors_len(&specs));
}

fn xxhash_name(name: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, effective};
    use crate::connectome;
    use crate::model::presets::preset;

    /// Says that the preset `bionic` with this stem, this batch and these settings of the column is refused.
    #[track_caller]
    fn refused(stem: &str, batch: usize, column: &[&str], part: &str) {
        let column = column.iter().map(|&s| s.to_owned());
        let sets = [format!("stem=[{stem}]"), format!("batch={batch}")].into_iter().chain(column).collect();
        let config = effective(&preset("bionic").unwrap(), &Overrides { sets, ..Overrides::default() }).unwrap();
        let wiring = connectome::load(&config.connectome).unwrap();
        let error = Network::build(&config, Some(&wiring)).err().unwrap();
        assert!(error.exit_code() == 2 && error.to_string().contains(part), "{error}");
    }

    /// A rate below zero would turn the inhibition of Dale's law into excitation.
    #[test]
    fn interneurons_want_a_stem_that_ends_in_rates() {
        let config = preset("bionic-ei").unwrap();
        let wiring = connectome::load(&config.connectome).unwrap();
        let checked = |stem: &str, standardize: &str| {
            let sets = vec![format!("stem=[{stem}]"), format!("data.standardize={standardize}")];
            let config = effective(&config, &Overrides { sets, ..Overrides::default() }).unwrap();
            Network::build(&config, Some(&wiring)).unwrap().check_rates(&config)
        };
        let built = |stem: &str| checked(stem, "image");
        let conv = "{layer=\"conv\", filters=2}, {layer=\"max_pool\", size=4}";
        for stem in ["", conv, &format!("{{layer=\"relu\"}}, {conv}")] {
            let error = built(stem).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("end the stem with relu"), "{error}");
        }
        built(&format!("{conv}, {{layer=\"relu\"}}")).unwrap();
        checked("", "none").unwrap();
        built(&format!("{conv}, {{layer=\"relu\"}}, {{layer=\"channel_attention\"}}, {{layer=\"dropout\"}}")).unwrap();
    }

    /// The first needs 13 TB: the program aborted. The last listed what each neuron sees, tens of GB.
    #[test]
    fn a_network_beyond_all_memory_is_refused_before_it_is_allocated() {
        refused(&"{layer=\"dense\", units=1048576},".repeat(3), 1, &[], "layer \"dense\" brings the network to");
        refused(&"{layer=\"conv\", filters=1048576, kernel=31},".repeat(3), 1, &[], "parameters");
        refused("{layer=\"conv\", filters=64}", 65_536, &[], "a smaller batch");
        refused(&"{layer=\"conv\", filters=16384, kernel=31},".repeat(2), 1, &[], "parameters");
        let pooled =
            "{layer=\"max_pool\", size=16},{layer=\"conv\",filters=1048576},{layer=\"channel_attention\", reduction=1}";
        refused(pooled, 1, &[], "layer \"channel_attention\" brings the network to");
        let sees_all = ["column.input=\"retinotopic\"", "column.receptive_field=1.0"];
        refused("{layer=\"conv\", filters=1024}", 1, &sees_all, "layer \"column\" brings the network to");
    }
}
