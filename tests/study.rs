//! Studies from the command line: many small runs, cut short and gone on with, and what fails alone.

#![allow(clippy::unwrap_used)] // A test may panic.

mod cli_support;

use bionic_cpu::store::Locked;
use cli_support::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// Three small models; what makes them differ is in the plan.
const PLAN: &str = r#"
title = "three small models"
preset = "bionic"
seeds = 2
[base]
epochs = 2
data.demo_train = 128
data.demo_test = 64
learning.warmup_epochs = 0.5
[[model]]
name = "full"
[[model]]
name = "silent"
published_percent = 59.8
set = { column.noise = "none" }
[[model]]
name = "random"
set = { connectome.null = "erdos-renyi" }
"#;

/// A folder with [`PLAN`] in it, changed by `change`.
fn place(change: impl Fn(&str) -> String) -> tempfile::TempDir {
    let folder = folder();
    fs::write(folder.path().join("plan.toml"), change(PLAN)).unwrap();
    folder
}

const STUDY: [&str; 4] = ["study", "plan.toml", "--out", "study"];

fn study(folder: &Path, flags: &[&str]) -> Outcome {
    bionic(folder, &[&STUDY[..], flags].concat())
}

/// Column `test_accuracy` of `results.csv`.
const ACCURACY: usize = 3;

/// Rows of `results.csv` by run, without the columns that tell of time.
fn results(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let text = fs::read_to_string(folder.join("study/results.csv")).unwrap();
    let mut lines = text.lines().map(|l| l.split(',').map(str::to_string).collect::<Vec<_>>());
    let header = lines.next().unwrap();
    let keep: Vec<usize> = (0..header.len()).filter(|&i| !header[i].contains("second")).collect();
    let row =
        |cells: Vec<String>| (format!("{}-s{}", cells[0], cells[1]), keep.iter().map(|&i| cells[i].clone()).collect());
    lines.map(row).collect()
}

#[test]
fn a_study_runs_what_is_missing_and_nothing_twice() {
    let place = place(str::to_string);
    let listed = study(place.path(), &["--dry-run", "--json"]).json();
    assert_eq!(listed["runs"].as_array().unwrap().len(), 6);
    assert_eq!(listed["runs"][4]["run"], "study/silent-s2");
    assert!(!place.path().join("study").exists(), "--dry-run writes nothing");

    let first = study(place.path(), &["--seeds", "1", "--json"]).json();
    assert_eq!((&first["runs"], &first["done"]), (&3.into(), &3.into()));
    let trained = snapshot(&place.path().join("study/full-s1"));
    let all = study(place.path(), &["--json"]).json();
    assert_eq!((&all["runs"], &all["done"], &all["title"]), (&6.into(), &6.into(), &"three small models".into()));
    assert_eq!(snapshot(&place.path().join("study/full-s1")), trained, "what was done is left alone");

    // What the table says is what eval says of each run.
    let rows = results(place.path());
    assert_eq!(
        rows.keys().collect::<Vec<_>>(),
        ["full-s1", "full-s2", "random-s1", "random-s2", "silent-s1", "silent-s2"]
    );
    let evaluated = bionic(place.path(), &["eval", "study/silent-s2", "--split", "test", "--json"]).json();
    let accuracy: f64 = rows["silent-s2"][ACCURACY].parse().unwrap();
    assert_eq!(Some(accuracy), evaluated["accuracy"].as_f64());
    let null = fs::read_to_string(place.path().join("study/random-s2/connectome/about.toml")).unwrap();
    assert!(null.contains("erdos-renyi null wiring, seed 2"), "{null}");
    let text = study(place.path(), &[]).ok();
    for word in ["three small models", "6 of 6 runs", "full", "silent", "random", "59.8"] {
        assert!(text.contains(word), "`{word}` expected in {text}");
    }
    assert!(study(place.path(), &["--markdown"]).ok().lines().any(|l| l.starts_with("| silent |")));
    assert!(place.path().join("study/table.csv").exists());
}

