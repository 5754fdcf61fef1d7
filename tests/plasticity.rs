//! What learning may never do: leave the masks, break Dale's law, grow beyond its cap, or touch what its mode protects.

#![allow(clippy::unwrap_used)] // A test may panic.

mod run_support;

use bionic_cpu::connectome::{self, Connectome, Synapses};
use bionic_cpu::learning::RULES;
use bionic_cpu::model::{Network, Role, Sign};
use bionic_cpu::store;
use bionic_cpu::train::{Event, Stop, train};
use run_support::*;
use std::path::Path;

/// [`QUARTER`] with one pair L4 -> L2/3 and all efferents of another cell of L4 cut; those three cells.
fn with_isolated_cells() -> (Connectome, [usize; 3]) {
    let mut c = QUARTER.clone();
    let (l4, l23) = (c.population("L4"), c.population("L2/3"));
    let inside = |&(post, pre, _): &(usize, usize, u32)| l23.contains(&post) && l4.contains(&pre);
    let (post, pre, _) = c.synapses.iter().find(inside).unwrap();
    let mute = *l4.iter().find(|&&i| i != pre && c.synapses.fan_out(i) > 0).unwrap();
    let kept: Vec<_> = c.synapses.iter().filter(|&(i, j, _)| j != mute && (i, j) != (post, pre)).collect();
    c.synapses = Synapses::from_connections(c.neurons.len(), c.neurons.len(), kept).unwrap();
    (c, [post, pre, mute])
}

#[test]
fn weights_and_moments_exist_only_at_the_synapses_of_the_masks() {
    let (isolated, [post, pre, mute]) = with_isolated_cells();
    for preset in ["bionic", "bionic-ei"] {
        let place = Place::with(&isolated);
        let (out, summary) = place.train("run", &place.config(preset, &[]));
        let wiring = connectome::read_folder(&out.join("connectome")).unwrap();
        assert_eq!(wiring.synapses, isolated.synapses, "the run keeps the wiring that it uses");
        let saved = store::read(&out.join("state.bcw"), |_| true).unwrap();
        let (mut synapses, mut masked, mut pair_seen) = (0, 0, false);
        for (section, values) in saved.sections.iter().zip(saved.tensors()) {
            let (name, moment) = section.name.split_once('#').unwrap_or((&section.name, ""));
            let Some((pres, posts)) = ends(&wiring, name) else { continue };
            let mask = wiring.projection(&posts, &pres);
            assert_eq!(section.shape, [mask.len()], "{}", section.name);
            assert_eq!(values.len(), mask.len(), "{}", section.name);
            masked += 1;
            synapses += if moment.is_empty() { mask.len() } else { 0 };

            // Over all pairs of neurons: what is stored stands where the mask has a synapse, and nothing elsewhere.
            let mut dense = vec![0.0; posts.len() * pres.len()];
            mask.iter().zip(values).for_each(|((i, j, _), &w)| dense[i * pres.len() + j] = w);
            let outside = |k: &usize| !wiring.synapses.contains(posts[k / pres.len()], pres[k % pres.len()]);
            assert!((0..dense.len()).filter(outside).all(|k| dense[k] == 0.0), "{}", section.name);
            // An inhibitory cell may reach no cell of its lamina, and then learns nothing.
            assert!(dense.iter().any(|&w| w != 0.0) || name.contains(" I"), "{}: nothing is learned", section.name);
            if let (Some(i), Some(j)) = (posts.iter().position(|&i| i == post), pres.iter().position(|&j| j == pre)) {
                assert_eq!((dense[i * pres.len() + j], mask.contains(i, j)), (0.0, false), "the cut pair");
                pair_seen = true;
            }
            if let Some(j) = pres.iter().position(|&j| j == mute) {
                assert_eq!(mask.fan_out(j), 0, "the mute cell");
                assert!((0..posts.len()).all(|i| dense[i * pres.len() + j] == 0.0));
            }
        }
        assert!(pair_seen && masked % 4 == 0, "weights, two moments and the best epoch each, of {masked}");
        assert_eq!((synapses, synapses), (summary.synapses, expected_synapses(&out)), "{preset}");
    }
}

