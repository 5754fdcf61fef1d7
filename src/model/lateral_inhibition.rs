//! `lateral_inhibition`: each unit less a share of the mean of its eight neighbours in the same feature map. A linear
//! filter: behind a convolution, whose outputs have either sign, neighbours below zero raise a unit.

use super::{Backward, Init, Layer, LayerKind, MapWise, Operation, Params, Pass, Role, Shape, TensorSpec};
use crate::error::Result;
use crate::kernels::lateral::{MapShape, inhibit, inhibit_backward};
use std::ops::Range;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind {
    name: "lateral_inhibition",
    doc: "subtracts a learned share of the mean of the 8 neighbours in the same map: strength (0.2)",
    build,
};

/// `y = x - strength_c * mean of the 8 neighbours`, zero outside the image.
#[derive(Clone)]
struct LateralInhibition {
    shape: Shape,
    strength: f32,
}

/// Builds it; `strength` (0.2) is where every channel's learned strength starts.
///
/// # Errors
/// `Usage` for an unknown parameter or a strength that is no number.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    let strength = params.number("strength", 0.2)?;
    params.finish()?;
    Ok(Box::new(LateralInhibition { shape: input, strength }))
}

impl LateralInhibition {
    fn map(&self, batch: usize) -> MapShape {
        MapShape { h: self.shape.h, w: self.shape.w, batch }
    }
}

impl Layer for LateralInhibition {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        vec![TensorSpec::new("strength", &[self.shape.c], Role::Plain, Init::Constant(self.strength))]
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::LateralInhibition)
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        self.forward_maps(0..self.shape.c, pass, weights, x, y);
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        self.backward_maps(0..self.shape.c, pass, back);
    }

    fn map_wise(&mut self) -> Option<&mut dyn MapWise> {
        Some(self)
    }
}

impl MapWise for LateralInhibition {
    fn reads_input(&self) -> bool {
        true
    }

    fn forward_maps(&mut self, maps: Range<usize>, pass: &Pass, weights: &[f32], x: &[f32], y: &mut [f32]) {
        inhibit(self.map(pass.batch), &weights[maps], x, y);
    }

    fn backward_maps(&mut self, maps: Range<usize>, pass: &Pass, back: Backward) {
        let Backward { weights, x, dy, dx, dweights, .. } = back;
        inhibit_backward(self.map(pass.batch), &weights[maps.clone()], x, dy, dx, &mut dweights[maps]);
    }
}