#[test]
fn a_killed_study_goes_on_to_the_same_results() {
    let longer = |p: &str| p.replace("epochs = 2", "epochs = 10").replace("train = 128", "train = 512");
    let whole = place(longer);
    study(whole.path(), &["--threads", "1"]).ok();

    let cut = place(|p| longer(p).replace("[base]", "[base]\ncommit_seconds = 0.05"));
    for kill in 0..4 {
        let mut child = program(cut.path(), &STUDY).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300 + 200 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = program(cut.path(), &STUDY).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Once a run was finished in this very call, another one is being trained, unless that was the last.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut said: Vec<String> = Vec::new();
    while !said.last().is_some_and(|line| line.contains("macro F1")) {
        let Some(line) = lines.next() else { break };
        said.push(line);
    }
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    said.extend(lines);
    let (said, stopped) = (said.join("\n"), child.wait().unwrap());
    // The signal may come when the last run is being scored.
    assert!(matches!(stopped.code(), Some(143 | 0)), "{said}");
    if stopped.code() == Some(143) {
        let trained = said.contains("runs done") && said.contains("repeat the command");
        assert!(trained || said.contains("stopped before the first step"), "{said}");
    }
    assert!(cut.path().join("study/study.json").exists(), "a report on a study in work knows what is compared");
    study(cut.path(), &["--threads", "2"]).ok();
    assert_eq!(results(cut.path()), results(whole.path()));
}

#[test]
fn one_cell_by_its_index_is_the_same_run() {
    let place = place(str::to_string);
    let one = study(place.path(), &["--index", "1", "--json", "--quiet"]).json();
    assert_eq!((&one["model"], &one["seed"]), (&"silent".into(), &1.into()));
    assert!(!place.path().join("study/full-s1").exists());
    let listed = study(place.path(), &["--dry-run"]).ok();
    assert!(listed.lines().any(|l| l.contains("silent") && l.contains("done")), "{listed}");
    study(place.path(), &["--seeds", "1"]).ok();
    let accuracy: f64 = results(place.path())["silent-s1"][ACCURACY].parse().unwrap();
    assert_eq!(Some(accuracy), one["test"]["accuracy"].as_f64());
    refused(place.path(), &[&STUDY[..], &["--index", "6"]].concat(), 2, &["--index 6", "6 runs", "0 to 5"]);
}

#[test]
fn runs_of_another_plan_are_refused_and_left_as_they_are() {
    let place = place(str::to_string);
    study(place.path(), &["--index", "0"]).ok();
    let other = [&STUDY[..], &["--set", "learning.learning_rate=0.001"]].concat();
    refused(place.path(), &other, 5, &["full-s1", "learning.learning_rate was 0.003, is 0.001", "--out"]);
    let elsewhere = [&STUDY[..], &["--connectome", "nowhere"]].concat();
    refused(place.path(), &elsewhere, 5, &["connectome.source was column, is nowhere"]);
    refused(place.path(), &["study", "papre", "--out", "x"], 2, &["papre", "did you mean `paper`"]);
}

#[test]
fn seeds_with_validation_images_of_their_own_are_one_study() {
    let place = place(|plan| plan.replace("epochs = 2", "epochs = 1"));
    let pixels = |grey: usize| vec![grey.to_string(); 2304].join(" ");
    let row = |i: usize, usage: &str| format!("{},{},{usage}\n", i % 7, pixels(i));
    let training: String = (0..42).map(|i| row(i, "Training")).collect();
    let test: String = (0..14).map(|i| row(i, "PrivateTest")).collect();
    fs::write(place.path().join("own.csv"), format!("emotion,pixels,Usage\n{training}{test}")).unwrap();
    let all = study(place.path(), &["--data", "own.csv", "--json"]).json();
    assert_eq!((&all["runs"], &all["done"]), (&6.into(), &6.into()));
}

#[test]
fn all_runs_are_trained_on_the_same_wiring_wherever_it_lies() {
    let place = place(str::to_string);
    let [wiring, moved] = ["wiring", "moved"].map(|name| place.path().join(name));
    bionic(place.path(), &["connectome", "convert", "--out", "wiring"]).ok();
    study(place.path(), &["--connectome", "wiring", "--index", "0"]).ok();
    // A null wiring of another connectome does not get in.
    let whole = fs::read_to_string(wiring.join("connections.csv")).unwrap();
    let fewer: Vec<&str> = whole.lines().enumerate().filter(|(i, _)| *i != 7).map(|(_, line)| line).collect();
    fs::write(wiring.join("connections.csv"), fewer.join("\n")).unwrap();
    for flags in [&["--index", "2"][..], &["--quiet"]] {
        let args = [&STUDY[..], &["--connectome", "wiring"], flags].concat();
        refused(place.path(), &args, 5, &["wiring", "changed since the study was begun", "--out"]);
    }
    assert!(!place.path().join("study/random-s1").exists());
    // A run that was cut short goes on too.
    fs::remove_file(place.path().join("study/full-s1/result.json")).unwrap();
    fs::rename(&wiring, &moved).unwrap();
    let args = [&STUDY[..], &["--connectome", "moved"]].concat();
    refused(place.path(), &args, 5, &["connectome.source was", "moved"]);
    fs::write(moved.join("connections.csv"), whole).unwrap();
    let all = study(place.path(), &["--connectome", "moved", "--json"]).json();
    assert_eq!((&all["runs"], &all["done"]), (&6.into(), &6.into()));
}

#[test]
fn jobs_that_begin_together_keep_each_others_fingerprints() {
    let place = place(|plan| {
        plan.replace("column.noise = \"none\"", "connectome.source = \"other\"").replace("epochs = 2", "epochs = 1")
    });
    for (seed, out) in [("1", "wiring"), ("2", "other")] {
        bionic(place.path(), &["connectome", "null", "--wiring", "shuffled", "--seed", seed, "--out", out]).ok();
    }
    std::thread::scope(|scope| {
        for index in ["0", "1"] {
            let folder = place.path();
            scope.spawn(move || study(folder, &["--connectome", "wiring", "--index", index]).ok());
        }
    });
    let about: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path().join("study/study.json")).unwrap()).unwrap();
    assert_eq!(about["sources"].as_object().unwrap().len(), 2, "{about}");
}

