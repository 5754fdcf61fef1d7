//! A configuration file: refused, or accepted and written back to the same values.
#![no_main]

use bionic_cpu::config::{Overrides, effective, missing_key, to_commented_toml};
use bionic_cpu_fuzz::CONFIG;
use libfuzzer_sys::fuzz_target;

fn overrides(text: &str) -> Overrides {
    Overrides { file: Some(("config.toml".to_string(), text.to_string())), ..Overrides::default() }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = overrides(text).preset();
    let _ = missing_key(text);
    if let Ok(config) = effective(&CONFIG, &overrides(text)) {
        let written = to_commented_toml(&config).expect("an accepted configuration can be written");
        let back = effective(&CONFIG, &overrides(&written)).expect("what was written can be read");
        assert_eq!(to_commented_toml(&back).ok(), Some(written));
    }
});
