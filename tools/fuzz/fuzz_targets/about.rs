//! What a folder says about its connectome.
#![no_main]

use bionic_cpu_fuzz::{NEURONS, SYNAPSES, file, load_connectome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    file("neurons.csv", NEURONS);
    file("connections.csv", SYNAPSES);
    if let Some(folder) = file("about.toml", data).parent() {
        load_connectome(folder);
    }
});
