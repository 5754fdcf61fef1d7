//! Which neurons a column joins, and which connectomes it refuses.

use super::projection::Mask;
use super::tests::*;
use super::*;
use crate::config::{InhibitionKind, InputProjection};
use crate::connectome::{Polarity, Synapses};
use crate::model::Sign;
use crate::rng::Rng;
use std::collections::BTreeMap;

#[test]
fn a_lamina_that_the_one_before_does_not_reach_is_refused() {
    let connectome = without(connectome(&TINY, 0.4), "L2/3", "L5", Polarity::Excitatory);
    for &inhibition in InhibitionKind::ALL {
        let mut config = config();
        config.column.inhibition = inhibition;
        let error = build(&config, &connectome, FEATURES).err().unwrap();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.contains("from L2/3 to L5") && text.contains("a tiny test"), "{text}");
        config.column.laminae = ["L4", "L2/3", "L6"].map(String::from).to_vec();
        assert_eq!(build(&config, &connectome, FEATURES).unwrap().laminae(), [("L4", 6), ("L2/3", 5), ("L6", 7)]);
    }
}

#[test]
fn interneurons_keep_skipping_afferents_where_the_lamina_before_has_none() {
    let connectome = without(connectome(&TINY, 0.6), "L2/3", "L5", Polarity::Inhibitory);
    let mut config = config();
    config.column.inhibition = InhibitionKind::Interneurons;
    // The one inhibitory cell of L5 receives nothing in the tiny connectome; here L4 reaches it.
    let mut connectome = connectome;
    let inhibitory = connectome.select(Some("L5"), Some(Polarity::Inhibitory))[0];
    let l4 = connectome.population("L4")[0];
    let more: Vec<_> = connectome.synapses.iter().chain([(inhibitory, l4, 1)]).collect();
    let n = connectome.neurons.len();
    connectome.synapses = Synapses::from_connections(n, n, more).unwrap();
    let names = tensor_names(&build(&config, &connectome, FEATURES).unwrap());
    assert!(names.contains(&"L4->L5 I".into()) && !names.contains(&"L2/3->L5 I".into()), "{names:?}");
}

#[test]
fn laminae_of_any_name_work_and_are_visited_in_order_of_appearance() {
    let fly = connectome(&[("B", 4, 1), ("A", 6, 2)], 0.5);
    for inhibition in [InhibitionKind::Graded, InhibitionKind::Interneurons] {
        let mut config = config();
        config.column.inhibition = inhibition;
        let mut column = build(&config, &fly, FEATURES).unwrap();
        assert_eq!((column.laminae(), column.output()), (vec![("B", 4), ("A", 6)], Shape::flat(6)));
        let mut rng = Rng::stream(1, "fly", &[]);
        let (weights, x) = (strengths(&column, &mut rng), features(2, &mut rng));
        run(&mut column, &pass(true, 2, 0), &weights, &x);
        config.column.laminae = vec!["A".into(), "B".into()];
        assert_eq!(build(&config, &fly, FEATURES).unwrap().output(), Shape::flat(4));
    }
}

