//! The forward pass of the whole column against loops over dense matrices; the tiny connectome of all its tests.

use super::*;
use crate::config::{Config, InhibitionKind, NoiseKind};
use crate::connectome::{Connectome, Neuron, Polarity, Synapses};
use crate::kernels::threads::pool;
use crate::model::presets::preset;
use crate::model::{Role, Sign, spec::tensors_len};
use crate::rng::Rng;
use std::collections::BTreeMap;

/// Lamina, excitatory and inhibitory cells of the tiny connectome.
pub(super) const TINY: [(&str, usize, usize); 4] = [("L2/3", 5, 2), ("L4", 6, 2), ("L5", 4, 1), ("L6", 7, 3)];

/// Features of the stem in these tests.
pub(super) const FEATURES: Shape = Shape { c: 2, h: 4, w: 5 };

/// A random connectome of these laminae; in each, the last excitatory and the last inhibitory cell receive nothing.
pub(super) fn connectome(laminae: &[(&str, usize, usize)], density: f32) -> Connectome {
    let mut rng = Rng::stream(1, "tiny", &[]);
    let mut neurons = Vec::new();
    let mut silent = Vec::new();
    for &(lamina, excitatory, inhibitory) in laminae {
        for (polarity, n) in [(Polarity::Excitatory, excitatory), (Polarity::Inhibitory, inhibitory)] {
            for _ in 0..n {
                neurons.push(Neuron {
                    id: neurons.len().to_string(),
                    cell_type: "cell".into(),
                    lamina: lamina.into(),
                    polarity,
                    position_um: Some(std::array::from_fn(|_| rng.range(0.0, 100.0))),
                });
            }
            silent.push(neurons.len() - 1);
        }
    }
    let n = neurons.len();
    let mut connections = Vec::new();
    for (post, pre) in (0..n).flat_map(|post| (0..n).map(move |pre| (post, pre))) {
        if !silent.contains(&post) && rng.chance(density) {
            connections.push((post, pre, 1 + rng.below(4) as u32));
        }
    }
    let synapses = Synapses::from_connections(n, n, connections).unwrap();
    Connectome { origin: "a tiny test".into(), neurons, synapses, known_pairs: None }
}

/// `connectome` without the synapses from the excitatory cells of `pre` to any cell of `post` of this polarity.
pub(super) fn without(mut connectome: Connectome, pre: &str, post: &str, polarity: Polarity) -> Connectome {
    let pre = connectome.population(pre);
    let post = connectome.select(Some(post), Some(polarity));
    let kept: Vec<_> = connectome.synapses.iter().filter(|(i, j, _)| !(post.contains(i) && pre.contains(j))).collect();
    let n = connectome.neurons.len();
    connectome.synapses = Synapses::from_connections(n, n, kept).unwrap();
    connectome
}

/// The default configuration, without noise.
pub(super) fn config() -> Config {
    let mut config = preset("bionic").unwrap();
    config.column.noise = NoiseKind::None;
    config
}

pub(super) fn pass(training: bool, batch: usize, step: u64) -> Pass {
    Pass { training, batch, slice: 0, seed: 1, step }
}

/// Random strengths for every tensor of the column, well above zero where they may not be negative.
pub(super) fn strengths(column: &Column, rng: &mut Rng) -> Vec<f32> {
    let mut weights = vec![0.0; tensors_len(&column.tensors)];
    for (spec, range) in column.tensors.iter().zip(&column.ranges) {
        let mut values = vec![0.0; range.len()];
        spec.draw(rng, &mut values);
        for v in &mut values {
            *v = match (spec.role, spec.sign) {
                (Role::Plain, _) => *v + 0.3 * rng.normal(),
                (Role::Weight, Sign::Free) => *v,
                (Role::Weight, Sign::NonNegative) => *v + 0.05,
            };
        }
        weights[range.clone()].copy_from_slice(&values);
    }
    weights
}

/// Features above zero, as a stem with attention or a ReLU at its end gives them `(N_features, B)`.
pub(super) fn features(batch: usize, rng: &mut Rng) -> Vec<f32> {
    (0..FEATURES.n() * batch).map(|_| 0.05 + rng.normal().abs()).collect()
}

/// Output of one pass, pre-filled with NaN.
pub(super) fn run(column: &mut Column, pass: &Pass, weights: &[f32], x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; column.output().n() * pass.batch];
    column.forward(pass, weights, &[], x, &mut y);
    assert!(y.iter().all(|v| v.is_finite()));
    y
}