#[test]
fn a_study_keeps_others_out_and_scores_again_what_is_damaged() {
    let place = place(|plan| plan.replace("epochs = 2", "epochs = 1"));
    let whole = study(place.path(), &["--seeds", "1", "--json"]).json();
    let held = Locked::take(&place.path().join("study"), "").unwrap();
    refused(place.path(), &STUDY, 5, &["study", "in use by another process", "--index"]);
    drop(held);
    let result = place.path().join("study/silent-s1/result.json");
    let before = fs::read(&result).unwrap();
    fs::write(&result, &before[..before.len() / 2]).unwrap();
    assert_eq!(study(place.path(), &["--seeds", "1", "--json"]).json()["table"], whole["table"], "the row counts");
    fs::remove_file(place.path().join("study/results.csv")).unwrap();
    let again = study(place.path(), &["--seeds", "1", "--json"]);
    assert!(again.stderr.contains("silent-s1/result.json: damaged: the run is scored again"), "{}", again.stderr);
    assert_eq!(again.json()["table"], whole["table"]);
    let scores = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap()["test"].clone();
    assert_eq!(scores(&fs::read(&result).unwrap()), scores(&before));
}

#[test]
fn a_row_counts_where_its_run_is_gone_if_it_is_of_this_plan() {
    let place = place(str::to_string);
    study(place.path(), &["--seeds", "1"]).ok();
    fs::remove_dir_all(place.path().join("study/silent-s1")).unwrap();
    let (before, all) = (results(place.path()), study(place.path(), &["--seeds", "1", "--json"]).json());
    assert_eq!((&all["done"], before), (&3.into(), results(place.path())));
    study(place.path(), &["--index", "1"]).ok();
    assert!(!place.path().join("study/silent-s1").exists(), "not trained again");
    let other = [&STUDY[..], &["--seeds", "1", "--set", "epochs=3"]].concat();
    fs::remove_dir_all(place.path().join("study/full-s1")).unwrap();
    fs::remove_dir_all(place.path().join("study/random-s1")).unwrap();
    refused(place.path(), &other, 5, &["results.csv", "full, seed 1", "another configuration"]);
}