/// Synapses of the column of the network that a run trains.
fn expected_synapses(out: &Path) -> usize {
    bionic_cpu::train::load_best(out, &mut |_| {}).unwrap().network.synapses()
}

#[test]
fn dales_law_holds_after_every_epoch_under_every_rule() {
    let place = Place::new();
    for rule in RULES {
        let rule_set = format!("plasticity.rule={}", rule.name);
        // Strong steps, so that the law is put to the test.
        let sets = [rule_set.as_str(), "learning.learning_rate=0.01", "plasticity.cap=1", "plasticity.rate=0.1"];
        let config = place.config("bionic-ei", &sets);
        let wiring = connectome::load(&config.connectome).unwrap();
        let network = Network::build(&config, Some(&wiring)).unwrap();
        let signed: Vec<&str> = network
            .tensors()
            .iter()
            .filter(|t| t.spec.sign == Sign::NonNegative)
            .map(|t| t.spec.name.as_str())
            .collect();
        let weights = network.tensors().iter().filter(|t| t.spec.name.contains("->"));
        assert!(weights.clone().count() > 20 && weights.clone().all(|t| t.spec.sign == Sign::NonNegative));

        let out = place.run(rule.name);
        let (mut epochs, mut silenced) = (0, 0);
        let mut check = |event: Event| {
            let Event::Epoch { .. } = event else { return };
            epochs += 1;
            let saved = store::read(&out.join("state.bcw"), |_| true).unwrap();
            for &name in &signed {
                let values = saved.floats_of(name).unwrap();
                assert!(values.iter().all(|&w| w >= 0.0), "{}: {name} in epoch {epochs}", rule.name);
                assert!(values.iter().any(|&w| w > 0.0), "{}: {name} is dead in epoch {epochs}", rule.name);
                silenced += values.iter().filter(|&&w| w == 0.0).count();
            }
            assert!(saved.floats.iter().all(|v| v.is_finite()));
        };
        train(&config, &out, &mut check, &Stop::new()).unwrap();
        assert_eq!(epochs, 2);
        assert!(silenced > 0, "{}: no strength ever reached zero, so nothing was tested", rule.name);
    }
}

#[test]
fn every_rule_moves_every_projection_of_the_column_and_stays_within_its_cap() {
    let place = Place::new();
    for preset in ["bionic", "bionic-ei"] {
        for rule in RULES {
            let rule_set = format!("plasticity.rule={}", rule.name);
            let config = place.config(preset, &[&rule_set]);
            let (out, _) = place.train(&format!("{preset}-{}", rule.name), &config);
            let cap = f64::from(config.plasticity.cap);
            let record = metrics(&out).pop().unwrap();
            let shares = record["hebbian_share"].as_object().unwrap();
            let sections = store::read(&out.join("state.bcw"), |_| false).unwrap().sections;
            let column = |name: &&str| {
                name.contains("->") && !name.contains('#') && !name.contains("input->") && !name.contains(" I")
            };
            let projections: Vec<&str> = sections.iter().map(|s| s.name.as_str()).filter(column).collect();
            assert!(projections.len() > 6);
            assert_eq!(shares.len(), projections.len(), "{shares:?}");
            for name in projections {
                let share = shares[name].as_f64().unwrap();
                assert!(share > 0.0, "{preset}, {}: {name} has no Hebbian part", rule.name);
                assert!(share <= cap / (1.0 + cap) + 1e-6, "{preset}, {}: {name} has {share}", rule.name);
            }
        }
    }
}

#[test]
fn backprop_has_no_hebbian_part() {
    let place = Place::new();
    let (out, _) = place.train("run", &place.config("bionic", &["learning.mode=backprop", "epochs=1"]));
    assert!(metrics(&out)[0].get("hebbian_share").is_none());
}

