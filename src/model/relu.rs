//! `relu`: cuts activity below zero.

use super::{Backward, Layer, LayerKind, MapWise, Operation, Params, Pass, Shape};
use crate::error::Result;
use crate::kernels::elementwise;
use std::ops::Range;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind { name: "relu", doc: "cuts activity below zero", build };

/// `y = max(x, 0)`.
#[derive(Clone)]
struct Relu {
    shape: Shape,
}

/// Builds it; no parameters.
///
/// # Errors
/// `Usage` for an unknown parameter.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    params.finish()?;
    Ok(Box::new(Relu { shape: input }))
}

impl Layer for Relu {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        self.shape
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::Relu)
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

impl MapWise for Relu {
    fn reads_output(&self) -> bool {
        true
    }

    fn forward_maps(&mut self, _maps: Range<usize>, _pass: &Pass, _weights: &[f32], x: &[f32], y: &mut [f32]) {
        elementwise::relu(x, y);
    }

    fn backward_maps(&mut self, _maps: Range<usize>, _pass: &Pass, back: Backward) {
        let Backward { y, dy, dx, .. } = back;
        if let Some(dx) = dx {
            elementwise::relu_backward(y, dy, dx);
        }
    }
}
