//! Formats of configurations and images.

use super::Format;
use bionic_cpu::config::{Overrides, effective};
use bionic_cpu::data;
use bionic_cpu::error::Result;
use bionic_cpu::model::presets::preset;
use std::fs;
use std::path::Path;

/// One row per format.
pub const FORMATS: &[Format] = &[
    Format { name: "toml", read: read_config, code: 2, bombs: |_| {}, mend: |_| {} },
    Format { name: "csv", read: read_images, code: 3, bombs: |_| {}, mend: |_| {} },
    Format { name: "csv.gz", read: read_images, code: 3, bombs: |_| {}, mend: |_| {} },
    Format { name: "png", read: read_image, code: 3, bombs: |_| {}, mend: |_| {} },
    Format { name: "jpeg", read: read_image, code: 3, bombs: |_| {}, mend: |_| {} },
    Format { name: "folder", read: read_images, code: 3, bombs: |_| {}, mend: |_| {} },
];

fn read_config(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let overrides = Overrides { file: Some((path.display().to_string(), text)), ..Overrides::default() };
    effective(&preset("bionic")?, &overrides).map(drop)
}

fn read_images(path: &Path) -> Result<()> {
    data::load(path.to_str().unwrap_or_default(), &preset("bionic")?.data).map(drop)
}

fn read_image(path: &Path) -> Result<()> {
    data::decode(path).map(drop)
}
