//! Tests of the state file: what comes back, and every way in which a file can be damaged.

use super::layout::{BLOCK, Layout, PAGE};
use super::*;
use crate::error::Result;
use crate::rng::Rng;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

const PRINTS: Fingerprints = Fingerprints { data: 11, connectome: 22, configuration: 33, kernels: 44 };

fn sections(list: &[(&str, &[usize])]) -> Vec<Section> {
    list.iter().map(|&(name, shape)| Section { name: name.to_string(), shape: shape.to_vec() }).collect()
}

fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::stream(seed, "store test", &[]);
    (0..n).map(|_| rng.normal()).collect()
}

/// A state file in a folder of its own.
struct Place {
    _folder: TempDir,
    path: PathBuf,
    sections: Vec<Section>,
}

impl Place {
    fn new(list: &[(&str, &[usize])]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.bcw");
        Self { _folder: folder, path, sections: sections(list) }
    }

    /// The values of commit `g`.
    fn data(&self, g: u64) -> Vec<Vec<f32>> {
        self.sections.iter().map(|s| values(s.shape.iter().product(), g)).collect()
    }

    /// Commits `g`; the first makes the file.
    fn commit(&self, state: Option<State>, g: u64) -> State {
        let data = self.data(g);
        let floats: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
        let text = format!("commit {g}");
        let snapshot = Snapshot { fingerprints: PRINTS, text: &text, floats: &floats };
        match state {
            Some(mut state) => state.commit(&snapshot).map(|()| state),
            None => State::create(&self.path, &self.sections, &snapshot),
        }
        .expect("committed")
    }

    /// The bytes of a file with commits 1 to `n`.
    fn bytes(&self, n: u64) -> Vec<u8> {
        (2..=n).fold(self.commit(None, 1), |state, g| self.commit(Some(state), g));
        fs::read(&self.path).expect("readable")
    }

