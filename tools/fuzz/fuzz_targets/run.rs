//! The record of a run, `run.json`.
#![no_main]

use bionic_cpu::train::read_about;
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = read_about(&file("run.json", data));
});
