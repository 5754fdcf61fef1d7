//! Runs that are killed, failed by the system or starved of disk end with the bits of one never stopped.
//!
//! What takes hours is ignored and says how it is run; the short form of each is always run.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A test may panic.

mod cli_support;
mod run_support;

use bionic_cpu::config::to_commented_toml;
use bionic_cpu::rng::Rng;
use bionic_cpu::store;
use cli_support::*;
use run_support::{Place, timeless_metrics};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Three epochs of six steps.
const SHORT: [&str; 2] = ["epochs=3", "data.demo_test=16"];
/// A few blocks of state, two steps, a commit before each.
const SMALL: [&str; 5] = [
    "epochs=1",
    "data.demo_train=32",
    "data.demo_test=8",
    "commit_seconds=0",
    "stem=[{layer=\"conv\", filters=2}, {layer=\"max_pool\", size=4}, {layer=\"relu\"}]",
];

/// A configuration file and what a run of it that is never stopped ends with.
struct Case {
    place: Place,
    config: PathBuf,
    fingerprint: String,
    metrics: Vec<serde_json::Value>,
    seconds: f64,
}

impl Case {
    fn new(sets: &[&str]) -> Self {
        let place = Place::new();
        let config = place.run("config.toml");
        fs::write(&config, to_commented_toml(&place.config("bionic", sets)).unwrap()).unwrap();
        let mut case = Self { place, config, fingerprint: String::new(), metrics: Vec::new(), seconds: 0.0 };
        let (out, start) = (case.place.run("straight"), Instant::now());
        case.fingerprint = fingerprint(&bionic(Path::new("/"), &case.call(&out, 2)));
        case.seconds = start.elapsed().as_secs_f64();
        case.metrics = timeless_metrics(&out);
        case
    }

    /// The flags that start the run in `out`, or go on with it if it has begun.
    fn call<'a>(&'a self, out: &'a Path, threads: usize) -> Vec<&'a str> {
        let mut flags = vec!["train", "--quiet", "--json", "--out", text(out), "--config", text(&self.config)];
        flags.extend(["--threads", if threads == 1 { "1" } else { "2" }]);
        if out.join("config.toml").exists() {
            flags.push("--resume");
        }
        flags
    }

    /// Asserts that this is how a run ends that was never stopped.
    #[track_caller]
    fn same(&self, out: &Path, outcome: &Outcome, how: &str) {
        assert_eq!(outcome.code, Some(0), "{how}: {outcome:?}");
        assert_eq!(fingerprint(outcome), self.fingerprint, "{how}");
        assert_eq!(timeless_metrics(out), self.metrics, "{how}");
    }

    /// Goes on to the end, which must be that of a run never stopped.
    #[track_caller]
    fn finish(&self, out: &Path, threads: usize, how: &str) {
        self.same(out, &bionic(Path::new("/"), &self.call(out, threads)), how);
    }
}

fn fingerprint(outcome: &Outcome) -> String {
    let summary: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    summary["fingerprint"].as_str().unwrap().to_string()
}

