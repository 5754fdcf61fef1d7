//! Exported networks, read back by readers of their own and compared with the run bit for bit.

#![allow(clippy::unwrap_used)] // A test may panic.

mod cli_support;
mod run_support;

use bionic_cpu::config::InputProjection;
use bionic_cpu::connectome::{Polarity, Synapses};
use bionic_cpu::data::EXPRESSIONS;
use bionic_cpu::export::EXPORTERS;
use bionic_cpu::train::{Trained, load_best, load_config, load_connectome};
use cli_support::*;
use run_support::{SHRUNKEN_DEEP, ends};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use tempfile::TempDir;

/// An array as it was read: its shape, and the place (row-major) and bits of each stored value.
#[derive(Debug, PartialEq)]
struct Array {
    shape: Vec<usize>,
    cells: Vec<(usize, u32)>,
}

impl Array {
    fn dense(shape: Vec<usize>, values: &[f32]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        Self { shape, cells: values.iter().map(|v| v.to_bits()).enumerate().collect() }
    }

    /// CSR.
    fn sparse(shape: Vec<usize>, row_starts: &[usize], columns: &[usize], values: &[f32]) -> Self {
        assert_eq!((row_starts.len(), columns.len()), (shape[0] + 1, values.len()));
        let row_of = |s: usize| row_starts.partition_point(|&start| start <= s) - 1;
        let cell = |(s, v): (usize, &f32)| (row_of(s) * shape[1] + columns[s], v.to_bits());
        let cells = values.iter().enumerate().map(cell).collect();
        Self { shape, cells }
    }
}

type Arrays = BTreeMap<String, Array>;

/// The arrays of a run. The masks come from the connectome and the names, not from the layers.
fn stored(run: &Path) -> Arrays {
    let Trained { network, connectome, weights, buffers, .. } = load_best(run, &mut |_| {}).unwrap();
    let mut arrays = Arrays::new();
    for (tensors, values) in [(network.tensors(), &weights), (network.buffer_tensors(), &buffers)] {
        for t in tensors {
            let (name, values) = (&t.spec.name, &values[t.range.clone()]);
            let pair = connectome.as_ref().and_then(|c| Some((c, ends(c, name)?)));
            let array = match pair {
                None => Array::dense(t.spec.shape.clone(), values),
                Some((c, (pre, post))) => {
                    let mask: Synapses = c.synapses.block(&post, &pre);
                    let row_starts: Vec<usize> = mask.row_starts().iter().map(|&v| v as usize).collect();
                    let columns: Vec<usize> = mask.pre().iter().map(|&v| v as usize).collect();
                    Array::sparse(vec![post.len(), pre.len()], &row_starts, &columns, values)
                }
            };
            assert!(arrays.insert(name.clone(), array).is_none());
        }
    }
    arrays
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn integers(bytes: &[u8]) -> Vec<usize> {
    bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize).collect()
}

fn sizes(value: &Value) -> Vec<usize> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect()
}

/// Joins the parts of sparse arrays: `parts` by name, each with its type, shape and bytes.
fn joined(
    parts: BTreeMap<String, (String, Vec<usize>, Vec<u8>)>,
    [values, columns, starts]: [&str; 3],
    shape: impl Fn(&str) -> Vec<usize>,
) -> Arrays {
    let mut arrays = Arrays::new();
    let bytes = |name: &str, part: &str| &parts[&format!("{name}{part}")].2;
    for (name, (kind, own_shape, data)) in &parts {
        match name.strip_suffix(values) {
            Some(name) if parts.contains_key(&format!("{name}{starts}")) => {
                let (row_starts, columns) = (integers(bytes(name, starts)), integers(bytes(name, columns)));
                arrays.insert(name.to_owned(), Array::sparse(shape(name), &row_starts, &columns, &floats(data)));
            }
            _ if kind.contains('f') || kind.contains('F') => {
                arrays.insert(name.clone(), Array::dense(own_shape.clone(), &floats(data)));
            }
            _ => {}
        }
    }
    arrays
}

