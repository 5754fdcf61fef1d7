//! Whole runs: the same bits with any number of threads and after any stop, and every switch of the configuration counts.

#![allow(clippy::unwrap_used)] // A test may panic.

mod run_support;

use bionic_cpu::config::{Config, Overrides};
use bionic_cpu::data::Standardize;
use bionic_cpu::error::Kind;
use bionic_cpu::eval::{EvalSplit, evaluate};
use bionic_cpu::kernels::bf16;
use bionic_cpu::train::{Event, Stop, resume, train};
use run_support::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Names, presets and what makes these small, or other.
const SMALL: [(&str, &str, &[&str]); 4] = [
    ("bionic", "bionic", &[]),
    ("bionic-ei", "bionic-ei", &[]),
    ("deep", "deep", &["batch=16", SHRUNKEN_DEEP]),
    ("bf16", "bionic", &["precision=bf16", WIDE]),
];

/// Resumes to the end.
fn finish(out: &Path, n: usize) {
    resume(out, &threads(n), false, &mut |_| {}, &Stop::new()).unwrap();
}

#[test]
fn one_and_two_threads_end_with_the_same_bits() {
    let place = Place::new();
    for (name, preset, sets) in SMALL {
        let (one, summary) = place.train(&format!("{name}-1"), &place.config(preset, sets));
        let two = place.config(preset, &[sets, &["threads=2"]].concat());
        let (two, _) = place.train(&format!("{name}-2"), &two);
        assert_same_bits(&one, &two);
        assert_eq!(timeless_metrics(&one), timeless_metrics(&two), "{name}");

        // Scoring what was kept gives what was reported, with any number of threads.
        let scored =
            [1, 2].map(|threads| evaluate(&one, None, EvalSplit::Public, false, threads, &mut |_| {}).unwrap());
        assert_eq!(scored[0].scores.accuracy, summary.val_accuracy, "{name}");
        assert_eq!(scored[0].to_text(), scored[1].to_text(), "{name}");
    }
}

#[test]
fn the_embedded_column_trains_with_the_same_bits_on_one_and_two_threads() {
    let place = Place::new();
    let sets = ["connectome.source=column", "epochs=1", "data.demo_train=64"];
    let (one, summary) = place.train("one", &place.config("bionic", &sets));
    let (two, _) = place.train("two", &place.config("bionic", &[&sets[..], &["threads=2"]].concat()));
    assert_same_bits(&one, &two);
    assert!(summary.synapses > 10_000, "{}", summary.synapses);
}

#[test]
fn a_stopped_and_resumed_run_ends_with_the_bits_of_one_never_stopped() {
    let place = Place::new();
    for (name, preset, sets) in SMALL {
        let config = place.config(preset, sets);
        let (straight, _) = place.train(&format!("{name}-straight"), &config);
        // In the first epoch, before it is scored, and in the second; six steps make an epoch.
        for steps in [1, 4, 6, 9] {
            let out = place.run(&format!("{name}-stopped-{steps}"));
            let error = train_and_stop(&config, &out, steps).unwrap_err();
            assert_eq!(error.kind(), Kind::Stopped(75), "{error}");
            assert_eq!(fs::read_to_string(out.join("metrics.jsonl")).unwrap().lines().count(), (steps - 1) / 6);
            finish(&out, 2);
            assert_same_bits(&straight, &out);
            assert_eq!(timeless_metrics(&straight), timeless_metrics(&out), "{name}, stopped after {steps}");
        }
    }
}

#[test]
fn a_run_may_be_stopped_again_and_again() {
    let place = Place::new();
    for mode in ["hybrid", "local"] {
        let set = format!("learning.mode={mode}");
        let config = place.config("bionic", &[&set, "learning.schedule=plateau", "plasticity.rule=bcm"]);
        let (straight, _) = place.train(&format!("{mode}-straight"), &config);
        let out = place.run(&format!("{mode}-stopped"));
        assert!(train_and_stop(&config, &out, 2).is_err());
        for _ in 0..4 {
            let stop = Stop::new();
            let error = resume(&out, &Overrides::default(), false, &mut stop_after(2, &stop), &stop).unwrap_err();
            assert_eq!(error.kind(), Kind::Stopped(75));
        }
        finish(&out, 1);
        assert_same_bits(&straight, &out);
        assert_eq!(timeless_metrics(&straight), timeless_metrics(&out), "{mode}");
    }
}

#[test]
fn the_time_before_a_stop_counts_towards_the_epoch_and_its_speed() {
    let place = Place::new();
    let (config, out) = (place.config("bionic", &["epochs=1"]), place.run("slow"));
    let (stop, pause) = (Stop::new(), Duration::from_millis(300));
    let mut slow_once = |event: Event| {
        if let Event::Step { step: 5, .. } = event {
            std::thread::sleep(pause);
            stop.request(75);
        }
    };
    assert!(train(&config, &out, &mut slow_once, &stop).is_err());
    let summary = resume(&out, &Overrides::default(), false, &mut |_| {}, &Stop::new()).unwrap();
    let record = &metrics(&out)[0];
    assert!(record["seconds"].as_f64().unwrap() >= pause.as_secs_f64(), "{record}");
    assert!(record["images_per_second"].as_f64().unwrap() <= 96.0 / pause.as_secs_f64(), "{record}");
    assert!(summary.images_per_second <= 96.0 / pause.as_secs_f64());
}