fn spawn(args: &[&str]) -> Child {
    program(Path::new("/"), args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of `child`.
fn end(mut child: Child) -> Outcome {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    Outcome { code: child.wait().unwrap().code(), stdout, stderr }
}

/// Waits until `there` holds while `child` runs.
#[track_caller]
fn wait_until(child: &mut Child, there: impl Fn() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(child.try_wait().unwrap().is_none(), "ended too early");
        assert!(start.elapsed() < Duration::from_secs(120), "nothing in two minutes");
        sleep(Duration::from_millis(1));
    }
}

fn lines(out: &Path) -> usize {
    fs::read_to_string(out.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Kills runs `n` times at random moments, by halves with 1 and 2 threads, with a commit before each step and without.
fn kill_at_random(n: usize, seed: u64) {
    let cases = [Case::new(&[&SHORT[..], &["commit_seconds=0"]].concat()), Case::new(&SHORT)];
    let mut rng = Rng::stream(seed, "kill test", &[]);
    let mut moments = BTreeMap::new();
    let (mut kills, mut runs) = (0, 0);
    while kills < n {
        let (case, threads) = (&cases[runs % 2], 1 + runs / 2 % 2);
        let out = case.place.run(&format!("killed-{runs}"));
        runs += 1;
        loop {
            let begun = out.join("config.toml").exists();
            let mut child = spawn(&case.call(&out, threads));
            // Some early, when the run starts or recovers; the others at any moment.
            let span = if rng.below(3) == 0 { 0.2 * case.seconds } else { case.seconds };
            sleep(Duration::from_secs_f64(span * f64::from(rng.uniform())));
            if kills == n || child.try_wait().unwrap().is_some() {
                case.same(&out, &end(child), &format!("run {runs}, {threads} threads"));
                break;
            }
            let before = fs::read(out.join("metrics.jsonl")).ok();
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
            let state = out.join("state.bcw");
            if state.exists() {
                // A kill is no power cut: nothing that was written is lost, so nothing is even torn.
                assert_eq!(store::read(&state, |_| true).unwrap().warnings, [""; 0]);
            }
            *moments.entry((begun, state.exists(), before.is_some_and(|b| !b.is_empty()))).or_insert(0) += 1;
        }
        kills += kill_exports(&case.place, &out, &mut rng, (n - kills).min(2));
        fs::remove_dir_all(&out).unwrap();
    }
    println!("{kills} kills in {runs} runs, no difference; (resumed, state there, an epoch logged): {moments:?}");
}

/// Kills `n` exports of the finished run `out` at random moments; the file is the old one or the new one.
fn kill_exports(place: &Place, out: &Path, rng: &mut Rng, n: usize) -> usize {
    let (whole, torn) = (place.run("whole.npz"), place.run("torn.npz"));
    let export = |to: &Path| ["export", text(out), "--to", "npz", "--out", text(to)].map(str::to_owned);
    let args = |list: &[String; 6]| -> Vec<String> { list.to_vec() };
    let (start, list) = (Instant::now(), args(&export(&whole)));
    bionic(Path::new("/"), &list.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    let seconds = start.elapsed().as_secs_f64();
    let list = args(&export(&torn));
    for _ in 0..n {
        fs::write(&torn, "old").unwrap();
        let mut child = spawn(&list.iter().map(String::as_str).collect::<Vec<_>>());
        sleep(Duration::from_secs_f64(seconds * f64::from(rng.uniform())));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = fs::read(&torn).unwrap();
        assert!(found == b"old" || found == fs::read(&whole).unwrap(), "neither the old export nor the new one");
    }
    n
}

#[test]
fn fifty_kills_leave_the_bits_of_a_run_never_stopped() {
    kill_at_random(50, 1);
}

#[test]
#[ignore = "minutes; cargo test --release --locked --test durability -- --ignored --nocapture a_thousand"]
fn a_thousand_kills_leave_the_bits_of_a_run_never_stopped() {
    kill_at_random(1000, 2);
}

/// System calls that change files, and the file whose mapping can fail.
const CALLS: [(&str, Option<&str>); 6] = [
    ("pwrite64", None),
    ("fdatasync,fsync", None),
    ("fallocate,ftruncate", None),
    ("rename,renameat2", None),
    ("mmap", Some("work.bcw")),
    ("mkdir", None),
];
/// What happens to the call number #; `#+` is it and all after it.
const FAULTS: [&str; 4] = ["error=EIO:when=#", "error=ENOSPC:when=#", "error=ENOSPC:when=#+", "signal=SIGKILL:when=#"];

/// True where programs may be traced.
fn strace() -> bool {
    let works = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    if !works {
        println!("skipped: faults of system calls (strace is not here, or may not trace)");
    }
    works
}

/// Runs the program with one fault; true with the outcome if the fault happened.
fn with_fault(log: &Path, calls: &str, only: Option<&Path>, fault: &str, n: usize, args: &[&str]) -> (bool, Outcome) {
    let _ = fs::remove_file(log);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", text(log), "-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:{}", fault.replace('#', &n.to_string()))]);
    if let Some(path) = only {
        command.args(["-P", text(path)]);
    }
    command.arg(env!("CARGO_BIN_EXE_bionic-cpu")).args(args).stdin(Stdio::null());
    let output = command.output().unwrap();
    let told = fs::read_to_string(log).unwrap();
    let happened = told.contains("INJECTED") || told.contains("killed by SIGKILL");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let outcome = Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    (happened, outcome)
}

/// Fails every `calls` of a program in turn, by each fault; `try_it` runs it once and says whether the fault happened.
/// With `sampled`, ever fewer as there are more.
fn each_fault(sampled: bool, mut try_it: impl FnMut(&str, Option<&str>, &str, usize) -> bool) -> usize {
    let mut tried = 0;
    for (calls, only) in CALLS {
        for fault in FAULTS {
            let mut n = 1;
            while try_it(calls, only, fault, n) {
                tried += 1;
                n += if sampled { 1 + n / 3 } else { 1 };
            }
        }
    }
    tried
}

/// What must hold after a fault in a program that writes.
#[track_caller]
fn well_failed(outcome: &Outcome, fault: &str, how: &str) {
    if fault.starts_with("signal") {
        assert!(outcome.code.is_none() || outcome.code == Some(137), "{how}: {outcome:?}");
        return;
    }
    assert_eq!(outcome.code, Some(4), "{how}: {outcome:?}");
    assert_eq!(outcome.stdout, "", "{how}");
    let message: Vec<&str> = outcome.stderr.lines().collect();
    assert!(
        message.len() == 2 && message[0].starts_with("error: ") && message[1].contains("remedy: "),
        "{how}: {message:?}"
    );
}

/// Faults in a whole run from its start, and in one that is resumed.
fn fail_runs(sampled: bool) {
    if !strace() {
        return;
    }
    let case = Case::new(&SMALL);
    let log = case.place.run("strace.log");
    let out = case.place.run("failed");
    let started = each_fault(sampled, |calls, only, fault, n| {
        let _ = fs::remove_dir_all(&out);
        let only = only.map(|name| out.join(name));
        let how = format!("start, {calls} {fault} {n}");
        let (happened, outcome) = with_fault(&log, calls, only.as_deref(), fault, n, &case.call(&out, 2));
        if happened {
            well_failed(&outcome, fault, &how);
            case.finish(&out, 1 + n % 2, &how);
        }
        happened
    });

    // Stopped before its second step: its state holds two commits of three.
    let stopped = case.place.run("stopped");
    let (_, outcome) = with_fault(&log, "fdatasync", None, "signal=SIGKILL:when=#", 6, &case.call(&stopped, 2));
    assert_ne!(outcome.code, Some(0), "{outcome:?}");
    let saved = store::read(&stopped.join("state.bcw"), |_| true).unwrap();
    let resumed = each_fault(sampled, |calls, only, fault, n| {
        let _ = fs::remove_dir_all(&out);
        copy_run(&stopped, &out);
        let only = only.map(|name| out.join(name));
        let how = format!("resume, {calls} {fault} {n}");
        let (happened, outcome) = with_fault(&log, calls, only.as_deref(), fault, n, &case.call(&out, 2));
        if happened {
            well_failed(&outcome, fault, &how);
            let found = store::read(&out.join("state.bcw"), |_| true).unwrap();
            assert_eq!(found.warnings, [""; 0], "{how}");
            if found.text == saved.text {
                assert!(found == saved, "{how}: the state that was saved has changed");
            }
            case.finish(&out, 1 + n % 2, &how);
        }
        happened
    });
    println!("{started} faults from the start, {resumed} after a resume: all exits as promised, no difference");
}

#[test]
fn a_run_survives_the_failure_of_any_system_call() {
    fail_runs(true);
}

#[test]
#[ignore = "minutes; cargo test --release --locked --test durability -- --ignored --nocapture every"]
fn a_run_survives_the_failure_of_every_system_call() {
    fail_runs(false);
}

/// Killed at each rename and repeated: never the old wiring under the new name.
#[test]
fn a_forced_change_of_the_wiring_survives_its_end_at_any_moment() {
    if !strace() {
        return;
    }
    let case = Case::new(&SMALL);
    let (straight, log) = (case.place.run("straight"), case.place.run("strace.log"));
    let change = |out: &Path| {
        let flags = ["train", "--quiet", "--json", "--resume", "--force", "--epochs", "2", "--out", text(out)];
        flags.into_iter().chain(["--set", "connectome.null=shuffled"]).map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |out: &Path| bionic(Path::new("/"), &change(out).iter().map(String::as_str).collect::<Vec<_>>());
    let whole = case.place.run("whole");
    copy_run(&straight, &whole);
    let expected = fingerprint(&run(&whole));
    let wiring = contents(&whole.join("connectome"));
    assert_ne!(wiring, contents(&straight.join("connectome")));
    let mut killed = 0;
    // A file is renamed, a folder exchanged.
    for (calls, n) in ["rename", "renameat2"].into_iter().flat_map(|calls| (1..).map(move |n| (calls, n)).take(9)) {
        let (out, how) = (case.place.run(&format!("{calls}{n}")), format!("killed at {calls} {n}"));
        copy_run(&straight, &out);
        let args = change(&out);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if !with_fault(&log, calls, None, "signal=SIGKILL:when=#", n, &args).0 {
            continue;
        }
        killed += 1;
        // Gone on with in between without the change: refused, or as it was, and nothing is lost.
        let plain = bionic(Path::new("/"), &["train", "--quiet", "--resume", "--out", text(&out)]);
        assert!(matches!(plain.code, Some(0 | 5)), "{how}: {plain:?}");
        assert_eq!(fingerprint(&run(&out)), expected, "{how}");
        assert_eq!(contents(&out.join("connectome")), wiring, "{how}");
    }
    assert!(killed >= 3, "{killed} renames");
}

#[test]
fn an_export_survives_the_failure_of_every_system_call() {
    if !strace() {
        return;
    }
    let case = Case::new(&SMALL);
    let (run, log) = (case.place.run("straight"), case.place.run("strace.log"));
    let before = snapshot(&run);
    for format in ["safetensors", "npz", "onnx", "mtx"] {
        let (whole, path) = (case.place.run(&format!("whole.{format}")), case.place.run(&format!("out.{format}")));
        let old = case.place.run(&format!("old.{format}"));
        let export =
            |to: &Path| bionic(Path::new("/"), &["export", text(&run), "--to", format, "--out", text(to)]).ok();
        export(&whole);
        export(&path);
        // Another content under the same names.
        for file in files(&path) {
            fs::write(&file, "old").unwrap();
        }
        fs::rename(&path, &old).unwrap();
        let tried = each_fault(false, |calls, _, fault, n| {
            for leftover in [path.clone(), beside(&path), PathBuf::from(format!("{}.tmp", path.display()))] {
                let _ = fs::remove_file(&leftover);
                let _ = fs::remove_dir_all(&leftover);
            }
            copy(&old, &path);
            let calls = if calls == "pwrite64" { "write,pwrite64" } else { calls };
            let only = calls.starts_with("write").then(|| beside(&path));
            if calls == "mmap" || (only.is_some() && old.is_dir()) {
                return false;
            }
            let how = format!("{format}, {calls} {fault} {n}");
            let args = ["export", text(&run), "--to", format, "--out", text(&path)];
            let (happened, outcome) = with_fault(&log, calls, only.as_deref(), fault, n, &args);
            if happened {
                well_failed(&outcome, fault, &how);
                let found = contents(&path);
                let new = found == contents(&whole);
                assert!(new || found == contents(&old), "{how}: neither the old export nor the new one");
                assert!(
                    fault.starts_with("signal") || new || !beside(&path).exists(),
                    "{how}: something is left beside"
                );
            }
            happened
        });
        println!("export to {format}: {tried} faults, old or new each time");
        assert!(tried >= 8, "{format}: {tried}");
    }
    assert_eq!(snapshot(&run), before, "an export writes nothing into the run but itself");
}

/// What a file is written to before it is renamed.
fn beside(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}.bionic-0", path.file_name().unwrap().to_str().unwrap()))
}

/// The files in a folder, or the file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    match fs::read_dir(path) {
        Ok(entries) => entries.map(|e| e.unwrap().path()).collect(),
        Err(_) => vec![path.to_path_buf()],
    }
}

fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let name = |file: &Path| file.strip_prefix(path).unwrap().to_path_buf();
    files(path).into_iter().map(|file| (name(&file), fs::read(&file).unwrap())).collect()
}

/// Copies a file, or a folder of files.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir(to).unwrap();
    }
    for (name, bytes) in contents(from) {
        fs::write(to.join(name).components().collect::<PathBuf>(), bytes).unwrap();
    }
}

