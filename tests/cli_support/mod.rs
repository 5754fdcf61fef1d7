//! What the tests of the command line share: running the real program, snapshots of folders, small inputs.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;
use tempfile::TempDir;

/// What a call of the program left: exit code, stdout, stderr.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// stdout of a call that must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// stdout of a call that must succeed, as its one line of JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let text = self.ok();
        assert_eq!(text.lines().count(), 1, "one JSON object expected: {text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value.is_object(), "{text}");
        value
    }
}

/// The program, to be run in `folder`.
pub fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bionic-cpu"));
    command.args(args).current_dir(folder).stdin(Stdio::null()).env_remove("RUST_BACKTRACE");
    command
}

/// Runs the program in `folder` to its end.
pub fn bionic(folder: &Path, args: &[&str]) -> Outcome {
    let output = program(folder, args).output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// An empty folder that goes when dropped.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Flags of a run that takes a second.
pub const TINY: [&str; 8] =
    ["--set", "data.demo_train=256", "--set", "data.demo_test=64", "--epochs", "1", "--threads", "2"];

/// `train` with [`TINY`] and these flags.
pub fn train_tiny(folder: &Path, flags: &[&str]) -> Outcome {
    bionic(folder, &[&["train"], &TINY[..], flags].concat())
}

/// A finished run that tests may read but not change; one per test binary.
pub fn finished_run() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let run = base.join(concat!(env!("CARGO_CRATE_NAME"), "-run"));
        if run.exists() {
            fs::remove_dir_all(&run).unwrap();
        }
        train_tiny(base, &["--quiet", "--out", text(&run)]).ok();
        run
    })
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Copies the run `from` to the new folder `to`.
///
/// Everything is checked before the first byte is written: `from` is a whole path to a run of at most 100 files and
/// 256 MiB, and `to` is not inside it. A wrong path then fails a test instead of filling the disk.
#[track_caller]
pub fn copy_run(from: &Path, to: &Path) {
    assert!(from.is_absolute() && from.join("config.toml").is_file(), "not a run: `{}`", from.display());
    let from = fs::canonicalize(from).unwrap();
    let parent = fs::canonicalize(to.parent().unwrap()).unwrap();
    assert!(!parent.starts_with(&from), "`{}` is inside `{}`", to.display(), from.display());
    let (mut files, mut folders, mut open, mut total_bytes) = (Vec::new(), Vec::new(), vec![from.clone()], 0);
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            folders.push(path);
        } else {
            total_bytes += found.len();
            files.push(path);
        }
        assert!(files.len() + folders.len() <= 100 && total_bytes <= 256 << 20, "too much for a tiny run");
    }
    let target = |path: &Path| to.join(path.strip_prefix(&from).unwrap());
    folders.iter().for_each(|path| fs::create_dir(target(path)).unwrap());
    for path in &files {
        fs::copy(path, target(path)).unwrap();
    }
}

/// The weight files of a run that are read back (the working file is not).
pub fn saved_files(run: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(run).unwrap().map(|e| e.unwrap().path());
    let saved: Vec<PathBuf> =
        all.filter(|p| p.extension().is_some_and(|e| e == "bcw") && !p.ends_with("work.bcw")).collect();
    assert!(!saved.is_empty(), "no weights in {}", run.display());
    saved
}

/// Everything in a folder: kind, length, time of change and hash of the content by path.
pub fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (bool, u64, SystemTime, u64)> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(path) = open.pop() {
        let found = fs::symlink_metadata(&path).unwrap();
        let hash = if found.is_file() { xxhash_rust::xxh3::xxh3_64(&fs::read(&path).unwrap()) } else { 0 };
        if found.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        assert!(all.len() < 1000, "too many files for a test: `{}`", folder.display());
        all.insert(path, (found.is_dir(), found.len(), found.modified().unwrap(), hash));
    }
    all
}

/// Nothing on disk changes, stdout stays empty, and stderr is one message: an `error:` line that contains all of `words`
/// and a `remedy:` line.
#[track_caller]
pub fn refused(folder: &Path, args: &[&str], code: i32, words: &[&str]) {
    let before = snapshot(folder);
    let outcome = bionic(folder, args);
    assert_eq!(outcome.code, Some(code), "exit code of {args:?}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "stdout of {args:?}");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    let [error, remedy] = lines[..] else { panic!("two lines expected: {}", outcome.stderr) };
    assert!(error.starts_with("error: "), "{error}");
    assert!(remedy.trim_start().starts_with("remedy: ") && remedy.trim().len() > 9, "{remedy}");
    for word in words {
        assert!(outcome.stderr.contains(word), "`{word}` expected in: {}", outcome.stderr);
    }
    assert_eq!(snapshot(folder), before, "{args:?} changed something on disk");
}

/// Pixels of a face-sized row of a Kaggle CSV.
pub fn pixels(n: usize) -> Vec<String> {
    (0..n).map(|i| (i * 7 % 256).to_string()).collect()
}

/// A small Kaggle CSV whose rows (from line 2 on) are given as label, pixels and usage.
pub fn write_csv(path: &Path, rows: &[(&str, Vec<String>, &str)]) {
    let rows: Vec<String> =
        rows.iter().map(|(label, pixels, usage)| format!("{label},{},{usage}\n", pixels.join(" "))).collect();
    fs::write(path, format!("emotion,pixels,Usage\n{}", rows.concat())).unwrap();
}

/// Two tables of a connectome: four excitatory and one inhibitory neuron in each of four laminae.
pub struct Tables {
    /// `id,layer,cell_type,class,x_um,depth_um,z_um`.
    pub neurons: Vec<String>,
    /// `pre,post,n_synapses`.
    pub connections: Vec<String>,
}

impl Tables {
    /// All pairs joined for which `joined(lamina of pre, lamina of post)`.
    pub fn new(joined: impl Fn(&str, &str) -> bool) -> Self {
        let laminae = [("L2/3", "23P", 200), ("L4", "4P", 350), ("L5", "5P-IT", 500), ("L6", "6P-CT", 650)];
        let (mut neurons, mut lamina_of) = (Vec::new(), Vec::new());
        for (lamina, cell_type, depth_um) in laminae {
            for i in 0..5 {
                let (cell_type, class) = if i < 4 { (cell_type, "E") } else { ("BC", "I") };
                let id = neurons.len();
                neurons.push(format!("{id},{lamina},{cell_type},{class},{},{depth_um},{}", 10 * i, 20 * i));
                lamina_of.push(lamina);
            }
        }
        let n = neurons.len();
        let pairs = (0..n).flat_map(|pre| (0..n).map(move |post| (pre, post)));
        let connections = pairs
            .filter(|&(pre, post)| pre != post && joined(lamina_of[pre], lamina_of[post]))
            .map(|(pre, post)| format!("{pre},{post},2"))
            .collect();
        Self { neurons, connections }
    }

    /// Writes `neurons.csv` and `connections.csv` into a new folder.
    pub fn write(&self, folder: &Path) {
        fs::create_dir(folder).unwrap();
        let neurons = format!("id,layer,cell_type,class,x_um,depth_um,z_um\n{}\n", self.neurons.join("\n"));
        fs::write(folder.join("neurons.csv"), neurons).unwrap();
        let connections = format!("pre,post,n_synapses\n{}\n", self.connections.join("\n"));
        fs::write(folder.join("connections.csv"), connections).unwrap();
    }
}
