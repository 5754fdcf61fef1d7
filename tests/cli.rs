//! The promises of the command line, checked on the real program with a tiny run.

#![allow(clippy::unwrap_used)] // A test may panic.

mod cli_support;

use bionic_cpu::connectome::{IMPORTERS, NULL_WIRINGS};
use bionic_cpu::data::{EXPRESSIONS, LOADERS};
use bionic_cpu::model::presets::PRESETS;
use bionic_cpu::study::PLANS;
use cli_support::*;
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Every object key, in order.
fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[track_caller]
fn has_keys(value: &Value, expected: &[&str]) {
    for key in expected {
        assert!(value.get(key).is_some_and(|v| !v.is_null()), "`{key}` expected in {value}");
    }
}

#[test]
fn help_explains_every_command() {
    let folder = folder();
    for args in [
        &["--help"][..],
        &["train", "--help"],
        &["train", "-h"],
        &["eval", "--help"],
        &["predict", "--help"],
        &["lesion", "--help"],
        &["connectome", "--help"],
        &["connectome", "inspect", "--help"],
        &["connectome", "null", "--help"],
        &["connectome", "convert", "--help"],
        &["completions", "bash"],
        &["man"],
        &["man", "train"],
        &["man", "connectome", "null"],
        &["study", "--help"],
        &["study", "-h"],
        &["lesion", "--help"],
        &["report", "--help"],
        &["info", "--help"],
        &["--version"],
    ] {
        let outcome = bionic(folder.path(), args);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{args:?}");
        assert!(!outcome.stdout.is_empty() && !outcome.stdout.contains('\x1b'), "{args:?}");
    }
    let version = bionic(folder.path(), &["--version"]).ok();
    assert_eq!(version, concat!("bionic-cpu ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn shells_and_manuals_know_every_command() {
    let folder = folder();
    for shell in ["bash", "zsh", "fish"] {
        let text = bionic(folder.path(), &["completions", shell]).ok();
        assert!(["lesion", "connectome", "resume"].iter().all(|word| text.contains(word)), "{shell}");
    }
    let page = bionic(folder.path(), &["man", "train"]).ok();
    assert!(page.contains(".TH") && page.contains("resume") && page.contains("learning_rate"), "{page}");
    refused(folder.path(), &["man", "trian"], 2, &["trian", "train"]);
}

/// The embedded column as plain tables is the same network to the bit.
#[test]
fn a_converted_connectome_is_the_same() {
    let folder = folder();
    bionic(folder.path(), &["connectome", "convert", "column", "--out", "plain"]).ok();
    let inspect = |source: &str| bionic(folder.path(), &["connectome", "inspect", source, "--json"]).json();
    assert_eq!(inspect("plain"), inspect("column"));
    refused(folder.path(), &["connectome", "import", "column", "--out", "plain"], 2, &["plain", "empty folder"]);
    let here = folder.path().join("here");
    fs::create_dir(&here).unwrap();
    bionic(&here, &["connectome", "convert", "column", "--out", "."]).ok();
    assert!(here.join("connections.csv").is_file());
}

#[test]
fn help_lists_what_the_tables_hold() {
    let help = bionic(folder().path(), &["train", "--help"]).ok();
    let listed = |name: &str, doc: &str| {
        help.lines().any(|line| line.trim_start().starts_with(name) && line.contains(doc.lines().next().unwrap()))
    };
    for p in PRESETS {
        assert!(listed(p.name, p.doc), "preset {}", p.name);
    }
    for l in bionic_cpu::model::LAYERS {
        assert!(listed(l.name, l.doc), "layer {}", l.name);
    }
    let printed = bionic(folder().path(), &["train", "--print-config"]).ok();
    let before_rule = printed.lines().zip(printed.lines().skip(1)).find(|(_, line)| line.starts_with("rule = "));
    for r in bionic_cpu::learning::RULES {
        assert!(listed(r.name, r.doc), "rule {}", r.name);
        assert!(before_rule.unwrap().0.contains(r.name), "config/keys.rs does not name the rule {}", r.name);
    }
    for l in LOADERS {
        assert!(listed(l.name, l.doc), "images {}", l.name);
    }
    assert!(help.contains("[default: demo]") && help.contains("[default: column]"));
    let null = bionic(folder().path(), &["connectome", "null", "--help"]).ok();
    assert!(NULL_WIRINGS.iter().all(|n| null.lines().any(|l| l.contains(n.name) && l.contains(n.doc))), "{null}");
    let forms = bionic(folder().path(), &["connectome", "--help"]).ok();
    assert!(IMPORTERS.iter().all(|i| forms.lines().any(|l| l.contains(i.name) && l.contains(i.doc))), "{forms}");
    let study = bionic(folder().path(), &["study", "--help"]).ok();
    assert!(PLANS.iter().all(|p| study.lines().any(|l| l.contains(p.name) && l.contains(p.doc))), "{study}");
}

#[test]
fn a_printed_configuration_reads_back_to_itself() {
    let folder = folder();
    for preset in PRESETS {
        let change = ["--set", "learning.learning_rate=0.0023", "--set", "augment.flip=0", "--seed", "7"];
        let start = ["train", "--print-config", "--preset", preset.name];
        let printed = bionic(folder.path(), &[&start[..], &change].concat()).ok();
        assert!(printed.contains("learning_rate = 0.0023\n") && printed.contains("seed = 7\n"), "{printed}");
        fs::write(folder.path().join("my.toml"), &printed).unwrap();
        let again = bionic(folder.path(), &["train", "--print-config", "--config", "my.toml"]).ok();
        assert_eq!(again, printed, "{}", preset.name);
    }
}

#[test]
fn a_flag_outranks_set_and_set_outranks_the_file() {
    let folder = folder();
    fs::write(folder.path().join("my.toml"), "epochs = 3\nbatch = 16\nseed = 5\npreset = \"baseline\"\n").unwrap();
    let args = ["train", "--print-config", "--config", "my.toml", "--set", "epochs=4", "--set", "seed=6"];
    let text = bionic(folder.path(), &[&args[..], &["--epochs", "9", "--data", "faces.csv"]].concat()).ok();
    let table: toml::Table = text.parse().unwrap();
    let integer = |key: &str| table[key].as_integer().unwrap();
    assert_eq!(["epochs", "seed", "batch"].map(integer), [9, 6, 16]);
    assert_eq!(table["data"]["source"].as_str(), Some("faces.csv"));
    assert_eq!(table["preset"].as_str(), Some("baseline"));
}

#[test]
fn a_dry_run_writes_nothing() {
    let folder = folder();
    let before = snapshot(folder.path());
    assert!(!train_tiny(folder.path(), &["--dry-run"]).ok().is_empty());
    assert!(!keys(&train_tiny(folder.path(), &["--dry-run", "--json", "--out", "run"]).json()).is_empty());
    assert_eq!(snapshot(folder.path()), before);
}

#[test]
fn info_tells_what_the_build_and_the_cpu_have() {
    let info = bionic(folder().path(), &["info", "--json"]).json();
    let fields = ["version", "target_features", "cpu_features", "lanes_f32", "bf16_products", "threads", "warning"];
    assert_eq!(keys(&info), fields);
    assert!(["AMX", "f32"].contains(&info["bf16_products"].as_str().unwrap()));
    assert!([4, 8, 16].contains(&info["lanes_f32"].as_u64().unwrap()));
    assert!(info["threads"].as_u64().unwrap() >= 1);
    let text = bionic(folder().path(), &["info"]).ok();
    assert!(text.contains("f32 lanes") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
    let warning = text.lines().find_map(|line| line.strip_prefix("warning: "));
    assert_eq!(info["warning"].as_str(), warning, "none where the build is for this CPU");
}

#[test]
fn connectome_inspect_describes_the_column() {
    let folder = folder();
    let text = bionic(folder.path(), &["connectome", "inspect", "column"]).ok();
    assert!(text.contains("L4") && text.contains("L2/3"), "{text}");
    let json = bionic(folder.path(), &["connectome", "inspect", "--json"]).json();
    assert!(!keys(&json).is_empty());
    let synapses = |k: &str| bionic(folder.path(), &["connectome", "inspect", "--min-synapses", k, "--json"]).ok();
    assert_ne!(synapses("1"), synapses("3"));
}

#[test]
fn train_prints_one_object_and_leaves_a_run() {
    let folder = folder();
    let outcome = train_tiny(folder.path(), &["--json", "--seed", "3", "--out", "run"]);
    assert!(outcome.stderr.lines().any(|line| line.starts_with("epoch")), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains('\x1b'), "no terminal, no escape sequences");
    let summary = outcome.json();
    has_keys(
        &summary,
        &["epochs", "best_epoch", "val_accuracy", "parameters", "synapses", "seconds", "images_per_second", "seed"],
    );
    assert_eq!((summary["epochs"].as_u64(), summary["seed"].as_u64()), (Some(1), Some(3)));
    assert!(summary["out"].as_str().unwrap().ends_with("run"));
    let run = folder.path().join("run");
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 1);
    let epoch: Value = serde_json::from_str(metrics.trim()).unwrap();
    let expected = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"];
    has_keys(&epoch, &[&expected[..], &["images_per_second", "seconds"]].concat());
    let config: toml::Table = fs::read_to_string(run.join("config.toml")).unwrap().parse().unwrap();
    assert_eq!(config["seed"].as_integer(), Some(3));
}

#[test]
fn train_names_its_default_folder() {
    let folder = folder();
    let outcome = train_tiny(folder.path(), &["--quiet", "--preset", "baseline", "--seed", "4"]);
    assert_eq!(outcome.stderr, "");
    let text = outcome.ok();
    let run = text.lines().find_map(|line| line.strip_prefix("run")).unwrap().trim();
    assert!(run.starts_with("runs/baseline-") && run.ends_with("-s4"), "{run}");
    assert!(folder.path().join(run).join("config.toml").is_file());
}

#[test]
fn eval_prints_the_promised_keys() {
    let run = text(finished_run());
    let scores = ["split", "n", "accuracy", "macro_f1", "roc_auc", "per_class", "confusion"];
    let test = bionic(folder().path(), &["eval", run, "--json"]).json();
    for (part, n) in [(&test, 128), (&test["public"], 64), (&test["private"], 64)] {
        has_keys(part, &scores);
        assert_eq!(part["n"].as_u64(), Some(n));
        let classes = part["per_class"].as_array().unwrap();
        let names: Vec<_> = classes.iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, EXPRESSIONS);
        classes.iter().for_each(|c| has_keys(c, &["n", "precision", "recall", "f1"]));
        let confusion = part["confusion"].as_array().unwrap();
        assert!(confusion.iter().all(|row| row.as_array().unwrap().len() == 7) && confusion.len() == 7);
        let sum: u64 = confusion.iter().flat_map(|row| row.as_array().unwrap()).map(|v| v.as_u64().unwrap()).sum();
        assert_eq!(sum, n);
    }
    let public = bionic(folder().path(), &["eval", run, "--split", "public", "--json", "--quiet"]).json();
    assert_eq!(public["accuracy"], test["public"]["accuracy"]);
    assert!(public.get("private").is_none());
    let mirrored = bionic(folder().path(), &["eval", run, "--split", "private", "--tta", "--json"]).json();
    assert_eq!(mirrored["n"].as_u64(), Some(64));
    assert!(bionic(folder().path(), &["eval", run]).ok().contains("macro F1"));
}

/// A grey image that is no face.
fn write_image(path: &Path) {
    image::GrayImage::from_fn(60, 80, |x, y| image::Luma([(3 * x + 2 * y) as u8])).save(path).unwrap();
}

#[test]
fn predict_gives_one_distribution_per_image() {
    let folder = folder();
    write_image(&folder.path().join("a.png"));
    write_image(&folder.path().join("b.jpg"));
    let run = text(finished_run());
    let answer = bionic(folder.path(), &["predict", run, "a.png", "b.jpg", "--json"]).json();
    let predictions = answer["predictions"].as_array().unwrap();
    let files: Vec<_> = predictions.iter().map(|p| p["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["a.png", "b.jpg"]);
    for p in predictions {
        assert_eq!(keys(&p["probabilities"]), EXPRESSIONS);
        let values = p["probabilities"].as_object().unwrap().values().map(|v| v.as_f64().unwrap());
        assert!((values.clone().sum::<f64>() - 1.0).abs() < 1e-5);
        let largest = values.fold(0.0, f64::max);
        assert_eq!(p["probabilities"][p["expression"].as_str().unwrap()].as_f64(), Some(largest));
    }
    let table = bionic(folder.path(), &["predict", run, "a.png", "b.jpg"]).ok();
    let lines: Vec<Vec<&str>> = table.lines().map(|l| l.split('\t').collect()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0], [&["file", "expression"], &EXPRESSIONS[..]].concat());
    assert!(lines.iter().all(|l| l.len() == 9) && lines[1][0] == "a.png");
}

/// Everything that a finished run says about its weights, without the times.
fn results(folder: &Path, run: &str) -> (Value, Value, Vec<Vec<Value>>) {
    let eval = bionic(folder, &["eval", run, "--json"]).json();
    let predictions = bionic(folder, &["predict", run, "a.png", "--json"]).json();
    let metrics = fs::read_to_string(folder.join(run).join("metrics.jsonl")).unwrap();
    let epoch = |line: &str| -> Vec<Value> {
        let record: Value = serde_json::from_str(line).unwrap();
        ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"]
            .map(|key| record[key].clone())
            .to_vec()
    };
    (eval, predictions, metrics.lines().map(epoch).collect())
}

/// Sends `signal` to `train` with these flags once it has logged an epoch; returns the exit code.
#[cfg(unix)]
fn interrupt(folder: &Path, flags: &[&str], signal: &str) -> Option<i32> {
    let metrics = folder.join("stopped/metrics.jsonl");
    let epochs = || fs::read_to_string(&metrics).map_or(0, |text| text.lines().count());
    let before = epochs();
    let mut child = program(folder, flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    while epochs() == before {
        assert!(child.try_wait().unwrap().is_none(), "ended before the signal");
        assert!(start.elapsed() < Duration::from_secs(120), "no epoch in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    let kill = format!("kill -{signal} {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let status = child.wait().unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stdout, "", "a stopped run has no result");
    assert!(stderr.contains("--resume"), "{stderr}");
    status.code()
}

#[cfg(unix)]
#[test]
fn a_run_stopped_three_times_ends_like_one_never_stopped() {
    let folder = folder();
    write_image(&folder.path().join("a.png"));
    let run = |out: &'static str| {
        let size = ["--set", "data.demo_train=512", "--set", "data.demo_test=64", "--epochs", "6"];
        [&["train", "--out", out][..], &size].concat()
    };
    bionic(folder.path(), &run("whole")).ok();
    let resume = ["train", "--resume", "--out", "stopped"];
    assert_eq!(interrupt(folder.path(), &run("stopped"), "INT"), Some(130));
    assert_eq!(interrupt(folder.path(), &resume, "TERM"), Some(143));
    assert_eq!(interrupt(folder.path(), &[&resume[..], &["--threads", "1"]].concat(), "USR1"), Some(75));
    let summary = bionic(folder.path(), &[&resume[..], &["--json"]].concat()).json();
    assert_eq!(summary["epochs"].as_u64(), Some(6));
    assert_eq!(results(folder.path(), "stopped"), results(folder.path(), "whole"));
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let folder = folder();
    write_image(&folder.path().join("a.png"));
    for (out, threads) in [("one", "1"), ("three", "3")] {
        let size = ["--set", "data.demo_train=128", "--set", "data.demo_test=32", "--epochs", "1"];
        bionic(folder.path(), &[&["train", "--out", out, "--threads", threads][..], &size].concat()).ok();
    }
    assert_eq!(results(folder.path(), "one"), results(folder.path(), "three"));
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    for args in [&["info"][..], &["train", "--help"], &["train", "--print-config"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = program(folder().path(), args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{args:?}");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_stdout_is_an_io_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = program(folder().path(), &["info"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
}