#[test]
fn a_run_that_diverges_fails_alone() {
    let place = place(|p| {
        p.replace("column.noise = \"none\"", "learning.optimizer = \"sgd\", learning.learning_rate = 100.0, learning.clip_norm = 0.0, column.layer_norm = false")
    });
    let outcome = study(place.path(), &["--seeds", "1"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("silent-s1")
            && outcome.stderr.contains("diverged")
            && outcome.stderr.contains("start another run"),
        "{}",
        outcome.stderr
    );
    assert_eq!(results(place.path()).len(), 2);
}

#[test]
fn a_model_that_cannot_be_built_fails_alone_and_a_run_is_no_study() {
    let folder = place(|plan| plan.replace("column.noise = \"none\"", "column.laminae = [\"L9\"]"));
    let outcome = study(folder.path(), &["--quiet", "--seeds", "1"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("silent-s1 failed"), "{outcome:?}");
    assert_eq!(results(folder.path()).len(), 2);
    let plan = ["study", "plan.toml", "--seeds", "1", "--out"];
    for out in ["study/full-s1", "plan.toml"] {
        refused(folder.path(), &[&plan[..], &[out]].concat(), 2, &[out, "--out"]);
    }
}

#[test]
fn bad_data_ends_the_study_at_once() {
    let place = place(str::to_string);
    let outcome = study(place.path(), &["--data", "absent.csv"]);
    assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("absent.csv"), "{}", outcome.stderr);
}

#[test]
fn a_plan_whose_time_is_up_says_so() {
    let place = place(|p| format!("{p}\n[budget]\nhours = 1e-9\n"));
    let outcome = study(place.path(), &[]);
    assert_eq!(outcome.code, Some(75), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("6 runs left"), "{}", outcome.stderr);
}

#[test]
fn factors_that_are_combined_in_full_have_main_effects() {
    let plan = r#"
seeds = 3
[base]
epochs = 1
data.demo_train = 64
data.demo_test = 64
[[factor]]
name = "inhibition"
levels = [{ name = "graded" }, { name = "uninhibited", set = { column.inhibition = "none" } }]
[[factor]]
name = "noise"
levels = [{ name = "noisy" }, { name = "silent", set = { column.noise = "none" } }]
"#;
    let place = place(|_| plan.to_owned());
    let outcome = study(place.path(), &["--quiet"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("main effects of the factors") && outcome.stdout.contains("inhibition: uninhibited"),
        "{outcome:?}"
    );
    let json = study(place.path(), &["--json", "--quiet"]).json();
    let effects = json["table"]["main_effects"].as_array().unwrap();
    // Half of the two differences in accuracy, seed by seed.
    let accuracy: BTreeMap<String, f64> =
        results(place.path()).into_iter().map(|(run, row)| (run, row[ACCURACY].parse().unwrap())).collect();
    let of = |model: &str, seed: usize| accuracy[&format!("{model}-s{seed}")];
    let silent =
        (1..=3).map(|s| 0.5 * (of("silent", s) - of("full", s) + of("uninhibited+silent", s) - of("uninhibited", s)));
    let mean = silent.sum::<f64>() / 3.0;
    assert_eq!((effects.len(), &effects[1]["level"], &effects[1]["pairs_of_models"]), (2, &"silent".into(), &2.into()));
    let found = effects[1]["differences"]["test_accuracy"]["difference"]["mean"].as_f64().unwrap();
    assert!((found - mean).abs() < 1e-9, "{found} {mean}");
    bionic(place.path(), &["report", "study"]).ok();
    for table in ["study/main_effects.csv", "study/report-csv/main_effects.csv"] {
        let text = fs::read_to_string(place.path().join(table)).unwrap();
        assert!(text.lines().count() == 3 && text.contains("\nnoise,silent,noisy,2,"), "{table}: {text}");
    }
}