fn read_safetensors(path: &Path) -> (Arrays, Value) {
    let file = fs::read(path).unwrap();
    let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    assert_eq!(n % 8, 0);
    let mut header: Value = serde_json::from_slice(&file[8..8 + n]).unwrap();
    let data = &file[8 + n..];
    let metadata = header.as_object_mut().unwrap().shift_remove("__metadata__").unwrap();
    assert!(metadata.as_object().unwrap().values().all(Value::is_string), "{metadata}");
    let (mut parts, mut end) = (BTreeMap::new(), 0);
    for (name, entry) in header.as_object().unwrap() {
        let range = sizes(&entry["data_offsets"]);
        let (kind, shape) = (entry["dtype"].as_str().unwrap(), sizes(&entry["shape"]));
        let width = if kind == "I64" { 8 } else { 4 };
        assert_eq!((range[0], range[1] - range[0]), (end, width * shape.iter().product::<usize>()), "{name}");
        assert_eq!(range[0] % width, 0, "{name} is not aligned");
        end = range[1];
        parts.insert(name.clone(), (kind.to_owned(), shape, data[range[0]..end].to_vec()));
    }
    assert_eq!(end, data.len());
    let shape = |name: &str| sizes(&serde_json::from_str(metadata[format!("{name}.shape")].as_str().unwrap()).unwrap());
    (joined(parts, [".values", ".column_indices", ".row_offsets"], shape), metadata)
}

fn read_npz(path: &Path) -> (Arrays, Value) {
    let mut archive = zip::ZipArchive::new(Cursor::new(fs::read(path).unwrap())).unwrap();
    let mut parts = BTreeMap::new();
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let name = entry.name().strip_suffix(".npy").unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes[..8], *b"\x93NUMPY\x01\x00");
        let n = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
        assert_eq!((n % 64, bytes[n - 1]), (0, b'\n'));
        let text = std::str::from_utf8(&bytes[10..n]).unwrap();
        let (_, rest) = text.split_once("'descr': '").unwrap();
        let (kind, rest) = rest.split_once("', 'fortran_order': False, 'shape': (").unwrap();
        let sides = rest.split_once(')').unwrap().0.split(',').map(str::trim).filter(|s| !s.is_empty());
        let shape: Vec<usize> = sides.map(|s| s.parse().unwrap()).collect();
        parts.insert(name, (kind.to_owned(), shape, bytes.split_off(n)));
    }
    let (kind, shape, text) = parts.remove("metadata").unwrap();
    assert_eq!((kind, shape), (format!("<U{}", text.len() / 4), vec![]));
    let letters = text.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap()));
    let text: String = letters.map(|c| char::from_u32(c).unwrap()).collect();
    let shapes: BTreeMap<String, Vec<usize>> =
        parts.iter().filter(|(name, _)| name.ends_with(".shape")).map(|(n, p)| (n.clone(), integers(&p.2))).collect();
    let arrays = joined(parts, [".data", ".indices", ".indptr"], |name| shapes[&format!("{name}.shape")].clone());
    (arrays, serde_json::from_str(&text).unwrap())
}

fn read_mtx(folder: &Path) -> (Arrays, Value) {
    let metadata: Value = serde_json::from_slice(&fs::read(folder.join("metadata.json")).unwrap()).unwrap();
    let list = metadata["arrays"].as_array().unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), list.len() + 1);
    let mut arrays = Arrays::new();
    for entry in list {
        let text = fs::read_to_string(folder.join(entry["file"].as_str().unwrap())).unwrap();
        let mut lines = text.lines();
        let kind = if entry["sparse"] == true { "coordinate" } else { "array" };
        assert_eq!(lines.next().unwrap(), format!("%%MatrixMarket matrix {kind} real general"));
        let head: Vec<usize> = lines.next().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        let shape = sizes(&entry["shape"]);
        assert_eq!(head[0] * head[1], shape.iter().product::<usize>());
        // Values are printed as 64-bit floats, which must be exact.
        let bits = |text: &str| {
            let value: f64 = text.parse().unwrap();
            assert_eq!(f64::from(value as f32).to_bits(), value.to_bits(), "{text}");
            (value as f32).to_bits()
        };
        let mut cells: Vec<(usize, u32)> = match head[..] {
            [rows, _] => lines.enumerate().map(|(k, v)| (k % rows * head[1] + k / rows, bits(v))).collect(),
            _ => lines.map(|line| coordinate(line, head[1], bits)).collect(),
        };
        if let Some(&n) = head.get(2) {
            assert_eq!(n, cells.len());
        } else {
            cells.sort_unstable();
        }
        arrays.insert(entry["name"].as_str().unwrap().to_owned(), Array { shape, cells });
    }
    (arrays, metadata)
}

