//! A table of faces, packed with gzip.
#![no_main]

use bionic_cpu_fuzz::{CONFIG, file, mutate_gzip};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { mutate_gzip(data, size, max_size, seed) });

fuzz_target!(|data: &[u8]| {
    let path = file("faces.csv.gz", data);
    let _ = bionic_cpu::data::load(path.to_str().expect("an ASCII path"), &CONFIG.data);
});
