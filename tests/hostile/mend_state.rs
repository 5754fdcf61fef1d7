//! Makes the checksums of a damaged state right again, so that what they guard is reached.

use xxhash_rust::xxh3::xxh3_64;

const PAGE: usize = 4096;
const BLOCK: usize = 64 * 1024;

/// Rewrites all checksums of the file that its own superblock describes, as far as it reaches.
pub fn mend(bytes: &mut [u8]) {
    let Some(superblock) = number::<4>(bytes, 12).map(|n| n as usize) else { return };
    if superblock == 0 || superblock % PAGE != 0 || superblock > bytes.len() {
        return;
    }
    write_hash(bytes, 0, superblock - 8, superblock - 8);
    if bytes.len() >= 2 * superblock {
        bytes.copy_within(..superblock, superblock);
    }
    let whole = xxh3_64(&bytes[..superblock]);
    let Some(slot_bytes) = number::<8>(bytes, 16).and_then(|n| usize::try_from(n).ok()) else { return };
    // The table has one number per block of what follows it.
    let fits = |table: &usize| {
        slot_bytes > *table && ((slot_bytes - table).div_ceil(BLOCK) * 8).next_multiple_of(PAGE) == *table
    };
    let Some(table) = (PAGE..=bytes.len()).step_by(PAGE).find(fits) else { return };
    for slot in 0..2 {
        let record = 2 * superblock + slot * PAGE;
        let Some(start) = slot_bytes.checked_mul(slot).and_then(|n| n.checked_add(2 * superblock + 2 * PAGE)) else {
            return;
        };
        if start.checked_add(slot_bytes).is_none_or(|end| end > bytes.len()) {
            return;
        }
        for (i, from) in (start + table..start + slot_bytes).step_by(BLOCK).enumerate() {
            write_hash(bytes, from, (from + BLOCK).min(start + slot_bytes), start + 8 * i);
        }
        // An empty slot stays empty.
        if bytes[record..record + PAGE].iter().all(|&b| b == 0) {
            continue;
        }
        write_hash(bytes, start, start + table, record + 56);
        bytes[record + 64..record + 72].copy_from_slice(&whole.to_le_bytes());
        write_hash(bytes, record, record + 72, record + 72);
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..N].copy_from_slice(bytes.get(at..at + N)?);
    Some(u64::from_le_bytes(number))
}

fn write_hash(bytes: &mut [u8], from: usize, to: usize, at: usize) {
    let hash = xxh3_64(&bytes[from..to]).to_le_bytes();
    bytes[at..at + 8].copy_from_slice(&hash);
}
