//! A list of neurons.
#![no_main]

use bionic_cpu::lesion::ids;
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = file("ids", data);
    if let Ok(found) = ids(path.to_str().unwrap_or_default()) {
        assert!(!found.is_empty() && found.iter().all(|id| !id.is_empty()));
    }
});
