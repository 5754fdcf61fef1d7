//! A table of faces, plain.
#![no_main]

use bionic_cpu_fuzz::{CONFIG, file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = file("faces.csv", data);
    let _ = bionic_cpu::data::load(path.to_str().expect("an ASCII path"), &CONFIG.data);
});
