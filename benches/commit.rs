//! Saving a state of 64 MiB, beside a plain write and flush of as many bytes to the same disk.

#![allow(clippy::unwrap_used)] // A bench may panic.

use bionic_cpu::store::{self, Fingerprints, Section, Snapshot, State};
use criterion::{Criterion, Throughput};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

const FLOATS: usize = 16 << 20;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("state.bcw");
    let sections = [Section { name: "weights".into(), shape: vec![FLOATS] }];
    let mut weights: Vec<f32> = (0..FLOATS).map(|i| i as f32).collect();
    let snapshot = |weights: &[f32], save: &mut dyn FnMut(&Snapshot)| {
        save(&Snapshot { fingerprints: Fingerprints::default(), text: "", floats: &[weights] });
    };
    let mut state = None;
    snapshot(&weights, &mut |s| state = Some(State::create(&path, &sections, s).unwrap()));
    let mut state = state.unwrap();

    let mut group = criterion.benchmark_group("commit of 64 MiB");
    group.throughput(Throughput::Bytes(4 * FLOATS as u64));
    let plain = File::create(folder.path().join("plain")).unwrap();
    let bytes = vec![1u8; 4 * FLOATS];
    plain.write_all_at(&bytes, 0).unwrap();
    group.bench_function("plain write and flush", |b| {
        b.iter(|| {
            plain.write_all_at(&bytes, 0).unwrap();
            plain.sync_data().unwrap();
        });
    });
    group.bench_function("everything changed", |b| {
        b.iter(|| {
            weights.iter_mut().for_each(|w| *w += 1.0);
            snapshot(&weights, &mut |s| state.commit(s).unwrap());
        });
    });
    group.bench_function("one value changed", |b| {
        b.iter(|| {
            weights[0] += 1.0;
            snapshot(&weights, &mut |s| state.commit(s).unwrap());
        });
    });
    group.finish();
    let opened = store::read(&path, |_| true).unwrap();
    assert!(opened.floats == weights && opened.warnings.is_empty(), "what was saved must come back");
    criterion.final_summary();
}
