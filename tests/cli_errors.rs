//! Bad input of every kind, given to the real program: the exit code, one message with place and remedy, an empty stdout,
//! and a disk on which nothing changed.

#![allow(clippy::unwrap_used)] // A test may panic.

mod cli_support;

use cli_support::*;
use std::fs;
use std::path::Path;

const TRAIN: [&str; 6] = ["train", "--quiet", "--out", "run", "--epochs", "1"];

/// `train` on this CSV is refused as bad input.
#[track_caller]
fn csv_refused(rows: &[(&str, Vec<String>, &str)], words: &[&str]) {
    let folder = folder();
    write_csv(&folder.path().join("faces.csv"), rows);
    refused(
        folder.path(),
        &[&TRAIN[..], &["--data", "faces.csv"]].concat(),
        3,
        &[&["faces.csv", "line 3"], words].concat(),
    );
}

/// Rows around `bad`, which is line 3.
fn around<'a>(label: &'a str, bad: Vec<String>, usage: &'a str) -> Vec<(&'a str, Vec<String>, &'a str)> {
    let good = || pixels(2304);
    vec![("3", good(), "Training"), (label, bad, usage), ("4", good(), "PublicTest"), ("5", good(), "PrivateTest")]
}

#[test]
fn a_csv_that_is_not_there() {
    let folder = folder();
    refused(folder.path(), &[&TRAIN[..], &["--data", "gone.csv"]].concat(), 3, &["gone.csv"]);
    refused(folder.path(), &["train", "--quiet", "--data", "gone.csv"], 3, &["gone.csv"]);
}

#[test]
fn a_csv_that_is_cut_off() {
    let folder = folder();
    let path = folder.path().join("faces.csv");
    write_csv(&path, &around("2", pixels(2304), "Training")[..2]);
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 3000]).unwrap();
    refused(folder.path(), &[&TRAIN[..], &["--data", "faces.csv"]].concat(), 3, &["faces.csv", "line 3"]);
}

#[test]
fn a_row_with_2303_pixels() {
    csv_refused(&around("2", pixels(2303), "Training"), &["2303", "2304"]);
}

#[test]
fn a_pixel_of_256() {
    let mut bad = pixels(2304);
    bad[7] = "256".into();
    csv_refused(&around("2", bad, "Training"), &["pixel", "256", "255"]);
}

#[test]
fn a_pixel_that_is_no_number() {
    let mut bad = pixels(2304);
    bad[7] = "x".into();
    csv_refused(&around("2", bad, "Training"), &["pixel", "`x`"]);
}

#[test]
fn an_unknown_label() {
    csv_refused(&around("9", pixels(2304), "Training"), &["emotion", "`9`"]);
}

#[test]
fn an_unknown_usage() {
    csv_refused(&around("2", pixels(2304), "Validation"), &["Usage", "`Validation`"]);
}

#[test]
fn an_image_folder_without_images() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("faces/train/angry")).unwrap();
    fs::create_dir_all(folder.path().join("faces/test/angry")).unwrap();
    refused(folder.path(), &[&TRAIN[..], &["--data", "faces"]].concat(), 3, &["faces"]);
}

