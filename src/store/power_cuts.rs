//! Simulated power cuts: a disk in memory that loses any subset of the sectors that were not flushed.
//!
//! Commits run on a disk that keeps a journal. An image is what a cut at some point of the journal may leave: everything
//! up to the last flush, and of the writes after it a random subset of their 512-byte sectors. Every image must open with
//! the last acknowledged state or the one in flight; the run then goes on from it, and a second cut follows.

use super::disk::Disk;
use super::layout::Layout;
use super::reader::{find, read};
use super::state::{Snapshot, State, Writer};
use super::{Fingerprints, Section};
use crate::rng::Rng;
use std::path::Path;
use std::{fs, io};

const SECTOR: usize = 512;

enum Operation {
    Write(usize, Vec<u8>),
    Sync,
}

/// A disk in memory that notes what is done to it.
struct JournalDisk {
    bytes: Vec<u8>,
    journal: Vec<Operation>,
    /// Ignore every flush, as a disk that lies.
    lying: bool,
}

impl JournalDisk {
    fn on(bytes: Vec<u8>) -> Self {
        Self { bytes, journal: Vec::new(), lying: false }
    }
}

impl Disk for JournalDisk {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let at = at as usize;
        let found = self.bytes.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        let at = at as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.journal.push(Operation::Write(at, bytes.to_vec()));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        if !self.lying {
            self.journal.push(Operation::Sync);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

/// Two tensors; commits change all of the first, and the second only now and then.
fn layout() -> Layout {
    let section = |name: &str, n| Section { name: name.to_string(), shape: vec![n] };
    Layout::new(vec![section("a", 17_000), section("b", 5_000)]).expect("fits")
}

/// What commit `g` of line `line` saves.
fn values(line: u64, g: u64) -> [Vec<f32>; 2] {
    [vec![(line * 1000 + g) as f32; 17_000], vec![(line * 1000 + g / 3) as f32; 5_000]]
}

fn commit(writer: &mut Writer<JournalDisk>, line: u64, g: u64) {
    let [a, b] = values(line, g);
    let text = format!("{line} {g}");
    let fingerprints = Fingerprints { data: line, connectome: g, configuration: 3, kernels: 4 };
    writer.commit(&Snapshot { fingerprints, text: &text, floats: &[&a, &b] }).expect("committed");
}

/// What a cut before operation `cut` may leave of `base` and the journal.
fn image(base: &[u8], journal: &[Operation], cut: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = base.to_vec();
    let flushed = journal[..cut].iter().rposition(|op| matches!(op, Operation::Sync)).map_or(0, |i| i + 1);
    // All, none, most, few, or half of the sectors.
    let kept = [1.0, 0.0, 0.95, 0.05, 0.5][rng.below(5)];
    for (i, operation) in journal[..cut].iter().enumerate() {
        let Operation::Write(at, written) = operation else { continue };
        for (k, sector) in written.chunks(SECTOR).enumerate() {
            if i < flushed || rng.uniform() < kept {
                bytes[at + k * SECTOR..at + k * SECTOR + sector.len()].copy_from_slice(sector);
            }
        }
    }
    bytes
}

/// Opens an image; gives the line and number of the commit that it holds, after comparing every value.
fn opened(bytes: Vec<u8>) -> Result<(Writer<JournalDisk>, (u64, u64)), String> {
    let disk = JournalDisk::on(bytes);
    let found = find(&disk, Path::new("state.bcw"), &|_| true).map_err(|e| e.to_string())?;
    let (writer, opened) = Writer::continuing(disk, Path::new("state.bcw"), found);
    let (line, g) = opened.text.split_once(' ').expect("two numbers");
    let (line, g) = (line.parse().expect("a number"), g.parse().expect("a number"));
    if !opened.tensors().eq(values(line, g)) || opened.fingerprints.connectome != g {
        return Err(format!("a mix of states under the name of {line} {g}"));
    }
    Ok((writer, (line, g)))
}

/// Cuts the power `cuts` times; the first image that does not hold what it must is an error.
fn cut_power(cuts: usize, seed: u64, lying: bool) -> Result<(), String> {
    const COMMITS: u64 = 6;
    let mut rng = Rng::stream(seed, "power cuts", &[]);
    let layout = layout();
    let mut writer = Writer::new(JournalDisk::on(vec![0; layout.file() as usize]), Path::new("state.bcw"), layout);
    writer.format().expect("formatted");
    commit(&mut writer, 0, 1);
    // The file gets its name after the first commit: from there on cuts count.
    let base = writer.disk.bytes.clone();
    writer.disk.journal.clear();
    writer.disk.lying = lying;
    // Operations done when commit 1 + i was acknowledged.
    let mut acknowledged = vec![0];
    for g in 2..=COMMITS {
        commit(&mut writer, 0, g);
        acknowledged.push(writer.disk.journal.len());
    }
    let journal = std::mem::take(&mut writer.disk.journal);
    for i in 0..cuts {
        let cut = rng.below(journal.len() + 1);
        let last = acknowledged.iter().filter(|&&done| done <= cut).count() as u64;
        let in_flight = if acknowledged.contains(&cut) { last } else { last + 1 };
        let (mut writer, first) = opened(image(&base, &journal, cut, &mut rng))?;
        if !(last..=in_flight).contains(&first.1) {
            return Err(format!("cut {cut}: found commit {}, expected {last} to {in_flight}", first.1));
        }
        // The run goes on and the power fails again.
        let line = 1 + i as u64 % 100;
        let base = writer.disk.bytes.clone();
        writer.disk.lying = lying;
        commit(&mut writer, line, 1);
        let journal = &writer.disk.journal;
        let cut = rng.below(journal.len() + 1);
        let second = opened(image(&base, journal, cut, &mut rng))?.1;
        let allowed = if cut == journal.len() && !lying { vec![(line, 1)] } else { vec![first, (line, 1)] };
        if !allowed.contains(&second) {
            return Err(format!("second cut {cut}: found {second:?}, expected one of {allowed:?}"));
        }
    }
    Ok(())
}

#[test]
fn ten_thousand_power_cuts_leave_the_last_state_or_the_one_in_flight() {
    assert_eq!(cut_power(5_000, 1, false), Ok(()), "two images each");
}

#[test]
#[ignore = "minutes; cargo test --release --locked --lib -- --ignored a_million"]
fn a_million_power_cuts_leave_the_last_state_or_the_one_in_flight() {
    for seed in 0..50 {
        assert_eq!(cut_power(10_000, 100 + seed, false), Ok(()), "two images each");
    }
}

/// A first state is mostly zeros: moments, and the best epoch of none.
#[test]
fn blocks_of_zeros_are_not_written_to_a_new_disk() {
    let layout = layout();
    let mut writer = Writer::new(JournalDisk::on(vec![0; layout.file() as usize]), Path::new("state.bcw"), layout);
    writer.format().expect("formatted");
    let mut written = |text: &str, last: f32| {
        let fingerprints = Fingerprints { data: 1, connectome: 2, configuration: 3, kernels: 4 };
        let mut b = vec![0.0; 5_000];
        b[4_999] = last;
        writer.disk.journal.clear();
        writer.commit(&Snapshot { fingerprints, text, floats: &[&[0.0; 17_000], &b] }).expect("committed");
        let opened = find(&writer.disk, Path::new("state.bcw"), &|_| true).expect("opens").opened;
        assert_eq!((opened.text.as_str(), opened.floats.last()), (text, Some(&last)));
        writer.disk.journal.iter().filter(|op| matches!(op, Operation::Write(..))).count()
    };
    // Table and record, the block of the text and, where it has a value, the last one.
    assert_eq!([written("1", 0.0), written("2", 0.5), written("1", 0.0), written("2", 0.0)], [3, 4, 2, 3]);
}

/// Zeros are not written to a new file: what is left of an attempt that was cut short must not shine through.
#[test]
fn a_left_over_file_is_cut_before_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, beside) = (folder.path().join("state.bcw"), folder.path().join("state.bcw.tmp"));
    fs::write(&beside, vec![0x3f; 1 << 20]).expect("written");
    let (a, b) = ([0.0; 17_000], [0.0; 5_000]);
    let fingerprints = Fingerprints { data: 1, connectome: 2, configuration: 3, kernels: 4 };
    let snapshot = Snapshot { fingerprints, text: "new", floats: &[&a, &b] };
    State::create(&path, &layout().sections, &snapshot).expect("made");
    assert!(!beside.exists(), "it was this very file");
    let opened = read(&path, |_| true).expect("opens");
    assert!(opened.tensors().eq([&a[..], &b]));
}

/// The check can fail: without flushes the record may reach the disk before what it stands for.
#[test]
fn a_disk_that_ignores_flushes_is_caught() {
    let failure = cut_power(2_000, 1, true).expect_err("states are lost");
    assert!(failure.contains("found commit") || failure.contains("no slot holds a whole state"), "{failure}");
}
