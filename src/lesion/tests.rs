//! Lesions of small untrained networks against what they must be, and slow computations.

use super::bench::Bench;
use super::controls::sample;
use super::*;
use crate::config::{InhibitionKind, Overrides, effective};
use crate::connectome::{self, Connectome, Polarity};
use crate::data::{self, EXPRESSIONS, Standardize};
use crate::eval::Images;
use crate::kernels::threads::pool;
use crate::model::inference::probabilities;
use crate::model::presets::preset;
use crate::model::{Layer, Network, Pass, Role as TensorRole};
use crate::rng::Rng;
use crate::train::Trained;
use std::sync::LazyLock;

/// Every sixth neuron of the embedded column.
static WIRING: LazyLock<Connectome> = LazyLock::new(|| {
    let whole = connectome::generate(1);
    let kept: Vec<usize> = (0..whole.neurons.len()).step_by(6).collect();
    Connectome {
        origin: "a sixth of the column".into(),
        neurons: kept.iter().map(|&i| whole.neurons[i].clone()).collect(),
        synapses: whole.synapses.block(&kept, &kept),
        known_pairs: None,
    }
});

/// An untrained network on [`WIRING`] with strengths of every kind away from where they start, and 37 drawn faces.
fn trained(name: &str, sets: &[&str]) -> (Trained, Images) {
    let small = ["stem=[{layer=\"conv\", filters=3}, {layer=\"max_pool\", size=6}, {layer=\"relu\"}]"];
    let faces = ["data.demo_train=4", "data.demo_test=37"];
    let sets = small.iter().chain(&faces).chain(sets).map(|s| s.to_string()).collect();
    let config = effective(&preset(name).unwrap(), &Overrides { sets, ..Overrides::default() }).unwrap();
    let connectome = config.column.enabled.then(|| WIRING.clone());
    let network = Network::build(&config, connectome.as_ref()).unwrap();
    let (mut weights, mut buffers) = (vec![0.0; network.weights_len()], vec![0.0; network.buffers_len()]);
    network.initialise(1, &mut weights, &mut buffers);
    let mut rng = Rng::stream(1, "trained", &[]);
    for t in network.tensors().iter().filter(|t| t.spec.role == TensorRole::Plain) {
        weights[t.range.clone()].iter_mut().for_each(|w| *w += 0.2 * rng.uniform());
    }
    let dataset = data::load("demo", &config.data).unwrap();
    let parts = vec![dataset.indices(data::Split::Private)];
    let images = Images { dataset, name: "private", parts };
    let trained = Trained {
        config,
        network,
        connectome,
        epoch: 1,
        finished: 1,
        weights,
        buffers,
        standardize: Standardize::Image,
        data_fingerprint: 0,
    };
    (trained, images)
}

