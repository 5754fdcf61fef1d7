//! Formats of connectomes.

use super::Format;
use bionic_cpu::connectome;
use bionic_cpu::error::Result;
use bionic_cpu::model::presets::preset;
use flate2::Compression;
use flate2::read::GzEncoder;
use std::fs;
use std::io::Read;
use std::path::Path;

/// One row per format.
pub const FORMATS: &[Format] = &[
    Format { name: "neurons", read: read_neurons, code: 3, bombs: neuron_bombs, mend: |_| {} },
    Format { name: "neurons.gz", read: read_neurons, code: 3, bombs: packed_neuron_bombs, mend: |_| {} },
    Format { name: "synapses", read: read_synapses, code: 3, bombs: synapse_bombs, mend: |_| {} },
    Format { name: "synapses.gz", read: read_synapses, code: 3, bombs: packed_synapse_bombs, mend: |_| {} },
    Format { name: "about", read: read_about, code: 3, bombs: about_bombs, mend: |_| {} },
];

/// Largest file.
const MIB: usize = 1 << 20;
/// Neurons `a` to `d` (which is left out) and `00` to `zz`.
fn neurons() -> String {
    let named = "id,lamina,cell_type,class\na,L4,4P,E\nb,L5,5P-ET,E\nc,L4,BC,I\nd,,unsure,\n".to_string();
    (0..36 * 36).fold(named, |text, i| text + &format!("{},L4,4P,E\n", digits(i, 2)))
}

const SYNAPSES: &str = "pre,post\na,b\n";

/// Reads a folder called like `path` in which `path` is `name`, beside `others`; describes what was read.
fn read_as(path: &Path, name: &str, others: &[(&str, String)]) -> Result<()> {
    let place = super::folder();
    let folder = place.path().join(path.file_name().unwrap());
    fs::create_dir(&folder).unwrap();
    for (name, text) in others {
        fs::write(folder.join(name), text).unwrap();
    }
    // A link, since a pipe cannot be copied.
    #[cfg(unix)]
    std::os::unix::fs::symlink(path, folder.join(name)).unwrap();
    #[cfg(not(unix))]
    fs::copy(path, folder.join(name)).unwrap();
    let mut config = preset("bionic")?.connectome;
    // A list of synapses is named itself: then its header says what a repeated pair means.
    let source = if name.starts_with("connections") { folder.join(name) } else { folder };
    config.source = source.to_str().unwrap().to_owned();
    connectome::load(&config).map(|c| drop(connectome::summary(&c).to_text()))
}

/// `stem` with the endings of `path`.
fn like(stem: &str, path: &Path) -> String {
    format!("{stem}.csv{}", if path.extension().is_some_and(|e| e == "gz") { ".gz" } else { "" })
}

fn read_neurons(path: &Path) -> Result<()> {
    read_as(path, &like("neurons", path), &[("connections.csv", SYNAPSES.to_string())])
}

fn read_synapses(path: &Path) -> Result<()> {
    read_as(path, &like("connections", path), &[("neurons.csv", neurons())])
}

fn read_about(path: &Path) -> Result<()> {
    read_as(path, "about.toml", &[("neurons.csv", neurons()), ("connections.csv", SYNAPSES.to_string())])
}

/// `i` in `n` digits of base 36.
fn digits(i: usize, n: usize) -> String {
    let digit = |k: usize| char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[i / 36usize.pow(k as u32) % 36]);
    (0..n).rev().map(digit).collect()
}

/// `head` and up to `n` rows, as far as they fit into `bytes`.
fn table(head: &str, n: usize, bytes: usize, row: impl Fn(usize) -> String) -> String {
    let mut text = head.to_string();
    for row in (0..n).map(row) {
        if text.len() + row.len() > bytes {
            break;
        }
        text += &row;
    }
    text
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = Vec::new();
    GzEncoder::new(text.as_bytes(), Compression::best()).read_to_end(&mut packed).unwrap();
    packed
}