/// A PNG file of 78 bytes with a grey image of the given sides and almost no data.
fn tiny_png(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |name: &[u8; 4], data: &[u8]| {
        let body = [&name[..], data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&body);
        file.extend(crc.sum().to_be_bytes());
    };
    chunk(b"IHDR", &[&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat());
    // One stored deflate block of ten zero bytes.
    chunk(b"IDAT", &[&[0x78, 1, 1, 10, 0, 245, 255][..], &[0; 10], &[0, 10, 0, 1]].concat());
    chunk(b"IEND", &[]);
    file
}

#[test]
fn a_78_byte_png_that_claims_60000_by_60000_pixels() {
    let (folder, png) = (folder(), tiny_png(60_000, 60_000));
    assert_eq!(png.len(), 78);
    fs::write(folder.path().join("bomb.png"), png).unwrap();
    refused(folder.path(), &["predict", text(finished_run()), "bomb.png"], 3, &["bomb.png"]);
    // Its data are too short for the header even where the size is allowed.
    fs::write(folder.path().join("short.png"), tiny_png(48, 48)).unwrap();
    refused(folder.path(), &["predict", text(finished_run()), "short.png"], 3, &["short.png"]);
}

#[test]
fn an_image_that_is_none_or_is_not_there() {
    let folder = folder();
    fs::write(folder.path().join("notes.png"), "no image").unwrap();
    refused(folder.path(), &["predict", text(finished_run()), "notes.png"], 3, &["notes.png"]);
    refused(folder.path(), &["predict", text(finished_run()), "gone.png"], 3, &["gone.png"]);
}

/// `connectome inspect` and `train` refuse these tables as bad input.
#[track_caller]
fn tables_refused(tables: &Tables, words: &[&str]) {
    let folder = folder();
    tables.write(&folder.path().join("wiring"));
    refused(folder.path(), &["connectome", "inspect", "wiring"], 3, words);
    refused(folder.path(), &[&TRAIN[..], &["--connectome", "wiring"]].concat(), 3, words);
}

#[test]
fn the_tables_that_the_other_tests_break_are_good() {
    let folder = folder();
    Tables::new(|_, _| true).write(&folder.path().join("wiring"));
    bionic(folder.path(), &["connectome", "inspect", "wiring"]).ok();
}

#[test]
fn a_synapse_of_an_unknown_neuron() {
    let mut tables = Tables::new(|_, _| true);
    tables.connections[4] = "0,999,2".into();
    tables_refused(&tables, &["connections.csv", "line 6", "999"]);
}

#[test]
fn a_neuron_that_is_listed_twice() {
    let mut tables = Tables::new(|_, _| true);
    tables.neurons[6] = tables.neurons[5].clone();
    tables_refused(&tables, &["neurons.csv", "line 8", "neuron 5"]);
}

#[test]
fn a_connectome_that_is_not_there() {
    let folder = folder();
    refused(folder.path(), &["connectome", "inspect", "gone"], 3, &["gone"]);
    refused(folder.path(), &[&TRAIN[..], &["--connectome", "gone"]].concat(), 3, &["gone"]);
}

#[test]
fn a_projection_without_synapses() {
    let folder = folder();
    Tables::new(|pre, post| (pre, post) != ("L4", "L2/3")).write(&folder.path().join("wiring"));
    refused(folder.path(), &[&TRAIN[..], &["--connectome", "wiring"]].concat(), 3, &["wiring", "L4", "L2/3"]);
}

/// A copy of the finished run as `folder/run`.
fn copied_run(folder: &Path) -> std::path::PathBuf {
    let run = folder.join("run");
    copy_run(finished_run(), &run);
    run
}

#[test]
fn weights_that_are_cut_off() {
    let folder = folder();
    for file in saved_files(&copied_run(folder.path())) {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    }
    fs::write(folder.path().join("face.png"), tiny_png(48, 48)).unwrap();
    refused(folder.path(), &["eval", "run"], 5, &[".bcw"]);
    refused(folder.path(), &["predict", "run", "face.png"], 5, &[".bcw"]);
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &[".bcw"]);
}

#[test]
fn weights_with_changed_bytes_in_both_slots() {
    let folder = folder();
    for file in saved_files(&copied_run(folder.path())) {
        let mut bytes = fs::read(&file).unwrap();
        bytes.iter_mut().step_by(4096).for_each(|b| *b ^= 16);
        fs::write(&file, bytes).unwrap();
    }
    refused(folder.path(), &["eval", "run"], 5, &[".bcw"]);
}

#[test]
fn weights_of_another_connectome() {
    let folder = folder();
    let run = copied_run(folder.path());
    train_tiny(folder.path(), &["--quiet", "--out", "other", "--set", "connectome.seed=2"]).ok();
    for file in saved_files(&folder.path().join("other")) {
        fs::copy(&file, run.join(file.file_name().unwrap())).unwrap();
    }
    refused(folder.path(), &["eval", "run"], 5, &[".bcw", "connectome"]);
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &[".bcw", "connectome"]);
}

#[test]
fn a_wiring_that_is_damaged_or_gone() {
    let folder = folder();
    let path = copied_run(folder.path()).join("connectome/connections.csv");
    fs::write(&path, "pre,post,n_synapses\n1,2,x\n").unwrap();
    refused(folder.path(), &["eval", "run"], 5, &["connections.csv", "restore", "copy"]);
    fs::remove_file(&path).unwrap();
    refused(folder.path(), &["eval", "run"], 5, &["connections.csv", "restore", "copy"]);
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &["restore", "copy"]);
}

