//! The table `lesions.csv` of a run.
#![no_main]

use bionic_cpu::lesion::read_lesions;
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = read_lesions(&file("lesions.csv", data));
});
