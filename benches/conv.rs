//! Convolution forward, input gradient and weight gradient at the shapes of the presets, one thread.

mod roofline;

use bionic_cpu::kernels::conv::{self, ConvShape};
use roofline::{bench, numbers, same, short};

fn main() {
    let mut criterion = short();
    for (c_in, c_out, side, k, batch) in [
        (1, 8, 48, 5, 32),
        (8, 16, 24, 3, 32),
        (1, 32, 48, 3, 64),
        (32, 64, 24, 3, 64),
        (64, 128, 12, 3, 64),
        (8, 16, 24, 3, 1),
    ] {
        let shape = ConvShape { c_in, c_out, h: side, w: side, k };
        let label = format!("{c_in}->{c_out} k{k} {side}x{side} B{batch}");
        check(&shape);
        let pixels = side * side * batch;
        let (w, x, dy) = (numbers(shape.weights_len()), numbers(c_in * pixels), numbers(c_out * pixels));
        let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
        let (mut scratch, mut partial) = (vec![0.0; shape.scratch_len(batch)], vec![0.0; shape.partial_len(batch)]);
        let flops = 2.0 * (shape.work() * batch) as f64;
        bench(&mut criterion, &format!("conv {label} y"), flops, || {
            conv::forward(&shape, batch, &w, None, &mut scratch, &x, &mut y);
        });
        bench(&mut criterion, &format!("conv {label} dx"), flops, || {
            conv::backward_input(&shape, batch, &w, &mut scratch, &dy, &mut dx);
        });
        bench(&mut criterion, &format!("conv {label} dw"), flops, || {
            conv::backward_weights(&shape, batch, &dy, &x, &mut partial, &mut dw);
        });
    }
    criterion.final_summary();
}

/// Compares the three products with their references on two images.
fn check(shape: &ConvShape) {
    let (batch, pixels) = (2, shape.h * shape.w * 2);
    let (w, x, dy) = (numbers(shape.weights_len()), numbers(shape.c_in * pixels), numbers(shape.c_out * pixels));
    let (mut scratch, mut partial) = (vec![0.0; shape.scratch_len(batch)], vec![0.0; shape.partial_len(batch)]);
    let (mut got, mut expected) = (vec![f32::NAN; dy.len()], vec![0.0; dy.len()]);
    conv::forward(shape, batch, &w, None, &mut scratch, &x, &mut got);
    conv::forward_reference(shape, batch, &w, None, &x, &mut expected);
    same("y", &got, &expected);
    let (mut got, mut expected) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
    conv::backward_input(shape, batch, &w, &mut scratch, &dy, &mut got);
    conv::backward_input_reference(shape, batch, &w, &dy, &mut expected);
    same("dx", &got, &expected);
    let (mut got, mut expected) = (vec![f32::NAN; w.len()], vec![0.0; w.len()]);
    conv::backward_weights(shape, batch, &dy, &x, &mut partial, &mut got);
    conv::backward_weights_reference(shape, batch, &dy, &x, &mut expected);
    same("dw", &got, &expected);
}
