//! The same weights in, the same loss, gradients and ten training steps out as PyTorch: `tools/golden.py` wrote
//! `tests/golden/<case>.json` from small networks that together have every layer but dropout, every optimizer, Dale's
//! law and four of the Hebbian rules.
//!
//! The steps here are those of `train::step::Step::run`: forward, loss, backward, optimizer, Hebbian step, Dale's
//! law. Both sides use 32-bit floats; `conditioning` in each file is the distance of PyTorch from its own 64-bit run,
//! and the tolerances are a few times the largest of those.

#![allow(clippy::unwrap_used)] // A test may panic.

use bionic_cpu::config::{Config, LearningMode, Overrides, effective};
use bionic_cpu::connectome::{Connectome, Neuron, Polarity, Synapses};
use bionic_cpu::data::{Dataset, EXPRESSIONS, PIXELS, SIDE, Split, Standardize, fill_batch};
use bionic_cpu::kernels::loss::softmax_cross_entropy;
use bionic_cpu::learning::{Hebbian, Optimizer, Schedule, enforce_dale};
use bionic_cpu::model::presets::preset;
use bionic_cpu::model::{Network, Pass, Tensor};
use serde_json::Value;
use std::path::Path;

const CASES: [&str; 7] = ["bionic", "bionic-hybrid", "bionic-ei", "deep", "baseline", "local", "local-subspace"];

/// Largest error of a loss, relative to it.
const LOSS: f64 = 5e-6;
/// Largest error of a gradient, relative to the largest of its tensor.
const GRADIENT: f64 = 5e-5;
/// Largest error of a trained weight, relative to the longest way that a weight of its tensor went in ten steps.
const TRAINED: f64 = 2e-4;
/// Largest error of a running statistic or a logit after training, relative to the largest of its tensor.
const STATE: f64 = 4e-5;

/// What PyTorch wrote.
struct Golden {
    name: &'static str,
    json: Value,
    config: Config,
    connectome: Option<Connectome>,
    dataset: Dataset,
}

/// What ten steps gave.
struct Outcome {
    network: Network,
    /// Mean loss of each step.
    losses: Vec<f64>,
    /// Of the first step, before clipping; laid out as the weights.
    gradient: Vec<f32>,
    start: Vec<f32>,
    trained: Vec<f32>,
    buffers: Vec<f32>,
    /// Logits `(7, B)` of the first batch after training, in evaluation.
    logits: Vec<f32>,
}

/// Largest errors, in the units of the tolerances.
struct Errors {
    loss: f64,
    gradient: f64,
    trained: f64,
    state: f64,
}

impl Errors {
    fn within_tolerance(&self) -> bool {
        self.loss <= LOSS && self.gradient <= GRADIENT && self.trained <= TRAINED && self.state <= STATE
    }
}

impl std::fmt::Display for Errors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { loss, gradient, trained, state } = self;
        write!(f, "loss {loss:.1e}, gradient {gradient:.1e}, trained {trained:.1e}, state {state:.1e}")
    }
}

/// A change that must be noticed.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// 0.01 more on one weight of the named tensor.
    Weight(&'static str),
    /// No Hebbian step.
    Hebbian,
    /// No enforcement of Dale's law.
    Dale,
    /// The optimizer's step count starts at 1.
    Step,
}

#[test]
fn ten_steps_are_those_of_pytorch() {
    for name in CASES {
        let golden = Golden::read(name);
        let errors = golden.compare(&golden.train(Fault::None));
        println!("{name}: {errors}, PyTorch from its 64-bit run: {}", golden.json["conditioning"]);
        assert!(errors.within_tolerance(), "{name}: {errors}");
    }
}

/// Each of these faults must be far outside the tolerances, or the test above says nothing: the smallest gives 0.1.
#[test]
fn faults_are_noticed() {
    let faults = [
        ("bionic", Fault::Weight("0.conv.weight")),
        ("bionic", Fault::Weight("1.lateral_inhibition.strength")),
        ("bionic", Fault::Weight("7.channel_attention.excite")),
        ("bionic", Fault::Weight("8.spatial_attention.filter")),
        ("bionic", Fault::Weight("9.column.L4->L5")),
        ("bionic", Fault::Weight("9.column.L5.gamma")),
        ("bionic", Fault::Step),
        ("bionic-hybrid", Fault::Hebbian),
        ("bionic-ei", Fault::Weight("9.column.L4 I->L4")),
        ("bionic-ei", Fault::Hebbian),
        ("bionic-ei", Fault::Dale),
        ("deep", Fault::Weight("1.batch_norm.gain")),
        ("deep", Fault::Step),
        ("baseline", Fault::Weight("6.dense.weight")),
        ("local", Fault::Hebbian),
    ];
    for (name, fault) in faults {
        let golden = Golden::read(name);
        let errors = golden.compare(&golden.train(fault));
        println!("{name}: {errors}");
        assert!(errors.trained > 100.0 * TRAINED, "{name}: {errors}");
    }
}