#[test]
fn a_finished_run_has_nothing_left_to_resume_and_stays_as_it_is() {
    let place = Place::new();
    let (out, summary) = place.train("run", &place.config("bionic", &["epochs=1"]));
    let before = (bits(&out), fs::read(out.join("metrics.jsonl")).unwrap());
    let again = resume(&out, &Overrides::default(), false, &mut |_| {}, &Stop::new()).unwrap();
    assert_eq!((again.epochs, again.best_epoch, again.val_accuracy), (1, summary.best_epoch, summary.val_accuracy));
    assert!(before == (bits(&out), fs::read(out.join("metrics.jsonl")).unwrap()));
}

#[test]
fn resuming_with_another_configuration_wiring_or_data_is_refused_unless_forced() {
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: [Change; 3] = [
        ("configuration (learning.clip_norm was 1.0, is 2.0)", &|run| {
            edit(&run.join("config.toml"), "\nclip_norm = 1.0\n", "\nclip_norm = 2.0\n")
        }),
        ("connectome (was a quarter of the column, ", &|run| {
            let path = run.join("connectome/connections.csv");
            let text = fs::read_to_string(&path).unwrap();
            let header_and_first: Vec<&str> = text.lines().take(2).collect();
            // One synapse more for the first pair: the mask stays, its fingerprint does not.
            let (pair, count) = header_and_first[1].rsplit_once(',').unwrap();
            let more = format!("{pair},{}", count.parse::<u32>().unwrap() + 1);
            edit(&path, header_and_first[1], &more);
        }),
        ("data set (was demo, ", &|run| edit(&run.join("config.toml"), "demo_seed = 1\n", "demo_seed = 2\n")),
    ];
    for (what, change) in changes {
        let place = Place::new();
        let (config, out) = (place.config("bionic", &["epochs=1"]), place.run("run"));
        assert!(train_and_stop(&config, &out, 2).is_err());
        change(&out);
        let error = resume(&out, &Overrides::default(), false, &mut |_| {}, &Stop::new()).unwrap_err();
        assert_eq!(error.exit_code(), 5, "{error}");
        assert!(error.to_string().contains(&format!("was saved with another {what}")), "{error}");
        assert!(error.to_string().contains("--force"), "{error}");
        let summary = resume(&out, &Overrides::default(), true, &mut |_| {}, &Stop::new()).unwrap();
        assert_eq!(summary.epochs, 1, "{what}");
    }
}

#[test]
fn a_finished_run_that_is_forced_on_keeps_its_best_epoch() {
    let place = Place::new();
    let (config, out) = (place.config("bionic", &["epochs=1"]), place.run("run"));
    let done = train(&config, &out, &mut |_| {}, &Stop::new()).unwrap();
    edit(&out.join("config.toml"), "\nclip_norm = 1.0\n", "\nclip_norm = 2.0\n");
    let forced = resume(&out, &Overrides::default(), true, &mut |_| {}, &Stop::new()).unwrap();
    assert_eq!((forced.best_epoch, forced.val_accuracy), (done.best_epoch, done.val_accuracy));
    assert_ne!(forced.configuration_fingerprint, done.configuration_fingerprint);
}

/// The mean that the pixels of a run are standardised with; `None` where each image has its own.
fn mean(run: &Path) -> Option<f32> {
    match bionic_cpu::train::load_best(run, &mut |_| {}).unwrap().standardize {
        Standardize::Dataset { mean, .. } => Some(mean),
        _ => None,
    }
}

#[test]
fn a_run_that_is_forced_to_standardise_otherwise_has_the_mean_for_it() {
    let place = Place::new();
    let whole = place.config("bionic", &["epochs=1", "data.standardize=dataset"]);
    train(&whole, &place.run("whole"), &mut |_| {}, &Stop::new()).unwrap();
    let (config, out) = (place.config("bionic", &["epochs=1"]), place.run("run"));
    assert!(train_and_stop(&config, &out, 2).is_err());
    edit(&out.join("config.toml"), "standardize = \"image\"", "standardize = \"dataset\"");
    resume(&out, &Overrides::default(), true, &mut |_| {}, &Stop::new()).unwrap();
    assert_eq!(mean(&out), mean(&place.run("whole")));
    assert!(mean(&out).is_some_and(|mean| mean > 0.1));
}

/// Replaces the first `old` in a file.
fn edit(path: &Path, old: &str, new: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(old), "{old} in {}", path.display());
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

