//! The epochs of a run, `metrics.jsonl`.
#![no_main]

use bionic_cpu::train::read_metrics;
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = read_metrics(&file("metrics.jsonl", data));
});