/// A file system in memory of 16 MiB; goes when dropped.
struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn mount() -> Option<Self> {
        let folder = folder();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "none"]).arg(folder.path()).output();
        if mount.is_ok_and(|o| o.status.success()) {
            return Some(Self(folder));
        }
        println!("skipped: a full disk (this user may not mount a file system)");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[test]
fn a_run_without_room_is_refused_and_leaves_nothing() {
    let Some(disk) = Tmpfs::mount() else { return };
    let outcome = train_tiny(disk.path(), &["--quiet", "--out", "run"]);
    assert_eq!(outcome.code, Some(4), "{outcome:?}");
    assert!(outcome.stderr.contains("space") && outcome.stderr.contains("remedy"), "{outcome:?}");
    assert!(!disk.path().join("run").exists());
}

#[test]
fn a_disk_that_fills_up_ends_the_run_which_goes_on_when_there_is_room() {
    let Some(disk) = Tmpfs::mount() else { return };
    // Many small epochs, so that the log needs another page soon.
    let sets = ["epochs=60", "data.demo_train=32", "data.demo_test=8", SMALL[4]];
    let case = Case::new(&sets);
    let out = disk.path().join("run");
    let mut child = spawn(&case.call(&out, 2));
    wait_until(&mut child, || lines(&out) >= 1);
    let filler = disk.path().join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    let full = loop {
        if let Err(e) = file.write_all(&[1; 4096]) {
            break e;
        }
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    let outcome = end(child);
    assert_eq!(outcome.code, Some(4), "{outcome:?}");
    assert!(outcome.stderr.contains("metrics.jsonl") && outcome.stderr.contains("remedy"), "{outcome:?}");
    drop(file);
    fs::remove_file(&filler).unwrap();
    case.finish(&out, 1, "after a full disk");
}

#[test]
fn a_file_that_is_truncated_under_the_map_ends_the_run_with_a_message() {
    let case = Case::new(&["epochs=40", SHORT[1]]);
    let out = case.place.run("truncated");
    let mut child = spawn(&case.call(&out, 2));
    wait_until(&mut child, || lines(&out) >= 1);
    fs::OpenOptions::new().write(true).open(out.join("work.bcw")).unwrap().set_len(0).unwrap();
    let outcome = end(child);
    assert_eq!(outcome.code, Some(4), "{outcome:?}");
    assert!(outcome.stderr.contains("work.bcw") && outcome.stderr.contains("remedy"), "{outcome:?}");
    case.finish(&out, 1, "after a truncation");
}

#[test]
fn a_second_process_on_a_run_is_refused_and_harms_nothing() {
    let case = Case::new(&["epochs=8", "commit_seconds=0", SHORT[1]]);
    let out = case.place.run("shared");
    let mut child = spawn(&case.call(&out, 1));
    wait_until(&mut child, || lines(&out) >= 2);
    // The first stands still meanwhile: however long the second takes to start, it is there.
    signal(&child, "STOP");
    let second = bionic(Path::new("/"), &case.call(&out, 1));
    // To look is allowed.
    let look = bionic(Path::new("/"), &["eval", text(&out), "--split", "public"]);
    let there = child.try_wait().unwrap().is_none();
    signal(&child, "CONT");
    assert_eq!(second.code, Some(5), "{second:?}");
    assert!(second.stderr.contains("in use by another process"), "{second:?}");
    assert!(there, "the first has ended: nothing was shown");
    look.ok();
    case.same(&out, &end(child), "beside a second process");
}

#[test]
fn of_two_processes_that_start_in_one_folder_one_trains() {
    let case = Case::new(&SHORT);
    for i in 0..5 {
        let out = case.place.run(&format!("raced-{i}"));
        let flags = case.call(&out, 1);
        let outcomes = [spawn(&flags), spawn(&flags)].map(end);
        let trained: Vec<&Outcome> = outcomes.iter().filter(|o| o.code == Some(0)).collect();
        assert_eq!(trained.len(), 1, "{outcomes:?}");
        assert!(outcomes.iter().any(|o| matches!(o.code, Some(2 | 5))), "{outcomes:?}");
        case.same(&out, trained[0], "beside a second start");
    }
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let case = Case::new(&["epochs=40", SHORT[1]]);
    let out = case.place.run("hung");
    let flags: Vec<&str> = case.call(&out, 1).into_iter().filter(|flag| *flag != "--quiet").collect();
    let mut child = spawn(&flags);
    wait_until(&mut child, || lines(&out) >= 1);
    // A log that is a pipe nobody reads: to open it never ends, like a disk that hangs. No epoch may end while it is away.
    let (log, kept) = (out.join("metrics.jsonl"), out.join("kept.jsonl"));
    signal(&child, "STOP");
    fs::rename(&log, &kept).unwrap();
    assert!(Command::new("mkfifo").arg(&log).status().unwrap().success());
    signal(&child, "INT");
    signal(&child, "CONT");
    sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "ended upon the first: nothing was shown");
    signal(&child, "INT");
    let outcome = end(child);
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(outcome.stderr.contains("Ctrl-C again ends at once"), "{outcome:?}");
    fs::rename(&kept, &log).unwrap();
    case.finish(&out, 2, "after two interrupts");
}

