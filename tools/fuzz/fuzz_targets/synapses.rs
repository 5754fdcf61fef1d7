//! A table of synapses, as one of a folder and as a list of its own: the two differ in what a repeated pair means.
#![no_main]

use bionic_cpu_fuzz::{NEURONS, file, load_connectome};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    file("neurons.csv", NEURONS);
    let table = file("connections.csv", data);
    load_connectome(&table);
    if let Some(folder) = table.parent() {
        load_connectome(folder);
    }
});