    /// Opens these bytes with a reader and with a writer, who must agree.
    fn open(&self, bytes: &[u8]) -> Result<Opened> {
        fs::write(&self.path, bytes).expect("written");
        let opened = read(&self.path, |_| true);
        match (&opened, State::open(&self.path)) {
            (Ok(a), Ok((_, b))) => assert_eq!(*a, b),
            (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
            (a, b) => panic!("reader and writer disagree: {a:?}, {b:?}"),
        }
        assert!(fs::read(&self.path).expect("readable") == bytes, "opening writes nothing");
        opened
    }

    /// The message of the refusal, which names the file and has exit code 5.
    fn refusal(&self, bytes: &[u8]) -> String {
        let e = self.open(bytes).expect_err("must be refused");
        assert_eq!(e.exit_code(), 5, "{e}");
        let message = e.to_string();
        assert!(message.contains("state.bcw: ") && message.contains("remedy"), "{message}");
        message
    }

    /// Asserts that these bytes hold commit `g`, whole; gives the warnings.
    #[track_caller]
    fn holds(&self, bytes: &[u8], g: u64) -> Vec<String> {
        let opened = self.open(bytes).expect("opens");
        assert_eq!(opened.text, format!("commit {g}"));
        assert_eq!(opened.fingerprints, PRINTS);
        assert!(opened.tensors().eq(self.data(g)), "commit {g} has other values");
        assert!(opened.places.iter().all(|place| place.start % 16 == 0), "{:?}", opened.places);
        opened.warnings
    }

    fn layout(&self) -> Layout {
        Layout::new(self.sections.clone()).expect("fits")
    }
}

/// Three tensors, among them an empty one and a single value.
fn small() -> Place {
    Place::new(&[("conv.weight", &[2, 3, 5]), ("empty", &[0, 7]), ("gamma", &[])])
}

#[test]
fn comes_back_as_it_was_for_awkward_sizes() {
    let check = |list: &[(&str, &[usize])]| {
        let place = Place::new(list);
        for n in 1..4 {
            assert_eq!(place.holds(&place.bytes(n), n), [""; 0]);
        }
        assert_eq!(fs::read_dir(place.path.parent().expect("a folder")).expect("a folder").count(), 1);
    };
    check(&[]);
    check(&[("x", &[0])]);
    check(&[("x", &[1024]), ("y", &[1]), ("z", &[1025])]);
    // Around the ends of blocks (16,384 floats) and of pages (1,024 floats).
    for n in [1, 15, 16, 17, 1023, 1024, 16_383, 16_384, 16_385, 40_000] {
        check(&[("a", &[n]), ("b", &[3]), ("c", &[2, n]), ("d", &[0])]);
    }
}

#[test]
fn large_sections_start_on_pages_and_small_ones_on_cache_lines() {
    let place = Place::new(&[("a", &[3]), ("b", &[5]), ("c", &[2000])]);
    let bytes = place.bytes(1);
    let data = (2 * PAGE + 2 * PAGE + PAGE + BLOCK) as usize;
    assert_eq!(bytes[data + 64..data + 68], values(5, 1)[0].to_le_bytes());
    assert_eq!(bytes[data + 4096..data + 4100], values(2000, 1)[0].to_le_bytes());
}

#[test]
fn a_reader_may_ask_for_some_sections() {
    let place = Place::new(&[("a", &[30_000]), ("b", &[7]), ("c", &[40_000])]);
    let mut bytes = place.bytes(2);
    let opened = read(&place.path, |s| s.name == "b").expect("opens");
    assert_eq!(opened.floats_of("b"), Some(values(7, 2).as_slice()));
    assert_eq!((opened.floats_of("a"), opened.text.as_str()), (Some(&[][..]), "commit 2"));
    let around = read(&place.path, |s| s.name != "b").expect("opens");
    assert_eq!(around.places, [0..30_000, 0..0, 30_000..70_000]);
    assert_eq!(around.floats_of("c"), Some(values(40_000, 2).as_slice()));
    // What was not asked for is not read: damage there does not matter.
    let layout = place.layout();
    let middle_of_c = layout.slot_start(1) + layout.table + layout.places[2].0 + 80_000;
    bytes[middle_of_c as usize] ^= 1;
    fs::write(&place.path, &bytes).expect("written");
    assert_eq!(read(&place.path, |s| s.name == "b").expect("opens").warnings, [""; 0]);
    assert_eq!(read(&place.path, |s| s.name == "c").expect("opens").text, "commit 1");
}

#[test]
fn blocks_that_the_slot_holds_already_are_not_written_again() {
    let place = Place::new(&[("a", &[40_000]), ("b", &[40_000])]);
    let data = [place.data(1), vec![values(40_000, 2), values(40_000, 1)]];
    let snapshot = |g: usize| {
        let floats: Vec<Vec<f32>> = data[g % 2].clone();
        floats
    };
    let mut state = place.commit(None, 1);
    let mut last = Vec::new();
    for g in 0..4 {
        let floats = snapshot(g);
        let slices: Vec<&[f32]> = floats.iter().map(Vec::as_slice).collect();
        state.commit(&Snapshot { fingerprints: PRINTS, text: "same", floats: &slices }).expect("committed");
        assert!(read(&place.path, |_| true).expect("opens").tensors().eq(slices), "commit {g}");
        last = floats;
    }
    // Going on after a stop, too.
    let (mut state, opened) = State::open(&place.path).expect("opens");
    assert!(opened.tensors().eq(last));
    for g in 0..4 {
        let floats = snapshot(g);
        let slices: Vec<&[f32]> = floats.iter().map(Vec::as_slice).collect();
        state.commit(&Snapshot { fingerprints: PRINTS, text: "same", floats: &slices }).expect("committed");
        assert!(read(&place.path, |_| true).expect("opens").tensors().eq(slices), "commit {g}");
    }
}

#[test]
fn every_truncation_is_found_and_the_slot_that_is_whole_serves() {
    let place = small();
    let layout = place.layout();
    // Commit 2 is in slot 1, at the end of the file; commit 3 in slot 0, before it.
    for (commits, then_holds) in [(2, 1), (3, 3)] {
        let bytes = place.bytes(commits);
        // Every length near a boundary of the format, and one in each sector between.
        let edges =
            [0, PAGE, layout.record_start(0), layout.record_start(1), layout.slot_start(0), layout.slot_start(1)];
        let near = edges.iter().flat_map(|&e| e.saturating_sub(40)..e + 120).filter(|&n| n < bytes.len() as u64);
        for n in near.chain((0..bytes.len() as u64).step_by(509)).chain([bytes.len() as u64 - 1]) {
            let cut = &bytes[..n as usize];
            if n < layout.slot_start(1) {
                place.refusal(cut);
                continue;
            }
            let warnings = place.holds(cut, then_holds).join("; ");
            assert!(warnings.contains(&format!("file has {n} bytes, expected {}", bytes.len())), "{warnings}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(place.refusal(&longer).contains("file has"));
    }
}

#[test]
fn every_flipped_bit_of_superblock_copy_record_and_table_is_found_named_and_harmless() {
    let place = small();
    let mut bytes = place.bytes(2);
    let layout = place.layout();
    let flip = |bytes: &mut Vec<u8>, bit: usize| bytes[bit / 8] ^= 1 << (bit % 8);
    let newest_table = layout.slot_start(1);
    for (from, name, then_holds) in [
        (0, "superblock", 2),
        (layout.superblock, "the copy of the superblock is damaged", 2),
        (layout.record_start(0), "commit record of slot 0", 2),
        (layout.record_start(1), "commit record of slot 1", 1),
        (newest_table, "slot 1, commit 2: checksum of the table", 1),
    ] {
        // All bits of the bytes that are used and a few of the zeros behind them.
        let used = (0..200 * 8)
            .chain((200 * 8..PAGE as usize * 8).step_by(61))
            .chain(PAGE as usize * 8 - 64..PAGE as usize * 8);
        for bit in used {
            let bit = from as usize * 8 + bit;
            flip(&mut bytes, bit);
            let warnings = place.holds(&bytes, then_holds).join("; ");
            assert!(warnings.contains(name), "bit {bit}: {warnings}");
            flip(&mut bytes, bit);
        }
    }
    assert_eq!(place.holds(&bytes, 2), [""; 0]);
}

#[test]
fn ten_thousand_flipped_bits_of_data_are_found_and_the_older_slot_serves() {
    let place = Place::new(&[("a", &[20_000]), ("b", &[7]), ("c", &[9_000])]);
    let mut bytes = place.bytes(3);
    let layout = place.layout();
    let data = (layout.slot_start(0) + layout.table) as usize;
    let mut rng = Rng::stream(2, "store test", &[]);
    for i in 0..10_000 {
        let at = rng.below(layout.data as usize * 8);
        let (byte, bit) = (at / 8, 1 << (at % 8));
        bytes[data + byte] ^= bit;
        // Files would take a minute: what the reader sees is a slice.
        let found = super::reader::find(&SliceDisk(&bytes), &place.path, &|_| true).expect("opens");
        let block = "slot 0, commit 3: bytes".to_string();
        let warnings = found.opened.warnings.join("; ");
        assert!(
            warnings.contains(&block) && warnings.contains(&format!("(block {})", byte / BLOCK as usize)),
            "{warnings}"
        );
        assert_eq!(found.opened.text, "commit 2");
        if i % 100 == 0 {
            assert!(found.opened.tensors().eq(place.data(2)));
        }
        bytes[data + byte] ^= bit;
    }
    assert_eq!(place.holds(&bytes, 3), [""; 0]);
}

/// A disk that is a slice and cannot be written.
struct SliceDisk<'a>(&'a [u8]);

impl super::disk::Disk for SliceDisk<'_> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
        let found = self.0.get(at as usize..at as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
    fn write_at(&mut self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }
    fn sync(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.len() as u64)
    }
}

#[test]
fn damage_in_both_slots_is_refused_and_both_are_named() {
    let place = small();
    let mut bytes = place.bytes(2);
    let layout = place.layout();
    for slot in 0..2 {
        bytes[(layout.slot_start(slot) + layout.table) as usize] ^= 1;
    }
    let message = place.refusal(&bytes);
    assert!(message.contains("slot 0, commit 1") && message.contains("slot 1, commit 2"), "{message}");
}

#[test]
fn the_next_commit_mends_what_was_damaged() {
    let place = small();
    let good = place.bytes(2);
    let layout = place.layout();
    for (byte, served) in [
        (20, 2),
        (layout.superblock + 20, 2),
        (layout.record_start(1) + 9, 1),
        (layout.slot_start(1) + layout.table + 3, 1),
    ] {
        let mut bytes = good.clone();
        bytes[byte as usize] ^= 0x10;
        assert!(!place.holds(&bytes, served).is_empty());
        let (state, _) = State::open(&place.path).expect("opens");
        drop(place.commit(Some(state), 3));
        let bytes = fs::read(&place.path).expect("readable");
        assert_eq!(place.holds(&bytes, 3), [""; 0], "byte {byte}");
    }
    assert!(!place.holds(&good[..good.len() - 5000], 1).is_empty());
    let (state, _) = State::open(&place.path).expect("opens");
    drop(place.commit(Some(state), 3));
    assert_eq!(place.holds(&fs::read(&place.path).expect("readable"), 3), [""; 0], "what was cut off");
}

/// Changes the superblock and gives it a checksum that fits, in the copy as well.
fn forged(bytes: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for start in [0, PAGE as usize] {
        let block = &mut bytes[start..start + PAGE as usize];
        change(block);
        let (body, hash) = block.split_last_chunk_mut::<8>().expect("a page");
        *hash = xxh3_64(body).to_le_bytes();
    }
    bytes
}

#[test]
fn a_superblock_that_lies_is_refused_by_field() {
    let place = small();
    let good = place.bytes(1);
    let set = |at: usize, value: u64| move |b: &mut [u8]| b[at..at + 8].copy_from_slice(&value.to_le_bytes());
    // The first section starts at 40: name length, dtype, rank 3, three sides, offset, length, name.
    let cases: [(Vec<u8>, &str); 13] = [
        (forged(&good, set(16, u64::MAX)), "slot length"),
        (forged(&good, set(24, u64::MAX)), "file length"),
        (forged(&good, |b| b[32] = 0xff), "section 3"),
        (forged(&good, |b| b[32] = 2), "expected zeros"),
        (forged(&good, |b| b[36] = 1), "reserved"),
        (forged(&good, |b| b[40..42].fill(0)), "name length"),
        (forged(&good, |b| b[42] = 2), "dtype"),
        (forged(&good, |b| b[43] = 9), "rank"),
        (forged(&good, set(44, u64::MAX)), "length is 120 bytes"),
        (forged(&good, set(68, 64)), "is at 64"),
        (forged(&good, set(76, 1 << 62)), "length is 4611686018427387904"),
        (forged(&good, |b| b[84] = 0xff), "UTF-8"),
        (forged(&good, |b| b[8] = 3), "version is 3"),
    ];
    for (bytes, expected) in cases {
        let message = place.refusal(&bytes);
        assert!(message.contains(expected), "expected `{expected}` in: {message}");
    }
}

#[test]
fn noise_is_refused_and_never_panics() {
    let place = small();
    let good = place.bytes(2);
    let mut rng = Rng::stream(3, "store test", &[]);
    for round in 0..2000 {
        // Bytes of noise in a superblock whose checksum fits: a program that wrote nonsense.
        let noise: Vec<(usize, u8)> = (0..1 + round % 4).map(|_| (16 + rng.below(140), rng.next_u64() as u8)).collect();
        let bytes = forged(&good, |b| noise.iter().for_each(|&(at, byte)| b[at] = byte));
        if let Err(e) = place.open(&bytes) {
            assert_eq!(e.exit_code(), 5, "{e}");
        }
    }
}

#[test]
fn a_name_may_occur_once() {
    let place = Place::new(&[("ab", &[1]), ("ac", &[1])]);
    let bytes = place.bytes(1);
    let second = bytes.windows(2).position(|w| w == b"ac").expect("is there");
    assert!(
        place.refusal(&forged(&bytes, |b| b[second] = b'x')).contains("another superblock"),
        "another name is another file"
    );
    assert!(place.refusal(&forged(&bytes, |b| b[second + 1] = b'b')).contains("`ab` occurs twice"));
}

#[test]
fn a_copy_in_text_mode_is_recognised() {
    let place = small();
    let unix: Vec<u8> = place.bytes(1).into_iter().filter(|&b| b != b'\r').collect();
    assert!(place.refusal(&unix).contains("text mode"));
}

#[test]
fn values_that_are_not_finite_are_refused_at_both_ends() {
    let place = Place::new(&[("a", &[3000])]);
    let mut state = place.commit(None, 1);
    for v in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut a = values(3000, 2);
        a[1234] = v;
        let snapshot = Snapshot { fingerprints: PRINTS, text: "", floats: &[&a] };
        let e = state.commit(&snapshot).expect_err("diverged");
        assert!(e.to_string().contains("value 1234 of `a`"), "{e}");
    }
    // Nothing was written, and the state is as good as before.
    let state = place.commit(Some(state), 2);
    drop(state);
    // A file from elsewhere, with checksums that fit.
    let mut bytes = fs::read(&place.path).expect("readable");
    let layout = place.layout();
    let (table, record) = (layout.slot_start(1) as usize, layout.record_start(1) as usize);
    let data = table + layout.table as usize;
    let value = data + layout.places[0].0 as usize + 4;
    bytes[value..value + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let block = xxh3_64(&bytes[data + BLOCK as usize..data + layout.data as usize]).to_le_bytes();
    bytes[table + 8..table + 16].copy_from_slice(&block);
    let hash = xxh3_64(&bytes[table..data]).to_le_bytes();
    bytes[record + 56..record + 64].copy_from_slice(&hash);
    let hash = xxh3_64(&bytes[record..record + 72]).to_le_bytes();
    bytes[record + 72..record + 80].copy_from_slice(&hash);
    let warnings = place.holds(&bytes, 1).join("; ");
    assert!(warnings.contains("section `a`: value 1 is NaN"), "{warnings}");
}

#[test]
fn after_a_failed_write_every_commit_is_refused_and_the_state_is_whole() {
    let place = small();
    drop(place.bytes(2));
    let (state, _) = State::open(&place.path).expect("opens");
    let mut state = state;
    state.break_disk();
    let floats = place.data(3);
    let slices: Vec<&[f32]> = floats.iter().map(Vec::as_slice).collect();
    for _ in 0..2 {
        let e =
            state.commit(&Snapshot { fingerprints: PRINTS, text: "commit 3", floats: &slices }).expect_err("broken");
        assert_eq!(e.exit_code(), 4);
        assert!(e.to_string().contains("go on with --resume"), "{e}");
    }
    place.holds(&fs::read(&place.path).expect("readable"), 2);
}

#[test]
fn a_reader_beside_a_writer_sees_whole_states() {
    let place = Place::new(&[("a", &[50_000])]);
    let mut state = place.commit(None, 1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for g in 2..200 {
                let a = vec![g as f32; 50_000];
                let text = format!("{g}");
                state.commit(&Snapshot { fingerprints: PRINTS, text: &text, floats: &[&a] }).expect("committed");
                // A reader that is slower than two commits, time after time, gives up.
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let (mut seen, mut last) = (0, 0.0);
        loop {
            let finished = done.load(std::sync::atomic::Ordering::Acquire);
            let opened = read(&place.path, |_| true).expect("a whole state at any moment");
            let a = opened.floats_of("a").expect("is there");
            if let Ok(g) = opened.text.parse::<f32>() {
                assert!(a.iter().all(|&v| v == g) && g >= last, "{g} after {last}");
                (seen, last) = (seen + 1, g);
            }
            if finished {
                break;
            }
        }
        assert!(seen > 0 && last == 199.0);
    });
}

#[test]
fn what_is_not_a_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(read(folder.path(), |_| true).expect_err("a folder").exit_code(), 5);
    assert_eq!(read(&folder.path().join("gone"), |_| true).expect_err("nothing").exit_code(), 3);
    let snapshot = Snapshot { fingerprints: PRINTS, text: "", floats: &[] };
    assert_eq!(State::create(Path::new("gone/state.bcw"), &[], &snapshot).expect_err("no folder").exit_code(), 3);
}

#[test]
fn a_text_that_does_not_fit_is_refused_and_nothing_is_written() {
    let place = small();
    let mut state = place.commit(None, 1);
    let (floats, text) = (place.data(2), "x".repeat(BLOCK as usize + 1));
    let slices: Vec<&[f32]> = floats.iter().map(Vec::as_slice).collect();
    let e = state.commit(&Snapshot { fingerprints: PRINTS, text: &text, floats: &slices }).expect_err("too long");
    assert_eq!(e.exit_code(), 1);
    state.commit(&Snapshot { fingerprints: PRINTS, text: &text[1..], floats: &slices }).expect("just fits");
    assert_eq!(read(&place.path, |_| true).expect("opens").text.len(), BLOCK as usize);
}