/// Names of the trained tensors of a finished run: those that still have their first bits, and those that have not.
fn kept_and_changed(out: &Path, network: &Network, seed: u64) -> (Vec<String>, Vec<String>) {
    let (mut weights, mut buffers) = (vec![0.0; network.weights_len()], vec![0.0; network.buffers_len()]);
    network.initialise(seed, &mut weights, &mut buffers);
    let saved = store::read(&out.join("state.bcw"), |_| true).unwrap();
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    let kept = |name: &str, first: &[f32]| bits(saved.floats_of(name).unwrap()) == bits(first);
    let all = network.tensors().iter().map(|t| (t.spec.name.clone(), kept(&t.spec.name, &weights[t.range.clone()])));
    let (kept, changed): (Vec<_>, Vec<_>) = all.partition(|(_, kept)| *kept);
    let names = |list: Vec<(String, bool)>| list.into_iter().map(|(name, _)| name).collect();
    (names(kept), names(changed))
}

#[test]
fn local_learning_moves_the_readout_by_gradient_and_the_rest_by_the_rule_alone() {
    let place = Place::new();
    for (preset, sets) in [("bionic", vec![]), ("bionic-ei", vec![]), ("deep", vec!["batch=16", SHRUNKEN_DEEP])] {
        for rule in ["none", "oja"] {
            let set = format!("plasticity.rule={rule}");
            let local = ["learning.mode=local", "plasticity.scaling_rate=0", "plasticity.intrinsic_rate=0", &set];
            let config = place.config(preset, &[&sets[..], &local].concat());
            let (out, _) = place.train(&format!("{preset}-{rule}"), &config);
            let wiring = connectome::load(&config.connectome).unwrap();
            let network = Network::build(&config, Some(&wiring)).unwrap();
            let readout = network.layers().len() - 1;
            let (kept, changed) = kept_and_changed(&out, &network, config.seed);
            for t in network.tensors() {
                let plastic = match network.layers()[t.layer].name() {
                    "conv" | "dense" => t.spec.role == Role::Weight,
                    "column" => t.spec.name.contains("->") && !t.spec.name.contains(" I"),
                    _ => false,
                };
                let expected = t.layer == readout || (rule == "oja" && plastic);
                let list = if expected { &changed } else { &kept };
                assert!(list.contains(&t.spec.name), "{preset}, {rule}: {} should change: {expected}", t.spec.name);
            }
            let saved = store::read(&out.join("state.bcw"), |_| true).unwrap();
            let prefix = format!("{readout}.");
            for (section, values) in saved.sections.iter().zip(saved.tensors()) {
                if section.name.contains("_moment") {
                    let zero = values.iter().all(|&v| v == 0.0);
                    assert_eq!(zero, !section.name.starts_with(&prefix), "{preset}, {rule}: {}", section.name);
                }
            }
        }
    }
}

#[test]
fn homeostasis_alone_moves_weights_and_biases() {
    let place = Place::new();
    for (set, moved) in [("plasticity.intrinsic_rate=0", "L4->L2/3"), ("plasticity.scaling_rate=0", "norm_bias")] {
        let config = place.config("bionic", &["learning.mode=local", "plasticity.rule=none", set]);
        let (out, _) = place.train(moved.split('-').next().unwrap(), &config);
        let wiring = connectome::load(&config.connectome).unwrap();
        let network = Network::build(&config, Some(&wiring)).unwrap();
        let (_, changed) = kept_and_changed(&out, &network, config.seed);
        let of_column = |name: &&String| name.contains(".column.");
        let expected = |name: &&String| if moved == "norm_bias" { name.ends_with(moved) } else { name.contains("->") };
        assert!(changed.iter().any(|name| name.ends_with(moved)), "{changed:?}");
        assert!(changed.iter().filter(of_column).all(|name| expected(&name)), "{changed:?}");
    }
}
