//! Layer `dense`: an all-to-all projection with a bias, `y = W x + b`. Also the read-out of every network.

use super::{
    Afferents, Backward, Init, Layer, LayerKind, Operation, Outer, Pass, Plastic, Product, Role, Shape, TensorSpec,
    Wiring, tensor_ranges,
};
use crate::kernels::{dense as kernel, elementwise};
use std::ops::Range;
use std::sync::Arc;

/// The row of `LAYERS`.
pub const KIND: LayerKind = LayerKind {
    name: "dense",
    doc: "all-to-all projection with bias: units (128)",
    build: |params, input| {
        let units = params.size("units", 128)?;
        params.finish()?;
        Ok(Box::new(Dense::new(input.n(), units, 2.0)) as Box<dyn Layer>)
    },
};

/// An all-to-all projection with a bias.
#[derive(Clone)]
pub struct Dense {
    n_pre: usize,
    units: usize,
    gain: f32,
    weight: Range<usize>,
    bias: Range<usize>,
    /// The weights laid out for single images, if they are held; one for all replicas.
    held: Option<Arc<kernel::ByInput>>,
}

impl Dense {
    /// `units` neurons that each see all `n_pre`; weights start normal with variance `gain / n_pre`
    /// (He et al. 2015 before a ReLU: 2; a read-out: 1), biases at 0.
    pub fn new(n_pre: usize, units: usize, gain: f32) -> Self {
        let mut layer = Self { n_pre, units, gain, weight: 0..0, bias: 0..0, held: None };
        let ranges = tensor_ranges(&layer.tensors());
        (layer.weight, layer.bias) = (ranges[0].clone(), ranges[1].clone());
        layer
    }
}

impl Layer for Dense {
    fn name(&self) -> &'static str {
        KIND.name
    }

    fn output(&self) -> Shape {
        Shape::flat(self.units)
    }

    fn tensors(&self) -> Vec<TensorSpec> {
        let sd = (self.gain / self.n_pre.max(1) as f32).sqrt();
        vec![
            TensorSpec::new("weight", &[self.units, self.n_pre], Role::Weight, Init::Normal(sd)),
            TensorSpec::new("bias", &[self.units], Role::Plain, Init::Constant(0.0)),
        ]
    }

    fn replicate(&self) -> Box<dyn Layer> {
        Box::new(self.clone())
    }

    fn operation(&self) -> Option<Operation<'_>> {
        Some(Operation::Dense)
    }

    fn forward(&mut self, pass: &Pass, weights: &[f32], _buffers: &[f32], x: &[f32], y: &mut [f32]) {
        let (weight, bias) = (&weights[self.weight.clone()], &weights[self.bias.clone()]);
        match &self.held {
            Some(held) if pass.batch == 1 => held.forward(Some(bias), x, y),
            _ => kernel::forward(self.units, self.n_pre, pass.batch, weight, Some(bias), x, y),
        }
    }

    fn hold(&mut self, weights: Option<&[f32]>) {
        let turn = |w: &[f32]| Arc::new(kernel::ByInput::new(self.units, self.n_pre, &w[self.weight.clone()]));
        self.held = weights.map(turn);
    }

    fn backward_part(&mut self, pass: &Pass, back: Backward) {
        let Backward { weights, dy, dx, dweights, .. } = back;
        let batch = pass.batch;
        if let Some(dx) = dx {
            kernel::backward_input(self.units, self.n_pre, batch, &weights[self.weight.clone()], dy, dx);
        }
        kernel::backward_bias(self.units, batch, dy, &mut dweights[self.bias.clone()]);
    }

    fn outer<'a>(&'a self, x: &'a [f32], dy: &'a [f32]) -> Vec<Outer<'a>> {
        vec![Outer { tensor: 0, n_post: self.units, n_pre: self.n_pre, x, dy }]
    }

    fn afferents(&mut self) -> Option<&mut dyn Afferents> {
        Some(self)
    }

    fn plastic<'a>(&'a self, x: &'a [f32], y: &'a [f32], pass: &Pass) -> Vec<Plastic<'a>> {
        let mut rates = vec![0.0; y.len()];
        elementwise::relu(y, &mut rates);
        vec![Plastic {
            weight: 0,
            bias: Some(1),
            wiring: Wiring::Dense { n_post: self.units, n_pre: self.n_pre },
            between_neurons: false,
            samples: pass.batch,
            pre: x.into(),
            post: rates.into(),
        }]
    }
}

impl Afferents for Dense {
    fn products<'a>(&'a mut self, _batch: usize, y: &'a mut [f32]) -> Vec<Product<'a>> {
        vec![Product { tensor: 0, bias: Some(1), n_post: self.units, y }]
    }

    fn forward_after(&mut self, _pass: &Pass, _weights: &[f32], _x: &[f32], _y: &mut [f32]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Params, gradcheck};

    #[test]
    fn gradients_are_the_finite_differences() {
        for (n_pre, units) in [(1, 1), (7, 3), (19, 17)] {
            gradcheck::check(Box::new(Dense::new(n_pre, units, 2.0)), Shape::flat(n_pre), 5, 1);
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused() {
        let mut table = toml::Table::new();
        table.insert("layer".into(), "dense".into());
        table.insert("unit".into(), 3.into());
        let mut params = Params::new(table).unwrap();
        assert!((KIND.build)(&mut params, Shape::flat(4)).is_err());
    }

    #[test]
    fn plastic_gives_both_sides_of_the_synapses() {
        let mut layer = Dense::new(3, 2, 1.0);
        let pass = Pass { training: true, batch: 2, slice: 0, seed: 1, step: 0 };
        let (x, mut y) = ([1.0; 6], [0.0; 4]);
        let mut weights = [0.0; 32];
        weights[layer.weight.clone()].copy_from_slice(&[1.0, 1.0, 1.0, -1.0, -1.0, -1.0]);
        layer.forward(&pass, &weights, &[], &x, &mut y);
        assert_eq!(y, [3.0, 3.0, -3.0, -3.0]);
        let plastic = layer.plastic(&x, &y, &pass);
        assert_eq!((plastic.len(), plastic[0].samples, plastic[0].between_neurons), (1, 2, false));
        assert_eq!((&*plastic[0].pre, &*plastic[0].post), (&x[..], &[3.0, 3.0, 0.0, 0.0][..]), "a rate is not below 0");
    }
}
