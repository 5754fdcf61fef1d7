//! What a run says of itself.

use super::{Format, put};
use bionic_cpu::train::{read_about, read_metrics};
use std::fs;
use std::path::Path;

/// One row per format.
pub const FORMATS: &[Format] = &[
    Format { name: "metrics", read: |path| read_metrics(path).map(drop), code: 5, bombs: metrics_bombs, mend: |_| {} },
    Format { name: "run", read: |path| read_about(path).map(drop), code: 5, bombs: run_bombs, mend: |_| {} },
];

/// Largest file.
const MIB: usize = super::MAX_FILE_BYTES as usize;

fn good(format: &str, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(format);
    fs::read_to_string(folder.join(name)).unwrap()
}

fn metrics_bombs(folder: &Path) {
    let two = good("metrics", "good-two.jsonl");
    let second = two.lines().nth(1).unwrap();
    let many: String =
        (1..MIB / (second.len() + 8)).map(|i| second.replacen(":2,", &format!(":{i},"), 1) + "\n").collect();
    put(folder, "good-many.jsonl", many);
    let start = second.replacen(":2,", ":1,", 1).trim_end_matches('}').to_owned() + ",\"hebbian_share\":{\"a\":1";
    let shares: String = (0..80_000).map(|i| format!(",\"{i}\":0")).collect();
    put(folder, "good-shares.jsonl", [&start, &shares, "}}\n"].concat());
    put(folder, "bad-nested.jsonl", ["[".repeat(MIB - 1).as_str(), "\n"].concat());
    put(
        folder,
        "bad-open.jsonl",
        [&start, &"{\"a\":".repeat(MIB / 5), "\n"].map(|p| &p[..p.len().min(MIB / 2)]).concat(),
    );
    put(folder, "bad-lines.jsonl", ["\n".repeat(MIB).as_str()].concat());
    put(folder, "bad-digits.jsonl", ["{\"epoch\":1", &"1".repeat(MIB - 100), "}\n"].concat());
    put(folder, "good-no-line.jsonl", ["{".repeat(MIB).as_str()].concat());
}

fn run_bombs(folder: &Path) {
    let text = good("run", "good-column.json");
    let long = |n: usize| text.replace("some processor", &"a".repeat(n));
    put(folder, "good-long.json", long(MIB - text.len()));
    put(folder, "bad-nested.json", ["[".repeat(MIB).as_str()].concat());
    put(folder, "bad-objects.json", ["{\"a\":".repeat(MIB / 5).as_str()].concat());
    put(folder, "good-blank.json", text.clone() + &" ".repeat(MIB - text.len()));
}