/// `row column value`, from 1.
fn coordinate(line: &str, columns: usize, bits: impl Fn(&str) -> u32) -> (usize, u32) {
    let mut parts = line.split(' ');
    let mut index = || parts.next().unwrap().parse::<usize>().unwrap() - 1;
    let place = index() * columns + index();
    (place, bits(parts.next().unwrap()))
}

/// Fields of a Protocol Buffers message: number, and the integer or the bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(message: &mut &[u8]) -> u64 {
        let n = message.iter().position(|b| b & 0x80 == 0).unwrap();
        let (head, rest) = message.split_at(n + 1);
        *message = rest;
        head.iter().rev().fold(0, |value, b| value << 7 | u64::from(b & 0x7f))
    }
    let mut all = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let (value, length) = match tag & 7 {
            0 => (varint(&mut message), 0),
            2 => (0, varint(&mut message) as usize),
            5 => (0, 4),
            other => panic!("wire type {other}"),
        };
        let (bytes, rest) = message.split_at(length);
        message = rest;
        all.push((tag >> 3, value, bytes));
    }
    all
}

/// Values of every constant of a graph by name, operators by number of uses, and the metadata.
fn read_onnx(path: &Path) -> (BTreeMap<String, Vec<u32>>, BTreeMap<String, usize>, Value) {
    let file = fs::read(path).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let of = |message: &[u8], number: u64| text(fields(message).iter().find(|f| f.0 == number).unwrap().2);
    let model = fields(&file);
    let (mut constants, mut operators, mut metadata) = (BTreeMap::new(), BTreeMap::new(), serde_json::Map::new());
    for (_, _, pair) in model.iter().filter(|f| f.0 == 14) {
        metadata.insert(of(pair, 1), of(pair, 2).into());
    }
    for (number, _, part) in fields(model.iter().find(|f| f.0 == 7).unwrap().2) {
        match number {
            1 => *operators.entry(of(part, 4)).or_default() += 1,
            5 => {
                let data = fields(part).iter().find(|f| f.0 == 9).unwrap().2.to_vec();
                let bits = floats(&data).iter().map(|v| v.to_bits()).collect();
                assert!(constants.insert(of(part, 8), bits).is_none(), "a constant twice");
            }
            _ => {}
        }
    }
    (constants, operators, metadata.into())
}

/// Runs of every kind of layer, small: their folders, and the folder that holds them.
fn runs() -> (TempDir, Vec<PathBuf>) {
    let base = folder();
    Tables::new(|_, _| true).write(&base.path().join("wiring"));
    let few = ["--quiet", "--connectome", "wiring", "--set", "data.demo_train=64", "--set", "data.demo_test=16"];
    let deep = [["--preset", "deep"], ["--set", SHRUNKEN_DEEP]].concat();
    let kinds: [(&str, &[&str]); 4] = [
        ("ei", &["--preset", "bionic-ei"]),
        ("deep", &deep),
        ("local", &["--preset", "local", "--set", "data.standardize=dataset"]),
        ("baseline", &["--preset", "baseline", "--set", "data.standardize=none"]),
    ];
    let mut folders = vec![finished_run().to_path_buf()];
    for (name, flags) in kinds {
        train_tiny(base.path(), &[&few[..], &["--out", name], flags].concat()).ok();
        folders.push(base.path().join(name));
    }
    (base, folders)
}