pub(super) fn tensor_names(column: &Column) -> Vec<String> {
    column.tensors.iter().map(|t| t.name.clone()).collect()
}

// Forward

/// The column for one image as loops over dense matrices in which a synapse that the connectome lacks is 0.
struct Reference<'a> {
    config: &'a Config,
    connectome: &'a Connectome,
    /// Neurons whose activity is clamped to 0 `(N)`.
    silent: &'a [bool],
    /// Values of each tensor, by name.
    tensors: BTreeMap<String, Vec<f64>>,
}

impl Reference<'_> {
    /// `W ∘ M` as rows of post by pre, from the values at the synapses of the mask in its order.
    fn matrix(&self, name: &str, post: &[usize], pre: &[usize]) -> Vec<Vec<f64>> {
        let mut matrix = vec![vec![0.0; pre.len()]; post.len()];
        let mask = self.connectome.projection(post, pre);
        if mask.is_empty() {
            assert!(!self.tensors.contains_key(name), "{name} has weights but no synapse");
            return matrix;
        }
        let values = &self.tensors[name];
        assert_eq!(values.len(), mask.len(), "{name} has one weight per synapse");
        for ((i, j, _), &w) in mask.iter().zip(values) {
            matrix[i][j] = w;
        }
        matrix
    }

    /// 0 for each of `cells` that is silent.
    fn clamp(&self, activity: &mut [f64], cells: &[usize]) {
        let silent = activity.iter_mut().zip(cells).filter(|(_, i)| self.silent[**i]);
        silent.for_each(|(v, _)| *v = 0.0);
    }

    /// Inhibitory synapses onto each of `cells` from all inhibitory cells, and from those that are not silent.
    fn inhibitory_synapses(&self, cells: &[usize]) -> Vec<[f64; 2]> {
        let inhibitory = self.connectome.select(None, Some(Polarity::Inhibitory));
        let all = self.connectome.synapses.iter().filter(|(_, pre, _)| inhibitory.contains(pre));
        let mut counts = vec![[0.0; 2]; cells.len()];
        for (post, pre, count) in all {
            let Some(i) = cells.iter().position(|&cell| cell == post) else { continue };
            counts[i][0] += f64::from(count);
            counts[i][1] += if self.silent[pre] { 0.0 } else { f64::from(count) };
        }
        counts
    }

    /// Activity of each lamina for the features `x` of one image.
    fn forward(&self, laminae: &[&str], x: &[f64]) -> Vec<Vec<f64>> {
        let column = &self.config.column;
        let mut done: Vec<Vec<f64>> = Vec::new();
        for (k, lamina) in laminae.iter().enumerate() {
            let cells = self.connectome.population(lamina);
            let of = |name: &str| &self.tensors[&format!("{lamina}.{name}")];
            let inhibitory = self.connectome.select(Some(lamina), Some(Polarity::Inhibitory));
            // Inhibitory cells that reach no excitatory cell of their lamina do nothing.
            let reached = !self.connectome.projection(&cells, &inhibitory).is_empty();
            let interneurons = column.inhibition == InhibitionKind::Interneurons && reached;

            let mut u = self.input_from_before(laminae, k, x, &done, lamina, &cells);
            if !interneurons {
                add(&mut u, of("bias"));
            }
            let mut a: Vec<f64> = u.iter().map(|u| u.max(0.0)).collect();
            self.clamp(&mut a, &cells);
            if column.intra {
                add(&mut u, &times(&self.matrix(&format!("{lamina}->{lamina}"), &cells, &cells), &a));
            }
            let v = match column.inhibition {
                InhibitionKind::Graded => {
                    let synapses = self.inhibitory_synapses(&cells);
                    let most = synapses.iter().map(|s| s[0]).fold(0.0, f64::max);
                    u.iter().zip(&synapses).map(|(u, s)| u * (1.0 - of("gamma")[0] * s[1] / most)).collect()
                }
                InhibitionKind::Interneurons if interneurons => {
                    let name = format!("{lamina} I");
                    let mut h = self.input_from_before(laminae, k, x, &done, &name, &inhibitory);
                    add(&mut h, &times(&self.matrix(&format!("{lamina}->{name}"), &inhibitory, &cells), &a));
                    self.clamp(&mut h, &inhibitory);
                    let s = times(&self.matrix(&format!("{name}->{lamina}"), &cells, &inhibitory), &h);
                    let floor = f64::from(column.shunt_floor);
                    let shunted = |i: usize| of("gain")[i] * (u[i] - s[i]) / (of("alpha")[i].exp() * s[i] + floor);
                    (0..cells.len()).map(|i| shunted(i) + of("bias")[i]).collect()
                }
                _ => u,
            };
            let v = if column.layer_norm { normalised(&v, of("norm_gain"), of("norm_bias")) } else { v };
            let mut y: Vec<f64> = v.iter().map(|v| v.max(0.0)).collect();
            self.clamp(&mut y, &cells);
            done.push(y);
        }
        done
    }

    /// Input of `cells`, called `name`, from the features (first lamina) or from the laminae before the `k`-th.
    fn input_from_before(
        &self,
        laminae: &[&str],
        k: usize,
        x: &[f64],
        done: &[Vec<f64>],
        name: &str,
        cells: &[usize],
    ) -> Vec<f64> {
        let mut sum = vec![0.0; cells.len()];
        if k == 0 {
            let rows = self.tensors[&format!("input->{name}")].chunks_exact(x.len()).map(<[f64]>::to_vec);
            add(&mut sum, &times(&rows.collect::<Vec<_>>(), x));
        }
        for j in 0..k {
            if j + 1 == k || self.config.column.skips {
                let pre = self.connectome.population(laminae[j]);
                add(&mut sum, &times(&self.matrix(&format!("{}->{name}", laminae[j]), cells, &pre), &done[j]));
            }
        }
        sum
    }
}