fn write(place: &Path, files: &[(&str, &[u8])]) {
    for (name, bytes) in files {
        fs::write(place.join(name), bytes).unwrap();
    }
    #[cfg(unix)]
    assert!(std::process::Command::new("mkfifo").arg(place.join("bad-pipe")).status().unwrap().success());
}

fn neuron_bombs(place: &Path) {
    let most = |head: &str, row: &dyn Fn(usize) -> String| table(head, usize::MAX, MIB, row).into_bytes();
    let plain = "id,class\na,E\nb,I\n";
    write(
        place,
        &[
            ("any-neurons.csv", &most(plain, &|i| format!("{},E\n", digits(i, 4)))),
            ("any-left-out.csv", &most("id,class,valid\na,E,t\nb,I,t\n", &|i| format!("{},,f\n", digits(i, 4)))),
            // 69 GB were asked for.
            ("bad-laminae.csv", &most("id,lamina,class\na,x,E\nb,y,E\n", &|i| format!("{i},{},E\n", digits(i, 3)))),
            ("bad-types.csv", &most("id,cell_type,class\na,x,E\nb,y,E\n", &|i| format!("{i},{},E\n", digits(i, 3)))),
            // The summary panicked: a column cannot be that wide.
            ("bad-long-type.csv", format!("id,cell_type,class\na,{},E\nb,x,E\n", "x".repeat(MIB / 2)).as_bytes()),
            ("bad-columns.csv", format!("id,class,{}y\n", "x,".repeat(MIB / 2 - 10)).as_bytes()),
            ("bad-blank.csv", &vec![b'\n'; MIB]),
            ("bad-open-quote.csv", format!("{plain}\"{}", "x,y\n".repeat(MIB / 4 - 5)).as_bytes()),
        ],
    );
}

fn packed_neuron_bombs(place: &Path) {
    let plain = "id,class\na,E\nb,I\n";
    let most = |head: &str, n: usize, row: &dyn Fn(usize) -> String| gzip(&table(head, n, usize::MAX, row));
    let (typed, valid) = ("id,cell_type,class\na,x,E\nb,x,E\n", "id,class,valid\na,E,t\nb,I,t\n");
    let long = "T".repeat(60);
    write(
        place,
        &[
            // 463,210 neurons and 160 MiB.
            ("bad-neurons.csv.gz", &most(plain, 420_000, &|i| format!("{},E\n", digits(i, 4)))),
            ("bad-long-types.csv.gz", &most(typed, 330_000, &|i| format!("{},{long},E\n", digits(i, 4)))),
            ("bad-left-out.csv.gz", &most(valid, 420_000, &|i| format!("{},,f\n", digits(i, 4)))),
            ("bad-blank.csv.gz", &gzip(&(plain.to_string() + &"\n".repeat(64 * MIB)))),
            ("bad-row.csv.gz", &gzip(&(plain.to_string() + &"9".repeat(64 * MIB)))),
            ("bad-members.csv.gz", &gzip("").repeat(MIB / gzip("").len())),
        ],
    );
}

fn pair(i: usize) -> String {
    format!("{},{}\n", digits(i / 1296, 2), digits(i % 1296, 2))
}

fn synapse_bombs(place: &Path) {
    let all = table("pre,post\n", 1296 * 1296, MIB, pair);
    write(place, &[("any-pairs.csv", all.as_bytes()), ("bad-blank.csv", &vec![b'\n'; MIB])]);
}

fn packed_synapse_bombs(place: &Path) {
    let valid = "pre,post,valid\na,b,t\n";
    write(
        place,
        &[
            ("any-pairs.csv.gz", &gzip(&table("pre,post\n", 450_000, usize::MAX, pair))),
            ("bad-not-valid.csv.gz", &gzip(&(valid.to_string() + &"a,b,f\n".repeat(10 << 20)))),
            ("bad-row.csv.gz", &gzip(&("pre,post\na,b\n".to_string() + &"9".repeat(64 * MIB)))),
        ],
    );
}

fn about_bombs(place: &Path) {
    write(place, &[("bad-long.toml", format!("origin = \"{}\"\n", "x".repeat(MIB - 20)).as_bytes())]);
}
