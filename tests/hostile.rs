//! Files that somebody else wrote: whatever is in 1 MiB, reading it ends with the data or with one clear message, in
//! little memory, and never with a panic, an abort or a hang.
//!
//! A file of a format is read in a child process, which is this test program with [`child`] alone. There are
//!
//! - `tests/corpus/<format>/`: `good-*` is read, `bad-*` is refused;
//! - hostile files that are made here because they are large ([`Format::bombs`]);
//! - mutations of the good ones (`hostile/mutate.rs`).
//!
//! To add a format: a row in a table of `hostile/`, and its folder with at least one good file.

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "hostile/bombs.rs"]
mod bombs;
#[path = "hostile/lesions.rs"]
mod lesions;
#[path = "hostile/measure.rs"]
mod measure;
#[path = "hostile/mend_state.rs"]
mod mend_state;
#[path = "hostile/mutate.rs"]
mod mutate;
#[path = "hostile/readers.rs"]
mod readers;
#[path = "hostile/records.rs"]
mod records;
#[path = "hostile/state.rs"]
mod state;
#[path = "hostile/study.rs"]
mod study;
#[path = "hostile/wiring.rs"]
mod wiring;

use bionic_cpu::error::Result;
use measure::Verdict;
use std::fs;
use std::path::{Path, PathBuf};

/// All formats; one row each.
const TABLES: [&[Format]; 6] =
    [readers::FORMATS, state::FORMATS, wiring::FORMATS, study::FORMATS, lesions::FORMATS, records::FORMATS];
/// Most memory that reading a file of 1 MiB or less may take, the program itself included.
const MAX_PEAK_BYTES: u64 = 64 << 20;
/// Largest hostile file.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Mutations of each good file.
const MUTATIONS: u64 = 150;

/// A format that is read.
pub struct Format {
    /// Name of its folder in `tests/corpus`.
    pub name: &'static str,
    /// Reads a file (or folder) of it, with the library's own reader.
    pub read: fn(&Path) -> Result<()>,
    /// Exit code of a refusal of what is in the file; what is no file at all is bad input (3) for every format.
    pub code: u8,
    /// Writes hostile files of up to 1 MiB into the folder, named like those of the corpus; `any-*` may be read or refused.
    pub bombs: fn(&Path),
    /// Makes checksums right again after a mutation, so that what is behind them is reached.
    pub mend: fn(&mut Vec<u8>),
}

fn formats() -> impl Iterator<Item = &'static Format> {
    TABLES.into_iter().flatten()
}

fn corpus(format: &Format) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(format.name)
}

/// Writes a hostile file: as much of `bytes` as one may have.
fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    fs::write(folder.join(name), &bytes[..bytes.len().min(MAX_FILE_BYTES as usize)]).unwrap();
}

/// An empty folder that goes when dropped.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// What is wrong with a verdict on the file `path`, if anything.
fn fault(format: &Format, verdict: &Verdict) -> Option<String> {
    let Verdict::Read { code, peak_bytes, complaint, .. } = verdict else { return Some(format!("{verdict:?}")) };
    let allowed = match verdict.name().split('-').next() {
        Some("good") => *code == 0,
        Some("bad") => *code == format.code || *code == 3,
        _ => *code == 0 || *code == format.code || *code == 3,
    };
    if !allowed {
        return Some(format!("exit code {code}: {complaint}"));
    }
    // A configuration has several sources: its key is the place.
    let place = *code <= 2 || complaint.contains(verdict.name());
    if *code != 0 && !(place && complaint.contains("remedy: ")) {
        return Some(format!("the message lacks the file or the remedy: {complaint}"));
    }
    (*peak_bytes > MAX_PEAK_BYTES).then(|| format!("takes {} KiB: {complaint}", peak_bytes >> 10))
}

/// Reads every file of `folder` in a child process; gives what is wrong.
fn faults(format: &Format, folder: &Path) -> Vec<String> {
    let verdicts = measure::read_all(format, folder);
    let most = |figure: fn(&Verdict) -> u64| verdicts.iter().map(figure).max().unwrap_or(0);
    let (peak, millis) = (most(Verdict::peak_bytes), most(Verdict::millis));
    println!("{}: {} files, at most {:.1} MiB and {millis} ms", format.name, verdicts.len(), peak as f64 / 1048576.0);
    let keep = |name: &str| {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hostile-{}-{name}", format.name));
        if folder.join(name).is_file() {
            fs::copy(folder.join(name), &kept).unwrap();
        }
        kept.display().to_string()
    };
    let faults = verdicts.iter().filter_map(|v| fault(format, v).map(|fault| format!("{}: {fault}", keep(v.name()))));
    faults.collect()
}

#[track_caller]
fn expect_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Not a test: reads the files that the parent names, see [`measure`].
#[test]
fn child() {
    measure::child(|name| formats().find(|f| f.name == name));
}

#[test]
fn the_corpus_is_read_or_refused_as_it_is_named() {
    expect_none(formats().flat_map(|format| faults(format, &corpus(format))).collect());
}

#[test]
fn bombs_cost_little() {
    let mut all = Vec::new();
    for format in formats() {
        let place = folder();
        (format.bombs)(place.path());
        for entry in fs::read_dir(place.path()).unwrap() {
            let found = entry.unwrap().metadata().unwrap();
            assert!(!found.is_file() || found.len() <= MAX_FILE_BYTES, "{}: a bomb of over 1 MiB", format.name);
        }
        all.extend(faults(format, place.path()));
    }
    expect_none(all);
}

#[test]
fn mutations_are_read_or_refused() {
    let mut all = Vec::new();
    for format in formats() {
        let place = folder();
        for entry in fs::read_dir(corpus(format)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if !name.starts_with("good-") || !path.is_file() {
                continue;
            }
            let good = fs::read(&path).unwrap();
            for i in 0..MUTATIONS {
                let mut bytes = mutate::mutate(&good, i);
                (format.mend)(&mut bytes);
                fs::write(place.path().join(format!("any-{i:03}-{name}")), bytes).unwrap();
            }
        }
        all.extend(faults(format, place.path()));
    }
    expect_none(all);
}

#[test]
fn every_folder_of_the_corpus_belongs_to_a_format() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(formats().any(|f| f.name == name), "tests/corpus/{name} has no row");
    }
    for format in formats() {
        let mut files = fs::read_dir(corpus(format)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert!(files.any(|f| f.starts_with("good-")), "{}: no good file in the corpus", format.name);
    }
}

/// The frame is worth nothing if it does not see an abort, a hang, a panic or memory.
#[test]
fn the_frame_sees_what_it_looks_for() {
    let place = folder();
    for name in ["any-a", "any-b"] {
        fs::write(place.path().join(name), "x").unwrap();
    }
    let verdicts = |how: &str| measure::read_all_as(&format!("!{how}"), place.path(), 2.0);
    assert!(matches!(verdicts("abort")[..], [Verdict::Died { .. }, Verdict::Died { .. }]));
    assert!(matches!(verdicts("hang")[..], [Verdict::Hung { .. }, Verdict::Hung { .. }]));
    assert!(matches!(verdicts("panic")[..], [Verdict::Panicked { .. }, Verdict::Panicked { .. }]));
    match &verdicts("memory")[..] {
        [Verdict::Read { peak_bytes: a, .. }, Verdict::Read { peak_bytes: b, .. }] => {
            assert!(*a > 100 << 20 && *b > 100 << 20 && *b < 150 << 20, "{a} {b}");
        }
        other => panic!("{other:?}"),
    }
}
