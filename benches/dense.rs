//! Dense products at the shapes of the presets on one thread, with faer as the peer; then two slices of a batch together,
//! beside one after the other; then gradients of which a part is 0, as behind a ReLU.

mod roofline;

use bionic_cpu::aligned::Aligned;
use bionic_cpu::kernels::dense::{self, Slice};
use bionic_cpu::rng::Rng;
use criterion::Criterion;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use roofline::{aligned, bench, numbers, same, short};

fn main() {
    let mut criterion = short();
    for (n_post, n_pre, batch) in
        [(266, 2304, 64), (512, 512, 64), (512, 512, 32), (512, 512, 256), (7, 512, 64), (512, 512, 1)]
    {
        let label = format!("{n_post}x{n_pre} B{batch}");
        let (w, x, dy) = (numbers(n_post * n_pre), numbers(n_pre * batch), numbers(n_post * batch));
        let (mut y, mut dx, mut dw) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()], vec![f32::NAN; w.len()]);
        let mut xt = vec![f32::NAN; x.len()];
        let mut peer = vec![f32::NAN; dy.len()];
        let w_mat = MatRef::from_row_major_slice(&w, n_post, n_pre);
        let x_mat = MatRef::from_row_major_slice(&x, n_pre, batch);
        let dy_mat = MatRef::from_row_major_slice(&dy, n_post, batch);
        let flops = 2.0 * (n_post * n_pre * batch) as f64;
        let multiply = |out: &mut [f32], cols: usize, a: MatRef<f32>, b: MatRef<f32>| {
            let out = MatMut::from_row_major_slice_mut(out, a.nrows(), cols);
            matmul(out, Accum::Replace, a, b, 1.0, Par::Seq);
        };

        dense::forward(n_post, n_pre, batch, &w, None, &x, &mut y);
        multiply(&mut peer, batch, w_mat, x_mat);
        same("y", &y, &peer);
        dense::backward_input(n_post, n_pre, batch, &w, &dy, &mut dx);
        let mut peer_dx = vec![f32::NAN; x.len()];
        multiply(&mut peer_dx, batch, w_mat.transpose(), dy_mat);
        same("dx", &dx, &peer_dx);
        dense::backward_weights(n_post, n_pre, batch, &dy, &x, &mut xt, &mut dw);
        let mut peer_dw = vec![f32::NAN; w.len()];
        multiply(&mut peer_dw, n_pre, dy_mat, x_mat.transpose());
        same("dw", &dw, &peer_dw);

        bench(&mut criterion, &format!("dense {label} y"), flops, || {
            dense::forward(n_post, n_pre, batch, &w, None, &x, &mut y);
        });
        bench(&mut criterion, &format!("faer  {label} y"), flops, || multiply(&mut peer, batch, w_mat, x_mat));
        bench(&mut criterion, &format!("dense {label} dx"), flops, || {
            dense::backward_input(n_post, n_pre, batch, &w, &dy, &mut dx);
        });
        bench(&mut criterion, &format!("faer  {label} dx"), flops, || {
            multiply(&mut peer_dx, batch, w_mat.transpose(), dy_mat);
        });
        bench(&mut criterion, &format!("dense {label} dw"), flops, || {
            dense::backward_weights(n_post, n_pre, batch, &dy, &x, &mut xt, &mut dw);
        });
        bench(&mut criterion, &format!("faer  {label} dw"), flops, || {
            multiply(&mut peer_dw, n_pre, dy_mat, x_mat.transpose());
        });
    }
    for (n_post, n_pre) in [(136, 2304), (256, 2304), (192, 512)] {
        two_slices(&mut criterion, n_post, n_pre);
    }
    for percent in [0, 30, 50, 70, 90] {
        silent(&mut criterion, 256, 2304, percent);
    }
    criterion.final_summary();
}