fn add(sum: &mut [f64], more: &[f64]) {
    assert_eq!(sum.len(), more.len());
    sum.iter_mut().zip(more).for_each(|(s, m)| *s += m);
}

fn times(matrix: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
}

fn normalised(v: &[f64], gain: &[f64], bias: &[f64]) -> Vec<f64> {
    let n = v.len() as f64;
    let mean = v.iter().sum::<f64>() / n;
    let variance = v.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (0..v.len()).map(|i| gain[i] * (v[i] - mean) / (variance + 1e-5).sqrt() + bias[i]).collect()
}

/// The column with these neurons silenced, in every mode and with these switches, against the reference that clamps them.
fn check_forward(inhibition: InhibitionKind, switches: u64, connectome: &Connectome, silent: &[bool]) {
    let laminae = ["L4", "L2/3", "L5", "L6"];
    let mut config = config();
    config.column.readout = laminae.map(String::from).to_vec();
    let on = |bit: usize| switches >> bit & 1 == 1;
    config.column.inhibition = inhibition;
    (config.column.intra, config.column.skips, config.column.layer_norm) = (on(0), on(1), on(2));
    let mut column = build(&config, connectome, FEATURES).unwrap();
    let mut rng = Rng::stream(3, "reference", &[switches]);
    let mut weights = strengths(&column, &mut rng);
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let named = column.tensors.iter().zip(&column.ranges);
    let tensors = named.map(|(t, r)| (t.name.clone(), wide(&weights[r.clone()]))).collect();
    let reference = Reference { config: &config, connectome, silent, tensors };
    column.silence(connectome, silent, &mut weights);
    // What a silent neuron would send is cut behind it; here its output still shows.
    let seen: Vec<bool> = column.output_neurons().into_iter().map(|i| !silent[i]).collect();
    for batch in [1, 2, 17] {
        let x = features(batch, &mut rng);
        let y = run(&mut column, &pass(false, batch, 0), &weights, &x);
        for b in 0..batch {
            let image: Vec<f64> = x.iter().skip(b).step_by(batch).map(|&v| f64::from(v)).collect();
            let expected = reference.forward(&laminae, &image).concat();
            for (i, e) in expected.iter().enumerate().filter(|(i, _)| seen[*i]) {
                let found = f64::from(y[i * batch + b]);
                let close = (found - e).abs() <= 1e-4 * (1.0 + e.abs());
                assert!(close, "{inhibition} {switches:03b}: unit {i} is {found}, expected {e}");
            }
        }
    }
}

