//! A table of synapses, packed with gzip.
#![no_main]

use bionic_cpu_fuzz::{NEURONS, file, load_connectome, mutate_gzip};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| { mutate_gzip(data, size, max_size, seed) });

fuzz_target!(|data: &[u8]| {
    file("neurons.csv", NEURONS);
    load_connectome(&file("connections.csv.gz", data));
});
