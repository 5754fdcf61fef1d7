//! Masked products on one thread and on two, with sprs as the peer of the forward product.
//!
//! `cargo bench --bench sparse -- --scale` prints the cost per synapse from 10^4 to 10^8 synapses as CSV instead.

mod mask;
mod roofline;

use bionic_cpu::aligned::Aligned;
use bionic_cpu::kernels::sparse::{self, Pattern, Sliced, Transpose};
use bionic_cpu::rng::Rng;
use criterion::Criterion;
use roofline::{Traffic, aligned, bench_on, numbers, print_bandwidth, same, short};
use sprs::CsMat;
use sprs::prod::csr_mulacc_dense_rowmaj;
use std::time::Instant;

fn main() {
    if std::env::args().any(|arg| arg == "--scale") {
        return scale();
    }
    let mut criterion = short();
    print_bandwidth();
    for percent in [1, 2, 5, 10, 20] {
        point(&mut criterion, 4096, 4096, percent, &[1, 32, 128]);
    }
    for percent in [1, 2, 5, 10, 20] {
        point(&mut criterion, 512, 4608, percent, &[32, 128]);
    }
    // A projection of the measured column: rows of about 14 synapses.
    point(&mut criterion, 383, 349, 4, &[1, 16, 32]);
    criterion.final_summary();
}

fn point(criterion: &mut Criterion, n_post: usize, n_pre: usize, percent: usize, batches: &[usize]) {
    let mask = mask::random(n_post, n_pre, percent as f32 / 100.0);
    let (p, t) = (mask.pattern(), mask.transpose());
    let w = numbers(p.synapses());
    for &batch in batches {
        // On cache lines, as in the network.
        let (x, dy) = (aligned(&numbers(n_pre * batch)), aligned(&numbers(n_post * batch + 1)[1..]));
        let flops = 2.0 * (p.synapses() * batch) as f64;
        let (mut y, mut dx, mut dw) =
            (Aligned::zeros(n_post * batch), Aligned::zeros(n_pre * batch), vec![f32::NAN; w.len()]);

        let mut want = vec![f32::NAN; n_post * batch];
        sparse::forward(p, batch, &w, &x, &mut y, false);
        sparse::forward_reference(p, batch, &w, &x, &mut want, false);
        same("y", &y, &want);
        let mut want = vec![f32::NAN; n_pre * batch];
        sparse::backward_input(p, t, batch, &w, &dy, &mut dx, false);
        sparse::backward_input_reference(p, batch, &w, &dy, &mut want, false);
        same("dx", &dx, &want);
        let mut want = vec![f32::NAN; w.len()];
        sparse::backward_weights(p, batch, &dy, &x, &mut dw);
        sparse::backward_weights_reference(p, batch, &dy, &x, &mut want);
        same("dw", &dw, &want);

        let [reads_pre, reads_post] = [n_pre, n_post].map(|n| traffic(p, n, batch));
        let threads: &[usize] = if n_post == 4096 && batch > 1 { &[1, 2] } else { &[1] };
        for &threads in threads {
            let label = |what| format!("{n_post} x {n_pre}, {percent} %, B{batch}, {threads} thr. {what}");
            bench_on(criterion, threads, &label("y"), flops, &reads_pre, || {
                sparse::forward(p, batch, &w, &x, &mut y, false);
            });
            bench_on(criterion, threads, &label("dx"), flops, &reads_post, || {
                sparse::backward_input(p, t, batch, &w, &dy, &mut dx, false);
            });
            bench_on(criterion, threads, &label("dw"), flops, &reads_pre, || {
                sparse::backward_weights(p, batch, &dy, &x, &mut dw);
            });
        }
        if batch == 1 {
            let sliced = Sliced::new(p, &w);
            let mut laid_out = vec![f32::NAN; n_post];
            sliced.forward(&x, &mut laid_out, false);
            same("y laid out", &laid_out, &y);
            let label = format!("{n_post} x {n_pre}, {percent} %, B1, 1 thr. y laid out");
            let s = p.synapses();
            let reads = [traffic(p, n_pre, 1)[0], Traffic { bytes: (6 * s) as f64, size: 6 * s }];
            bench_on(criterion, 1, &label, flops, &reads, || sliced.forward(&x, &mut laid_out, false));
        }
        if batch == 32 {
            peer(criterion, p, batch, &w, &x, &y);
        }
    }
}