#[test]
fn the_forward_pass_is_the_reference_in_every_mode() {
    let connectome = connectome(&TINY, 0.4);
    for &inhibition in InhibitionKind::ALL {
        for switches in 0..8 {
            check_forward(inhibition, switches, &connectome, &vec![false; connectome.neurons.len()]);
        }
    }
}

// Silence

#[test]
fn silent_neurons_are_as_if_their_activity_were_clamped() {
    let connectome = connectome(&TINY, 0.4);
    let mut rng = Rng::stream(1, "silent", &[]);
    for &inhibition in InhibitionKind::ALL {
        for switches in 0..8 {
            for share in [0.1, 0.5] {
                let silent: Vec<bool> = connectome.neurons.iter().map(|_| rng.chance(share)).collect();
                check_forward(inhibition, switches, &connectome, &silent);
            }
        }
    }
}

/// The weights and the bits of the output after the neurons of `rounds` were silenced, one set after another.
fn silenced(inhibition: InhibitionKind, masks: bool, rounds: &[Vec<bool>]) -> (Vec<f32>, Vec<u32>) {
    let connectome = connectome(&TINY, 0.4);
    let mut config = config();
    (config.column.inhibition, config.column.masks) = (inhibition, masks);
    config.column.readout = vec!["all".into()];
    let mut column = build(&config, &connectome, FEATURES).unwrap();
    let mut rng = Rng::stream(5, "silence", &[]);
    let (mut weights, x) = (strengths(&column, &mut rng), features(3, &mut rng));
    rounds.iter().for_each(|silent| column.silence(&connectome, silent, &mut weights));
    let y = run(&mut column, &pass(false, 3, 0), &weights, &x);
    (weights, y.iter().map(|v| v.to_bits()).collect())
}

#[test]
fn silencing_nothing_changes_no_bit_and_the_union_is_both() {
    let n = TINY.iter().map(|(_, e, i)| e + i).sum::<usize>();
    let every = |k: usize| (0..n).map(|i| i % k == 0).collect::<Vec<bool>>();
    let (a, b) = (every(5), every(3));
    let union: Vec<bool> = a.iter().zip(&b).map(|(a, b)| a | b).collect();
    for &inhibition in InhibitionKind::ALL {
        for masks in [true, false] {
            let intact = silenced(inhibition, masks, &[]);
            assert!(silenced(inhibition, masks, &[vec![false; n]]) == intact, "{inhibition}");
            let both = silenced(inhibition, masks, std::slice::from_ref(&union));
            assert!(both != intact && silenced(inhibition, masks, std::slice::from_ref(&a)) != both, "{inhibition}");
            // Doses are those of the last set; weights stay cut.
            assert!(silenced(inhibition, masks, &[a.clone(), b.clone(), union.clone()]) == both, "{inhibition}");
        }
    }
}

#[test]
fn doses_lose_the_synapses_of_silent_cells_and_keep_the_maximum() {
    let cells = ["E", "E", "I", "I"].iter().enumerate().map(|(i, polarity)| Neuron {
        id: i.to_string(),
        cell_type: "cell".into(),
        lamina: if i < 3 { "L4" } else { "L1" }.into(),
        polarity: if *polarity == "E" { Polarity::Excitatory } else { Polarity::Inhibitory },
        position_um: None,
    });
    // Onto cell 0: 3 and 1 synapses of the inhibitory cells 2 and 3; onto cell 1: 2 of cell 2, and 5 of cell 0.
    let synapses = vec![(0, 2, 3), (0, 3, 1), (1, 2, 2), (1, 0, 5)];
    let synapses = Synapses::from_connections(4, 4, synapses).unwrap();
    let connectome = Connectome { origin: "four".into(), neurons: cells.collect(), synapses, known_pairs: None };
    let doses = |silent: [bool; 4]| {
        let mut column = build(&config(), &connectome, FEATURES).unwrap();
        assert_eq!(column.dosing(&connectome), [false, false, true, true]);
        let mut weights = vec![1.0; tensors_len(&column.tensors)];
        column.silence(&connectome, &silent, &mut weights);
        let Inhibition::Graded { dose, .. } = &column.populations[0].inhibition else { panic!("not graded") };
        dose.clone()
    };
    assert_eq!(doses([false; 4]), [1.0, 0.5]);
    assert_eq!(doses([true, true, false, false]), [1.0, 0.5], "an excitatory cell has no part in it");
    assert_eq!(doses([false, false, true, false]), [0.25, 0.0]);
    assert_eq!(doses([false, false, false, true]), [0.75, 0.5], "also from L1, where no population is");
    assert_eq!(doses([false, false, true, true]), [0.0, 0.0]);
}