/// Every tensor of every case is compared, and every layer but dropout occurs.
#[test]
fn the_cases_cover_every_layer() {
    let mut seen = Vec::new();
    for name in CASES {
        let golden = Golden::read(name);
        seen.extend(golden.config.stem.iter().filter_map(|l| l["layer"].as_str().map(str::to_owned)));
    }
    for kind in bionic_cpu::model::LAYERS {
        let found = seen.iter().any(|s| s == kind.name) || kind.name == "dropout";
        assert!(found, "no case has {}: add it to tools/golden_layers.py and to a case of tools/golden.py", kind.name);
    }
}

impl Golden {
    fn read(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
        let json: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let defaults = preset(json["preset"].as_str().unwrap()).unwrap();
        let file = Some((name.to_owned(), json["config"].as_str().unwrap().to_owned()));
        let config = effective(&defaults, &Overrides { file, ..Default::default() }).unwrap();
        let connectome = json.get("connectome").map(connectome);
        let dataset = images(json["image_seed"].as_u64().unwrap(), json["images"].as_u64().unwrap() as usize);
        Self { name, json, config, connectome, dataset }
    }

    /// Ten steps from the weights in the file.
    fn train(&self, fault: Fault) -> Outcome {
        let config = &self.config;
        let mut network = Network::build(config, self.connectome.as_ref()).unwrap();
        let mut hebbian = Hebbian::new(config, &network).unwrap();
        let mut optimizer = Optimizer::new(&config.learning, network.tensors().len());
        let mut buffers = vec![0.0; network.buffers_len()];
        let mut weights = vec![0.0; network.weights_len()];
        network.initialise(config.seed, &mut weights, &mut buffers);
        self.place(network.tensors(), &mut weights);
        let start = weights.clone();
        if let Fault::Weight(name) = fault {
            let tensor = network.tensors().iter().find(|t| t.spec.name == name).expect(name);
            weights[tensor.range.start] += 1e-2;
        }
        let (mut first, mut second) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        let mut local = vec![0.0; hebbian.state_len()];
        hebbian.initialise(&mut local);
        let order: Vec<usize> = (0..self.dataset.len()).collect();
        let batches: Vec<&[usize]> = order.chunks(config.batch).collect();
        let schedule = Schedule::new(&config.learning, config.epochs, batches.len());
        let standardize = Standardize::of(config.data.standardize, self.dataset.mean_sd(Split::Training));
        let classes = EXPRESSIONS.len();
        let (mut losses, mut kept) = (Vec::new(), Vec::new());
        let mut gradient = vec![0.0; weights.len()];
        for step in 0..10 {
            let part = batches[step as usize % batches.len()];
            let labels: Vec<u8> = part.iter().map(|&i| self.dataset.labels[i]).collect();
            let mut x = vec![0.0; part.len() * PIXELS];
            fill_batch(&self.dataset, part, None, standardize, &mut x);
            let pass = Pass { training: true, batch: part.len(), slice: 0, seed: config.seed, step };
            let mut dlogits = vec![0.0; part.len() * classes];
            let logits = network.forward(&pass, &weights, &mut buffers, &x);
            let smoothing = config.learning.label_smoothing;
            let sum = softmax_cross_entropy(classes, part.len(), &logits, &labels, smoothing, part.len(), &mut dlogits);
            losses.push(sum.loss / part.len() as f64);
            let from = if config.learning.mode == LearningMode::Local { network.layers().len() - 1 } else { 0 };
            let square = network.backward(&pass, &weights, &dlogits, from, &mut gradient);
            if step == 0 {
                kept.clone_from(&gradient);
            }
            let active = network.tensor_index(from, 0)..network.tensors().len();
            let factor = schedule.factor(step);
            let rate = config.learning.learning_rate * factor as f32;
            let count = if fault == Fault::Step { step + 1 } else { step };
            let (m, v) = (&mut first, &mut second);
            optimizer.step(network.tensors(), active, count, rate, &mut weights, m, v, &gradient, square);
            if fault != Fault::Hebbian {
                hebbian.step(&network, &pass, factor as f32, &optimizer, &mut weights, &mut local);
            }
            if fault != Fault::Dale {
                enforce_dale(network.tensors(), &mut weights);
            }
        }
        let mut x = vec![0.0; batches[0].len() * PIXELS];
        fill_batch(&self.dataset, batches[0], None, standardize, &mut x);
        let pass = Pass { training: false, batch: batches[0].len(), slice: 0, seed: config.seed, step: 10 };
        let logits = network.forward(&pass, &weights, &mut buffers, &x);
        Outcome { network, losses, gradient: kept, start, trained: weights, buffers, logits }
    }

    /// Puts the weights of the file where the network has them; names and sizes must be the same on both sides.
    fn place(&self, tensors: &[Tensor], weights: &mut [f32]) {
        let given = self.json["weights"].as_object().unwrap();
        let mut names: Vec<&str> = tensors.iter().map(|t| t.spec.name.as_str()).collect();
        let mut expected: Vec<&str> = given.keys().map(String::as_str).collect();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{}: tensors of the network and of PyTorch", self.name);
        for t in tensors {
            let values = floats(&given[&t.spec.name]);
            assert_eq!(values.len(), t.spec.len(), "{}: length of {}", self.name, t.spec.name);
            weights[t.range.clone()].copy_from_slice(&values);
        }
    }