/// A link to a disk that is not mounted, and a file that is gone: not a run that never began.
#[test]
fn a_state_that_is_out_of_reach() {
    let folder = folder();
    let run = copied_run(folder.path());
    let (state, metrics) = (run.join("state.bcw"), fs::read(run.join("metrics.jsonl")).unwrap());
    fs::remove_file(&state).unwrap();
    refused(folder.path(), &["eval", "run"], 5, &["state.bcw", "is gone", "metrics.jsonl"]);
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &["state.bcw", "is gone"]);
    std::os::unix::fs::symlink("/no/such/disk/state.bcw", &state).unwrap();
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 3, &["state.bcw", "no such file"]);
    assert!(fs::symlink_metadata(&state).unwrap().is_symlink());
    assert_eq!(fs::read(run.join("metrics.jsonl")).unwrap(), metrics);
}

#[test]
fn an_output_that_would_overwrite_something_else() {
    let folder = folder();
    let run = copied_run(folder.path());
    fs::write(folder.path().join("faces.csv"), "data").unwrap();
    let before = snapshot(folder.path());
    for out in ["run/state.bcw", "run/config.toml", "faces.csv", "/dev/full"] {
        for mut args in [vec!["export", "run", "--to", "npz"], vec!["report", "run", "--split", "private"]] {
            args.extend(["--out", out]);
            refused(folder.path(), &args, 2, &[out, "--out", "expected a file that ends with"]);
        }
    }
    assert_eq!(snapshot(folder.path()), before);
    fs::write(run.join("weights.npz"), "old").unwrap();
    bionic(folder.path(), &["export", "run", "--to", "npz", "--out", "run/weights.npz"]).ok();
}

/// What is left of a start that was stopped before it wrote anything.
#[test]
fn a_folder_in_which_nothing_began_is_begun_by_resume() {
    let folder = folder();
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::write(folder.path().join("run/work.bcw"), "").unwrap();
    train_tiny(folder.path(), &["--quiet", "--resume", "--out", "run"]).ok();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for out in ["absent", "empty"] {
        refused(folder.path(), &["train", "--quiet", "--resume", "--out", out], 5, &[out]);
    }
}

#[test]
fn a_run_whose_configuration_was_changed_or_cut_off() {
    let folder = folder();
    let path = copied_run(folder.path()).join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("standardize = \"image\"", "standardize = \"none\"", 1)).unwrap();
    refused(folder.path(), &["eval", "run"], 5, &["state.bcw", "config.toml"]);
    let was = "configuration (data.standardize was \"image\", is \"none\")";
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &["state.bcw", was, "--force"]);
    let middle = text.find("\ninput = ").unwrap();
    fs::write(&path, &text[..middle + 9]).unwrap();
    refused(folder.path(), &["eval", "run"], 5, &["config.toml", "not valid TOML: line "]);
    fs::write(&path, &text[..middle + 1]).unwrap();
    refused(folder.path(), &["eval", "run"], 5, &["config.toml", "lacks the key"]);
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &["config.toml", "lacks the key"]);
}

