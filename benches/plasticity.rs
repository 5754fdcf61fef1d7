//! The local step and the optimizer's step on the synapses of 4096 neurons with 4096, on one thread.

mod mask;
mod roofline;

use bionic_cpu::kernels::sparse::Pattern;
use bionic_cpu::kernels::{optimizer, plasticity};
use criterion::Criterion;
use optimizer::AdamStep;
use roofline::{Traffic, bench, bench_on, numbers, print_bandwidth, same, short};

const N: usize = 4096;

fn main() {
    let mut criterion = short();
    print_bandwidth();
    for percent in [1, 5, 20] {
        let mask = mask::random(N, N, percent as f32 / 100.0);
        let p = mask.pattern();
        let start = numbers(p.synapses());
        let mut dw = vec![f32::NAN; start.len()];
        for batch in [32, 128] {
            let (x, y) = (numbers(N * batch), numbers(N * batch + 1)[1..].to_vec());
            let (mut gate, mut decay, mut rates) = (vec![f32::NAN; y.len()], vec![f32::NAN; N], vec![f32::NAN; N]);
            let mut w = start.clone();

            plasticity::gate_oja(N, batch, &y, false, &mut gate, &mut decay);
            plasticity::hebbian_sparse(p, batch, &gate, &x, &decay, &w, &mut dw);
            let mut want = vec![f32::NAN; w.len()];
            plasticity::hebbian_sparse_reference(p, batch, &gate, &x, &decay, &w, &mut want);
            same("dw", &dw, &want);

            // Gate, product with decay (synaptic scaling is part of it) and norm, step, rates: counted as the product alone.
            let flops = 2.0 * (p.synapses() * batch) as f64;
            bench(&mut criterion, &format!("oja + scaling {percent} % B{batch}"), flops, || {
                plasticity::gate_oja(N, batch, &y, false, &mut gate, &mut decay);
                plasticity::hebbian_sparse(p, batch, &gate, &x, &decay, &w, &mut dw);
                plasticity::apply(1e-6, &dw, &mut w);
                plasticity::row_means(N, batch, &y, &mut rates);
            });
            bench(&mut criterion, &format!("softwta gate {percent} % B{batch}"), 20.0 * y.len() as f64, || {
                plasticity::gate_softwta(N, batch, &y, 1.0, &mut gate, &mut decay);
            });
        }
        online(&mut criterion, percent, p, &start);
        let step = AdamStep {
            learning_rate: 1e-6,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            gradient_factor: 1.0,
            weight_decay: 0.0,
            decoupled: true,
            bias_correction1: 0.1,
            bias_correction2: 0.001,
        };
        let (mut w, mut m, mut v) = (start.clone(), vec![0.0; start.len()], vec![0.0; start.len()]);
        optimizer::adam_step(&step, &mut w, &mut m, &mut v, &start);
        let moved: Vec<f32> = start.iter().map(|g| g - 1e-6 * g.signum()).collect();
        same("adam", &w, &moved);
        bench(&mut criterion, &format!("adam {percent} % of 4096 x 4096"), 12.0 * start.len() as f64, || {
            optimizer::adam_step(&step, &mut w, &mut m, &mut v, &start);
        });
    }
    criterion.final_summary();
}

/// The local step of one sample with synaptic scaling, rates and intrinsic plasticity, in place.
fn online(criterion: &mut Criterion, percent: usize, p: Pattern, start: &[f32]) {
    let (x, y) = (numbers(N), numbers(N + 1)[1..].to_vec());
    let (mut gate, mut decay) = (vec![f32::NAN; N], vec![f32::NAN; N]);
    let (mut w, mut want) = (start.to_vec(), start.to_vec());
    plasticity::gate_oja(N, 1, &y, false, &mut gate, &mut decay);
    plasticity::hebbian_online(p, 0.01, &gate, &x, &decay, &mut w);
    plasticity::hebbian_online_reference(p, 0.01, &gate, &x, &decay, &mut want);
    same("online", &w, &want);

    let (mut rates, mut bias) = (vec![0.1; N], vec![0.0; N]);
    let traffic = Traffic { bytes: 12.0 * w.len() as f64, size: 8 * w.len() };
    for threads in [1, 2] {
        // Counted as 1 operation per synapse, so that GFLOP/s reads as synapses per nanosecond.
        let label = format!("oja + homeostasis {percent} % B1, {threads} thr., Gsyn/s");
        bench_on(criterion, threads, &label, w.len() as f64, &[traffic], || {
            plasticity::gate_oja(N, 1, &y, false, &mut gate, &mut decay);
            for (d, r) in decay.iter_mut().zip(&rates) {
                *d -= 0.1 * ((0.1 - r) / 0.1f32).clamp(-1.0, 1.0);
            }
            plasticity::hebbian_online(p, 1e-6, &gate, &x, &decay, &mut w);
            plasticity::update_running_mean(&y, 100.0, &mut rates);
            plasticity::intrinsic_step(&rates, 0.1, 1e-6, &mut bias);
        });
    }
}
