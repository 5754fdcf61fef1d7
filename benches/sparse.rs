//! Masked products of 4096 neurons with 4096 on one thread, with sprs as the peer of the forward product.

mod mask;
mod roofline;

use bionic_cpu::kernels::sparse;
use roofline::{bench, numbers, same, short};
use sprs::CsMat;
use sprs::prod::csr_mulacc_dense_rowmaj;

const N: usize = 4096;

fn main() {
    let mut criterion = short();
    for percent in [1, 5, 20] {
        let mask = mask::random(N, percent as f32 / 100.0);
        let p = mask.pattern();
        let w = numbers(p.synapses());
        for batch in [1, 32, 128] {
            let label = format!("{percent} % B{batch}");
            let (x, dy) = (numbers(N * batch), numbers(N * batch + 1)[1..].to_vec());
            let flops = 2.0 * (p.synapses() * batch) as f64;
            let (mut y, mut dx, mut dw) =
                (vec![f32::NAN; N * batch], vec![f32::NAN; N * batch], vec![f32::NAN; w.len()]);

            let mut want = vec![f32::NAN; N * batch];
            sparse::forward(p, batch, &w, &x, &mut y, false);
            sparse::forward_reference(p, batch, &w, &x, &mut want, false);
            same("y", &y, &want);
            sparse::backward_input(p, batch, &w, &dy, &mut dx, false);
            sparse::backward_input_reference(p, batch, &w, &dy, &mut want, false);
            same("dx", &dx, &want);
            let mut want = vec![f32::NAN; w.len()];
            sparse::backward_weights(p, batch, &dy, &x, &mut dw);
            sparse::backward_weights_reference(p, batch, &dy, &x, &mut want);
            same("dw", &dw, &want);

            let indices = |v: &[u32]| v.iter().map(|&i| i as usize).collect::<Vec<_>>();
            let peer = CsMat::new((N, N), indices(p.row_starts), indices(p.pre), w.clone());
            let starts = (0..=N).map(|i| i * batch).collect();
            let peer_x =
                CsMat::new((N, batch), starts, (0..N * batch).map(|i| i % batch).collect(), x.clone()).to_dense();
            let mut peer_y = CsMat::<f32>::zero((N, batch)).to_dense();
            csr_mulacc_dense_rowmaj(peer.view(), peer_x.view(), peer_y.view_mut());
            same("sprs", &y, peer_y.as_slice().expect("row-major"));

            bench(&mut criterion, &format!("sparse {label} y"), flops, || {
                sparse::forward(p, batch, &w, &x, &mut y, false);
            });
            bench(&mut criterion, &format!("sprs   {label} y"), flops, || {
                csr_mulacc_dense_rowmaj(peer.view(), peer_x.view(), peer_y.view_mut());
            });
            bench(&mut criterion, &format!("sparse {label} dx"), flops, || {
                sparse::backward_input(p, batch, &w, &dy, &mut dx, false);
            });
            bench(&mut criterion, &format!("sparse {label} dw"), flops, || {
                sparse::backward_weights(p, batch, &dy, &x, &mut dw);
            });
        }
    }
    criterion.final_summary();
}
