//! `max_pool`: keeps the strongest unit of each window.

use super::{Backward, Layer, LayerKind, MapWise, Operation, Params, Pass, Shape, WithRelu};
use crate::error::{Error, Result};
use crate::kernels::pool::{MAX_SIDE, PoolShape, max_pool, max_pool_backward};
use std::ops::Range;

/// The row of `LAYERS`.
pub const KIND: LayerKind =
    LayerKind { name: "max_pool", doc: "maximum of each window, windows side by side: size (2)", build };

/// Maximum over `side x side` windows that do not overlap; rows and columns that fill no window are left out.
#[derive(Clone)]
struct MaxPool {
    input: Shape,
    side: usize,
    /// Place of each maximum in its window `(C, H/side, W/side, B)`.
    place: Vec<u8>,
}

/// Builds it; `size` (2) is the side of the window.
///
/// # Errors
/// `Usage` for an unknown parameter or a window that is larger than the image or than 16.
fn build(params: &mut Params, input: Shape) -> Result<Box<dyn Layer>> {
    let side = params.size("size", 2)?;
    params.finish()?;
    if side > MAX_SIDE || side > input.h || side > input.w {
        return Err(Error::usage(
            format!("stem: max_pool.size = {side}: expected at most {MAX_SIDE} and no more than the {input} input"),
            "mend the stem in the configuration",
        ));
    }
    Ok(Box::new(MaxPool { input, side, place: Vec::new() }))
}

impl MaxPool {
    /// Sizes of a pass over `maps` feature maps.
    fn shape(&self, maps: usize, batch: usize) -> PoolShape {
        PoolShape { c: maps, h: self.input.h, w: self.input.w, side: self.side, batch }
    }

    /// `y` of `x`, both of `maps` alone, and their places; with the ReLU behind if `rectified`.
    fn pool(&mut self, rectified: bool, maps: &Range<usize>, pass: &Pass, x: &[f32], y: &mut [f32]) {
        self.place.resize(self.output().n() * pass.batch, 0);
        let place = self.places(maps, y.len());
        max_pool(self.shape(maps.len(), pass.batch), rectified, x, y, &mut self.place[place]);
    }

    /// Where the places of `maps` lie, whose output is `len` long.
    fn places(&self, maps: &Range<usize>, len: usize) -> Range<usize> {
        let start = len / maps.len().max(1) * maps.start;
        start..start + len
    }
}

impl Layer for MaxPool {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        Shape { c: self.input.c, h: self.input.h / self.side, w: self.input.w / self.side }
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::MaxPool { side: self.side })
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        self.forward_maps(0..self.input.c, pass, weights, x, y);
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        self.backward_maps(0..self.input.c, pass, back);
    }

    fn map_wise(&mut self) -> Option<&mut dyn MapWise> {
        Some(self)
    }
}

impl MapWise for MaxPool {
    fn with_relu(&mut self) -> Option<&mut dyn WithRelu> {
        // The byte of a place has no value left otherwise.
        if self.side < MAX_SIDE { Some(self) } else { None }
    }

    fn forward_maps(&mut self, maps: Range<usize>, pass: &Pass, _weights: &[f32], x: &[f32], y: &mut [f32]) {
        self.pool(false, &maps, pass, x, y);
    }

    fn backward_maps(&mut self, maps: Range<usize>, pass: &Pass, back: Backward) {
        let Backward { dy, dx, .. } = back;
        if let Some(dx) = dx {
            let place = &self.place[self.places(&maps, dy.len())];
            max_pool_backward(self.shape(maps.len(), pass.batch), dy, place, dx);
        }
    }
}

impl WithRelu for MaxPool {
    fn forward_relu(&mut self, maps: Range<usize>, pass: &Pass, x: &[f32], y: &mut [f32]) {
        self.pool(true, &maps, pass, x, y);
    }
}
