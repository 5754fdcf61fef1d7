//! `spatial_attention`: scales each pixel by a gate computed from the means and maxima over the feature maps nearby.
//!
//! Woo et al. 2018, "CBAM: Convolutional Block Attention Module", equation 3.

use super::{Backward, Init, Layer, LayerKind, Operation, Params, Pass, Role, Shape, TensorSpec, tensor_ranges};
use crate::aligned::Aligned;
use crate::error::{Error, Result};
use crate::kernels::attention::{pool_maps, scale_pixels, scale_pixels_dgate, scale_pixels_dx, sigmoid};
use crate::kernels::lateral::MapShape;
use crate::kernels::map_filter::{MAX_SIDE, filter_maps, filter_maps_dfilter, filter_maps_dmaps};
use std::ops::Range;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind {
    name: "spatial_attention",
    doc: "scales each pixel by a gate from the means and maxima over the maps nearby: kernel (7, odd)",
    build,
};

/// `y = x * sigmoid(conv([mean over maps, maximum over maps]) + bias)`, one `K x K` filter over both, zero padding.
#[derive(Clone)]
struct SpatialAttention {
    shape: Shape,
    /// Filter side K, odd.
    k: usize,
    /// Where the filter lies in the weights, and the bias.
    filter: Range<usize>,
    bias: usize,
    /// Means and maxima, in each row between K/2 columns of zeros `(H, 2, W + K - 1, B)`.
    pools: Aligned,
    /// Map of each maximum `(H, W, B)`.
    peak: Vec<u32>,
    /// Gates `(H, W, B)`.
    gate: Aligned,
    /// Gradient before the sigmoid, in each row between K/2 columns of zeros `(H, W + K - 1, B)`.
    d: Aligned,
    /// Gradient of the pools `(H, 2, W, B)`.
    dpools: Aligned,
}

/// Builds it; `kernel` (7) is the side of the filter, odd.
///
/// # Errors
/// `Usage` for an unknown parameter or an even kernel.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    let k = params.size("kernel", 7)?;
    params.finish()?;
    if k.is_multiple_of(2) || k > MAX_SIDE {
        return Err(Error::usage(
            format!("stem: spatial_attention.kernel = {k}: expected an odd number up to {MAX_SIDE}"),
            "mend the stem in the configuration",
        ));
    }
    let mut layer = SpatialAttention {
        shape: input,
        k,
        filter: 0..0,
        bias: 0,
        pools: Aligned::default(),
        peak: Vec::new(),
        gate: Aligned::default(),
        d: Aligned::default(),
        dpools: Aligned::default(),
    };
    let ranges = tensor_ranges(&layer.tensors());
    (layer.filter, layer.bias) = (ranges[0].clone(), ranges[1].start);
    Ok(Box::new(layer))
}

impl SpatialAttention {
    fn map(&self, batch: usize) -> MapShape {
        MapShape { h: self.shape.h, w: self.shape.w, batch }
    }
}

impl Layer for SpatialAttention {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let sd = (2.0 / (2 * self.k * self.k) as f32).sqrt();
        vec![
            TensorSpec::new("filter", &[2, self.k, self.k], Role::Weight, Init::Normal(sd)),
            TensorSpec::new("bias", &[1], Role::Plain, Init::Constant(0.0)),
        ]
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::SpatialAttention)
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        let (map, k) = (self.map(pass.batch), self.k);
        self.pools.resize(map.h * 2 * (map.w + k - 1) * map.batch, 0.0);
        self.peak.resize(map.len(), 0);
        self.gate.resize(map.len(), 0.0);
        let (filter, bias) = (&weights[self.filter.clone()], weights[self.bias]);
        pool_maps(map, k / 2, x, &mut self.pools, &mut self.peak);
        filter_maps(map, k, filter, bias, &self.pools, &mut self.gate);
        sigmoid(&mut self.gate);
        scale_pixels(&self.gate, x, y);
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        let Backward { weights, x, dy, dx, dweights, .. } = back;
        let (map, k) = (self.map(pass.batch), self.k);
        self.d.resize(map.h * (map.w + k - 1) * map.batch, 0.0);
        self.dpools.resize(2 * map.len(), 0.0);
        scale_pixels_dgate(map, k / 2, &self.gate, x, dy, &mut self.d);
        let dbias = filter_maps_dfilter(map, k, &self.pools, &self.d, &mut dweights[self.filter.clone()]);
        dweights[self.bias] = dbias;
        if let Some(dx) = dx {
            filter_maps_dmaps(map, k, &weights[self.filter.clone()], &self.d, &mut self.dpools);
            scale_pixels_dx(map, &self.gate, &self.dpools, &self.peak, dy, dx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity;
    use crate::model::spec;

    #[test]
    fn the_gate_is_that_of_equation_3() {
        let (Shape { c, h, w }, k) = (Shape { c: 3, h: 4, w: 5 }, 3);
        let table = [("layer".into(), "spatial_attention".into()), ("kernel".into(), 3.into())];
        let params = &mut Params::new(table.into_iter().collect()).unwrap();
        let mut layer = build(params, Shape { c, h, w }).unwrap();
        let tensors = layer.tensors();
        let weights = parity::random("weights", spec::tensors_len(&tensors));
        let bias = weights[tensor_ranges(&tensors)[1].start];
        for batch in parity::BATCHES {
            let x = parity::random("x", c * h * w * batch);
            let mut y = vec![f32::NAN; x.len()];
            let pass = Pass { training: false, batch, slice: 0, seed: 1, step: 0 };
            layer.forward(&pass, &weights, &[], &x, &mut y);

            let mut want = vec![f32::NAN; x.len()];
            for b in 0..batch {
                let at = |c: usize, row: usize, col: usize| ((c * h + row) * w + col) * batch + b;
                let pools = |row: usize, col: usize| {
                    let values = (0..c).map(|c| x[at(c, row, col)]);
                    [values.clone().sum::<f32>() / c as f32, values.fold(f32::MIN, f32::max)]
                };
                for (row, col) in (0..h).flat_map(|row| (0..w).map(move |col| (row, col))) {
                    let mut sum = bias;
                    for (i, j) in (0..k).flat_map(|i| (0..k).map(move |j| (i, j))) {
                        if (1..=h).contains(&(row + i)) && (1..=w).contains(&(col + j)) {
                            let [mean, max] = pools(row + i - 1, col + j - 1);
                            sum += weights[i * k + j] * mean + weights[(k + i) * k + j] * max;
                        }
                    }
                    (0..c).for_each(|c| want[at(c, row, col)] = x[at(c, row, col)] / (1.0 + (-sum).exp()));
                }
            }
            parity::close(&format!("spatial attention B{batch}"), &y, &want, 1e-5);
        }
    }

    #[test]
    fn an_even_kernel_is_refused() {
        for kernel in [2, 65] {
            let table = [("layer".into(), "spatial_attention".into()), ("kernel".into(), kernel.into())];
            let params = &mut Params::new(table.into_iter().collect()).unwrap();
            assert!(build(params, Shape { c: 3, h: 4, w: 5 }).is_err(), "{kernel}");
        }
    }
}
