//! A table of neurons.
#![no_main]

use bionic_cpu_fuzz::{SYNAPSES, file, load_connectome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    file("connections.csv", SYNAPSES);
    if let Some(folder) = file("neurons.csv", data).parent() {
        load_connectome(folder);
    }
});
