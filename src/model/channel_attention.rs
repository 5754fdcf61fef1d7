//! `channel_attention`: scales each feature map by a gate computed from the means and maxima of all maps.
//!
//! Woo et al. 2018, "CBAM: Convolutional Block Attention Module", equation 2.

use super::{Backward, Init, Layer, LayerKind, Operation, Params, Pass, Role, Shape, TensorSpec, tensor_ranges};
use crate::aligned::Aligned;
use crate::error::Result;
use crate::kernels::attention::{pool_pixels, scale_maps, scale_maps_dgate, scale_maps_dx};
use crate::kernels::gate_mlp::{GateShape, GateWeights, gate, gate_backward};
use crate::kernels::lateral::MapShape;
use std::ops::Range;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind {
    name: "channel_attention",
    doc: "scales each map by a gate from the means and maxima of all maps: reduction (4)",
    build,
};

/// `y = x * sigmoid(MLP(mean of each map) + MLP(maximum of each map))`, MLP: C to J with ReLU, J to C.
#[derive(Clone)]
struct ChannelAttention {
    shape: Shape,
    /// Hidden units J.
    n_hidden: usize,
    /// Where each tensor lies in the weights (4).
    ranges: Vec<Range<usize>>,
    /// Means and maxima `(C, 2, B)`.
    pools: Aligned,
    /// Pixel of each maximum `(C, B)`.
    peak: Vec<f32>,
    /// Hidden activity for both pools `(J, 2, B)`.
    hidden: Aligned,
    /// Gates `(C, B)`.
    gate: Aligned,
    /// Gradient of the gates `(C, B)`.
    dgate: Aligned,
    /// Gradient of `hidden` `(J, 2, B)`.
    dhidden: Aligned,
    /// Gradient of `pools` `(C, 2, B)`.
    dpools: Aligned,
}

/// Builds it; `reduction` (4) is how many times fewer hidden units there are than channels, at least one.
///
/// # Errors
/// `Usage` for an unknown parameter or a reduction that is no integer of at least 1.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    let n_hidden = (input.c / params.size("reduction", 4)?).max(1);
    params.finish()?;
    let mut layer = ChannelAttention {
        shape: input,
        n_hidden,
        ranges: Vec::new(),
        pools: Aligned::default(),
        peak: Vec::new(),
        hidden: Aligned::default(),
        gate: Aligned::default(),
        dgate: Aligned::default(),
        dhidden: Aligned::default(),
        dpools: Aligned::default(),
    };
    layer.ranges = tensor_ranges(&layer.tensors());
    Ok(Box::new(layer))
}

impl ChannelAttention {
    fn map(&self, batch: usize) -> MapShape {
        MapShape { h: self.shape.h, w: self.shape.w, batch }
    }

    fn network(&self, batch: usize) -> GateShape {
        GateShape { c: self.shape.c, hidden: self.n_hidden, batch }
    }

    fn weights<'a>(&self, weights: &'a [f32]) -> GateWeights<&'a [f32]> {
        let tensor = |i: usize| &weights[self.ranges[i].clone()];
        GateWeights { squeeze: tensor(0), squeeze_bias: tensor(1), excite: tensor(2), excite_bias: tensor(3) }
    }

    fn dweights<'a>(&self, dweights: &'a mut [f32]) -> GateWeights<&'a mut [f32]> {
        let tensors = dweights.get_disjoint_mut([0, 1, 2, 3].map(|i: usize| self.ranges[i].clone()));
        let Ok([squeeze, squeeze_bias, excite, excite_bias]) = tensors else {
            panic!("dweights must hold the four tensors")
        };
        GateWeights { squeeze, squeeze_bias, excite, excite_bias }
    }
}