/// What a product reads: for every synapse its partner's activity, of a tile of at most 64 lanes; weight and index.
fn traffic(p: Pattern, n: usize, batch: usize) -> [Traffic; 2] {
    let s = p.synapses();
    let activity = Traffic { bytes: (4 * s * batch) as f64, size: 4 * n * batch.min(64) };
    [activity, Traffic { bytes: (8 * s) as f64, size: 8 * s }]
}

fn peer(criterion: &mut Criterion, p: Pattern, batch: usize, w: &[f32], x: &[f32], y: &[f32]) {
    let indices = |v: &[u32]| v.iter().map(|&i| i as usize).collect::<Vec<_>>();
    let peer = CsMat::new((p.n_post, p.n_pre), indices(p.row_starts), indices(p.pre), w.to_vec());
    let starts = (0..=p.n_pre).map(|i| i * batch).collect();
    let columns = (0..p.n_pre * batch).map(|i| i % batch).collect();
    let peer_x = CsMat::new((p.n_pre, batch), starts, columns, x.to_vec()).to_dense();
    let mut peer_y = CsMat::<f32>::zero((p.n_post, batch)).to_dense();
    csr_mulacc_dense_rowmaj(peer.view(), peer_x.view(), peer_y.view_mut());
    same("sprs", y, peer_y.as_slice().expect("row-major"));
    let percent = (100.0 * p.synapses() as f64 / (p.n_post * p.n_pre) as f64).round();
    let label = format!("{} x {}, {percent} %, B{batch}, sprs y", p.n_post, p.n_pre);
    bench_on(criterion, 1, &label, 2.0 * (p.synapses() * batch) as f64, &[], || {
        csr_mulacc_dense_rowmaj(peer.view(), peer_x.view(), peer_y.view_mut());
    });
}

/// Nanoseconds per synapse of square masks of 5 %, batch 32, one thread: the median of the runs that fit in 2 s.
fn scale() {
    const BATCH: usize = 32;
    let pool = bionic_cpu::kernels::threads::pool(1).expect("one thread");
    println!("synapses,kernel,ns_per_synapse");
    for n in [447, 1414, 4472, 14_142, 44_721] {
        let mut rng = Rng::stream(1, "scale", &[n as u64]);
        let (mut row_starts, mut pre) = (vec![0], Vec::<u32>::new());
        for _ in 0..n {
            // Gaps of 1 to 39.
            let mut at = rng.below(39);
            while at < n {
                pre.push(at as u32);
                at += 1 + rng.below(39);
            }
            row_starts.push(pre.len() as u32);
        }
        let t = Transpose::of(n, &row_starts, &pre);
        let p = Pattern { n_post: n, n_pre: n, row_starts: &row_starts, pre: &pre };
        let [w, x, dy] = [pre.len(), n * BATCH, n * BATCH].map(|n| aligned(&numbers(n)));
        let [mut y, mut dx, mut dw] = [n * BATCH, n * BATCH, pre.len()].map(Aligned::zeros);
        let print = |kernel: &str, f: &mut (dyn FnMut() + Send)| {
            let seconds = pool.run(|| median_seconds(f));
            println!("{},{kernel},{:.3}", pre.len(), seconds * 1e9 / pre.len() as f64);
        };
        print("forward", &mut || sparse::forward(p, BATCH, &w, &x, &mut y, false));
        print("input gradient", &mut || sparse::backward_input(p, &t, BATCH, &w, &dy, &mut dx, false));
        print("weight gradient", &mut || sparse::backward_weights(p, BATCH, &dy, &x, &mut dw));
    }
}

fn median_seconds(f: &mut (dyn FnMut() + Send)) -> f64 {
    f();
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < 3 || (times.len() < 1000 && begin.elapsed().as_secs_f64() < 2.0) {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
