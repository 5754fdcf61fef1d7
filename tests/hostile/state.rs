//! The format of saved states.

use super::Format;
use super::mend_state::mend;
use bionic_cpu::error::Result;
use bionic_cpu::store::{self, State};
use std::fs;
use std::path::Path;

/// One row per format.
pub const FORMATS: &[Format] = &[Format { name: "state", read, code: 5, bombs, mend: |bytes| mend(bytes) }];

/// As a reader and as a writer, who must agree.
fn read(path: &Path) -> Result<()> {
    let opened = store::read(path, |_| true);
    match (opened, State::open(path)) {
        (Ok(a), Ok((_, b))) => assert!(a == b, "reader and writer see different states"),
        (Err(a), Err(b)) => {
            assert_eq!(a.to_string(), b.to_string());
            return Err(a);
        }
        (a, b) => panic!("reader and writer disagree: {:?}, {:?}", a.is_ok(), b.is_ok()),
    }
    Ok(())
}

/// Superblocks with the right checksum that promise more than there is.
fn bombs(folder: &Path) {
    let good = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/state/good-small.bcw")).unwrap();
    let write = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        mend(&mut bytes);
        fs::write(folder.join(name), bytes).unwrap();
    };
    for huge in [u64::MAX, 1 << 62, 1 << 40] {
        let set = |at: usize| move |b: &mut Vec<u8>| b[at..at + 8].copy_from_slice(&huge.to_le_bytes());
        write(&format!("bad-slot-of-{huge}.bcw"), &set(16));
        write(&format!("bad-file-of-{huge}.bcw"), &set(24));
        // The first side of the first section: after the fixed part, name length, dtype and rank.
        write(&format!("bad-side-of-{huge}.bcw"), &set(44));
    }
    write("bad-four-billion-sections.bcw", &|b| b[32..36].fill(0xff));
    write("bad-superblock-of-1-mib.bcw", &|b| {
        b.resize(1 << 20, 0xff);
        b[12..16].copy_from_slice(&(1u32 << 20).to_le_bytes());
    });
    // 17,000 sections of one letter more each: as many as a superblock can describe.
    write("bad-thousands-of-sections.bcw", &|b| {
        b.truncate(40);
        let mut n = 0u32;
        while b.len() < (1 << 20) - 200 {
            let name = format!("{n:05}");
            b.extend((name.len() as u16).to_le_bytes());
            b.extend([1, 0]);
            b.extend([0; 8]);
            b.extend(4u64.to_le_bytes());
            b.extend(name.as_bytes());
            n += 1;
        }
        b[32..36].copy_from_slice(&n.to_le_bytes());
        b.resize(1 << 20, 0);
        b[12..16].copy_from_slice(&(1u32 << 20).to_le_bytes());
    });
}