impl Layer for ChannelAttention {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let (c, j) = (self.shape.c, self.n_hidden);
        let sd = |n_pre: usize| Init::Normal((2.0 / n_pre as f32).sqrt());
        vec![
            TensorSpec::new("squeeze", &[j, c], Role::Weight, sd(c)),
            TensorSpec::new("squeeze_bias", &[j], Role::Plain, Init::Constant(0.0)),
            TensorSpec::new("excite", &[c, j], Role::Weight, sd(j)),
            TensorSpec::new("excite_bias", &[c], Role::Plain, Init::Constant(0.0)),
        ]
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::ChannelAttention)
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        let (map, batch) = (self.map(pass.batch), pass.batch);
        self.pools.resize(self.shape.c * 2 * batch, 0.0);
        self.peak.resize(self.shape.c * batch, 0.0);
        self.hidden.resize(self.n_hidden * 2 * batch, 0.0);
        self.gate.resize(self.shape.c * batch, 0.0);
        let tensors = self.weights(weights);
        pool_pixels(map, x, &mut self.pools, &mut self.peak);
        gate(self.network(batch), &tensors, &self.pools, &mut self.hidden, &mut self.gate);
        scale_maps(map, &self.gate, x, y);
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        let Backward { weights, x, dy, dx, dweights, .. } = back;
        let map = self.map(pass.batch);
        self.dgate.resize(self.gate.len(), 0.0);
        self.dhidden.resize(self.hidden.len(), 0.0);
        self.dpools.resize(self.pools.len(), 0.0);
        let (tensors, mut dtensors) = (self.weights(weights), self.dweights(dweights));
        scale_maps_dgate(map, x, dy, &mut self.dgate);
        gate_backward(
            self.network(pass.batch),
            &tensors,
            &self.pools,
            &self.hidden,
            &self.gate,
            &mut self.dgate,
            &mut self.dhidden,
            &mut self.dpools,
            &mut dtensors,
        );
        if let Some(dx) = dx {
            scale_maps_dx(map, &self.gate, &self.dpools, &self.peak, dy, dx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::parity;
    use crate::model::spec;

    #[test]
    fn the_gate_is_that_of_equation_2() {
        let shape = Shape { c: 5, h: 3, w: 4 };
        let table = [("layer".into(), "channel_attention".into()), ("reduction".into(), 2.into())];
        let mut layer = build(&mut Params::new(table.into_iter().collect()).unwrap(), shape).unwrap();
        let (tensors, pixels) = (layer.tensors(), shape.h * shape.w);
        let weights = parity::random("weights", spec::tensors_len(&tensors));
        let tensor = |i: usize| &weights[tensor_ranges(&tensors)[i].clone()];
        let (squeeze, squeeze_bias, excite, excite_bias) = (tensor(0), tensor(1), tensor(2), tensor(3));
        let mlp = |pool: &[f32], c: usize| -> f32 {
            let hidden =
                |j: usize| (squeeze_bias[j] + (0..5).map(|k| squeeze[j * 5 + k] * pool[k]).sum::<f32>()).max(0.0);
            excite_bias[c] + (0..2).map(|j| excite[c * 2 + j] * hidden(j)).sum::<f32>()
        };
        for batch in parity::BATCHES {
            let x = parity::random("x", shape.n() * batch);
            let mut y = vec![f32::NAN; x.len()];
            let pass = Pass { training: false, batch, slice: 0, seed: 1, step: 0 };
            layer.forward(&pass, &weights, &[], &x, &mut y);

            let mut want = vec![f32::NAN; x.len()];
            for b in 0..batch {
                let at = |c: usize, pixel: usize| (c * pixels + pixel) * batch + b;
                let map = |c: usize| (0..pixels).map(move |pixel| at(c, pixel));
                let mean: Vec<f32> = (0..5).map(|c| map(c).map(|i| x[i]).sum::<f32>() / pixels as f32).collect();
                let max: Vec<f32> = (0..5).map(|c| map(c).map(|i| x[i]).fold(f32::MIN, f32::max)).collect();
                for c in 0..5 {
                    let gate = 1.0 / (1.0 + (-mlp(&mean, c) - mlp(&max, c)).exp());
                    map(c).for_each(|i| want[i] = x[i] * gate);
                }
            }
            parity::close(&format!("channel attention B{batch}"), &y, &want, 1e-5);
        }
    }
}
