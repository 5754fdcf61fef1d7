//! The table `tuning.csv` of a run.
#![no_main]

use bionic_cpu::lesion::read_tuning;
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = read_tuning(&file("tuning.csv", data));
});