#[test]
fn every_format_holds_the_bits_of_the_run() {
    let (base, runs) = runs();
    for run in runs {
        let mut expected = stored(&run);
        let retinotopic = "column.input->";
        for (format, read) in
            [("safetensors", read_safetensors as fn(&Path) -> (Arrays, Value)), ("npz", read_npz), ("mtx", read_mtx)]
        {
            let out = base.path().join(format!("out.{format}"));
            let answer = bionic(base.path(), &["export", text(&run), "--to", format, "--out", text(&out), "--json"]);
            let answer = answer.json();
            let (arrays, metadata) = read(&out);
            assert_eq!(answer["format"], format);
            assert_eq!((answer["path"].as_str(), answer["epoch"].as_u64()), (out.to_str(), Some(1)));
            assert_eq!(answer["arrays"], arrays.len());
            assert_eq!(answer["values"], arrays.values().map(|a| a.cells.len()).sum::<usize>());
            check_metadata(&run, &metadata);
            assert!(arrays.keys().eq(expected.keys()), "{:?}", arrays.keys());
            for (name, array) in arrays {
                let want = expected.get_mut(&name).unwrap();
                if name.contains(retinotopic) && array.shape != want.shape {
                    // The mask of a retinotopic projection is not the connectome's: its values in order.
                    let bits = |a: &Array| a.cells.iter().map(|c| c.1).collect::<Vec<u32>>();
                    assert!(bits(&array) == bits(want), "{format} {name}");
                    *want = array;
                } else {
                    assert!(array == *want, "{format} {name} of {} differs", run.display());
                }
            }
        }
    }
}

/// That the graph computes what the run computes is for onnxruntime to say: `tools/read_exports.py`.
#[test]
fn a_graph_holds_the_bits_of_the_run_filled_up_with_zeros() {
    let (base, runs) = runs();
    for run in runs {
        let out = base.path().join("out.onnx");
        bionic(base.path(), &["export", text(&run), "--to", "onnx", "--out", text(&out)]).ok();
        let (constants, operators, metadata) = read_onnx(&out);
        check_metadata(&run, &metadata);
        assert_eq!(operators["Softmax"], 1);
        let trained = load_best(&run, &mut |_| {}).unwrap();
        for (name, array) in stored(&run) {
            let mut all = vec![0; array.shape.iter().product()];
            array.cells.iter().for_each(|&(place, bits)| all[place] = bits);
            let retinotopic =
                trained.config.column.input == InputProjection::Retinotopic && name.contains("column.input->");
            match constants.get(&name) {
                // Zeros lie between its values, where the mask has none.
                Some(found) if retinotopic => assert!(found.iter().filter(|&&b| b != 0).eq(all.iter()), "{name}"),
                found => assert!(found == Some(&all), "{name} of {} differs", run.display()),
            }
        }
    }
}

#[track_caller]
fn check_metadata(run: &Path, metadata: &Value) {
    let json = |key: &str| match &metadata[key] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        other => other.clone(),
    };
    assert_eq!(json("classes"), serde_json::json!(EXPRESSIONS));
    assert_eq!(json("epoch"), 1);
    assert_eq!(metadata["config"].as_str().unwrap(), fs::read_to_string(run.join("config.toml")).unwrap());
    let own: Value = serde_json::from_slice(&fs::read(run.join("run.json")).unwrap()).unwrap();
    let config = load_config(run).unwrap();
    let connectome = load_connectome(run, &config).unwrap();
    let populations = json("neurons");
    assert_eq!(populations.as_object().unwrap().is_empty(), connectome.is_none());
    for (name, ids) in populations.as_object().unwrap() {
        let c = connectome.as_ref().unwrap();
        let of =
            |lamina, polarity| c.select(Some(lamina), Some(polarity)).into_iter().map(|i| c.neurons[i].id.as_str());
        let ids = ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap());
        match name.strip_suffix(" I") {
            None => assert!(ids.eq(of(name, Polarity::Excitatory)), "{name}"),
            Some(lamina) => {
                let found: Vec<&str> = ids.collect();
                assert!(!found.is_empty(), "{name}");
                let in_order = of(lamina, Polarity::Inhibitory).filter(|id| found.contains(id));
                assert!(found.iter().copied().eq(in_order), "{name}");
            }
        }
    }
    assert_eq!(json("fingerprints")["data"], own["fingerprints"]["data"]);
    assert_eq!(metadata["version"].as_str().unwrap(), format!("bionic-cpu {}", own["version"].as_str().unwrap()));
    assert!(metadata["input"].as_str().unwrap().contains("divided by 255"));
}

