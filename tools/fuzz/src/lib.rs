//! What the fuzz targets share: files in memory for readers that take a path, a connectome around the fuzzed table,
//! gzip around the fuzzed text.

#[path = "../../../tests/hostile/mend_state.rs"]
mod mend_state;

pub use mend_state::mend;

use bionic_cpu::config::Config;
use bionic_cpu::connectome::{self, Connectome};
use bionic_cpu::model::presets::preset;
use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder};
use libfuzzer_sys::fuzzer_mutate;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// A folder of this process; `tools/fuzz.sh` puts it into memory.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("bionic-cpu-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the fuzzed files");
    folder
});

/// The configuration that readers are given.
pub static CONFIG: LazyLock<Config> = LazyLock::new(|| preset("bionic").expect("a preset"));

/// Neurons `a` to `d`, so that short rows can name them.
pub const NEURONS: &[u8] = b"id,lamina,cell_type,class\na,L4,4P,E\nb,L5,5P-ET,E\nc,L4,BC,I\nd,,unsure,\n";
/// Connections among them.
pub const SYNAPSES: &[u8] = b"pre,post,n_synapses\na,b,2\nb,c,1\n";

/// The path of a file `name` that holds `data`.
pub fn file(name: &str, data: &[u8]) -> PathBuf {
    let path = FOLDER.join(name);
    std::fs::write(&path, data).expect("the fuzzed file is written");
    path
}

/// Reads the connectome at `source`; one that is accepted is described, written, and read back to the same.
pub fn load_connectome(source: &Path) {
    let source = source.to_str().expect("an ASCII path").to_owned();
    let config = bionic_cpu::config::Connectome { source, ..CONFIG.connectome.clone() };
    if let Ok(found) = connectome::load(&config) {
        connectome::summary(&found).to_text();
        assert_same_again(&found);
    }
}

fn assert_same_again(found: &Connectome) {
    let copy = FOLDER.join("copy");
    connectome::write_folder(found, &copy).expect("what was read can be written");
    let back = connectome::read_folder(&copy).expect("what was written can be read");
    assert!(back == *found, "written and read back, the connectome is another one");
}

/// Mutates the text inside a gzip file, so that it stays one; one time in eight, and where it is none, the file itself.
///
/// `data[..size]` is the file; at most `max_size` bytes of `data` may be used. Gives the new size.
pub fn mutate_gzip(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut text = Vec::new();
    let whole = MultiGzDecoder::new(&data[..size]).take(1 << 20).read_to_end(&mut text).is_ok();
    if !whole || seed % 8 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let length = text.len();
    text.resize(length + 1024, 0);
    let room = text.len();
    let length = fuzzer_mutate(&mut text, length, room);
    let mut packed = Vec::new();
    let read = GzEncoder::new(&text[..length], Compression::fast()).read_to_end(&mut packed);
    if read.is_err() || packed.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..packed.len()].copy_from_slice(&packed);
    packed.len()
}
