//! Weights on disk: the mapped file that training changes in place, and the durable state that survives what stops it.
//!
//! - The **working** file ([`WorkFile`], [`WorkMap`], `work.bcw`) is memory-mapped, allocated in full, locked, and changed
//!   in place. It promises nothing after a crash and is never read back.
//! - The **state** ([`State`], `state.bcw`) holds named tensors, a text, and fingerprints of what they belong to, in two
//!   slots. A commit writes the older slot, waits for the disk, and only then makes it the newer one; checksums over
//!   every byte find a torn slot, bit rot, truncation and edits, and the other slot serves. [`read`] looks into a state
//!   that another process may be writing.
//! - Everything else is replaced whole ([`replace`]): a reader sees the old file or the new one. Who adds to a file that
//!   others add to as well holds its folder meanwhile ([`Locked`]).
//!
//! `layout` has the format of a state byte by byte. All `unsafe` of the project is in `map`.

mod disk;
mod folder;
mod layout;
mod lock;
mod map;
#[cfg(test)]
mod power_cuts;
mod reader;
mod record;
mod replace;
mod state;
#[cfg(test)]
mod state_tests;

pub use folder::replace_folder;
pub use lock::Locked;
pub use map::{WorkFile, WorkMap};
pub use reader::{Opened, read};
pub use replace::{check_replaceable, is_empty_folder, is_left_over, make_folder, refuse_other_kind, replace};
pub use state::{Snapshot, State};

/// A named tensor of 32-bit floats in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Unique name, 1 to 256 bytes.
    pub name: String,
    /// Sizes, outermost first, at most 8; empty = a single value.
    pub shape: Vec<usize>,
}

/// 64-bit fingerprints of what a state belongs to; a state is of no use to a run with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of the data set.
    pub data: u64,
    /// Of the connectome.
    pub connectome: u64,
    /// Of the configuration.
    pub configuration: u64,
    /// Of the vector instructions, which decide the last bits of a sum.
    pub kernels: u64,
}

/// XXH3-64 of the bytes of `values`, little endian: equal for values that are equal to the bit.
pub fn fingerprint(values: &[f32]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
    let mut bytes = Vec::new();
    for part in values.chunks(16_384) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|v| v.to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.digest()
}

/// What to do about a damaged file.
const DAMAGED: &str = "the file is damaged: restore it from a copy, or train again";
