//! A saved state: refused, or whole. Its checksums are made right, or every mutation would end there.
#![no_main]

use bionic_cpu::store::{State, read};
use bionic_cpu_fuzz::{file, mend};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    mend(&mut bytes);
    let path = file("state.bcw", &bytes);
    match (read(&path, |_| true), State::open(&path)) {
        (Ok(a), Ok((_, b))) => {
            assert_eq!(a, b);
            assert!(a.floats.iter().all(|v| v.is_finite()));
        }
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        (a, b) => panic!("reader and writer disagree: {a:?}, {b:?}"),
    }
});