/// Gradients of two slices of 16 samples that are 0 in `percent` of them, half of these neuron by neuron, the others sample
/// by sample; the rate counts all products, also those that are left out.
fn silent(criterion: &mut Criterion, n_post: usize, n_pre: usize, percent: usize) {
    const BATCH: usize = 16;
    let mut rng = Rng::stream(1, "silent", &[]);
    // Both together leave (1 - whole) (1 - one) = 1 - percent / 100.
    let whole = percent as f32 / 200.0;
    let one = 1.0 - (1.0 - 2.0 * whole) / (1.0 - whole);
    let w = numbers(n_post * n_pre);
    let [x, mut dy] = [n_pre, n_post].map(|n| [aligned(&numbers(n * BATCH)), aligned(&numbers(n * BATCH + 1)[1..])]);
    for post in 0..n_post {
        let neuron = rng.chance(whole);
        for v in dy.iter_mut().flat_map(|dy| &mut dy[post * BATCH..][..BATCH]) {
            if neuron || rng.chance(one) {
                *v = 0.0;
            }
        }
    }
    let mut dx = [(); 2].map(|()| Aligned::zeros(n_pre * BATCH));
    let (mut xt, mut dw) = (vec![f32::NAN; 2 * n_pre * BATCH], vec![f32::NAN; w.len()]);
    let parts = [0, 1].map(|i| (&x[i][..], &dy[i][..]));

    let mut want = vec![f32::NAN; n_pre * BATCH];
    dense::backward_input_slices(n_post, n_pre, &w, &mut both(&dy, &mut dx));
    for (dx, dy) in dx.iter().zip(&dy) {
        dense::backward_input_reference(n_post, n_pre, BATCH, &w, dy, &mut want);
        same("dx", dx, &want);
    }
    let [mut want, mut one] = [(); 2].map(|()| vec![0.0; w.len()]);
    dense::backward_weights_parts(n_post, n_pre, &parts, &mut xt, &mut dw);
    for (x, dy) in parts {
        dense::backward_weights_reference(n_post, n_pre, BATCH, dy, x, &mut one);
        want.iter_mut().zip(&one).for_each(|(sum, v)| *sum += v);
    }
    same("dw", &dw, &want);

    let flops = 2.0 * (n_post * n_pre * 2 * BATCH) as f64;
    bench(criterion, &format!("{percent} % silent {n_post}x{n_pre} dx"), flops, || {
        dense::backward_input_slices(n_post, n_pre, &w, &mut both(&dy, &mut dx));
    });
    bench(criterion, &format!("{percent} % silent {n_post}x{n_pre} dw"), flops, || {
        dense::backward_weights_parts(n_post, n_pre, &parts, &mut xt, &mut dw);
    });
}

/// A part of the neurons of a projection, as a worker has it, and two slices of 16 samples.
fn two_slices(criterion: &mut Criterion, n_post: usize, n_pre: usize) {
    const BATCH: usize = 16;
    let w = numbers(n_post * n_pre);
    let [x, dy] = [n_pre, n_post].map(|n| [aligned(&numbers(n * BATCH)), aligned(&numbers(n * BATCH + 1)[1..])]);
    let [mut y, mut dx] = [n_post, n_pre].map(|n| [(); 2].map(|()| Aligned::zeros(n * BATCH)));
    let [mut y_alone, mut dx_alone] = [y.clone(), dx.clone()];
    let flops = 2.0 * (n_post * n_pre * 2 * BATCH) as f64;
    let one_by_one = |y: &mut [Aligned; 2]| {
        x.iter().zip(y).for_each(|(x, y)| dense::forward(n_post, n_pre, BATCH, &w, None, x, y));
    };
    dense::forward_slices(n_post, n_pre, &w, None, &mut both(&x, &mut y));
    one_by_one(&mut y_alone);
    y.iter().zip(&y_alone).for_each(|(a, b)| same("y", a, b));
    bench(criterion, &format!("two slices {n_post}x{n_pre} y"), flops, || {
        dense::forward_slices(n_post, n_pre, &w, None, &mut both(&x, &mut y));
    });
    bench(criterion, &format!("one by one {n_post}x{n_pre} y"), flops, || one_by_one(&mut y_alone));

    let one_by_one = |dx: &mut [Aligned; 2]| {
        dy.iter().zip(dx).for_each(|(dy, dx)| dense::backward_input(n_post, n_pre, BATCH, &w, dy, dx));
    };
    dense::backward_input_slices(n_post, n_pre, &w, &mut both(&dy, &mut dx));
    one_by_one(&mut dx_alone);
    dx.iter().zip(&dx_alone).for_each(|(a, b)| same("dx", a, b));
    bench(criterion, &format!("two slices {n_post}x{n_pre} dx"), flops, || {
        dense::backward_input_slices(n_post, n_pre, &w, &mut both(&dy, &mut dx));
    });
    bench(criterion, &format!("one by one {n_post}x{n_pre} dx"), flops, || one_by_one(&mut dx_alone));
}

fn both<'a>(from: &'a [Aligned; 2], to: &'a mut [Aligned; 2]) -> Vec<Slice<'a>> {
    from.iter().zip(to).map(|(from, to)| Slice { batch: 16, from, to }).collect()
}