fn subject(name: &str, sets: &[&str]) -> Subject {
    let (trained, images) = trained(name, sets);
    Subject::new(trained, &images).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn of(subject: &Subject, lamina: &str, polarity: Polarity) -> Vec<usize> {
    subject.connectome.select(Some(lamina), Some(polarity))
}

/// Networks of every kind that has a column: with running statistics, without a stem, with every lamina in the read-out.
const KINDS: [(&str, &[&str]); 6] = [
    ("bionic", &[]),
    ("bionic-ei", &[]),
    ("bionic", &["column.inhibition=none", "column.layer_norm=false"]),
    ("bionic", &["stem=[]"]),
    ("local", &[]),
    ("deep", &["stem=[{layer=\"conv\", filters=2}, {layer=\"batch_norm\"}, {layer=\"max_pool\", size=6}]"]),
];

#[test]
fn with_nothing_silent_it_is_the_whole_network_to_the_bit() {
    for (name, sets) in KINDS {
        let (mut t, images) = trained(name, sets);
        let Trained { network, weights, buffers, standardize, .. } = &mut t;
        let whole = probabilities(network, weights, buffers, &images.dataset, &images.parts[0], *standardize, false);
        let subject = Subject::new(t, &images).unwrap();
        assert_eq!(bits(&subject.answer(&[]).probabilities), bits(&whole), "{name} {sets:?}");
    }
}

#[test]
fn without_the_last_lamina_only_the_bias_of_the_readout_is_left() {
    for (name, sets) in KINDS {
        let all = ["column.readout=[\"L6\"]"];
        let (t, images) = trained(name, &[sets, &all[..]].concat());
        let bias = t.network.tensors().last().unwrap().range.clone();
        let bias: Vec<f64> = t.weights[bias].iter().map(|&b| f64::from(b)).collect();
        let subject = Subject::new(t, &images).unwrap();
        let answer = subject.answer(&of(&subject, "L6", Polarity::Excitatory));
        let sum: f64 = bias.iter().map(|b| b.exp()).sum();
        for row in answer.probabilities.chunks_exact(EXPRESSIONS.len()) {
            assert!(row.iter().zip(&bias).all(|(p, b)| (f64::from(*p) - b.exp() / sum).abs() < 1e-6), "{row:?}");
        }
        let taken = |class: usize| answer.scores.confusion.iter().map(|row| row[class]).sum::<usize>();
        assert_eq!((0..7).filter(|&class| taken(class) > 0).count(), 1, "one class for all images");
        let most = (0..7).reduce(|a, b| if bias[b] > bias[a] { b } else { a }).unwrap();
        assert_eq!(taken(most), 37);
        assert_ne!(subject.answer(&[]), answer);
    }
}

/// Without recurrence and inhibition a cell of the last lamina matters to the read-out alone.
#[test]
fn the_readout_does_not_see_silent_neurons() {
    let sets = ["column.intra=false", "column.inhibition=none", "column.readout=[\"L6\", \"L4\"]"];
    let subject = subject("bionic", &sets);
    let silent: Vec<usize> = of(&subject, "L6", Polarity::Excitatory).into_iter().step_by(3).collect();
    let (column, weights) = subject.column();
    let mut column = column.clone();
    let seen = column.output_neurons();
    let readout = &subject.readout_weights();
    let answer = subject.answer(&silent);
    for image in 0..37 {
        // One image alone: the slices of `features` hold 16, 16 and 5.
        let (start, size) = [(0, 16), (16, 16), (32, 5)].into_iter().rfind(|s| s.0 <= image).unwrap();
        let slice = subject.features_of(start..start + size);
        let x: Vec<f32> = slice.iter().skip(image - start).step_by(size).copied().collect();
        let mut y = vec![0.0; seen.len()];
        column.forward(&Pass { training: false, batch: 1, slice: 0, seed: 0, step: 0 }, weights, &[], &x, &mut y);
        let (w, bias) = readout;
        let logits: Vec<f64> = (0..7)
            .map(|k| {
                let heard = seen.iter().zip(&y).enumerate().filter(|(_, (i, _))| !silent.contains(i));
                let sum: f64 = heard.map(|(j, (_, y))| f64::from(w[k * seen.len() + j]) * f64::from(*y)).sum();
                sum + f64::from(bias[k])
            })
            .collect();
        let sum: f64 = logits.iter().map(|l| l.exp()).sum();
        for (p, l) in answer.probabilities[image * 7..][..7].iter().zip(&logits) {
            assert!((f64::from(*p) - l.exp() / sum).abs() < 1e-5, "image {image}: {p} {}", l.exp() / sum);
        }
    }
}

#[test]
fn inhibitory_cells_act_where_the_network_has_them() {
    for &inhibition in InhibitionKind::ALL {
        let role = match inhibition {
            InhibitionKind::Graded => Role::Dose,
            InhibitionKind::Interneurons => Role::Unit,
            InhibitionKind::None => Role::Absent,
        };
        let subject = subject("bionic", &[&format!("column.inhibition={inhibition}")]);
        let inhibitory = of(&subject, "L5", Polarity::Inhibitory);
        let acting: Vec<usize> = inhibitory.iter().copied().filter(|&i| subject.roles[i] != Role::Absent).collect();
        assert!(acting.iter().all(|&i| subject.roles[i] == role), "{inhibition}");
        assert_eq!(acting.is_empty(), role == Role::Absent);
        let (intact, silent) = (subject.answer(&[]), subject.answer(&inhibitory));
        assert_eq!(bits(&silent.probabilities) == bits(&intact.probabilities), role == Role::Absent, "{inhibition}");
    }
}

#[test]
fn the_union_is_silent_once_in_any_order() {
    for (name, sets) in KINDS {
        let subject = subject(name, sets);
        let a = of(&subject, "L4", Polarity::Excitatory);
        let b: Vec<usize> = (0..subject.connectome.neurons.len()).step_by(7).collect();
        let answer = subject.answer(&[a.clone(), b.clone()].concat());
        assert_eq!(answer, subject.answer(&[b.clone(), a.clone(), b.clone()].concat()));
        assert_ne!(answer, subject.answer(&a));
        assert_ne!(answer, subject.answer(&b));
    }
}

#[test]
fn any_number_of_threads_gives_the_same() {
    let of = |threads: usize| {
        pool(threads).unwrap().run(|| {
            let subject = subject("bionic-ei", &[]);
            let answer = subject.answer(&of(&subject, "L2/3", Polarity::Inhibitory));
            (bits(&answer.probabilities), tuning::tuning(&subject))
        })
    };
    let one = of(1);
    assert!(one == of(2) && one == of(5));
}

#[test]
fn tuning_is_that_of_the_responses_to_each_image() {
    for name in ["bionic", "bionic-ei"] {
        let subject = subject(name, &[]);
        let tuned = tuning::tuning(&subject);
        let (column, weights) = subject.column();
        let mut column = column.clone();
        let groups: Vec<(String, Polarity, Vec<usize>)> =
            column.groups().iter().map(|g| (g.lamina.to_owned(), g.polarity, g.neurons.to_vec())).collect();
        assert_eq!(groups.iter().any(|g| g.1 == Polarity::Inhibitory), name == "bionic-ei");
        // Responses to each image, neuron by neuron.
        let mut responses = vec![Vec::<f32>::new(); tuned.len()];
        for start in [0, 16, 32] {
            let size = 16.min(37 - start);
            let mut y = vec![0.0; column.output().n() * size];
            let pass = Pass { training: false, batch: size, slice: 0, seed: 0, step: 0 };
            column.forward(&pass, weights, &[], subject.features_of(start..start + size), &mut y);
            let rows = column.responses(size).concat();
            responses.iter_mut().zip(rows.chunks(size)).for_each(|(all, row)| all.extend(row));
        }
        let neurons: Vec<usize> = groups.iter().flat_map(|g| g.2.clone()).collect();
        for ((t, &i), r) in tuned.iter().zip(&neurons).zip(&responses) {
            assert_eq!(t.id, subject.connectome.neurons[i].id);
            let mean = r.iter().map(|&r| f64::from(r)).sum::<f64>() / 37.0;
            assert!((t.mean - mean).abs() < 1e-9 * (1.0 + mean), "{t:?}");
            assert_eq!(t.active, r.iter().filter(|&&r| r > 0.0).count() as f64 / 37.0);
            let happy: Vec<f64> =
                r.iter().zip(&subject.labels).filter(|(_, l)| **l == 3).map(|(&r, _)| f64::from(r)).collect();
            let happy = happy.iter().sum::<f64>() / happy.len() as f64;
            assert!((t.class_means[3].unwrap() - happy).abs() < 1e-9 * (1.0 + happy), "{t:?}");
        }
        assert!(tuned.iter().any(|t| t.selectivity.is_some_and(|s| s > 0.01)), "{name}: nobody is selective");
    }
}

#[test]
fn a_network_without_a_column_has_nothing_to_silence() {
    let (t, images) = trained("baseline", &["learning.mode=backprop"]);
    let error = Subject::new(t, &images).err().unwrap();
    assert!(error.exit_code() == 2 && error.to_string().contains("no column"), "{error}");
}

#[test]
fn rows_count_cells_and_images() {
    let subject = subject("bionic", &["column.inhibition=none"]);
    let intact = subject.answer(&[]);
    let bench = Bench::new(&subject, "private", ["demo", "00ff"].map(str::to_owned), 1);
    let neurons = subject.connectome.select(Some("L4"), None);
    let row = bench.lesion("L4", "lamina=L4", Kind::Lesion, 0, &neurons);
    let excitatory = of(&subject, "L4", Polarity::Excitatory);
    assert_eq!((row.selected, row.excitatory, row.inhibitory), (neurons.len(), excitatory.len(), 0));
    assert_eq!(row.without_effect, neurons.len() - excitatory.len());
    assert_eq!(row.ids().count(), excitatory.len());
    let (before, after) = (intact.hits(&subject.labels), subject.answer(&neurons).hits(&subject.labels));
    let differ = before.iter().zip(&after).filter(|(b, a)| b != a).count();
    assert!(row.lost + row.gained == differ && differ > 0);
    let change = (row.gained as f64 - row.lost as f64) / 37.0;
    assert!(
        (row.accuracy_change - change).abs() < 1e-12 && (row.accuracy - intact.scores.accuracy - change).abs() < 1e-12
    );

    let inhibitory = of(&subject, "L4", Polarity::Inhibitory);
    let row = bench.lesion("x", "x", Kind::Lesion, 0, &inhibitory);
    assert_eq!((row.without_effect, row.lost, row.gained, row.ids.as_str()), (inhibitory.len(), 0, 0, ""));
    assert_eq!((row.accuracy_change, row.macro_f1_change, row.roc_auc_change.unwrap_or(0.0)), (0.0, 0.0, 0.0));
}

/// A row for tests of what is done with rows.
fn example(selector: &str, kind: Kind, repeat: usize, accuracy: f64) -> Lesion {
    Lesion {
        name: format!("name of {selector}, \"quoted\""),
        selector: selector.into(),
        kind,
        repeat,
        split: "test".into(),
        data: "a,b".into(),
        images: 100,
        dataset: "00ff".into(),
        selected: 9,
        excitatory: 5,
        inhibitory: 1,
        without_effect: 3,
        accuracy,
        accuracy_change: accuracy - 0.5,
        macro_f1: 1.0 / 3.0,
        macro_f1_change: -0.1,
        roc_auc: (repeat == 0).then_some(0.7),
        roc_auc_change: None,
        lost: 10,
        gained: 2,
        recall: (0..7).map(|k| f64::from(k) / 7.0).collect(),
        recall_change: (0..7).map(|k| -f64::from(k) / 70.0).collect(),
        matched: (kind == Kind::Control).then_some(Match::Lamina),
        seed: u64::MAX,
        weights: "00ff".into(),
        ids: "1;2;864691136723961597".into(),
    }
}

#[test]
fn lesions_are_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(LESIONS);
    let rows = vec![
        example("intact", Kind::Intact, 0, 0.5),
        example("cell-type=4P", Kind::Lesion, 0, 0.1 + 0.2),
        example("cell-type=4P", Kind::Control, 1, 0.4),
    ];
    row::write(&path, &rows).unwrap();
    assert_eq!(read_lesions(&path).unwrap(), rows);
    assert_eq!(rows[0].ids().collect::<Vec<_>>(), ["1", "2", "864691136723961597"]);
    let text = std::fs::read_to_string(&path).unwrap();
    for (from, to, part) in [
        ("lesion,0", "lesson,0", "line 3"),
        ("lesion,0", "lesion,-1", "`repeat`"),
        ("0.4,", "NaN,", "column `accuracy` is `NaN`"),
        ("without_effect", "without", "no column `without_effect`"),
        ("00ff,1;2", "00ff", "line 2: "),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = read_lesions(&path).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains(LESIONS), "{error}");
    }
}