#[test]
fn laminae_that_are_unknown_or_named_twice_are_refused() {
    let connectome = connectome(&TINY, 0.4);
    let refused = |laminae: &[&str], readout: &[&str]| {
        let mut config = config();
        config.column.laminae = laminae.iter().map(|&l| l.into()).collect();
        config.column.readout = readout.iter().map(|&l| l.into()).collect();
        let error = build(&config, &connectome, FEATURES).err().unwrap();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    assert!(refused(&["L4", "L7"], &[]).contains("column.laminae: no excitatory lamina \"L7\""));
    assert!(refused(&["L4", "L5"], &["L6"]).contains("column.readout: no excitatory lamina \"L6\""));
    assert!(refused(&["L4", "L5", "L4"], &[]).contains("column.laminae: lamina \"L4\" occurs twice"));
    assert!(refused(&[], &["L6", "L6"]).contains("column.readout: lamina \"L6\" occurs twice"));
}

#[test]
fn the_readout_sees_the_chosen_laminae_one_after_another() {
    let connectome = connectome(&TINY, 0.4);
    let read = |readout: &[&str]| {
        let mut config = config();
        config.column.readout = readout.iter().map(|&l| l.into()).collect();
        let mut column = build(&config, &connectome, FEATURES).unwrap();
        let mut rng = Rng::stream(1, "readout", &[]);
        let (weights, x) = (strengths(&column, &mut rng), features(3, &mut rng));
        run(&mut column, &pass(false, 3, 0), &weights, &x)
    };
    assert_eq!(read(&["L6", "L4", "L5"]), [read(&["L6"]), read(&["L4"]), read(&["L5"])].concat());
    assert_eq!(read(&[]), read(&["L6"]), "the default is the last lamina");
    assert_eq!(read(&["all"]), read(&["L4", "L2/3", "L5", "L6"]));
}

#[test]
fn without_masks_every_projection_is_all_to_all_and_no_synapse_is_the_connectomes() {
    // So sparse that most pairs are unconnected.
    let connectome = connectome(&TINY, 0.2);
    let mut config = config();
    config.column.inhibition = InhibitionKind::Interneurons;
    config.column.masks = false;
    let column = build(&config, &connectome, FEATURES).unwrap();
    assert_eq!(column.synapses(), 0);
    let cells: BTreeMap<String, usize> = TINY
        .iter()
        .flat_map(|&(lamina, e, i)| [(lamina.to_string(), e), (format!("{lamina} I"), i)])
        .chain([("input".to_string(), FEATURES.n())])
        .collect();
    let mut projections = 0;
    for t in &column.tensors {
        let Some((pre, post)) = t.name.split_once("->") else { continue };
        let autapses = if pre == post { cells[pre] } else { 0 };
        assert_eq!(t.len(), cells[pre] * cells[post] - autapses, "{}", t.name);
        projections += 1;
    }
    // Per lamina: E and I each from the input or all laminae before; E->E, E->I and I->E within.
    assert_eq!(projections, 2 * (1 + 1 + 2 + 3) + 4 * 3);
}

#[test]
fn with_masks_each_projection_has_the_connectomes_synapses_and_they_are_counted() {
    let connectome = connectome(&TINY, 0.4);
    for &inhibition in InhibitionKind::ALL {
        let mut config = config();
        config.column.inhibition = inhibition;
        let column = build(&config, &connectome, FEATURES).unwrap();
        let cells = |name: &str| match name.strip_suffix(" I") {
            Some(lamina) => connectome.select(Some(lamina), Some(Polarity::Inhibitory)),
            None => connectome.population(name),
        };
        let mut synapses = 0;
        for t in &column.tensors {
            let Some((pre, post)) = t.name.split_once("->").filter(|(pre, _)| *pre != "input") else { continue };
            assert_eq!(t.shape, [connectome.projection(&cells(post), &cells(pre)).len()], "{}", t.name);
            assert_eq!(t.sign == Sign::NonNegative, inhibition == InhibitionKind::Interneurons, "{}", t.name);
            synapses += t.len();
        }
        assert_eq!(column.synapses(), synapses);
    }
}

#[test]
fn interneurons_that_reach_nobody_are_refused() {
    let connectome = connectome(&[("L4", 6, 0), ("L5", 4, 0)], 0.8);
    let mut config = config();
    config.column.inhibition = InhibitionKind::Interneurons;
    let error = build(&config, &connectome, FEATURES).err().unwrap();
    assert!(error.exit_code() == 3 && error.to_string().contains("no inhibitory cell"), "{error}");
}

/// A gain below zero would turn every synapse onto its neuron into one of the other sign.
#[test]
fn gains_stay_above_zero_under_dales_law() {
    let connectome = connectome(&TINY, 0.4);
    for inhibition in [InhibitionKind::Graded, InhibitionKind::Interneurons] {
        let mut config = config();
        config.column.inhibition = inhibition;
        let column = build(&config, &connectome, FEATURES).unwrap();
        let gains: Vec<_> = column.tensors.iter().filter(|t| t.name.ends_with("gain")).collect();
        assert!(!gains.is_empty());
        assert!(
            gains.iter().all(|t| (t.sign == Sign::NonNegative) == (inhibition == InhibitionKind::Interneurons)),
            "{inhibition}"
        );
    }
}

#[test]
fn retinotopic_fields_are_squares_at_the_place_of_the_cell() {
    let mut connectome = connectome(&TINY, 0.4);
    let cells = connectome.population("L4");
    let corners = [[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0], [50.0, 50.0], [0.0, 0.0]];
    for (&i, [x, z]) in cells.iter().zip(corners) {
        connectome.neurons[i].position_um = Some([x, 0.0, z]);
    }
    let mut config = config();
    config.column.input = InputProjection::Retinotopic;
    config.column.receptive_field = 0.5;
    let input = Shape { c: 2, h: 8, w: 8 };
    let column = build(&config, &connectome, input).unwrap();
    let Mask::Synapses(mask) = &column.populations[0].excitatory[0].mask else { panic!("not retinotopic") };
    let fields = [(0..2, 0..2), (6..8, 0..2), (0..2, 6..8), (6..8, 6..8), (2..6, 2..6), (0..2, 0..2)];
    for (i, (columns, rows)) in fields.into_iter().enumerate() {
        let inside = |j: usize| columns.contains(&(j % 8)) && rows.contains(&(j / 8 % 8));
        assert!((0..input.n()).all(|j| mask.contains(i, j) == inside(j)), "cell {i}");
    }
    assert_eq!(column.synapses(), column.projections().skip(1).map(Projection::weights_len).sum::<usize>());
    connectome.neurons[cells[3]].position_um = None;
    let error = build(&config, &connectome, input).err().unwrap();
    assert!(error.exit_code() == 3 && error.to_string().contains("has no position"), "{error}");
}