#[test]
fn groups_name_the_neurons_behind_each_response() {
    let connectome = connectome(&TINY, 0.4);
    for inhibition in [InhibitionKind::Graded, InhibitionKind::Interneurons] {
        let mut config = config();
        config.column.inhibition = inhibition;
        config.column.readout = vec!["L5".into(), "L4".into()];
        let mut column = build(&config, &connectome, FEATURES).unwrap();
        let mut rng = Rng::stream(1, "groups", &[]);
        let (weights, x) = (strengths(&column, &mut rng), features(2, &mut rng));
        let y = run(&mut column, &pass(false, 2, 0), &weights, &x);
        let (groups, responses) = (column.groups(), column.responses(2));
        assert_eq!(groups.len(), responses.len());
        // The inhibitory cell of L5 reaches no excitatory one.
        assert_eq!(groups.len(), if inhibition == InhibitionKind::Graded { 4 } else { 7 });
        let find = |lamina: &str| groups.iter().position(|g| g.lamina == lamina).unwrap();
        let (l5, l4) = (find("L5"), find("L4"));
        assert_eq!(y, [responses[l5], responses[l4]].concat());
        assert_eq!(column.output_neurons(), [connectome.population("L5"), connectome.population("L4")].concat());
        for (group, response) in groups.iter().zip(&responses) {
            assert_eq!(group.neurons, connectome.select(Some(group.lamina), Some(group.polarity)));
            assert_eq!(response.len(), 2 * group.neurons.len());
            assert!(response.iter().any(|&v| v > 0.0), "{group:?}");
        }
    }
}

#[test]
fn noise_is_there_in_training_only_and_is_a_function_of_seed_and_step() {
    let connectome = connectome(&TINY, 0.4);
    let mut config = config();
    let mut outputs = Vec::new();
    for &noise in NoiseKind::ALL {
        config.column.noise = noise;
        let mut column = build(&config, &connectome, FEATURES).unwrap();
        let mut rng = Rng::stream(1, "noise", &[]);
        let (weights, x) = (strengths(&column, &mut rng), features(4, &mut rng));
        let mut at = |pass: Pass| run(&mut column, &pass, &weights, &x);
        let quiet = at(pass(false, 4, 0));
        assert_eq!(quiet, at(pass(false, 4, 1)), "{noise}");
        let noisy = at(pass(true, 4, 0));
        assert_eq!(noisy, at(pass(true, 4, 0)), "{noise}");
        assert_eq!(noise == NoiseKind::None, noisy == at(pass(true, 4, 1)), "{noise}: another step");
        assert_eq!(
            noise == NoiseKind::None,
            noisy == at(Pass { seed: 2, ..pass(true, 4, 0) }),
            "{noise}: another seed"
        );
        assert_eq!(noise == NoiseKind::None, noisy == quiet, "{noise}: training against scoring");
        outputs.push(quiet);
    }
    assert!(outputs.iter().all(|y| *y == outputs[0]), "without noise all are the same network");
}

#[test]
fn the_column_gives_the_same_bits_with_1_and_2_threads() {
    let connectome = connectome(&[("L4", 70, 9), ("L5", 90, 20)], 0.3);
    for inhibition in [InhibitionKind::Graded, InhibitionKind::Interneurons] {
        let mut config = config();
        config.column.inhibition = inhibition;
        config.column.noise = NoiseKind::Synapse;
        let step = |threads: usize| {
            pool(threads).unwrap().run(|| {
                let mut column = build(&config, &connectome, FEATURES).unwrap();
                let mut rng = Rng::stream(1, "threads", &[]);
                let pass = pass(true, 37, 1);
                let (weights, x) = (strengths(&column, &mut rng), features(37, &mut rng));
                let y = run(&mut column, &pass, &weights, &x);
                let (mut dx, mut dweights) = (vec![0.0; x.len()], vec![0.0; weights.len()]);
                let back =
                    Backward { weights: &weights, x: &x, y: &y, dy: &y, dx: Some(&mut dx), dweights: &mut dweights };
                column.backward(&pass, back);
                [y, dx, dweights].concat().iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
            })
        };
        assert!(step(1) == step(2), "{inhibition}");
    }
}