#[test]
fn tuning_is_read_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(TUNING);
    let mut rows = tuning::tuning(&subject("bionic-ei", &[]));
    rows[0].position_um = None;
    (rows[1].preferred, rows[1].selectivity, rows[1].class_means[2]) = (None, None, None);
    let about = ["test".to_owned(), "37".to_owned(), "00ff".to_owned()];
    tuning_table::write(&path, &rows, &about).unwrap();
    assert_eq!(read_tuning(&path).unwrap().1, rows);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen(",E,", ",X,", 1)).unwrap();
    let error = read_tuning(&path).unwrap_err();
    assert!(
        error.exit_code() == 3 && error.to_string().contains("column `polarity` is `X`, expected `E` or `I`"),
        "{error}"
    );
}

#[test]
fn rows_of_the_same_lesion_are_replaced_and_those_of_other_weights_go() {
    let mut old = vec![
        example("intact", Kind::Intact, 0, 0.5),
        example("a", Kind::Lesion, 0, 0.4),
        example("a", Kind::Control, 1, 0.4),
        example("b", Kind::Lesion, 0, 0.3),
        example("c", Kind::Lesion, 0, 0.2),
    ];
    old[4].weights = "other".into();
    let mut elsewhere = example("a", Kind::Lesion, 0, 0.9);
    elsewhere.split = "public".into();
    old.push(elsewhere.clone());
    let new = vec![example("intact", Kind::Intact, 0, 0.5), example("a", Kind::Lesion, 0, 0.1)];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(LESIONS);
    row::write(&path, &old).unwrap();
    assert_eq!(save(folder.path(), &new, None).unwrap(), 1);
    let kept = [vec![example("b", Kind::Lesion, 0, 0.3), elsewhere.clone()], new].concat();
    assert_eq!(read_lesions(&path).unwrap(), kept);
    // Other images in the same place.
    let mut new = vec![example("intact", Kind::Intact, 0, 0.5), example("c", Kind::Lesion, 0, 0.1)];
    new.iter_mut().for_each(|row| row.dataset = "other".into());
    assert_eq!(save(folder.path(), &new, None).unwrap(), 3);
    assert_eq!(read_lesions(&path).unwrap(), [vec![elsewhere], new].concat());
}

