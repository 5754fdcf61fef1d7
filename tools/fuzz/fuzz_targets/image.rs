//! A PNG or JPEG image. The decoders leave out their checksums when they are built for fuzzing.
#![no_main]

use bionic_cpu::data::{PIXELS, decode};
use bionic_cpu_fuzz::file;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(pixels) = decode(&file("face.png", data)) {
        assert_eq!(pixels.len(), PIXELS);
    }
});