#[test]
fn a_signal_before_the_first_step_ends_at_once_and_leaves_nothing() {
    for (name, code) in [("INT", 130), ("TERM", 143), ("USR1", 75)] {
        let folder = folder();
        let out = folder.path().join("run");
        // Drawing so many faces takes a while.
        let mut child = spawn(&["train", "--out", text(&out), "--set", "data.demo_train=100000"]);
        let status = format!("/proc/{}/status", child.id());
        let listens = |line: &str| {
            let caught = line.strip_prefix("SigCgt:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
            caught.is_some_and(|mask| mask & (1 << (15 - 1)) != 0)
        };
        wait_until(&mut child, || fs::read_to_string(&status).unwrap().lines().any(listens));
        signal(&child, name);
        let outcome = end(child);
        assert_eq!(outcome.code, Some(code), "{outcome:?}");
        assert!(outcome.stderr.contains("before the first step"), "{outcome:?}");
        assert!(!out.exists());
    }
}

/// Longest time from a signal to the end of the process, at random moments of training and scoring.
#[test]
#[ignore = "a measurement; cargo test --release --locked --test durability -- --ignored --nocapture how_long"]
fn how_long_a_stop_takes() {
    static LONGEST: AtomicUsize = AtomicUsize::new(0);
    let place = Place::new();
    let mut rng = Rng::stream(3, "stop test", &[]);
    let (out, mut codes) = (place.run("run"), BTreeMap::new());
    let size = [
        "--set",
        "data.demo_test=8000",
        "--set",
        "data.demo_train=2000",
        "--epochs",
        "4000",
        "--set",
        "learning.early_stopping=0",
    ];
    let mut flags = vec!["train", "--quiet", "--out", text(&out)];
    flags.extend(size);
    for (i, name) in ["INT", "TERM", "USR1"].iter().cycle().take(60).enumerate() {
        if i == 1 {
            flags.push("--resume");
        }
        let mut child = spawn(&flags);
        let work = out.join("state.bcw");
        wait_until(&mut child, || work.exists());
        sleep(Duration::from_secs_f32(0.5 + 2.5 * rng.uniform()));
        let start = Instant::now();
        signal(&child, name);
        *codes.entry(end(child).code).or_insert(0) += 1;
        LONGEST.fetch_max(start.elapsed().as_millis() as usize, Ordering::Relaxed);
    }
    println!("60 stops: exit codes {codes:?}, longest {} ms", LONGEST.load(Ordering::Relaxed));
    assert!(!codes.contains_key(&Some(0)), "the run was over before the last signal");
}
