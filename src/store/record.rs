//! A commit record: which state a slot holds. `layout.rs` has its bytes.

use super::Fingerprints;
use super::layout::{BLOCK, PAGE};
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 8] = *b"BCWcomit";
/// Bytes before the checksum.
const BODY: usize = 72;

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Record {
    /// From 1; the slot with the higher one is the newer.
    pub generation: u64,
    pub slot: usize,
    /// Length of the text, bytes.
    pub text: usize,
    pub fingerprints: Fingerprints,
    /// XXH3-64 of the slot's table.
    pub table_hash: u64,
    /// XXH3-64 of the superblock.
    pub superblock_hash: u64,
}

impl Record {
    /// The page of this record.
    pub fn encode(&self) -> [u8; PAGE as usize] {
        let f = &self.fingerprints;
        let mut page = [0u8; PAGE as usize];
        page[..8].copy_from_slice(&MAGIC);
        page[8..16].copy_from_slice(&self.generation.to_le_bytes());
        page[16..20].copy_from_slice(&(self.slot as u32).to_le_bytes());
        page[20..24].copy_from_slice(&(self.text as u32).to_le_bytes());
        let words = [f.data, f.connectome, f.configuration, f.kernels, self.table_hash, self.superblock_hash];
        for (word, at) in words.iter().zip((24..).step_by(8)) {
            page[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
        let hash = xxh3_64(&page[..BODY]);
        page[BODY..BODY + 8].copy_from_slice(&hash.to_le_bytes());
        page
    }

    /// Reads the record of `slot` from its page; `Ok(None)` if nothing was ever committed there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(page: &[u8; PAGE as usize], slot: usize, superblock_hash: u64) -> Result<Option<Self>, String> {
        if page.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let u64_at = |at: usize| {
            let mut word = [0u8; 8];
            word.copy_from_slice(&page[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let u32_at = |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        let (found, expected) = (xxh3_64(&page[..BODY]), u64_at(BODY));
        if found != expected {
            return Err(format!("checksum is {found:016x}, expected {expected:016x}"));
        }
        if page[..8] != MAGIC || page[BODY + 8..].iter().any(|&b| b != 0) {
            return Err("it is no commit record".to_string());
        }
        let fingerprints =
            Fingerprints { data: u64_at(24), connectome: u64_at(32), configuration: u64_at(40), kernels: u64_at(48) };
        let record = Self {
            generation: u64_at(8),
            slot: u32_at(16) as usize,
            text: u32_at(20) as usize,
            fingerprints,
            table_hash: u64_at(56),
            superblock_hash: u64_at(64),
        };
        if record.slot != slot {
            return Err(format!("it is that of slot {}", record.slot));
        }
        if record.superblock_hash != superblock_hash {
            return Err("it belongs to another superblock".to_string());
        }
        if record.text as u64 > BLOCK {
            return Err(format!("text length is {}, expected at most {BLOCK}", record.text));
        }
        if record.generation == 0 {
            return Err("generation is 0".to_string());
        }
        Ok(Some(record))
    }
}