#[test]
fn p_is_the_rank_among_the_draws() {
    let draws = [0.45, 0.40, 0.35, 0.30];
    let rows: Vec<Lesion> = std::iter::once(example("intact", Kind::Intact, 0, 0.5))
        .chain([example("a", Kind::Lesion, 0, 0.35)])
        .chain(draws.iter().zip(1..).map(|(&accuracy, i)| example("a", Kind::Control, i, accuracy)))
        .chain([example("b", Kind::Control, 1, 0.4), example("c", Kind::Lesion, 0, 0.2)])
        .collect();
    let found = effects(&rows);
    assert_eq!(found.iter().map(|e| e.lesion.is_some()).collect::<Vec<_>>(), [true, false, true]);
    let c = &found[0].controls[0];
    assert_eq!((found[0].controls.len(), c.matched), (1, Some(Match::Lamina)));
    // 0.35 and 0.30 cost as much or more; 0.45, 0.40 and 0.35 as much or less.
    assert_eq!((c.repeats, c.p_more, c.p_less), (4, Some(3.0 / 5.0), Some(4.0 / 5.0)));
    assert_eq!(c.told(), Some(("more", 1.0)));
    assert!((c.accuracy_change_mean + 0.125).abs() < 1e-12, "{c:?}");
    // Deviations 0.075, 0.025, -0.025, -0.075: squares 0.0125 over 3.
    assert!((c.accuracy_change_sd.unwrap() - (0.0125f64 / 3.0).sqrt()).abs() < 1e-12, "{c:?}");
    let b = &found[1].controls[0];
    assert_eq!((b.repeats, b.accuracy_change_sd, b.p_more), (1, None, None));
    assert!(found[2].controls.is_empty());
}