/// What `precision = "bf16"` does not do, said in a warning; the record names the arithmetic of what is rounded alone.
#[test]
fn bf16_in_vain_is_said() {
    let place = Place::new();
    let f32 = place.config("bionic", &["epochs=1"]);
    let narrow = place.config("bionic", &["epochs=1", "precision=bf16"]);
    let wide = place.config("bionic", &["epochs=1", "precision=bf16", WIDE]);
    let arithmetic = |name: &str, config: &Config| {
        let (out, mut warnings) = (place.run(name), Vec::new());
        let mut observer = |event: Event| {
            if let Event::Warning(text) = event {
                warnings.push(text);
            }
        };
        train(config, &out, &mut observer, &Stop::new()).unwrap();
        let run: serde_json::Value = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
        (run["kernels"].as_str().unwrap().to_string(), warnings.join("; "))
    };
    let (exact, none) = arithmetic("f32", &f32);
    assert_eq!(none, "");
    let (same, said) = arithmetic("narrow", &narrow);
    assert_eq!(same, exact);
    assert!(said.contains("rounds nothing"), "{said}");
    let (rounded, said) = arithmetic("wide", &wide);
    assert_eq!(
        (said.is_empty(), rounded == exact),
        if bf16::is_native() { (true, true) } else { (false, false) },
        "{said}"
    );
}

/// A `--set` that must change the trained network, and what it needs beside it (in the run compared with, too).
const SWITCHES: [(&str, &[&str]); 43] = [
    ("seed=2", &[]),
    ("epochs=2", &[]),
    ("batch=8", &[]),
    ("precision=bf16", &[WIDE]),
    ("data.standardize=dataset", &[]),
    ("data.standardize=none", &[]),
    ("data.demo_seed=2", &[]),
    ("augment.enabled=false", &[]),
    ("augment.rotation_deg=0", &[]),
    ("connectome.source=column", &[]),
    ("connectome.min_synapses=2", &[]),
    ("connectome.seed=2", &["connectome.source=column"]),
    ("column.enabled=false", &[]),
    ("column.laminae=[\"L4\", \"L2/3\", \"L5\"]", &[]),
    ("column.readout=[\"L2/3\", \"L6\"]", &[]),
    ("column.input=retinotopic", &[]),
    ("column.receptive_field=0.5", &["column.input=retinotopic"]),
    ("column.masks=false", &[]),
    ("column.skips=false", &[]),
    ("column.intra=false", &[]),
    ("column.inhibition=none", &[]),
    ("column.inhibition=interneurons", &[]),
    ("column.shunt_floor=2", &["column.inhibition=interneurons"]),
    ("column.gamma=0.6", &[]),
    ("column.gamma_learned=false", &[]),
    ("column.layer_norm=false", &[]),
    ("column.noise=none", &[]),
    ("column.noise=unit", &[]),
    ("column.noise_sigma=0.2", &[]),
    ("learning.mode=backprop", &[]),
    ("learning.mode=local", &[]),
    ("learning.optimizer=sgd", &[]),
    ("learning.weight_decay=0", &[]),
    ("learning.schedule=constant", &[]),
    ("learning.label_smoothing=0", &[]),
    ("learning.clip_norm=0.01", &[]),
    ("plasticity.rule=none", &[]),
    ("plasticity.rate=0.01", &[]),
    ("plasticity.scaling_rate=0", &[]),
    ("plasticity.intrinsic_rate=0", &[]),
    ("plasticity.rule=subspace", &[]),
    ("plasticity.centered=true", &["plasticity.rule=bcm"]),
    ("plasticity.cap=1e-6", &["learning.mode=local"]),
];

#[test]
fn every_switch_changes_the_trained_network() {
    let place = Place::new();
    let short = ["epochs=1", "data.demo_train=48", "data.demo_test=8", "learning.warmup_epochs=0.4"];
    let mut trained = BTreeMap::new();
    let mut weights = |sets: &[&str]| {
        let name = format!("run-{}", trained.len());
        trained.entry(sets.join("; ")).or_insert_with(|| {
            let (out, _) = place.train(&name, &place.config("bionic", &[&short[..], sets].concat()));
            best_bits(&out)
        });
        trained[&sets.join("; ")].clone()
    };
    for (set, beside) in SWITCHES {
        let changed = weights(&[beside, &[set]].concat());
        assert!(weights(beside) != changed, "{set} changes nothing");
    }
    // The same again is the same: what differs above is the switch.
    let again = place.train("again", &place.config("bionic", &short)).0;
    assert!(weights(&[]) == best_bits(&again));
}

#[test]
fn early_stopping_stops() {
    let place = Place::new();
    // Nothing changes, so no epoch is better than the first.
    let still = ["epochs=9", "learning.learning_rate=0", "learning.mode=backprop", "data.demo_train=32"];
    for patience in [1, 3] {
        let patience_set = format!("learning.early_stopping={patience}");
        let config = place.config("bionic", &[&still[..], &[&patience_set]].concat());
        let (out, summary) = place.train(&format!("stopped-{patience}"), &config);
        assert_eq!((summary.epochs, summary.best_epoch), (1 + patience, 1));
        assert_eq!(metrics(&out).len(), 1 + patience);
        // Resuming does not start it again.
        finish(&out, 1);
        assert_eq!(metrics(&out).len(), 1 + patience);
    }
    let config = place.config("bionic", &[&still[..], &["learning.early_stopping=0"]].concat());
    assert_eq!(place.train("to the end", &config).1.epochs, 9);
}
