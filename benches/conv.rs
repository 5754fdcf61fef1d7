//! Convolution forward, input gradient and weight gradient at the shapes of the presets, one thread.
//!
//! `y`, `dx`, `dw` are what the layers call: by Winograd's tiles for 3 x 3 kernels between eight channels or more, where
//! the rate counts the products of the direct sum (effective GFLOP/s) and can pass the peak. `taps` is the direct sum at
//! the same shape, `packed` the forward pass with weights packed before, `bf16` the same products of rounded factors: by the
//! matrix unit where the CPU has one.

mod roofline;

use bionic_cpu::kernels::bf16::conv as bf16;
use bionic_cpu::kernels::conv::{self, ConvShape};
use bionic_cpu::kernels::{conv_direct, conv_weights};
use roofline::{bench, numbers, same, short};

fn main() {
    let mut criterion = short();
    for batch in [16, 32, 64, 1] {
        for (c_in, c_out, side, k) in [(1, 8, 48, 5), (8, 16, 24, 3), (1, 32, 48, 3), (32, 64, 24, 3), (64, 128, 12, 3)]
        {
            let shape = ConvShape { c_in, c_out, h: side, w: side, k };
            let tiles = k == 3 && c_in >= 8;
            let label = format!("{c_in}->{c_out} k{k} {side}x{side} B{batch}");
            check(&shape, 2);
            check(&shape, 16);
            let pixels = side * side * batch;
            let (w, x, dy) = (numbers(shape.weights_len()), numbers(c_in * pixels), numbers(c_out * pixels));
            let (mut y, mut dx, mut dw) = (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
            let mut scratch = vec![0.0; shape.scratch_len(batch)];
            let mut back = vec![0.0; shape.backward_scratch_len(batch)];
            let mut partial = vec![0.0; shape.partial_len(batch)];
            let flops = 2.0 * (shape.work() * batch) as f64;
            let how = if tiles { "tiles, effective" } else { "taps" };
            bench(&mut criterion, &format!("conv {label} y {how}"), flops, || {
                conv::forward(&shape, batch, &w, None, &mut scratch, &x, &mut y);
            });
            let mut packed = vec![0.0; shape.packed_len()];
            let mut work = vec![0.0; shape.tiles_len(batch)];
            conv::pack(&shape, &w, &mut packed);
            bench(&mut criterion, &format!("conv {label} y {how}, packed"), flops, || {
                conv::forward_packed(&shape, batch, &packed, None, &mut work, &x, &mut y);
            });
            if tiles {
                let mut taps = vec![0.0; conv_direct::scratch_len(&shape, batch)];
                bench(&mut criterion, &format!("conv {label} y taps"), flops, || {
                    conv_direct::forward(&shape, batch, &w, None, &mut taps, &x, &mut y);
                });
                bench(&mut criterion, &format!("conv {label} dx {how}"), flops, || {
                    conv::backward_input(&shape, batch, &w, &mut back, &dy, &mut dx);
                });
            }
            bench(&mut criterion, &format!("conv {label} dw {how}"), flops, || {
                conv::backward_weights(&shape, batch, &dy, &x, &mut partial, &mut dw);
            });
            if tiles {
                let mut partial = vec![0.0; conv_weights::scratch_len(&shape, batch)];
                bench(&mut criterion, &format!("conv {label} dw taps"), flops, || {
                    conv_weights::backward_weights(&shape, batch, &dy, &x, &mut partial, &mut dw);
                });
                let (bias, mut rounding) = (vec![0.0; c_out], bf16::products());
                bench(&mut criterion, &format!("conv {label} y bf16"), flops, || {
                    rounding.forward(&shape, batch, &w, &bias, &x, &mut y);
                });
                bench(&mut criterion, &format!("conv {label} dx bf16"), flops, || {
                    rounding.backward_input(&shape, batch, &w, &dy, &mut dx);
                });
                bench(&mut criterion, &format!("conv {label} dw bf16"), flops, || {
                    rounding.backward_weights(&shape, batch, &dy, &x, &mut dw);
                });
            }
        }
    }
    criterion.final_summary();
}

/// Compares the three products with their references on a few images.
fn check(shape: &ConvShape, batch: usize) {
    let pixels = shape.h * shape.w * batch;
    let (w, x, dy) = (numbers(shape.weights_len()), numbers(shape.c_in * pixels), numbers(shape.c_out * pixels));
    check_bf16(shape, batch, [&w, &x, &dy]);
    let (mut scratch, mut partial) = (vec![0.0; shape.scratch_len(batch)], vec![0.0; shape.partial_len(batch)]);
    let (mut got, mut expected) = (vec![f32::NAN; dy.len()], vec![0.0; dy.len()]);
    conv::forward(shape, batch, &w, None, &mut scratch, &x, &mut got);
    conv::forward_reference(shape, batch, &w, None, &x, &mut expected);
    same("y", &got, &expected);
    let (mut got, mut expected) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
    let mut scratch = vec![0.0; shape.backward_scratch_len(batch)];
    conv::backward_input(shape, batch, &w, &mut scratch, &dy, &mut got);
    conv::backward_input_reference(shape, batch, &w, &dy, &mut expected);
    same("dx", &got, &expected);
    let (mut got, mut expected) = (vec![f32::NAN; w.len()], vec![0.0; w.len()]);
    conv::backward_weights(shape, batch, &dy, &x, &mut partial, &mut got);
    conv::backward_weights_reference(shape, batch, &dy, &x, &mut expected);
    same("dw", &got, &expected);
}

/// The same in bf16, of numbers that are so already.
fn check_bf16(shape: &ConvShape, batch: usize, exact: [&[f32]; 3]) {
    let short = |x: &f32| f32::from_bits(x.to_bits() & 0xffff_0000);
    let [w, x, dy] = exact.map(|numbers| numbers.iter().map(short).collect::<Vec<f32>>());
    let mut rounding = bf16::products();
    let (mut got, mut expected) = (vec![f32::NAN; dy.len()], vec![0.0; dy.len()]);
    rounding.forward(shape, batch, &w, &vec![0.0; shape.c_out], &x, &mut got);
    conv::forward_reference(shape, batch, &w, None, &x, &mut expected);
    same("y in bf16", &got, &expected);
    let (mut got, mut expected) = (vec![f32::NAN; x.len()], vec![0.0; x.len()]);
    rounding.backward_input(shape, batch, &w, &dy, &mut got);
    conv::backward_input_reference(shape, batch, &w, &dy, &mut expected);
    same("dx in bf16", &got, &expected);
    let (mut got, mut expected) = (vec![f32::NAN; w.len()], vec![0.0; w.len()]);
    rounding.backward_weights(shape, batch, &dy, &x, &mut got);
    conv::backward_weights_reference(shape, batch, &dy, &x, &mut expected);
    same("dw in bf16", &got, &expected);
}
