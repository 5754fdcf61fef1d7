//! Plain functions on slices: no neurons, no files. Outputs and scratch come from the caller; lists of inputs that are
//! not 0 are made for a call. What is kept between calls: scratch of a thread, which grows (`sparse/panel.rs`), scratch
//! of what multiplies in [`bf16`], which grows too, beside the tile registers of its thread, and what each worker is
//! doing ([`threads`]).
//!
//! Activity is `(N, B)`, batch innermost: `x[n * batch + b]`. Images are `(C, H, W, B)`. Every output element is
//! summed by one thread in an order fixed by the shapes alone, so any number of threads gives the same bits.
//! `kernels` is public for the benches and promises nothing.

pub mod attention;
pub mod batch_norm;
pub mod bf16;
pub mod calibration;
pub mod conv;
pub mod conv_channels;
pub mod conv_direct;
pub mod conv_weights;
pub mod dense;
mod dense_single;
mod dense_slices;
mod dense_weights;
pub mod elementwise;
pub mod gate_mlp;
mod lane_sums;
mod lanes;
pub mod lateral;
pub mod loss;
pub mod map_filter;
pub mod norm;
pub mod optimizer;
#[cfg(test)]
pub mod parity;
pub mod plasticity;
pub mod pool;
mod reduce;
pub mod scores;
pub mod sparse;
pub mod threads;
mod winograd;
mod winograd_channels;
mod winograd_tiles;
mod winograd_turn;
mod winograd_weights;
mod winograd_weights_eight;

/// What decides the last bits of a sum beside the source: architecture, lanes of the vector registers, fused
/// multiply-add; and, if factors are rounded to bf16, whether there is a matrix unit for them.
pub fn arithmetic(bf16: bool) -> String {
    let lanes = match () {
        () if cfg!(target_feature = "avx512f") => 16,
        () if cfg!(target_feature = "avx") => 8,
        () => 4,
    };
    let fused = if cfg!(target_feature = "fma") || cfg!(target_arch = "aarch64") { "fused" } else { "separate" };
    let products = if bf16 && !bf16::is_native() { ", bf16 multiplied in f32" } else { "" };
    format!("{}, {lanes} f32 lanes, {fused} multiply-add{products}", std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_matrix_unit_decides_the_bits_of_rounded_products() {
        assert_eq!(super::arithmetic(true) == super::arithmetic(false), super::bf16::is_native());
    }
}
