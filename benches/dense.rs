//! Dense products at the shapes of the presets on one thread, with faer as the peer.

mod roofline;

use bionic_cpu::kernels::dense;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use roofline::{bench, numbers, same, short};

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
    criterion.final_summary();
}
