//! What a study compares, `study.json`, and the table of one without results.
#![no_main]

use bionic_cpu::study::{Table, read_about};
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(about) = read_about(&file("study.json", data)) {
        let _ = Table::new(&[], &about.reference, &about.published, &about.design);
    }
});