    fn compare(&self, found: &Outcome) -> Errors {
        let expected = floats(&self.json["losses"]);
        assert_eq!(found.losses.len(), expected.len());
        let relative = |(f, e): (&f64, &f32)| (f - f64::from(*e)).abs() / f64::from(*e);
        let loss = found.losses.iter().zip(&expected).map(relative).fold(0.0, f64::max);
        let tensors = found.network.tensors();
        let zero = vec![0.0; found.start.len()];
        let gradient = self.worst("gradient", tensors, &found.gradient, &zero);
        let trained = self.worst("trained", tensors, &found.trained, &found.start);
        let zero = vec![0.0; found.buffers.len()];
        let buffers = self.worst("buffers", found.network.buffer_tensors(), &found.buffers, &zero);
        // PyTorch's logits are (B, 7).
        let logits = floats(&self.json["logits"]);
        let (classes, batch) = (EXPRESSIONS.len(), self.config.batch);
        let turned: Vec<f32> = (0..classes * batch).map(|i| logits[i % batch * classes + i / batch]).collect();
        let logits = largest(&found.logits, &turned) / largest(&vec![0.0; turned.len()], &turned);
        Errors { loss, gradient, trained, state: buffers.max(logits) }
    }

    /// Largest error of any tensor in `key` of the file, in parts of the largest |expected - start| in that tensor; for
    /// tensors without effect, whose numbers are rounding alone, in parts of the largest in any tensor.
    fn worst(&self, key: &str, tensors: &[Tensor], found: &[f32], start: &[f32]) -> f64 {
        let expected = self.json[key].as_object().unwrap();
        let without_effect = self.json["without_effect"].as_array().unwrap();
        let compared: Vec<_> = tensors
            .iter()
            .filter(|t| expected.contains_key(&t.spec.name))
            .map(|t| {
                let values = floats(&expected[&t.spec.name]);
                let size = largest(&start[t.range.clone()], &values);
                (&t.spec.name, size, largest(&found[t.range.clone()], &values))
            })
            .collect();
        assert_eq!(compared.len(), expected.len(), "{}: tensors in `{key}`", self.name);
        let most = compared.iter().map(|c| c.1).fold(0.0, f64::max);
        let share = |(name, size, error): &(&String, f64, f64)| {
            error / if without_effect.iter().any(|n| n.as_str() == Some(name.as_str())) { most } else { *size }
        };
        let worst = compared.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
        worst.map_or(0.0, |w| {
            println!("  {} {key}: worst {} {:.1e}", self.name, w.0, share(w));
            share(w)
        })
    }
}

/// Largest |a - b|, infinite where there is a NaN.
fn largest(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let distance = |(a, b): (&f32, &f32)| f64::from(a - b).abs();
    a.iter().zip(b).map(distance).map(|d| if d.is_nan() { f64::INFINITY } else { d }).fold(0.0, f64::max)
}

fn floats(json: &Value) -> Vec<f32> {
    json.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn connectome(json: &Value) -> Connectome {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let neuron = |n: &Value| Neuron {
        id: text(&n[0]),
        cell_type: text(&n[1]),
        lamina: text(&n[2]),
        polarity: if n[3] == "E" { Polarity::Excitatory } else { Polarity::Inhibitory },
        position_um: Some(floats(&n[4]).try_into().unwrap()),
    };
    let neurons: Vec<Neuron> = json["neurons"].as_array().unwrap().iter().map(neuron).collect();
    let index = |v: &Value| v.as_u64().unwrap() as usize;
    let connections = json["connections"].as_array().unwrap().iter();
    let connections = connections.map(|c| (index(&c[1]), index(&c[0]), index(&c[2]) as u32));
    let synapses = Synapses::from_connections(neurons.len(), neurons.len(), connections).unwrap();
    Connectome { origin: "tools/golden.py".into(), neurons, synapses, known_pairs: None }
}

/// `images` of `tools/golden.py`: ten grey rectangles and pixel noise.
fn images(seed: u64, n: usize) -> Dataset {
    let mut state = seed as u32;
    let mut draw = |n: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) % n) as usize
    };
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for _ in 0..n {
        labels.push(draw(7) as u8);
        let mut image = [0u8; PIXELS];
        for _ in 0..10 {
            let [y, x, h, w] = [draw(40), draw(40), 4 + draw(20), 4 + draw(20)];
            let grey = draw(192) as u8;
            for row in y..SIDE.min(y + h) {
                image[row * SIDE + x..row * SIDE + SIDE.min(x + w)].fill(grey);
            }
        }
        image.iter_mut().for_each(|p| *p += draw(64) as u8);
        pixels.extend(image);
    }
    Dataset { source: "tools/golden.py".into(), pixels: pixels.into(), labels, splits: vec![Split::Training; n] }
}