/// A run of before there was a precision to choose.
#[test]
fn a_configuration_without_a_later_key_is_read() {
    let folder = folder();
    let path = copied_run(folder.path()).join("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let former: String = text.lines().filter(|line| !line.starts_with("precision")).map(|l| format!("{l}\n")).collect();
    assert_eq!(former.lines().count() + 1, text.lines().count());
    fs::write(&path, former).unwrap();
    for call in [&["eval", "run"][..], &["train", "--quiet", "--resume", "--out", "run"]] {
        let outcome = bionic(folder.path(), call);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
}

#[test]
fn a_flag_that_would_change_the_result_of_a_resumed_run() {
    let folder = folder();
    copied_run(folder.path());
    let resume = ["train", "--quiet", "--resume", "--out", "run"];
    for (flags, what) in [
        (["--epochs", "7"], "epochs was "),
        (["--preset", "deep"], "configuration ("),
        (["--set", "learning.clip_norm=2.5"], "learning.clip_norm was 1.0, is 2.5"),
        (["--set", "precision=bf16"], "precision was \"f32\", is \"bf16\""),
        (["--set", "data.demo_seed=5"], "another data set (was demo, "),
        (["--set", "connectome.seed=5"], "another connectome (was "),
    ] {
        refused(folder.path(), &[&resume[..], &flags].concat(), 5, &["state.bcw", what, "--force"]);
    }
    // What does not change it may be given, and so may what it was.
    for flags in [["--threads", "1"], ["--set", "commit_seconds=7"], ["--set", "learning.clip_norm=1.0"]] {
        let outcome = bionic(folder.path(), &[&resume[..], &flags].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
}

#[test]
fn records_that_are_lost() {
    let folder = folder();
    let path = copied_run(folder.path()).join("metrics.jsonl");
    fs::write(&path, "{").unwrap();
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &["metrics.jsonl"]);
    fs::remove_file(&path).unwrap();
    refused(folder.path(), &["train", "--quiet", "--resume", "--out", "run"], 5, &["metrics.jsonl"]);
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_its_message() {
    let folder = folder();
    let limited = ["-c", "ulimit -f 100; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_bionic-cpu")];
    let out = std::process::Command::new("sh").args(limited).args(TRAIN).current_dir(folder.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(4) && stderr.contains("too large"), "{:?}: {stderr}", out.status);
}

/// The images of Training that validated chose the epoch; the data that a run names must be those it was trained on.
#[test]
fn a_test_split_that_is_not_there_and_data_that_changed() {
    let folder = folder();
    let row = |label| (label, pixels(2304), "Training");
    let mut rows: Vec<_> = ["3", "4", "3", "4", "3", "4"].map(row).to_vec();
    write_csv(&folder.path().join("faces.csv"), &rows);
    bionic(folder.path(), &[&TRAIN[..], &["--data", "faces.csv"]].concat()).ok();
    bionic(folder.path(), &["eval", "run", "--split", "public"]).ok();
    // A part without images has no score.
    let with_public = [&rows[..], &[("3", pixels(2304), "PublicTest")]].concat();
    write_csv(&folder.path().join("public.csv"), &with_public);
    let json = bionic(folder.path(), &["eval", "run", "--data", "public.csv", "--json"]).json();
    assert_eq!((json["n"].as_u64(), json["public"]["n"].as_u64()), (Some(1), Some(1)));
    assert!(json.get("private").is_some_and(serde_json::Value::is_null), "{json}");
    refused(folder.path(), &["eval", "run", "--split", "test"], 3, &["faces.csv", "no image in split `test`"]);
    refused(folder.path(), &["eval", "run", "--data", "faces.csv"], 3, &["faces.csv", "no image in split `test`"]);
    rows[0].0 = "5";
    write_csv(&folder.path().join("faces.csv"), &rows);
    refused(folder.path(), &["eval", "run", "--split", "public"], 5, &["faces.csv", "no longer the data set"]);
}

#[test]
fn a_wiring_that_the_configuration_leaves_empty() {
    let folder = folder();
    let with = |set| [&TRAIN[..], &["--set", set]].concat();
    refused(folder.path(), &with("connectome.min_synapses=9999"), 3, &["9999 or more synapses"]);
    refused(folder.path(), &with("connectome.min_synapses=0"), 2, &["connectome.min_synapses"]);
    refused(folder.path(), &with("connectome.completed=true"), 2, &["connectome.completed"]);
}

#[test]
fn an_unknown_configuration_key() {
    let folder = folder();
    let key = "did you mean `learning.learning_rate`";
    refused(folder.path(), &["train", "--set", "learning.learning_rat=0.1"], 2, &["learning.learning_rat`", key]);
    fs::write(folder.path().join("my.toml"), "[learning]\nlearning_rat = 0.1\n").unwrap();
    refused(folder.path(), &["train", "--config", "my.toml"], 2, &["my.toml", "learning.learning_rat`", key]);
}

#[test]
fn a_configuration_value_out_of_range_or_of_the_wrong_type() {
    let folder = folder();
    refused(folder.path(), &["train", "--set", "augment.flip=1.5"], 2, &["augment.flip = 1.5"]);
    refused(folder.path(), &["train", "--set", "epochs=many"], 2, &["epochs", "integer"]);
    refused(folder.path(), &["train", "--epochs", "0"], 2, &["epochs"]);
    refused(folder.path(), &["train", "--set", "epochs"], 2, &["--set epochs"]);
    refused(folder.path(), &["train", "--set", "batch=-1"], 2, &["batch = -1"]);
    refused(folder.path(), &["train", "--set", "epochs=9999999999"], 2, &["epochs = 9999999999"]);
    refused(folder.path(), &["train", "--set", "threads=100000000"], 2, &["threads = 100000000"]);
    refused(folder.path(), &["train", "--set", "plasticity.centered=true", "--batch", "1"], 2, &["centered", "batch"]);
    refused(folder.path(), &["train", "--set", "data.demo_train=1000000000000"], 2, &["data.demo_train"]);
}

#[test]
fn a_configuration_file_that_is_not_there_or_no_text() {
    let folder = folder();
    refused(folder.path(), &["train", "--config", "gone.toml"], 3, &["gone.toml"]);
    refused(folder.path(), &["train", "--config", "."], 3, &["folder"]);
    fs::write(folder.path().join("image.toml"), [0xff, 0xfe, 0]).unwrap();
    refused(folder.path(), &["train", "--config", "image.toml"], 2, &["image.toml"]);
    fs::write(folder.path().join("long.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    refused(folder.path(), &["train", "--config", "long.toml"], 2, &["long.toml", "64 KiB"]);
}

/// Each of these waited for ever.
#[cfg(unix)]
#[test]
fn a_pipe_in_the_place_of_a_file() {
    let folder = folder();
    for name in ["my.toml", "faces.csv", "faces.csv.gz", "face.png"] {
        let made = std::process::Command::new("mkfifo").arg(folder.path().join(name)).status();
        assert!(made.unwrap().success());
    }
    refused(folder.path(), &["train", "--config", "my.toml"], 3, &["my.toml", "not a regular file"]);
    refused(folder.path(), &[&TRAIN[..], &["--data", "faces.csv"]].concat(), 3, &["faces.csv", "not a regular file"]);
    refused(folder.path(), &[&TRAIN[..], &["--data", "faces.csv.gz"]].concat(), 3, &["faces.csv.gz"]);
    refused(folder.path(), &["predict", text(finished_run()), "face.png"], 3, &["face.png", "not a regular file"]);
}

/// The program aborted.
#[test]
fn a_network_of_13_terabytes() {
    let folder = folder();
    let stem = format!("stem=[{}]", "{layer=\"dense\", units=1048576},".repeat(3));
    refused(folder.path(), &[&TRAIN[..], &["--set", &stem]].concat(), 2, &["layer \"dense\"", "parameters"]);
    refused(folder.path(), &["train", "--dry-run", "--set", &stem], 2, &["layer \"dense\"", "parameters"]);
}

#[test]
fn an_unknown_preset() {
    let folder = folder();
    refused(folder.path(), &["train", "--preset", "baselin"], 2, &["preset", "baselin", "baseline, "]);
    refused(folder.path(), &["train", "--set", "preset=baselin"], 2, &["preset", "baselin", "baseline, "]);
}

#[test]
fn a_run_that_is_none() {
    let folder = folder();
    fs::create_dir(folder.path().join("notes")).unwrap();
    fs::write(folder.path().join("notes/notes.txt"), "no run").unwrap();
    fs::write(folder.path().join("face.png"), tiny_png(48, 48)).unwrap();
    for run in ["notes", "gone"] {
        refused(folder.path(), &["eval", run], 5, &[run]);
        refused(folder.path(), &["predict", run, "face.png"], 5, &[run]);
        refused(folder.path(), &["train", "--quiet", "--resume", "--out", run], 5, &[run]);
    }
}

#[test]
fn a_folder_that_holds_something_else() {
    let folder = folder();
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::write(folder.path().join("run/notes.txt"), "mine").unwrap();
    refused(folder.path(), &TRAIN, 2, &["--out run", "not empty", "--resume"]);
    refused(folder.path(), &["train", "--out", "run/notes.txt"], 2, &["run/notes.txt"]);
}

#[test]
fn wrong_flags_are_usage_errors() {
    let folder = folder();
    let before = snapshot(folder.path());
    for args in [
        &["train", "--epoch", "3"][..],
        &["train", "--seed", "-1"],
        &["train", "--seed", "9223372036854775808"],
        &["train", "--resume"],
        &["train", "--force"],
        &["train", "--print-config", "--dry-run"],
        &["eval"],
        &["eval", "run", "--split", "both"],
        &["predict", "run"],
        &["connectome", "inspect", "--min-synapses", "0"],
        &["dance"],
        &[],
    ] {
        let outcome = bionic(folder.path(), args);
        assert_eq!(outcome.code, Some(2), "{args:?}: {outcome:?}");
        assert_eq!(outcome.stdout, "", "{args:?}");
        assert!(!outcome.stderr.is_empty(), "{args:?}");
    }
    assert_eq!(snapshot(folder.path()), before);
}
