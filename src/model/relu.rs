//! `relu`: cuts activity below zero.

use super::{Layer, LayerKind, Operation, Params, Pass, Shape};
use crate::error::Result;
use crate::kernels::elementwise;

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

    fn forward(&mut self, _pass: &Pass, _weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        elementwise::relu(x, y);
    }

    fn backward_part(
        &mut self,
        _pass: &Pass,
        _weights: &[f32],
        _x: &[f32],
        y: &[f32],
        dy: &[f32],
        dx: Option<&mut [f32]>,
        _dweights: &mut [f32],
    ) {
        if let Some(dx) = dx {
            elementwise::relu_backward(y, dy, dx);
        }
    }
}
