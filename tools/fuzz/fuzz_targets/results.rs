//! The results of a study; those that are accepted can be written, and read back to the same.
#![no_main]

use bionic_cpu::study::{Table, read_results, write_results};
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|data: &[u8]| {
    let path = file("results.csv", data);
    let Ok(cells) = read_results(&path) else { return };
    write_results(&path, &cells).expect("what was read can be written");
    assert!(read_results(&path).expect("what was written can be read") == cells, "written and read back, they differ");
    if let Ok(table) = Table::new(&cells, "full", &BTreeMap::new()) {
        table.to_text();
        table.to_markdown();
    }
});