#[test]
fn the_default_place_is_in_the_run_and_the_same_run_gives_the_same_bytes() {
    let base = folder();
    let run = base.path().join("first");
    copy_run(finished_run(), &run);
    for e in EXPORTERS {
        let out = run.join(format!("first.{}", e.name));
        let call = || bionic(&run, &["export", ".", "--to", e.name]).ok();
        let said = call();
        assert!(said.contains(&format!("first.{}", e.name)), "{said}");
        let content = || -> Vec<Vec<u8>> {
            if out.is_file() {
                return vec![fs::read(&out).unwrap()];
            }
            let mut paths: Vec<PathBuf> = fs::read_dir(&out).unwrap().map(|f| f.unwrap().path()).collect();
            paths.sort();
            paths.iter().map(|p| fs::read(p).unwrap()).collect()
        };
        let first = content();
        call();
        assert!(first == content(), "{}: other bytes", e.name);
    }
    assert!(!fs::read_dir(&run).unwrap().any(|f| f.unwrap().path().extension().is_some_and(|e| e == "tmp")));
    bionic(base.path(), &["eval", "first", "--split", "private"]).ok();
}

/// Length, time of change and hash of a file.
type FileState = (u64, SystemTime, u64);

/// What is in a folder; a folder's own time does not count, since writing beside changes it.
fn inside(folder: &Path) -> Vec<(PathBuf, Option<FileState>)> {
    snapshot(folder).into_iter().map(|(p, (is_dir, n, time, hash))| (p, (!is_dir).then_some((n, time, hash)))).collect()
}

/// The call fails with exit code 4 and one message that contains `word`; every file stays as it was, none is added.
#[track_caller]
fn fails_to_write(folder: &Path, mut call: Command, word: &str) {
    let before = inside(folder);
    let output = call.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains("\n  remedy: ") && stderr.contains(word), "{stderr}");
    assert!(inside(folder) == before, "something changed on disk: {stderr}");
}

#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    let (base, run) = (folder(), text(finished_run()));
    fs::create_dir(base.path().join("occupied.mtx")).unwrap();
    fs::write(base.path().join("occupied.mtx/thesis.txt"), "x").unwrap();
    fs::write(base.path().join("file"), "x").unwrap();
    let fails = |to: &str, out: &str| {
        let call = program(base.path(), &["export", run, "--to", to, "--out", out]);
        fails_to_write(base.path(), call, out);
    };
    for e in EXPORTERS {
        ["gone/x", "file/x", "/proc/self/x"].iter().for_each(|out| fails(e.name, &format!("{out}.{}", e.name)));
    }
    fails("mtx", "occupied.mtx");
    fails("mtx", "file");
    refused(base.path(), &["export", run, "--to", "npz", "--out", "occupied.mtx"], 2, &["occupied.mtx", "`.npz`"]);
}

/// A file may have at most 4 KiB here, as on a disk that fills up.
#[test]
fn a_write_that_breaks_off_leaves_the_old_file_and_nothing_else() {
    let base = folder();
    for e in EXPORTERS {
        let out = format!("x.{}", e.name);
        let args = ["export", text(finished_run()), "--to", e.name, "--out", &out];
        bionic(base.path(), &args).ok();
        let mut call = Command::new("sh");
        call.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_bionic-cpu")]);
        call.args(args).current_dir(base.path());
        fails_to_write(base.path(), call, "writing");
    }
}

#[test]
fn a_run_that_cannot_be_used_and_a_wrong_format_are_refused() {
    let base = folder();
    let run = base.path().join("run");
    refused(base.path(), &["export", "no-run", "--to", "npz"], 5, &["no-run"]);
    copy_run(finished_run(), &run);
    for path in saved_files(&run) {
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().step_by(4096).for_each(|b| *b ^= 1);
        fs::write(&path, bytes).unwrap();
    }
    refused(base.path(), &["export", "run", "--to", "npz"], 5, &["state.bcw"]);
    let outcome = bionic(base.path(), &["export", "run", "--to", "hdf5"]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("safetensors"), "{}", outcome.stderr);
}

#[test]
fn help_lists_every_format() {
    let base = folder();
    let help = bionic(base.path(), &["export", "--help"]).ok();
    for e in EXPORTERS {
        assert!(help.contains(e.doc), "{help}");
    }
}
