//! Weights on disk: the mapped file that training changes in place, and saved states that are checked when read.
//!
//! Two kinds of file, told apart by their first eight bytes:
//!
//! - The **working** file ([`WorkMap`], `work.bcw`) is memory-mapped, allocated in full, locked, and changed in place.
//!   It promises nothing after a crash and is never read back.
//! - A **saved** file ([`save`], [`load`]) holds named tensors, fingerprints of what they were trained on and a small
//!   text for the progress of the run. It is written beside and renamed, so a reader sees the old file or the new one
//!   and never a mix; checksums over every byte find bit rot, truncation and edits when it is opened.
//!
//! `header` has the layout of a saved file byte by byte. Its `version` leaves room for files that are changed in
//! place by commits.

mod header;
mod map;
mod saved;

pub use map::WorkMap;
pub use saved::{Saved, load, replace, save};

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
}