#[test]
fn controls_of_both_kinds_are_kept_apart() {
    let mut rows = vec![example("a", Kind::Lesion, 0, 0.3)];
    rows.extend([0.2, 0.4].map(|a| example("a", Kind::Control, 1, a)));
    rows.push(Lesion { matched: Some(Match::Polarity), ..example("a", Kind::Control, 1, 0.1) });
    let found = effects(&rows);
    let kinds: Vec<_> = found[0].controls.iter().map(|c| (c.matched, c.repeats, c.p_more)).collect();
    assert_eq!(kinds, [(Some(Match::Polarity), 1, Some(1.0)), (Some(Match::Lamina), 2, Some(2.0 / 3.0))]);
}

#[test]
fn every_sample_is_as_likely() {
    let (mut rng, mut counts) = (Rng::stream(1, "sample", &[]), std::collections::BTreeMap::new());
    for _ in 0..20_000 {
        *counts.entry(sample(&[3, 5, 7, 9], 2, &mut rng)).or_insert(0) += 1;
    }
    // A sixth each: 3,333 with a standard deviation of 53.
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|n| (3_100..3_570).contains(n)), "{counts:?}");
}

#[test]
fn draws_are_as_many_of_each_kind_each_once() {
    let subject = subject("bionic", &[]);
    let roles = &subject.roles;
    let kind = |i: usize, lamina: bool| {
        let n = &subject.connectome.neurons[i];
        (n.polarity, if lamina { n.lamina.clone() } else { String::new() })
    };
    let kinds = |list: &[usize], lamina: bool| {
        let mut kinds: Vec<_> = list.iter().map(|&i| kind(i, lamina)).collect();
        kinds.sort();
        kinds
    };
    let there: Vec<usize> = (0..roles.len()).filter(|&i| roles[i] != Role::Absent).collect();
    let silenced: Vec<usize> = there.iter().copied().step_by(3).collect();
    for (matched, lamina) in [(Match::Polarity, false), (Match::Lamina, true)] {
        let pool = Pool::new(&subject.connectome, roles, matched);
        let mut rng = Rng::stream(1, "draws", &[]);
        let draws: Vec<Vec<usize>> = (0..50).map(|_| pool.draw(&silenced, &mut rng)).collect();
        for drawn in &draws {
            assert!(drawn.windows(2).all(|w| w[0] < w[1]) && drawn.iter().all(|i| there.contains(i)));
            assert_eq!(kinds(drawn, lamina), kinds(&silenced, lamina));
        }
        assert!(there.iter().all(|i| draws.iter().any(|d| d.contains(i))), "every neuron has its chance");
        assert!(draws.windows(2).all(|w| w[0] != w[1]));
        assert!(!pool.is_exhausted(&silenced));
        assert!(pool.is_exhausted(&there));
        let l4: Vec<usize> = there.iter().copied().filter(|&i| subject.connectome.neurons[i].lamina == "L4").collect();
        assert_eq!(pool.is_exhausted(&l4), lamina);
    }
}
