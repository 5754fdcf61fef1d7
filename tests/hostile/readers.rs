//! Formats of configurations and images.

use super::{Format, bombs};
use bionic_cpu::config::{Overrides, effective, read_file};
use bionic_cpu::data;
use bionic_cpu::error::Result;
use bionic_cpu::model::Network;
use bionic_cpu::model::presets::preset;
use std::path::Path;

/// One row per format.
pub const FORMATS: &[Format] = &[
    Format { name: "toml", read: read_config, code: 2, bombs: bombs::toml, mend: |_| {} },
    Format { name: "csv", read: read_images, code: 3, bombs: bombs::csv, mend: |_| {} },
    Format { name: "csv.gz", read: read_images, code: 3, bombs: bombs::csv_gz, mend: |_| {} },
    Format { name: "png", read: read_image, code: 3, bombs: bombs::png_files, mend: |bytes| mend_png(bytes) },
    Format { name: "jpeg", read: read_image, code: 3, bombs: bombs::jpeg_files, mend: |_| {} },
    Format { name: "folder", read: read_images, code: 3, bombs: bombs::image_folder, mend: |_| {} },
];

fn read_config(path: &Path) -> Result<()> {
    let overrides = Overrides { file: Some(read_file(path)?), ..Overrides::default() };
    Network::build(&effective(&preset("bionic")?, &overrides)?, None).map(drop)
}

fn read_images(path: &Path) -> Result<()> {
    data::load(path.to_str().unwrap_or_default(), &preset("bionic")?.data).map(drop)
}

fn read_image(path: &Path) -> Result<()> {
    data::decode(path).map(drop)
}

/// Makes the checksum of every chunk right, as far as the chunks can be told.
fn mend_png(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = bytes.get(at..at + 4) {
        let length = head.iter().fold(0, |n, &b| n << 8 | usize::from(b));
        let Some(body) = bytes.get(at + 4..at + 8 + length) else { return };
        let mut crc = flate2::Crc::new();
        crc.update(body);
        let Some(sum) = bytes.get_mut(at + 8 + length..at + 12 + length) else { return };
        sum.copy_from_slice(&crc.sum().to_be_bytes());
        at += 12 + length;
    }
}
